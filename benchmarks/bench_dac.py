"""The DAC lug: a real scan on its table, laid on its CAD, its stock found and planned, beside its owners' own zone.

DAC_580813_scan.ply (Institut Maupertuis, BSD-3) is registered to DAC_580813_cad.stl once as it fits best and once so
that material lies on the CAD rather than is missing of it (`stock.fit_inside`). Stock is what certainly stands above
the CAD. DAC_580813_defect.ply is the zone its owners cut out of the scan to be ground: the whole upper shell, whatever
its deviation. Areas are the scan's. The plan takes one layer of at most LAYER_M off the stock found.

    cell bench dac
    DATA=folder cell bench dac           where fanuc_DAC lies
    PICTURE=file.png cell bench dac      deviation, stock and their zone seen from above
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cell_core.config import GrindRecipe, GrindToolConfig, load_named, load_recipe
from cell_core.surface import Surface
from cell_core.surface_io import load_surface, read_vertices
from cell_core.transforms import Array
from grinding_planner.planner import plan_grind
from grinding_planner.stock import Stock, fit_inside, stock_on
from grinding_planner.target import placed_on

DATA = Path(__file__).parents[2] / "shared" / "data"
LAYER_M = 0.5e-3
TOOL, FORCE_N = "orbital_125", 40.0


def overlap(surface: Surface, found: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return area of the intersection over the union, over their zone and over ours."""
    areas = surface.vertex_areas_m2
    both = float(areas[found & theirs].sum())
    return both / areas[found | theirs].sum(), both / areas[theirs].sum(), both / max(areas[found].sum(), 1e-12)


def picture(path: str, scan: Surface, stock: Stock, theirs: NDArray[np.bool_], removed_m: Array) -> None:
    """Draw the scan from above."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(16, 12))
    x, y = scan.vertices_m[:, 0], scan.vertices_m[:, 1]
    shown = (
        ("height over the CAD, mm", 1e3 * stock.deviation_m, 8.0),
        ("stock found", (stock.depth_m(1.0) > 0.0).astype(float), 1.0),
        ("their zone", theirs.astype(float), 1.0),
        ("planned removal, mm", 1e3 * removed_m, 1e3 * LAYER_M),
    )
    for axis, (title, values, high) in zip(axes.ravel(), shown, strict=True):
        order = np.argsort(scan.vertices_m[:, 2])
        low = -high if values.min() < 0.0 else 0.0
        dots = axis.scatter(x[order], y[order], s=1, c=values[order], vmin=low, vmax=high, cmap="coolwarm")
        axis.set_title(title)
        axis.set_aspect("equal")
        figure.colorbar(dots, ax=axis)
    figure.savefig(path, dpi=60)


def main() -> int:
    """Register, find, compare, plan."""
    console = Console(width=180)
    folder = Path(os.environ.get("DATA", DATA)) / "fanuc_DAC"
    scan, _ = load_surface(folder / "DAC_580813_scan.ply", "m")
    cad, _ = load_surface(folder / "DAC_580813_cad.stl", "m")
    zone = read_vertices(folder / "DAC_580813_defect.ply")
    theirs = scan.tree.query(zone)[0] < 1e-4
    own = np.zeros(len(scan.vertices_m), bool)
    own[scan.tree.query(zone[theirs])[1]] = True
    started = time.process_time()
    best, registration = placed_on(scan, cad)
    seconds = time.process_time() - started
    console.print(
        f"registered: {registration.overlap_fraction:.2f} of the scan (with its table) on the CAD, "
        f"rms {1e3 * registration.rms_m:.2f} mm, second best {registration.second_overlap_fraction:.2f}, "
        f"CPU {seconds:.1f} s"
    )
    started = time.process_time()
    inside = best.transformed(fit_inside(scan, best, np.eye(4)), scan.frame)
    console.print(f"fit inside: CPU {time.process_time() - started:.1f} s")
    table = Table(
        *(
            "CAD lies",
            "below it, sigma mm",
            "stock m2",
            "regions",
            "zone m2",
            "IoU",
            "recall of their zone",
            "precision",
        ),
        *("CAD's own surface: IoU", "recall"),
    )
    stocks = {name: stock_on(scan, placed) for name, placed in (("best fit", best), ("inside", inside))}
    for name, stock in stocks.items():
        found = stock.depth_m(1.0) > 0.0
        whole = overlap(scan, stock.own, own)
        table.add_row(
            name,
            f"{1e3 * stock.sigma_m:.2f}",
            f"{scan.vertex_areas_m2[found].sum():.4f}",
            str(len(stock.regions)),
            f"{scan.vertex_areas_m2[own].sum():.4f}",
            *(f"{value:.2f}" for value in overlap(scan, found, own)),
            *(f"{value:.2f}" for value in whole[:2]),
        )
    console.print(table)
    recipe = load_recipe("grind_30um")
    assert isinstance(recipe, GrindRecipe)
    recipe = recipe.model_copy(
        update={"strategy": "target", "target_depth_m": LAYER_M, "tool": TOOL, "force_n": FORCE_N}
    )
    started = time.process_time()
    plan = plan_grind(scan, recipe, load_named(GrindToolConfig, "tools", TOOL), cad=inside)
    f = plan.figures
    console.print(
        f"planned: {f['n_strokes']} strokes, {f['duration_s']:.0f} s on the part, "
        f"{1e6 * f['removed_volume_m3']:.1f} cm3, "
        f"mean {1e6 * f['mean_m']:.0f} um, residual rms {1e6 * f['residual_rms_m']:.0f} um, "
        f"{f['target_area_m2']:.3f} m2 judged, CPU {time.process_time() - started:.1f} s"
    )
    if os.environ.get("PICTURE"):
        picture(os.environ["PICTURE"], scan, stocks["inside"], own, plan.fields["predicted_change_m"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
