"""Picture of an identification: what was measured, what is left of it, and the coefficient along the job."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_operator.figures import map_axes, save, surface_view
from grinding_planner.identification import Identification

N_CLOUD = 20_000
N_CLASSES = 25


def identification_figure(found: Identification, before: Surface, path: Path) -> None:
    """Write measured depth, measured against computed, residual, and the coefficient along the friction work."""
    figure, axes = plt.subplots(2, 2, figsize=(16.5, 10.5))
    view = surface_view(before)
    told = np.isfinite(found.measured_m)
    measured = np.where(told, 1e6 * found.measured_m, 0.0)
    high = float(np.quantile(1e6 * found.fitted_m[found.touched], 0.99)) * 1.2
    map_axes(axes[0, 0], before, view, measured, 0.0, high, "viridis", "measured depth [um]", found.touched)
    axes[0, 0].set_title("grey: not passed over, or not measured")
    _against(axes[0, 1], found)
    left = np.where(told, measured - 1e6 * found.fitted_m, 0.0)
    span = 3e6 * found.noise_m
    map_axes(axes[1, 0], before, view, left, -span, span, "coolwarm", "measured less computed [um]", found.touched)
    axes[1, 0].set_title(f"noise {1e6 * found.noise_m:.1f} um")
    _along(axes[1, 1], found)
    save(figure, path)


def _against(axes: Axes, found: Identification) -> None:
    own = np.flatnonzero(found.touched)
    shown = own[:: max(1, len(own) // N_CLOUD)]
    planned, fitted, measured = (1e6 * v for v in (found.planned_m, found.fitted_m, found.measured_m))
    axes.plot(fitted[shown], measured[shown], ".", color="#aab7b8", markersize=1.5, label="vertices")
    for computed, colour, name in ((planned, "#7f8c8d", "as planned"), (fitted, "#c0392b", "identified")):
        at, mean = _class_means(computed[own], measured[own])
        axes.plot(at, mean, "o-", color=colour, markersize=4, linewidth=1.2, label=f"mean over computed depth, {name}")
    end = float(max(np.quantile(fitted[own], 0.999), np.quantile(planned[own], 0.999)))
    axes.plot([0.0, end], [0.0, end], color="black", linewidth=0.8)
    axes.set_xlim(0.0, end)
    axes.set_ylim(
        min(0.0, float(np.quantile(measured[own], 0.001))), max(end, float(np.quantile(measured[own], 0.999)))
    )
    axes.set_xlabel("computed depth, um")
    axes.set_ylabel("measured depth, um")
    axes.legend(fontsize=8)


def _class_means(computed: Array, measured: Array) -> tuple[Array, Array]:
    edges = np.unique(np.quantile(computed, np.linspace(0.0, 1.0, N_CLASSES + 1)))
    if len(edges) < 3:
        return np.array([computed.mean()]), np.array([measured.mean()])
    k = np.clip(np.searchsorted(edges, computed, side="right") - 1, 0, len(edges) - 2)
    count = np.maximum(np.bincount(k, minlength=len(edges) - 1), 1)
    return np.bincount(k, computed) / count, np.bincount(k, measured) / count


def _along(axes: Axes, found: Identification) -> None:
    k0 = found.new_preston_per_pa / found.levels[0]
    low, high = (k0 * (found.piece_factor + sign * 1.96 * found.piece_error) for sign in (-1.0, 1.0))
    axes.fill_between(found.work_j, low, high, step="mid", color="#d6eaf8", label="each piece on its own, 95 %")
    axes.step(found.work_j, k0 * found.piece_factor, where="mid", color="#2a6f9d", linewidth=1.0)
    axes.plot(found.work_j, k0 * found.planned_factor, "--", color="#7f8c8d", linewidth=1.2, label="tool file")
    axes.step(found.work_j, k0 * found.factor, where="mid", color="#c0392b", linewidth=1.6, label="identified")
    total = found.work_j[-1] + found.work_j[0]
    for change in found.changes:
        axes.axvline(change.share * total, color="black", linewidth=0.8, linestyle=":")
    axes.set_ylim(0.0, None)
    axes.set_xlabel("friction work since the job began, J")
    axes.set_ylabel("Preston coefficient, 1/Pa")
    axes.legend(loc="lower left", fontsize=8)
    if found.friction is not None:
        beside = axes.twinx()
        beside.plot(found.friction.share * total, found.friction.friction, ".", color="#b7950b", markersize=2.5)
        beside.set_ylim(0.0, None)
        beside.set_ylabel("friction from the spindle's power (dots)")
