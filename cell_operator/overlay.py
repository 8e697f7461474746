"""A picture of a scan on what it was registered to."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from cell_core.pose_votes import spread_samples
from cell_core.surface import Surface
from cell_operator.figures import save

N_POINTS = 40_000


def overlay_figure(scan: Surface, reference: Surface, path: Path) -> None:
    """Write a PNG of a scan (red) on the reference it lies on (black), seen along the three axes; both in one frame."""
    low, high = 1e3 * reference.bounds_m
    margin = 0.1 * float(np.linalg.norm(high - low))
    figure, axes = plt.subplots(1, 3, figsize=(18, 6.6))
    for ax, (i, j) in zip(axes, ((0, 1), (0, 2), (1, 2)), strict=True):
        for surface, colour in ((scan, "tab:red"), (reference, "black")):
            points, _ = spread_samples(surface, N_POINTS)
            ax.plot(1e3 * points[:, i], 1e3 * points[:, j], ".", color=colour, markersize=0.5, alpha=0.5)
        ax.set_xlim(low[i] - margin, high[i] + margin)
        ax.set_ylim(low[j] - margin, high[j] + margin)
        ax.set_aspect("equal")
        ax.set_xlabel(f"{'xyz'[i]} [mm]")
        ax.set_ylabel(f"{'xyz'[j]} [mm]")
    figure.suptitle("scan (red) on its reference (black)")
    save(figure, path)
