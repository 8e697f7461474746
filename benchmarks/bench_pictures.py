"""Pictures for the spray benchmarks: film over the part with the strokes above it, and its histogram."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scorer_spray import Array, DensePoints

from cell_core.toolpath import Stroke

SHOWN = 0.1


def film_picture(path: Path, points: DensePoints, film: Array, strokes: Sequence[Stroke], title: str) -> None:
    """Write a PNG of the film as deviation from its mean, seen from the side it lies on."""
    mean = float(np.average(film, weights=points.areas_m2))
    deviation = film / mean - 1.0
    facing = points.areas_m2 @ points.normals
    figure = plt.figure(figsize=(12, 6))
    view: Any = figure.add_axes((0.0, 0.0, 0.55, 0.95), projection="3d", computed_zorder=False)
    shown = slice(None, None, max(1, len(film) // 40_000))
    spots = view.scatter(
        *points.points_m[shown].T, c=100 * deviation[shown], cmap="RdBu_r", s=2, vmin=-100 * SHOWN, vmax=100 * SHOWN
    )
    for stroke in strokes:
        view.plot(*stroke.position_m.T, color="black", lw=0.8, zorder=5)
    view.view_init(
        elev=float(np.degrees(np.arctan2(facing[2], np.hypot(facing[0], facing[1])))),
        azim=float(np.degrees(np.arctan2(facing[1], facing[0]))),
    )
    view.set_box_aspect(np.ptp(points.points_m, axis=0) + 0.05)
    figure.colorbar(spots, ax=view, label="film over mean - 1 [%]", shrink=0.6, pad=0.1)
    histogram = figure.add_axes((0.68, 0.12, 0.3, 0.76))
    histogram.hist(1e6 * film, bins=100, weights=points.areas_m2 / points.areas_m2.sum())
    histogram.set_xlabel("film [um]")
    histogram.set_ylabel("share of the area")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
