"""The independent judge's own account of gun patterns, from a tool path's tool block alone.

Written apart from cell_core: densities by their textbook formulas, scaled by closed-form or brute-force integrals,
Gaussian tails followed to TAIL_SIGMAS.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import gamma, hypot, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TAIL_SIGMAS = 5.0


def half_axes_m(tool: Mapping[str, Any]) -> tuple[float, float]:
    """Return half axes along x (travel) and y of an ellipse on the reference plane that holds the pattern [m]."""
    kind = tool.get("kind", "elliptic_double_beta")
    if kind == "elliptic_double_beta":
        return tool["b_m"], tool["a_m"]
    if kind == "axisymmetric_beta":
        return tool["radius_m"], tool["radius_m"]
    if kind == "bell_ring":
        outer = tool["ring_radius_m"] + TAIL_SIGMAS * tool["ring_width_m"]
        return outer, outer
    if kind == "gaussian_sum":
        x, y = (
            max(abs(g[f"offset_{i}_m"]) + TAIL_SIGMAS * g[f"sigma_{i}_m"] for g in tool["gaussians"]) for i in "xy"
        )
        # an ellipse that holds the rectangle
        return 2.0**0.5 * x, 2.0**0.5 * y
    raise ValueError(f"tool block of kind {kind!r}")


def detail_m(tool: Mapping[str, Any]) -> float:
    """Return the half width of the pattern's smallest feature [m]."""
    kind = tool.get("kind", "elliptic_double_beta")
    if kind == "bell_ring":
        return 2.5 * tool["ring_width_m"]
    if kind == "gaussian_sum":
        return 2.5 * min(min(g["sigma_x_m"], g["sigma_y_m"]) for g in tool["gaussians"])
    return min(half_axes_m(tool))


def density(tool: Mapping[str, Any], x: Array, y: Array) -> Array:
    """Return the share of the paint per area [1/m2] at points (N,) inside the half axes' ellipse."""
    kind = tool.get("kind", "elliptic_double_beta")
    if kind == "elliptic_double_beta":
        return _fan(tool, x, y)
    if kind == "axisymmetric_beta":
        radius, beta = tool["radius_m"], tool["beta"]
        return beta / (pi * radius**2) * (1.0 - (x**2 + y**2) / radius**2) ** (beta - 1.0)
    if kind == "bell_ring":
        shape = (tool["ring_radius_m"], tool["ring_width_m"], tool["hollow_fill"])
        return _ring(np.hypot(x, y), *shape) / _ring_volume(*shape)
    total = np.zeros_like(x)
    for g in tool["gaussians"]:
        u, v = (x - g["offset_x_m"]) / g["sigma_x_m"], (y - g["offset_y_m"]) / g["sigma_y_m"]
        total += g["share"] * np.exp(-(u * u + v * v) / 2.0) / (2.0 * pi * g["sigma_x_m"] * g["sigma_y_m"])
    return total


def cone_tangent(tool: Mapping[str, Any]) -> float:
    """Return the tangent of the half opening of a round cone that holds the spray."""
    return max(half_axes_m(tool)) / tool["reference_standoff_m"]


def reach_m(tool: Mapping[str, Any], standoffs: float) -> float:
    """Return the distance from the nozzle to the rim of the cone at so many reference standoffs [m]."""
    return standoffs * tool["reference_standoff_m"] * hypot(1.0, cone_tangent(tool))


def _fan(tool: Mapping[str, Any], x: Array, y: Array) -> Array:
    a, b, beta_1, beta_2 = (tool[k] for k in ("a_m", "b_m", "beta_1", "beta_2"))
    # mass balance: the integral of q0 over its ellipse is flow x solids x efficiency
    across = gamma(0.5) * gamma(beta_1 + 0.5) / gamma(beta_1 + 1.0)
    along = gamma(0.5) * gamma(beta_2) / gamma(beta_2 + 0.5)
    chord = 1.0 - (y / a) ** 2
    return chord ** (beta_1 - 1.0) * (1.0 - (x / b) ** 2 / chord) ** (beta_2 - 1.0) / (a * b * across * along)


def _ring(r: Array, radius: float, width: float, fill: float) -> Array:
    section = np.exp(-((r - radius) ** 2) / (2.0 * width**2))
    return np.where(r < radius, fill + (1.0 - fill) * section, section)


@lru_cache(maxsize=64)
def _ring_volume(radius: float, width: float, fill: float) -> float:
    step = (radius + TAIL_SIGMAS * width) / 200_000
    r = (np.arange(200_000) + 0.5) * step
    return float(2.0 * pi * step * (r * _ring(r, radius, width, fill)).sum())
