"""What the surroundings of a place say it should be: robust cubic fits to rings, at one scale."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.local_rings import BLEND_CELLS, RING_OUTER, Rings

CUBIC_PRIOR = 0.3
"""Weight of the belief that cubic terms are small, in readings."""
REWEIGHTINGS = 4
OUTLIER_SIGMAS = 3.0
BELIEVED = 0.25
"""Readings that kept more of their weight agree with the fit."""
N_SECTORS = 8
CONTRADICTED_MAX = 2
"""Neighbouring sectors that may lie off a fit: across a scratch there is one, beside a fillet there are three."""
BELIEVED_SHARE_MIN = 0.72
"""Share of a ring that must agree: a scratch across it takes a quarter away, a fillet beside it a third to a half."""
SUPPORT_MIN = 16.0
"""Cells that must agree with a fit."""
LEFT_OUT_SHARE = 0.25
"""A cell is left out when more of its vertices are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """How far each vertex lies off what its surroundings say, at one scale."""

    residual_m: Array
    """(V,) along the normal [m], positive: raised; NaN where the surroundings say nothing."""
    spread_m: Array
    """(V,) robust standard deviation of the surroundings about their own fit [m], cells of `size_m` averaged."""
    leverage: Array
    """(V,) variance of the fit at the vertex in variances of one cell."""
    wider: NDArray[np.bool_] | None = None
    """(V,) where a ring wider than the finest spoke; None: nowhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Polynomials fitted to rings, and what they are worth."""

    data_m: NDArray[np.float32]
    """(N, K) readings fitted [m]."""
    given: NDArray[np.float32]
    """(N, K) weights before anything was left out."""
    weight: NDArray[np.float32]
    """(N, K) weights used."""
    curved: bool
    """The readings are the surface's height, not a deviation."""
    typical_m: float
    """Scatter of a ring in the middle of all [m]."""
    coefficients: NDArray[np.float32]
    """(N, 10) of the terms [m]."""
    bend: NDArray[np.float32]
    """(N, 3) second-order coefficients that the fourth-order part follows from."""
    spread_m: NDArray[np.float32]
    """(N,) scatter of the ring about its fit [m]."""
    leverage: NDArray[np.float32]
    """(N,) variance of the fit at the centre in variances of a cell."""
    valid: NDArray[np.bool_]
    """(N,) enough of the ring agrees, on enough sides."""


def terms(uv: NDArray) -> NDArray:
    """Return the polynomial terms (..., 10) up to third order of places (..., 2)."""
    u, v = uv[..., 0], uv[..., 1]
    out = np.empty((*u.shape, 10), u.dtype)
    out[..., 0], out[..., 1], out[..., 2] = 1.0, u, v
    out[..., 3], out[..., 4], out[..., 5] = u * u, u * v, v * v
    out[..., 6], out[..., 7] = out[..., 3] * u, out[..., 3] * v
    out[..., 8], out[..., 9] = out[..., 5] * u, out[..., 5] * v
    return out


def fitted(rings: Rings, *, values_m: Array | None = None) -> Fit:
    """Return the fits to all rings.

    Each ring is fitted by a cubic polynomial over its tangent plane, less what a sphere or cylinder of its curvature
    has beyond second order; readings off the fit lose weight. A fit that neighbouring readings on one side contradict,
    as beside a fillet or crease, says nothing.

    Args:
        rings: the rings of a surface.
        values_m: (V,) deviation to fit in place of the surface's own height; NaN where there is none.
    """
    weight, data = rings.weight, rings.height_m
    if values_m is not None:
        known = np.isfinite(values_m)
        share = rings.cells.mean(known.astype(float))
        data = rings.cells.mean(np.where(known, values_m, 0.0)) / np.maximum(share, 1e-9)
        data = data.astype(np.float32)[rings.around]
        weight = weight * (share > 0.5)[rings.around]
    return _fitted(rings, data, weight, values_m is None, None)


def refitted(rings: Rings, fit: Fit, left_out: NDArray[np.bool_]) -> Fit:
    """Return the fits once no vertex of `left_out` (V,) counts; rings without any stay as they are."""
    out = (rings.cells.mean(left_out.astype(float)) > LEFT_OUT_SHARE)[rings.around]
    weight = fit.given * ~out
    rows = np.flatnonzero((weight != fit.weight).any(axis=1))
    if len(rows) == 0:
        return fit
    part = _fitted(rings.select(rows), fit.data_m[rows], weight[rows], fit.curved, fit.typical_m)
    names = ("weight", "coefficients", "bend", "spread_m", "leverage", "valid")
    changed = {name: getattr(fit, name).copy() for name in names}
    for name, values in changed.items():
        values[rows] = getattr(part, name)
    return replace(fit, **changed)


def off_fit(
    surface: Surface, rings: Rings, fit: Fit, rows: NDArray[np.int64], values_m: Array | None = None
) -> Background:
    """Return how far the vertices `rows` (R,), or their values of (V,), lie off the fits around them."""
    cells, points, own = rings.cells, surface.vertices_m[rows], rings.cells.of_vertex[rows]
    total, residual, spread, leverage = np.zeros((4, len(rows)))
    centres_m, axes = cells.points_m[rings.centres], rings.axes.astype(np.float32)
    for k in range(rings.blend.shape[1]):
        j = rings.blend[own, k]
        at = np.flatnonzero((j >= 0) & fit.valid[j])
        j = j[at]
        local = np.einsum("nij,nj->ni", axes[j], (points[at] - centres_m[j]).astype(np.float32))
        uv = local[:, :2] / rings.reach_m
        expected = np.einsum("ni,ni->n", terms(uv), fit.coefficients[j])
        if values_m is None:
            found = local[:, 2] - expected - _fourth_order(uv, fit.bend[j], rings.reach_m)
        else:
            found = values_m[rows[at]] - expected
        near = np.clip(1.0 - (uv**2).sum(axis=1) * (RING_OUTER / BLEND_CELLS) ** 2, 1e-3, 1.0) ** 2
        weight = near / (fit.spread_m[j] ** 2 * (1.0 + fit.leverage[j]))
        total[at] += weight
        residual[at] += weight * found
        spread[at] += weight * fit.spread_m[j]
        leverage[at] += weight * fit.leverage[j]
    safe = np.where(total > 0.0, total, np.nan)
    return Background(residual_m=residual / safe, spread_m=spread / safe, leverage=leverage / safe)


def _fitted(rings: Rings, readings: NDArray, given: NDArray, curved: bool, typical_m: float | None) -> Fit:
    uv, weight, data = rings.uv, given.astype(np.float32), readings
    x = terms(uv)
    prior = np.diag(np.r_[np.full(6, 1e-4), np.full(4, CUBIC_PRIOR)]).astype(np.float32)
    bend = np.zeros((len(uv), 3), np.float32)
    normal, moment = _normal_equations(x, weight)
    solution = _solve(normal + prior, moment @ data[..., None])
    if curved:
        for _ in range(2):
            bend = solution[:, 3:6]
            data = readings - _fourth_order(uv, bend[:, None], rings.reach_m)
            solution = _solve(normal + prior, moment @ data[..., None])
    off = np.abs(data - (x @ solution[..., None])[..., 0])
    enough = weight.sum(axis=1) > SUPPORT_MIN
    if typical_m is None:
        typical_m = float(np.median(_median_sigma(off, weight)[enough])) if enough.any() else 0.0
    robust = np.ones_like(weight)
    rough = np.flatnonzero(((off * (weight > 0.0)).max(axis=1) > 1.2 * OUTLIER_SIGMAS * typical_m) & enough)
    if len(rough):
        x_rough, data_rough, weight_rough, off_rough = x[rough], data[rough], weight[rough], off[rough]
        for _ in range(REWEIGHTINGS):
            scale = OUTLIER_SIGMAS * np.maximum(_median_sigma(off_rough, weight_rough), typical_m) + 1e-12
            trust = 1.0 / (1.0 + (off_rough / scale[:, None]) ** 2) ** 2
            normal_rough, moment = _normal_equations(x_rough, weight_rough * trust)
            solution_rough = _solve(normal_rough + prior, moment @ data_rough[..., None])
            off_rough = np.abs(data_rough - (x_rough @ solution_rough[..., None])[..., 0])
        robust[rough], normal[rough], solution[rough], off[rough] = trust, normal_rough, solution_rough, off_rough
    counted = weight * (robust > BELIEVED)
    # the middle reading: a scratch across the ring does not count, a fillet along half of it does
    spread = _median_sigma(off, weight)
    first = np.zeros((len(uv), 10, 1), np.float32)
    first[:, 0] = 1.0
    return Fit(
        data_m=readings,
        given=weight,
        weight=weight,
        curved=curved,
        typical_m=typical_m,
        coefficients=solution,
        bend=bend,
        spread_m=np.maximum(spread, 1e-9),
        leverage=_solve(normal + prior, first)[:, 0],
        valid=enough
        & (counted.sum(axis=1) > np.maximum(SUPPORT_MIN, BELIEVED_SHARE_MIN * weight.sum(axis=1)))
        & ~_contradicted(uv, weight, robust),
    )


def _normal_equations(x: NDArray, weight: NDArray) -> tuple[NDArray, NDArray]:
    moment = np.ascontiguousarray((x * weight[..., None]).transpose(0, 2, 1))
    return moment @ x, moment


def _solve(normal: NDArray, right: NDArray) -> NDArray:
    return np.linalg.solve(normal.astype(float), right.astype(float))[..., 0].astype(np.float32)


def _fourth_order(uv: NDArray, bend: NDArray, reach_m: float) -> NDArray:
    # height that a surface of constant curvature has beyond its parabola: x'Hx x'HHx / 8; exact for sphere, cylinder
    u, v = uv[..., 0], uv[..., 1]
    a, b, c = 2.0 * bend[..., 0] / reach_m, bend[..., 1] / reach_m, 2.0 * bend[..., 2] / reach_m
    hu, hv = a * u + b * v, b * u + c * v
    return (u * hu + v * hv) * (hu * hu + hv * hv) * (reach_m / 8.0)


def _median_sigma(off: NDArray, weight: NDArray) -> NDArray:
    ordered = np.sort(np.where(weight > 0.0, off, np.inf), axis=1)
    middle = np.maximum((weight > 0.0).sum(axis=1) - 1, 0) // 2
    found = ordered[np.arange(len(ordered)), middle]
    return 1.4826 * np.where(np.isfinite(found), found, 0.0)


def _contradicted(uv: NDArray, weight: NDArray, robust: NDArray) -> NDArray[np.bool_]:
    n = len(uv)
    sector = ((np.arctan2(uv[..., 1], uv[..., 0]) / (2.0 * np.pi) + 0.5) * N_SECTORS).astype(np.int64) % N_SECTORS
    place = (np.arange(n)[:, None] * N_SECTORS + sector).ravel()
    total = np.bincount(place, weight.ravel(), n * N_SECTORS).reshape(n, N_SECTORS)
    off = np.bincount(place, (weight * (robust < BELIEVED)).ravel(), n * N_SECTORS).reshape(n, N_SECTORS)
    bad = off > 0.5 * np.maximum(total, 0.5 * total.mean(axis=1, keepdims=True))
    run = np.ones_like(bad)
    for k in range(CONTRADICTED_MAX + 1):
        run &= np.roll(bad, -k, axis=1)
    return np.asarray(run.any(axis=1))
