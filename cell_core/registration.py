"""Place one surface on another without a guess: votes of point pairs, alignment, and a weighing of what speaks for it.

Every pose that votes or the target's own axes propose is aligned and weighed (`pose_search`, `pose_evidence`); the best
is given with its rivals, how far it may be off and, where it must not be relied on, why not.
"""

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.near_cells import NearTriangles
from cell_core.pose_alignment import Alignment
from cell_core.pose_search import (
    N_POINTS,
    OVERLAP_MIN,
    OVERLAP_SHARE,
    UNCERTAINTY_MAX_M,
    Candidate,
    PoseSearch,
    Registration,
    alike,
    misfit_of,
)
from cell_core.pose_votes import spread_samples
from cell_core.raycast import RayCaster
from cell_core.surface import Surface

__all__ = ["UNCERTAINTY_MAX_M", "Candidate", "Registration", "align", "register", "relied_on", "without_table"]

UNITS_RATIO_MAX = 20.0
UNIT_RATIOS = {1000.0: "mm and m", 25.4: "inch and mm", 39.37: "m and inch", 100.0: "cm and m", 10.0: "cm and mm"}


def register(
    source: Surface, target: Surface, *, overlap_min: float = OVERLAP_MIN, uncertainty_max_m: float = UNCERTAINTY_MAX_M
) -> Registration:
    """Find the rigid motion that lays `source` (a scan, perhaps partial, with table and clutter) on `target` (its CAD).

    Votes of point pairs propose poses (Drost and others, CVPR 2010), turns about the target's own axes add what is
    alike; each is aligned and weighed: area on the target, less what was scanned inside it or is seen through it. The
    best is refused where every line of sight to what was scanned would pass through the target, or where much that was
    scanned in one piece with it does not lie on it (closed targets). Both must be wound outward. What the scan cannot
    tell apart or does not hold is said in `doubt`.

    Args:
        source: what is moved.
        target: what it is laid on.
        overlap_min: share of what was scanned within the target's box that must lie on the target.
        uncertainty_max_m: the pose is doubted when its standard deviation is more [m], and more than
            `pose_search.UNCERTAINTY_MAX_OF_RMS` of the deviations.

    Raises:
        InputRefusedError: units that disagree, or no pose explains the scan: less than `overlap_min` of what was
            scanned within the target's box lies on it, too much speaks against it or hangs together with it; `facts`
            carries the best try.
    """
    _check_sizes(source, target)
    search = PoseSearch(source, target, uncertainty_max_m)
    standing = _standing(source)
    poses = search.poses(standing)
    found = search.judged(poses)
    misfit = misfit_of(found, search, overlap_min)
    if misfit and standing is not source:
        # the plane taken for a table may have been the part's own
        found = search.judged([*(c.T_target_source for c in found.candidates), *search.poses(source)])
        misfit = misfit_of(found, search, overlap_min)
    if misfit:
        raise InputRefusedError(
            f"registration: {misfit}: another part or a mirrored one, too little of it scanned, or other units"
            + _units_hint(source, target),
            overlap_fraction=found.overlap_fraction,
            explained_fraction=found.explained_fraction,
            T_target_source=found.T_target_source,
        )
    return found


def align(source: Surface, target: Surface, reach_m: float, mask: NDArray[np.bool_] | None = None) -> Registration:
    """Return the small correction that lays `source` on `target` from where they are, within `reach_m` [m].

    Args:
        source: moved.
        target: stays.
        reach_m: pairs farther apart do not count.
        mask: (V,) vertices of the source to use; None for all.
    """
    part = source if mask is None else source.select_triangles(np.all(mask[source.triangles], axis=1))
    exact = NearTriangles(target, RayCaster(target))
    fine = Alignment(*spread_samples(part, N_POINTS), exact, reach_m / OVERLAP_SHARE)
    T = fine.descend(np.eye(4), (reach_m, 0.3 * reach_m))
    _, gap, _, near = fine.pairs(T, reach_m)
    rms_m = float(np.sqrt(np.mean(np.sum(gap[near] ** 2, axis=1)))) if near.any() else reach_m
    return Registration(T_target_source=T, rms_m=rms_m, overlap_fraction=float(near.mean()))


def relied_on(placed: Registration, what: str) -> Registration:
    """Return the registration.

    Raises:
        InputRefusedError: there is a doubt, or symmetries of the target fit as well; `facts` carries the candidates.
    """
    if placed.doubt or placed.ambiguous:
        raise InputRefusedError(f"{what}: {placed.doubt or alike(placed.candidates)}", candidates=placed.candidates)
    return placed


def without_table(surface: Surface, clearance_m: float = 0.004, share_min: float = 0.15, seed: int = 0) -> Surface:
    """Return what stands on the largest plane: that plane cut away with `clearance_m`, what lies behind it too.

    Unchanged when no plane holds `share_min` of the area. The plane's normal decides which side stands on it.
    """
    points, normals = spread_samples(surface, 20_000)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    o3d.utility.random.seed(seed)
    plane, inliers = cloud.segment_plane(0.5 * clearance_m, 3, 2000)
    if len(inliers) < share_min * len(points):
        return surface
    normal, offset = np.asarray(plane[:3]), plane[3]
    if np.mean(normals[inliers] @ normal) < 0.0:
        normal, offset = -normal, -offset
    above = surface.vertices_m @ normal + offset > clearance_m
    kept = above[surface.triangles].all(axis=1)
    if not kept.any():
        raise InputRefusedError("scan: nothing stands on the table plane")
    return surface.select_triangles(kept)


def _standing(source: Surface) -> Surface:
    try:
        return without_table(source)
    except InputRefusedError:
        return source


def _check_sizes(source: Surface, target: Surface) -> None:
    sizes = [float(np.linalg.norm(np.ptp(s.bounds_m, axis=0))) for s in (source, target)]
    if min(sizes) <= 0.0 or max(sizes) > UNITS_RATIO_MAX * min(sizes):
        raise InputRefusedError(
            f"registration: source is {sizes[0]:.4g} m and target {sizes[1]:.4g} m across, more than "
            f"{UNITS_RATIO_MAX:g} times apart: do their units agree?{_units_hint(source, target)}"
        )


def _units_hint(source: Surface, target: Surface) -> str:
    sizes = [float(np.linalg.norm(np.ptp(s.bounds_m, axis=0))) for s in (source, target)]
    ratio = max(sizes) / max(min(sizes), 1e-12)
    near = min(UNIT_RATIOS, key=lambda r: abs(np.log(r / ratio)))
    if ratio < 6.0 or abs(np.log(near / ratio)) > np.log(2.5):
        return ""
    larger = "source" if sizes[0] > sizes[1] else "target"
    return f"; the {larger} is {ratio:.3g} times as large, as if {UNIT_RATIOS[near]} were mixed up"
