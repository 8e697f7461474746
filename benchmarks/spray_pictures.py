"""Thickness maps of spray plans: the film over the target from two sides, with the strokes, and its histogram."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scorer_spray import Array, DensePoints

from cell_core.toolpath import Stroke

SHOWN = 0.3


def thickness_picture(path: Path, points: DensePoints, share: Array, strokes: Sequence[Stroke], title: str) -> None:
    """Write a PNG of film over target (N,) at points: from obliquely above, from below or above, and a histogram."""
    figure = plt.figure(figsize=(20, 9))
    mean = np.average(points.normals, axis=0, weights=points.areas_m2)
    overhead = 88.0 if mean[2] > 0.3 else -40.0
    for k, (elevation, azimuth) in enumerate(((35.0, -60.0), (overhead, -90.0 if overhead > 0.0 else 120.0))):
        view: Any = figure.add_axes((0.36 * k, 0.0, 0.36, 0.95), projection="3d", computed_zorder=False)
        spots = view.scatter(
            *points.points_m.T, c=100.0 * share, cmap="RdBu_r", s=2, vmin=100 * (1 - SHOWN), vmax=100 * (1 + SHOWN)
        )
        for stroke in strokes:
            on = np.where(stroke.on[:, None], stroke.position_m, np.nan)
            view.plot(*on.T, color="black", lw=0.6, zorder=5)
        view.view_init(elev=elevation, azim=azimuth)
        view.set_aspect("equal")
    bar = figure.add_axes((0.73, 0.1, 0.01, 0.8))
    figure.colorbar(spots, cax=bar, label="film over target [%]")
    histogram = figure.add_axes((0.8, 0.1, 0.18, 0.8))
    histogram.hist(100.0 * share.clip(0.0, 2.0), bins=120, weights=points.areas_m2 / points.areas_m2.sum())
    histogram.set_xlabel("film over target [%]")
    histogram.set_ylabel("share of the area")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)
