"""A recipe of several layers planned on one surface: a plan for each, and what they come to together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cell_core.config import GunConfig, SprayRecipe
from cell_core.errors import CellError
from cell_core.plan import Plan, Progress, no_progress
from cell_core.surface import Surface
from cell_core.transforms import Array
from spray_planner.feasible import refuse_infeasible
from spray_planner.planner import plan_spray

SUMMED = (
    "mean_m",
    "process_time_s",
    "estimated_total_time_s",
    "sprayed_volume_m3",
    "solids_volume_m3",
    "film_volume_m3",
    "voc_mass_kg",
    "length_m",
    "n_strokes",
    "n_triggers",
)
SHOWN = ("cv", "min_m", "max_m", "in_tolerance_area_fraction", "catch_fraction", "n_coats")


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """One layer's plan."""

    number: int
    """1 for the first on the ground."""
    name: str
    recipe: SprayRecipe
    """The layer as a recipe of its own."""
    plan: Plan

    @property
    def folder(self) -> str:
        """Folder the layer is written to, in the order of work."""
        return f"{self.number:02d}-{self.name}"


def plan_layers(
    surface: Surface,
    recipe: SprayRecipe,
    guns: Mapping[str, GunConfig],
    *,
    surface_path: str = "",
    surface_sha256: str = "",
    table: bool = True,
    mask: Array | None = None,
    progress: Progress = no_progress,
) -> list[LayerPlan]:
    """Return a plan for every layer of a recipe of layers, from the ground up.

    Each is planned on the same surface: the films below it are thousands of times thinner than the standoff. Every
    layer's gun is checked before the first is planned.

    Args:
        guns: by name, every gun the layers use.
        mask: (V,) share of the target wanted at each vertex, the same for all layers.

    Raises:
        ConfigurationError: a layer's film, flow or standoff outside what its gun can do; names the layer.
        CoverageError: as for `plan_spray`; names the layer.
    """
    names = [layer.name for layer in recipe.layers]
    recipes = [recipe.layer(name) for name in names]
    for one in recipes:
        refuse_infeasible(one, guns[one.gun])
    plans = []
    for k, (name, one) in enumerate(zip(names, recipes, strict=True)):

        def own(fraction: float, message: str, k: int = k, name: str = name) -> None:
            progress((k + fraction) / len(names), f"{name}: {message}")

        try:
            plan = plan_spray(
                surface,
                one,
                guns[one.gun],
                surface_path=surface_path,
                surface_sha256=surface_sha256,
                table=table,
                mask=mask,
                progress=own,
            )
        except CellError as error:
            raise type(error)(f"layer {name}: {error}", **error.facts) from error
        plans.append(LayerPlan(number=k + 1, name=name, recipe=one, plan=plan))
    return plans


def layers_figures(plans: Sequence[LayerPlan]) -> dict[str, Any]:
    """Return the figures of all layers: what adds up, added up, and a row for each."""
    rows = []
    for layer in plans:
        figures, recipe = layer.plan.figures, layer.recipe
        wanted = {"target_thickness_m": recipe.target_thickness_m, "wait_after_s": recipe.wait_after_s}
        own = {key: figures[key] for key in (*SUMMED, *SHOWN) if key in figures}
        rows.append({"name": layer.name, "folder": layer.folder, "gun": recipe.gun, **wanted, **own})
    # a total is told only where every layer knows its part
    sums = {key: sum(row[key] for row in rows) for key in SUMMED if all(key in row for row in rows)}
    between = sum(row["wait_after_s"] for row in rows[:-1])
    return {"n_layers": len(rows), **sums, "wait_between_layers_s": between, "layers": rows}
