"""What is not to be painted: how much film each sample should get, and how much film counts where none should be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.config.masks import MaskRegion
from cell_core.errors import InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.regions import depth_inside
from cell_core.sampling import SurfaceSamples
from cell_core.surface import Surface
from cell_core.transforms import Array
from spray_planner.service import Service

EDGE_M = 0.02
"""Film may run out over this distance inside a mask's edge [m]."""
EDGE_USED_M = 0.015
"""Fits let it run out over this much: where the edge lies is known to a few millimetres."""
WHOLE = 0.999
"""Samples that want at least this share of the target are painted wholly."""
RAMP_WEIGHT, EDGE_WEIGHT, KEEP_OUT_WEIGHT = 0.2, 0.01, 0.5
"""Weights of squared errors, over that of painted area: on a soft edge, just inside a mask, and deeper in it."""
MASKED = "masked"


@dataclass(frozen=True, kw_only=True, eq=False)
class Masking:
    """The mask as a fit sees it."""

    paint: Array
    """(P,) share of the target wanted, 0 to 1."""
    weights: Array
    """(P,) weight of each sample that is not painted wholly, over that of one that is; 0 elsewhere."""
    deep: NDArray[np.bool_]
    """(P,) masked, and more than EDGE_M inside the edge."""

    def weighed_up(self, factor: float) -> "Masking":
        """Return the mask with film deep in it counting so many times as much."""
        return replace(self, weights=np.where(self.weights >= KEEP_OUT_WEIGHT, factor * self.weights, self.weights))


def masked_service(
    samples: SurfaceSamples, service: Service, paint: Array, outside: NDArray[np.bool_]
) -> tuple[Service, Masking]:
    """Return what is left to be served, with "masked" among the reasons for the rest, and the mask.

    Distances from a mask's edge are straight, to the nearest sample on the same side that lies `outside` for sure.

    Raises:
        InputRefusedError: nothing the gun can serve is to be painted.
    """
    whole = paint >= WHOLE
    inside = np.full(len(samples), np.inf)
    if outside.any() and not whole.all():
        # the other side of a sheet counts as farther than the edge
        place = np.hstack([samples.points_m, EDGE_M * samples.normals])
        inside[~whole] = KDTree(place[outside]).query(place[~whole])[0]
    ramp, masked = ~whole & (paint > 0.0), paint <= 0.0
    weights = np.where(ramp, RAMP_WEIGHT * service.mask, np.where(inside > EDGE_USED_M, KEEP_OUT_WEIGHT, EDGE_WEIGHT))
    left = service.mask & whole
    if not left.any():
        area = float(samples.areas_m2[service.mask].sum())
        raise InputRefusedError(
            f"mask: none of the {area:.4f} m2 that the gun can serve is to be painted", area_m2=area
        )
    reasons = {**service.reasons, MASKED: service.mask & ~whole}
    masking = Masking(paint=paint, weights=np.where(whole, 0.0, weights), deep=masked & (inside > EDGE_M))
    return Service(mask=left, reasons=reasons), masking


def mask_figures(samples: SurfaceSamples, masking: Masking | None, film_m: Array) -> dict[str, float]:
    """Return area and film of what a mask keeps free, also more than EDGE_M inside its edge; nothing without a mask."""
    if masking is None:
        return {}
    masked, areas = masking.paint <= 0.0, samples.areas_m2
    deep = masking.deep
    mean = float(areas[deep] @ film_m[deep] / areas[deep].sum()) if deep.any() else 0.0
    return {
        "masked_area_m2": float(areas[masked].sum()),
        "masked_inside_area_m2": float(areas[deep].sum()),
        "masked_inside_mean_m": mean,
        "masked_inside_max_m": float(film_m[deep].max()) if deep.any() else 0.0,
    }


def paint_share(
    surface: Surface, samples: SurfaceSamples, caster: RayCaster, mask: Array | None, regions: Sequence[MaskRegion]
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the share of the target wanted at each sample (P,), the least that mask and regions leave, and where all.

    A mask per vertex leaves open where on a triangle its edge runs: the target ends half way, what is wanted for sure
    ends at the last vertex that is.

    Args:
        mask: (V,) per vertex of `surface`, 1: paint, 0: keep free; linear over triangles, unless it knows no values
            between.
        regions: shapes in the part's frame; what lies inside is kept free.

    Raises:
        InputRefusedError: a mask of another length than there are vertices, or a value outside 0..1 or not finite, or
            nothing left to be painted.
    """
    paint, sure = np.ones(len(samples)), np.ones(len(samples), bool)
    if mask is not None:
        values = _checked(mask, len(surface.vertices_m))
        paint = _at_points(surface, values, caster, samples.points_m)
        sure = paint >= WHOLE
        if np.isin(values, (0.0, 1.0)).all():
            paint = (paint >= 0.5).astype(float)
    for region in regions:
        depth = depth_inside(region, samples.points_m)
        paint = np.minimum(paint, 1.0 - np.clip(depth / max(region.soft_edge_m, 1e-9), 0.0, 1.0))
        sure &= depth <= 0.0
    return paint, sure


def _checked(mask: Array, n_vertices: int) -> Array:
    values = np.asarray(mask, float)
    if values.shape != (n_vertices,):
        raise InputRefusedError(
            f"mask: shape {values.shape}, wanted ({n_vertices},): one value per vertex of the surface"
        )
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        raise InputRefusedError(f"mask: {int((~np.isfinite(values)).sum())} values are not finite, the first at {at}")
    if values.min() < 0.0 or values.max() > 1.0:
        at = int(np.argmax(np.abs(values - 0.5)))
        raise InputRefusedError(f"mask: value {values[at]:.6g} at vertex {at}, must be within 0..1 (1: paint)")
    if values.max() <= 0.0:
        raise InputRefusedError(
            f"mask: all {n_vertices} values are 0: nothing is to be painted (1: paint, 0: keep free)"
        )
    return values


def _at_points(surface: Surface, values: Array, caster: RayCaster, points_m: Array) -> Array:
    """Return values at points (P, 3) on the surface, linear over triangles."""
    _, triangle = caster.closest(points_m)
    corners = surface.triangles[triangle]
    a, b, c = (surface.vertices_m[corners[:, i]] for i in range(3))
    n = np.cross(b - a, c - a)
    square = np.maximum(np.einsum("ij,ij->i", n, n), 1e-300)
    s = np.einsum("ij,ij->i", np.cross(points_m - a, c - a), n) / square
    t = np.einsum("ij,ij->i", np.cross(b - a, points_m - a), n) / square
    shares = np.clip(np.column_stack([1.0 - s - t, s, t]), 0.0, 1.0)
    return np.einsum("ij,ij->i", values[corners], shares / shares.sum(axis=1, keepdims=True))
