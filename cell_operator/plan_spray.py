"""`cell plan spray`: one layer or all layers of a recipe, planned, written and told."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cell_core.config import GunConfig, SprayRecipe, find_config, load_named
from cell_core.config.coats import COATS_MAX
from cell_core.errors import ConfigurationError
from cell_core.files import sha256, write_json
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_core.vertex_fields import carried_to, vertex_field
from cell_operator.files import read_surface, write_plan
from cell_operator.progress import StepProgress, print_figures, shown_figure

COLUMNS = ("target_thickness_m", "mean_m", "cv", "min_m", "max_m", "catch_fraction", "process_time_s", "n_triggers")


def plan_spray_files(args: argparse.Namespace, recipe: SprayRecipe, out: Path, console: Console) -> int:
    """Plan, write and print; nothing is written before every layer is planned."""
    from spray_planner import PRICES, plan_prices

    chosen = _chosen(recipe, args.layer, args.coats)
    guns = _guns(chosen, args.recipe)
    surface = read_surface(args.surface, args.unit)
    source = {"surface_path": str(args.surface.resolve()), "surface_sha256": sha256(args.surface)}
    mask = _mask(args, surface)
    if chosen.layers:
        if args.pareto:
            raise ConfigurationError(f"--pareto: recipe {chosen.name} has layers; say which with --layer")
        return _plan_all(args, chosen, guns, surface, source, mask, out, console)
    prices = PRICES if args.pareto else ()
    with StepProgress(console, "plan spray") as progress:
        priced = plan_prices(
            surface,
            chosen,
            guns[chosen.gun],
            prices=prices,
            surface_path=source["surface_path"],
            surface_sha256=source["surface_sha256"],
            table=not args.free_hanging,
            mask=mask,
            progress=progress,
        )
    plan = next(p.plan for p in priced if p.chosen)
    write_plan(plan, surface, out)
    if prices:
        from cell_operator.pareto import print_pareto, write_pareto

        write_pareto(priced, out)
        print_pareto(console, priced)
    print_figures(console, f"{chosen.name}: {len(plan.toolpath.strokes)} strokes", plan.figures)
    print_limits(console, plan.figures["limits"])
    console.print(f"written to {out}")
    return 0


def _plan_all(
    args: argparse.Namespace,
    recipe: SprayRecipe,
    guns: Mapping[str, GunConfig],
    surface: Surface,
    source: dict[str, str],
    mask: Array | None,
    out: Path,
    console: Console,
) -> int:
    from spray_planner import layers_figures, plan_layers

    with StepProgress(console, "plan spray") as progress:
        table = not args.free_hanging
        plans = plan_layers(surface, recipe, guns, table=table, mask=mask, progress=progress, **source)
    for layer in plans:
        write_plan(layer.plan, surface, out / layer.folder)
    figures = layers_figures(plans)
    write_json(out / "figures.json", figures)
    _print_layers(console, recipe.name, figures["layers"])
    print_figures(console, "all layers", figures)
    for layer in plans:
        print_limits(console, layer.plan.figures["limits"], f" of {layer.name}")
    console.print("each layer is a job of its own: a person changes the paint between them")
    console.print(f"written to {out}")
    return 0


def _mask(args: argparse.Namespace, surface: Surface) -> Array | None:
    if args.mask is None:
        return None
    return carried_to(surface, vertex_field(args.mask, "mask"), args.surface, args.unit, f"{args.mask}: mask")


def _chosen(recipe: SprayRecipe, layer: str | None, coats: int | None) -> SprayRecipe:
    chosen = recipe if layer is None else recipe.layer(layer)
    if coats is None:
        return chosen
    if chosen.layers:
        names = ", ".join(one.name for one in chosen.layers)
        raise ConfigurationError(f"--coats: recipe {recipe.name} has layers; say which with --layer: {names}")
    if not 1 <= coats <= COATS_MAX:
        raise ConfigurationError(f"--coats: value {coats}: must be within 1..{COATS_MAX}")
    chosen = chosen.model_copy(update={"coats": coats})
    try:
        chosen.refuse_contradictions(f"recipe {chosen.name} with --coats {coats}", chosen.target_thickness_m)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return chosen


def _guns(recipe: SprayRecipe, file: str) -> dict[str, GunConfig]:
    names = {recipe.layer(layer.name).gun for layer in recipe.layers} or {recipe.gun}
    return {name: load_named(GunConfig, "guns", name, find_config("recipes", file)) for name in sorted(names)}


def print_limits(console: Console, limits: Sequence[Mapping[str, Any]], whose: str = "") -> None:
    """Print what keeps a plan from its specification, where anything does."""
    if not limits:
        return
    table = Table(title=f"limits{whose}", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for head in ("reason", "area", "what would help"):
        table.add_column(head)
    for limit in limits:
        area = f"{100 * limit['area_fraction']:.2f} % of {limit['of']}"
        table.add_row(str(limit["reason"]), area, str(limit["change"]))
    console.print(table)


def _print_layers(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("layer")
    for name in COLUMNS:
        table.add_column(shown_figure(name, rows[0][name])[0], justify="right")
    for row in rows:
        cells = [" ".join(shown_figure(name, row[name])[1:]).strip() for name in COLUMNS]
        table.add_row(str(row["folder"]), *cells)
    console.print(table)
