"""Why a scan has holes: for every border of the surface, what kept the views from measuring beyond it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cell_core.config.models import CameraConfig
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, inverse, unit
from cell_scanning.camera import Intrinsics, as_intrinsics
from cell_scanning.frames import Frame, frame_fault
from cell_scanning.frontier import STEP_M, find_frontier
from cell_scanning.fusion import ScanResult
from cell_scanning.holes import Hole
from cell_scanning.measurability import EDGE_CUT_PX, OFFSET_M, SURE_MARGIN_RAD, Patches, surely_measurable
from cell_scanning.support import view_labels
from cell_scanning.views import candidates_for

REASONS = (
    "floor", "open", "cut", "unknown", "specular", "grazing", "occluded", "out_of_range", "out_of_reach",
    "not_looked_at",
)  # fmt: skip
"""A view that came nearer to measuring a place gives its reason: earlier in this list goes before later.

floor: cut away with the fixture. open: a view would have shown surface there, and looked through. cut: readings came
back, and were dropped at a depth edge or were too few. unknown: looked at well, and nothing came back. specular: seen
from within the cone of its mirror direction. grazing: seen at a slant where readings are rare or none.
out_of_reach: views that would show it exist, none the arm can take.
"""
OPEN, CUT, UNKNOWN, SPECULAR, GRAZING, OCCLUDED, RANGE, REACH, NOT = range(1, 10)
SMALL_LOOP_M = 0.05
"""Loops shorter than this are taken as spanned flat."""
THROUGH_M = 0.003
"""Readings this far behind a supposed place have looked through it."""
FLAT_WORTH = 2.5
"""The flat continuation counts so many times as much as one that is bent."""
SILENCE_WORTH = 0.5
"""Nothing coming back counts so much as a reason that explains it: it may be a slanted wall or a dark patch."""
N_VIEWS_MAX = 80
N_HOLES_REACH = 20
"""Longest loops for which views within reach are looked for."""
N_REACH = 12
"""Views asked about before a hole counts as out of reach."""


def explained_holes(
    surface: Surface,
    holes: Sequence[Hole],
    camera: Intrinsics | CameraConfig,
    frames: Sequence[Frame],
    *,
    work_volume_m: Array | None = None,
    reachable: Callable[[Array], bool] | None = None,
) -> tuple[Hole, ...]:
    """Return the holes, each with the reason why nothing was measured beyond it, and shares of its length by reason.

    What lies beyond a border is not known: surface is supposed flat and bent four ways, and every view is asked why
    it did not measure that. A place counts as open only if all bends were looked through. A supposed place may not be
    real: reasons say what the views did, not what is there.

    Args:
        surface: as scanned.
        holes: of `find_holes`.
        camera: intrinsics and limits.
        frames: depth images with the poses they were fused with; one per view counts.
        work_volume_m: (2, 3) box, its lowest face the fixture plane; needed for out_of_reach.
        reachable: asked whether the arm can take T_part_camera (4, 4).
    """
    camera = as_intrinsics(camera)
    floor_z_m = -np.inf if work_volume_m is None else float(np.asarray(work_volume_m)[0, 2])
    caster = RayCaster(surface)
    views = _one_per_view(frames)
    step_m = STEP_M + _cut_m(camera, views)
    named = []
    for hole in holes:
        if hole.kind == "floor":
            named.append(replace(hole, reason="floor", reasons={"floor": 1.0}))
            continue
        patches, weights, place = _beyond(surface, hole, floor_z_m, step_m)
        if len(patches) == 0 or not views:
            named.append(replace(hole, reason="unknown", reasons={"unknown": 1.0}))
            continue
        codes = np.full(len(patches), NOT)
        for frame in views:
            codes = np.minimum(codes, _codes(camera, frame, patches, caster))
        if len(named) < N_HOLES_REACH and reachable is not None and work_volume_m is not None:
            codes = _reach(codes, camera, surface, patches, weights, caster, np.asarray(work_volume_m), reachable)
        named.append(_named(hole, codes, weights, place))
    return tuple(named)


def with_hole_reasons(
    result: ScanResult,
    frames: Sequence[Frame],
    camera: Intrinsics | CameraConfig,
    work_volume_m: Array | None = None,
    reachable: Callable[[Array], bool] | None = None,
) -> ScanResult:
    """Return a scan whose holes tell their reasons, and whose figures how much border each reason has.

    Where the frames are not those that were fused, one pose for each, reasons stay unknown.
    """
    good = [f for f in frames if frame_fault(f, as_intrinsics(camera)) is None]
    posed = []
    if len(good) == len(result.T_part_camera):
        posed = [replace(f, T_part_camera=T) for f, T in zip(good, result.T_part_camera, strict=True)]
    holes = explained_holes(
        result.surface, result.holes, camera, posed, work_volume_m=work_volume_m, reachable=reachable
    )
    return replace(result, holes=holes, figures={**result.figures, **reason_lengths(holes)})


def reason_lengths(holes: Sequence[Hole]) -> dict[str, float]:
    """Return border length [m] by reason under keys for a report, the cut at the floor and open borders among them."""
    total: dict[str, float] = {}
    for hole in holes:
        for reason, share in hole.reasons.items():
            key = f"border_{reason}_m"
            total[key] = total.get(key, 0.0) + share * hole.length_m
    return dict(sorted(total.items()))


def hole_map(surface: Surface, holes: Sequence[Hole]) -> Surface:
    """Return the surface with fields hole_reason (0: no border; else 1 + place in REASONS) and hole (0: none)."""
    reason, number = np.zeros(len(surface.vertices_m)), np.zeros(len(surface.vertices_m))
    # the longest come first and are written last
    for k in range(len(holes) - 1, -1, -1):
        reason[holes[k].vertices] = 1.0 + REASONS.index(holes[k].reason)
        number[holes[k].vertices] = 1.0 + k
    return surface.with_fields(hole_reason=reason, hole=number)


def _one_per_view(frames: Sequence[Frame]) -> list[Frame]:
    some = list(frames[:: max(1, -(-len(frames) // (4 * N_VIEWS_MAX)))])
    labels = view_labels([f.T_part_camera for f in some])
    _, first = np.unique(labels, return_index=True)
    return [some[k] for k in first[:: max(1, -(-len(first) // N_VIEWS_MAX))]]


def _cut_m(camera: Intrinsics, views: Sequence[Frame]) -> float:
    """Return how wide a strip the depth filter cuts along depth edges: what is missing begins beyond it."""
    ranges = [float(np.median(f.depth_m[f.depth_m > 0.0])) for f in views if np.any(f.depth_m > 0.0)]
    return EDGE_CUT_PX / min(camera.fx_px, camera.fy_px) * float(np.median(ranges)) if ranges else 0.0


def _beyond(surface: Surface, hole: Hole, floor_z_m: float, step_m: float) -> tuple[Patches, Array, NDArray[np.int64]]:
    """Return supposed patches beyond a loop, what each stands for, and the number of its place along the loop."""
    if hole.length_m < SMALL_LOOP_M:
        points, normals = surface.vertices_m[hole.vertices], surface.vertex_normals[hole.vertices]
        patch = Patches(points_m=points.mean(axis=0)[None], normals=unit(normals.mean(axis=0))[None])
        return patch, np.ones(1), np.zeros(1, np.int64)
    edges = np.column_stack([hole.vertices, np.roll(hole.vertices, -1)])
    frontier = find_frontier(surface, floor_z_m, edges, step_m)
    weight = frontier.areas_m2 * np.where(frontier.bend_rad == 0.0, FLAT_WORTH, 1.0)
    return frontier.patches, weight, frontier.place


def _codes(camera: Intrinsics, frame: Frame, patches: Patches, caster: RayCaster) -> NDArray[np.int64]:
    """Return (P,) why one view did not measure each patch."""
    T = frame.T_part_camera
    to_eye = T[:3, 3] - patches.points_m
    cosine = np.einsum("ij,ij->i", to_eye, patches.normals) / np.linalg.norm(to_eye, axis=1)
    p = patches.points_m @ inverse(T)[:3, :3].T + inverse(T)[:3, 3]
    z = np.where(p[:, 2] > 1e-6, p[:, 2], 1e-6)
    u = np.rint(camera.fx_px * p[:, 0] / z + camera.cx_px)
    v = np.rint(camera.fy_px * p[:, 1] / z + camera.cy_px)
    pictured = (p[:, 2] > 0.0) & (u >= 0) & (u < camera.width_px) & (v >= 0) & (v < camera.height_px)
    column, row = np.where(pictured, u, 0).astype(int), np.where(pictured, v, 0).astype(int)
    reading = np.where(pictured, frame.depth_m[row, column], 0.0)
    lifted = patches.points_m + OFFSET_M * patches.normals
    blocked = caster.blocked(lifted, np.broadcast_to(T[:3, 3], lifted.shape))
    blocked |= (reading > 0.0) & (reading < z - THROUGH_M)
    ranged = (z >= camera.range_m[0]) & (z <= camera.range_m[1])
    code = np.full(len(patches), UNKNOWN)
    code[np.abs(reading - z) <= THROUGH_M] = CUT
    code[reading > z + THROUGH_M] = OPEN
    code[(cosine > np.cos(camera.specular_cone_rad)) & (reading == 0.0) & (camera.specular_cone_rad > 0.0)] = SPECULAR
    # readings grow rare well before the limit
    slant = np.cos(camera.incidence_max_rad - SURE_MARGIN_RAD)
    code[(code != OPEN) & (cosine < slant)] = GRAZING
    code[cosine < np.cos(camera.incidence_max_rad)] = GRAZING
    code[blocked] = OCCLUDED
    code[~ranged] = RANGE
    # seen from behind is not looked at: another side of the part is in the way, or nothing is
    code[~pictured | (cosine <= 0.0)] = NOT
    return code


def _reach(
    codes: NDArray[np.int64],
    camera: Intrinsics,
    surface: Surface,
    patches: Patches,
    weights: Array,
    caster: RayCaster,
    work_volume_m: Array,
    reachable: Callable[[Array], bool],
) -> NDArray[np.int64]:
    left = np.flatnonzero(codes > SPECULAR)
    if len(left) == 0:
        return codes
    some = Patches(points_m=patches.points_m[left], normals=patches.normals[left])
    candidates = candidates_for(some, weights[left], surface, work_volume_m)
    if len(candidates) == 0:
        return codes
    seen = surely_measurable(camera, candidates, some, caster, None)
    best = np.argsort(-seen.sum(axis=1), kind="stable")[:N_REACH]
    best = best[seen[best].any(axis=1)]
    if len(best) == 0 or any(reachable(candidates[k]) for k in best):
        return codes
    codes = codes.copy()
    codes[left[seen[best].any(axis=0)]] = REACH
    return codes


def _named(hole: Hole, codes: NDArray[np.int64], weights: Array, place: NDArray[np.int64]) -> Hole:
    _, place = np.unique(place, return_inverse=True)
    n = int(place.max()) + 1
    length = np.bincount(place, weights, n)
    table = np.zeros((n, len(REASONS)))
    np.add.at(table, (place, codes), weights)
    # readings tell which bend is real; one that was looked through says nothing of the others
    closed = table * np.where(np.arange(len(REASONS)) == UNKNOWN, SILENCE_WORTH, 1.0)
    closed[:, OPEN] = 0.0
    chosen = np.where(closed.sum(axis=1) > 0.0, closed.argmax(axis=1), OPEN)
    chosen = np.where(table[:, CUT] > 0.0, CUT, chosen)
    shares = np.bincount(chosen, length, len(REASONS)) / length.sum()
    reasons: Mapping[str, float] = {REASONS[k]: float(shares[k]) for k in np.flatnonzero(shares > 0.0)}
    return replace(hole, reason=REASONS[int(shares.argmax())], reasons=reasons)
