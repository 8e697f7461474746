"""Look, fuse, and look again where something is missing, until what is measurable is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.config.models import CameraConfig
from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError, UnreachableError
from cell_core.plan import Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_scanning.camera import Intrinsics, as_intrinsics
from cell_scanning.frames import Frame
from cell_scanning.fusion import fuse
from cell_scanning.measurability import Patches, measurable
from cell_scanning.view_cover import CoverPlan, box_surface, cover_points, plan_cover
from cell_scanning.views import plan_first_look, plan_next_views

COARSE_VOXEL_M = 0.004
NEXT_VIEWS_PER_ROUND = 4
ROUNDS_MAX = 6
FOUND_VOXELS = 1.5
"""A point of a CAD is measured where the scan has surface within this many voxels that faces the same way."""
FACING_COS = 0.3
MISSING_SHARE = 0.6
"""Views are planned to leave this share of what may be missing: some of what they promise is not kept."""
GAIN_MIN_PER_VIEW = 0.001
"""Views are no longer worth taking when those of the last round brought less than this share each."""
GIVEN_UP_VIEWS = 3
"""A point that so many views should have shown and none did is not looked for any longer."""

Visit = Callable[[Array, Surface | None], Sequence[Sequence[Frame]]]
"""Takes poses (K, 4, 4) T_part_camera and what is known of the part; returns the frames of each view reached."""
Reach = Callable[[Surface | None], Callable[[Array], bool]]
"""Takes what is known of the part; returns whether the arm can take a pose T_part_camera (4, 4)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Earlier:
    """A scan of the same part."""

    T_part_camera: Array
    """(K, 4, 4) its views, in the order taken."""
    surface: Surface
    """What it found: what the arm keeps clear of until the first round is fused."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """All that was seen."""

    frames: tuple[Frame, ...]
    taken: Array
    """(K, 4, 4) pose of each view taken."""
    surface: Surface
    """Coarse, of all frames."""
    measured_fraction: float
    """Share of the measurable surface measured: estimated from borders, or with a CAD counted on it."""
    n_views_bound: int | None
    """With a CAD: least number of views; see `cell_scanning.view_cover`."""


def look_around(
    camera: Intrinsics | CameraConfig,
    box_m: Array,
    settings: ScanSettings,
    visit: Visit,
    *,
    cad: Surface | None = None,
    part_box_m: Array | None = None,
    earlier: Earlier | None = None,
    reach: Reach | None = None,
    progress: Progress = no_progress,
    show: Callable[[Surface], None] | None = None,
) -> Looked:
    """Measure a part in views until the recipe's share of what is measurable is measured, or nothing more can be.

    Args:
        camera: intrinsics and limits.
        box_m: (2, 3) work volume in the part frame, its lowest face the fixture plane.
        settings: share wanted, most views.
        visit: moves the camera and takes frames.
        cad: the part's shape where it stands, if known.
        part_box_m: (2, 3) box around the part, if only that is known.
        earlier: a scan of the same part where it stands: its views are taken first.
        reach: what the arm can take; None: any pose.
        progress: told the share measured.
        show: called with the coarse surface after every round.

    Raises:
        InputRefusedError: the CAD or the part's box does not stand within the work volume.
        UnreachableError: no view of the first round can be reached.
    """
    box_m = np.asarray(box_m, float)
    intrinsics = as_intrinsics(camera)
    target = _Target.of(intrinsics, box_m, settings.measured_area_fraction_min, cad, part_box_m)
    views = target.first(reach) if earlier is None else earlier.T_part_camera
    coarse = settings.model_copy(update={"voxel_m": max(COARSE_VOXEL_M, settings.voxel_m)})
    frames: list[Frame] = []
    taken: list[Array] = []
    surface, fraction = None if earlier is None else earlier.surface, 0.0
    progress(0.0, "looking around" if earlier is None else "looking again")
    for _ in range(ROUNDS_MAX):
        n_before, before = len(taken), fraction
        for shots in visit(views[: settings.views_max - len(taken)], surface):
            frames += shots
            taken.append(shots[-1].T_part_camera)
        if not frames:
            raise UnreachableError(f"scan: none of {len(views)} views can be reached")
        surface = fuse(frames, intrinsics, coarse, crop=box_m, refine=False).surface
        if show is not None:
            show(surface)
        views, fraction = target.next(surface, np.stack(taken), reach)
        progress(fraction, f"{len(taken)} views, {100.0 * fraction:.1f} % measured")
        if fraction >= settings.measured_area_fraction_min or len(taken) >= settings.views_max or len(views) == 0:
            break
        n_new = len(taken) - n_before
        if n_new > 0 and fraction - before < GAIN_MIN_PER_VIEW * n_new:
            break
    assert surface is not None
    return Looked(
        frames=tuple(frames),
        taken=np.stack(taken),
        surface=surface,
        measured_fraction=fraction,
        n_views_bound=target.bound,
    )


@dataclass(kw_only=True, eq=False)
class _Target:
    """What is to be measured, as far as it is known: nothing, a box, or the shape."""

    camera: Intrinsics
    box_m: Array
    missing_max: float
    cad: Surface | None
    supposed: Surface | None
    bound: int | None = None
    plan: CoverPlan | None = None

    @staticmethod
    def of(camera: Intrinsics, box_m: Array, share: float, cad: Surface | None, part_box_m: Array | None) -> "_Target":
        supposed = cad
        for name, bounds in (("CAD", None if cad is None else cad.bounds_m), ("part's box", part_box_m)):
            if bounds is None:
                continue
            low, high = np.asarray(bounds, float)
            if not (np.all(low >= box_m[0] - 0.002) and np.all(high <= box_m[1]) and np.all(high > low)):
                raise InputRefusedError(
                    f"scan: {name} spans {low.round(3).tolist()} to {high.round(3).tolist()} m, outside the work "
                    f"volume {box_m[0].round(3).tolist()} to {box_m[1].round(3).tolist()} m"
                )
            if supposed is None:
                supposed = box_surface(bounds)
        return _Target(
            camera=camera, box_m=box_m, missing_max=MISSING_SHARE * (1.0 - share), cad=cad, supposed=supposed
        )

    def first(self, reach: Reach | None) -> Array:
        if self.supposed is None:
            return plan_first_look(self.camera, 0.5 * self.box_m.sum(axis=0), np.ptp(self.box_m, axis=0))
        reachable = None if reach is None else reach(self.supposed)
        plan = plan_cover(
            self.camera, self.supposed, float(self.box_m[0, 2]), share=1.0 - self.missing_max, reachable=reachable
        )
        if self.cad is not None:
            self.plan, self.bound = plan, plan.n_views_bound
        return plan.T_part_camera

    def next(self, surface: Surface, taken: Array, reach: Reach | None) -> tuple[Array, float]:
        """Return the views to take next, best first, and the share measured so far."""
        reachable = None if reach is None else reach(surface)
        if self.cad is None or self.plan is None:
            following = plan_next_views(
                self.camera, surface, self.box_m, taken, n_views=NEXT_VIEWS_PER_ROUND, reachable=reachable
            )
            # as many as are needed, if they keep what they promise
            share = following.measured_fraction
            wanted_m2 = (1.0 - self.missing_max - share) * surface.area_m2 / max(share, 1e-6)
            n = int(np.searchsorted(np.cumsum(following.gain_m2), wanted_m2)) + 1
            return following.T_part_camera[:n], share
        floor_z_m = float(self.box_m[0, 2])
        points = cover_points(self.cad, floor_z_m)
        missing = self.plan.measurable & ~found(points, surface, FOUND_VOXELS * COARSE_VOXEL_M)
        fraction = 1.0 - float(missing.sum()) / max(int(self.plan.measurable.sum()), 1)
        tried = measurable(self.camera, taken, points, RayCaster(self.cad)).sum(axis=0)
        missing &= tried < GIVEN_UP_VIEWS
        n_allowed = self.missing_max * float(self.plan.measurable.sum())
        plan = plan_cover(
            self.camera, self.cad, floor_z_m, share=float(np.clip(1.0 - n_allowed / max(missing.sum(), 1), 0.3, 1.0)),
            reachable=reachable, wanted=missing, n_views=NEXT_VIEWS_PER_ROUND,
        )  # fmt: skip
        return plan.T_part_camera, fraction


def found(points: Patches, surface: Surface, within_m: float) -> NDArray[np.bool_]:
    """Return which points have surface within a distance that faces the same way."""
    nearest, triangle = RayCaster(surface).closest(points.points_m)
    near = np.linalg.norm(nearest - points.points_m, axis=1) < within_m
    return near & (np.einsum("ij,ij->i", surface.triangle_normals[triangle], points.normals) > FACING_COS)
