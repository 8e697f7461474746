"""Maps of the depth to remove, and where the CAD lies they are taken against."""

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.registration import Registration, register, relied_on
from cell_core.surface import Surface
from cell_core.transforms import Array, inverse
from grinding_planner.stock import (
    AREA_MIN_M2,
    CAD_DISTANCE_MAX_M,
    CERTAIN_SIGMAS,
    FACING_COSINE_MIN,
    fit_inside,
    stock_on,
)

CAD_SLIDE_MAX_M = 1e-3
"""A CAD may be this uncertain (one standard deviation) along the faces it slides on: depths hardly change by that."""


def check_map(target_m: Array, n_vertices: int) -> Array:
    """Return the map (V,) [m] as floats.

    Raises:
        InputRefusedError: wrong length, not finite, negative, or zero everywhere.
    """
    target = np.asarray(target_m, float)
    if target.shape != (n_vertices,):
        raise InputRefusedError(f"target map has shape {target.shape}, the surface has {n_vertices} vertices")
    if not np.all(np.isfinite(target)):
        i = int(np.flatnonzero(~np.isfinite(target))[0])
        raise InputRefusedError(f"target map: value {i} is {target[i]}, wanted a finite depth in m")
    if target.min() < 0.0:
        i = int(np.argmin(target))
        raise InputRefusedError(f"target map: value {i} is {target[i]:.6g} m, a depth to remove must be >= 0 m")
    if target.max() <= 0.0:
        raise InputRefusedError(f"target map: all {len(target)} values are 0 m, nothing to remove")
    return target


def target_from_cad(surface: Surface, cad: Surface, deepest_m: float) -> Array:
    """Return how far each vertex (V,) that is certainly stock stands above the CAD, cut to [0, deepest_m] [m].

    What that is: `stock.stock_on`. Both surfaces are in one frame; alignment is the caller's.

    Raises:
        InputRefusedError: no vertex belongs to the CAD, or nothing stands above it.
    """
    stock = stock_on(surface, cad)
    target = stock.depth_m(deepest_m)
    if target.max() <= 0.0:
        raise InputRefusedError(
            f"CAD: nothing of the scan certainly stands above it: nowhere {CERTAIN_SIGMAS:g} times the "
            f"{stock.sigma_m * 1e6:.3g} um by which it lies below over {AREA_MIN_M2 * 1e4:g} cm2"
        )
    return target


def lies_on(surface: Surface, cad: Surface) -> bool:
    """Return whether most of the surface's area lies near the CAD and faces the same way: both are in one frame."""
    nearest, triangle = RayCaster(cad).closest(surface.vertices_m)
    near = np.linalg.norm(surface.vertices_m - nearest, axis=1) <= CAD_DISTANCE_MAX_M
    along = np.einsum("ij,ij->i", surface.vertex_normals, cad.triangle_normals[triangle]) > FACING_COSINE_MIN
    return float(surface.vertex_areas_m2 @ (near & along)) > 0.5 * float(surface.vertex_areas_m2.sum())


def placed_on(surface: Surface, cad: Surface, *, inside: bool = False) -> tuple[Surface, Registration]:
    """Return the CAD moved to where it lies on the surface, a scan, and how well it does.

    Args:
        inside: the part has an allowance all over, as castings do: from where it fits best the CAD moves on until next
            to nothing is missing of it.

    Raises:
        InputRefusedError: too little of the surface comes to lie on it, it fits in more than one way, or lies loosely.
    """
    placed = relied_on(register(surface, cad, uncertainty_max_m=CAD_SLIDE_MAX_M), "CAD")
    moved = cad.transformed(inverse(placed.T_target_source), surface.frame)
    if inside:
        moved = moved.transformed(fit_inside(surface, moved, np.eye(4)), surface.frame)
    return moved, placed
