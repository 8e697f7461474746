"""What a scan is to measure, as far as it is known: nothing, a box, the shape, or the shape but not where it stands."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.registration import register
from cell_core.surface import Surface
from cell_core.transforms import Array, inverse
from cell_scanning.camera import Intrinsics
from cell_scanning.measurability import Patches, measurable
from cell_scanning.view_cover import CoverPlan, box_surface, cover_points, plan_cover
from cell_scanning.views import N_OBLIQUE, plan_first_look, plan_next_views

COARSE_VOXEL_M = 0.004
NEXT_VIEWS_PER_ROUND = 4
N_LEAN = 2
"""Oblique views of the first look at something unknown; the rest follows where nothing was seen or next views stall."""
FOUND_VOXELS = 1.5
"""A point of a CAD is measured where the scan has surface within this many voxels that faces the same way."""
FACING_COS = 0.3
MISSING_SHARE = 0.6
"""Views are planned to leave this share of what may be missing: some of what they promise is not kept."""
GIVEN_UP_VIEWS = 3
"""A point that so many views should have shown and none did is not looked for any longer."""
GUARD_M = 0.05
"""Until it has been seen, the arm keeps off the box around what is supposed, this much larger."""
KEPT_MIN = 0.2
"""What lies beyond borders is supposed many ways; at least this share of it is thought to be there."""
KEPT_VIEWS = 3
"""Fewer views than so many tell nothing about the rest."""
SAME_VIEW_M = 0.01
NEW_VOXELS = 1.5
STANDS_MIN = 0.5
"""The CAD is where it was said to be if so much of what the first views should show was found there."""
PLACE_TRIES = 2
SLACK_M = 0.002
"""What is known may reach this far below the work volume."""
PLACED_SLACK_M = 0.01
"""A CAD laid on a coarse surface may reach this far out of the work volume."""

Reach = Callable[[Surface | None], Callable[[Array], bool]]
"""Takes what is known of the part; returns whether the arm can take a pose T_part_camera (4, 4)."""


@dataclass(kw_only=True, eq=False)
class Target:
    """What is to be measured; learns as the scan grows."""

    camera: Intrinsics
    box_m: Array
    missing_max: float
    cad: Surface | None
    """The shape where it stands."""
    loose: Surface | None
    """The shape, somewhere."""
    supposed: Surface | None
    guard: Surface | None
    """What the arm keeps off before anything was seen; None: the whole work volume."""
    bound: int | None = None
    plan: CoverPlan | None = None
    reserve: Array = field(default_factory=lambda: np.zeros((0, 4, 4)))
    """Views of the first look that were left out."""
    _before: Surface | None = None
    _planned: tuple[Array, Array] | None = None
    _tries: int = 0
    _stands: bool = False

    @staticmethod
    def of(
        camera: Intrinsics,
        box_m: Array,
        share: float,
        *,
        cad: Surface | None,
        cad_elsewhere: Surface | None,
        part_box_m: Array | None,
    ) -> "Target":
        """Return what is known; see `view_loop.look_around`.

        Raises:
            InputRefusedError: the CAD or the part's box does not stand within the work volume.
        """
        supposed = cad
        for name, bounds in (("CAD", None if cad is None else cad.bounds_m), ("part's box", part_box_m)):
            if bounds is None:
                continue
            if not _within(bounds, box_m, np.array([SLACK_M, 0.0])):
                low, high = np.asarray(bounds, float)
                raise InputRefusedError(
                    f"scan: {name} spans {low.round(3).tolist()} to {high.round(3).tolist()} m, outside the work "
                    f"volume {box_m[0].round(3).tolist()} to {box_m[1].round(3).tolist()} m"
                )
            if supposed is None:
                supposed = box_surface(bounds)
        guard = None
        if supposed is not None:
            low, high = supposed.bounds_m
            guard = box_surface(np.stack([[*(low[:2] - GUARD_M), box_m[0, 2]], high + GUARD_M]))
        return Target(
            camera=camera, box_m=box_m, missing_max=MISSING_SHARE * (1.0 - share), cad=cad,
            loose=cad_elsewhere if cad is None else None, supposed=supposed, guard=guard,
        )  # fmt: skip

    def first(self, reach: Reach | None) -> Array:
        """Return the first views."""
        if self.supposed is None:
            return self._lean(reach)
        plan = self._cover(self.supposed, None if reach is None else reach(self.guard))
        if self.cad is not None:
            self.plan, self.bound = plan, plan.n_views_bound
        return plan.T_part_camera

    def place(self, surface: Surface, taken: Array, say: Callable[[str], None]) -> None:
        """Check by what was seen that the CAD is where it was said to be, or find where it is."""
        if self.cad is not None and self.plan is not None and not self._stands:
            points = cover_points(self.cad, float(self.box_m[0, 2]))
            shown = measurable(self.camera, taken, points, RayCaster(self.cad)).any(axis=0)
            there = found(points, surface, FOUND_VOXELS * COARSE_VOXEL_M)[shown]
            self._stands = len(there) == 0 or float(there.mean()) >= STANDS_MIN
            if not self._stands:
                say(f"the CAD does not stand where it was said to: {100.0 * there.mean():.0f} % of it was found there")
                self.loose, self.cad, self.plan, self.bound = self.cad, None, None, None
        if self.loose is None or self._tries >= PLACE_TRIES:
            return
        self._tries += 1
        say("finding where the CAD stands")
        try:
            placed = register(surface, self.loose)
        except InputRefusedError as error:
            say(f"going on without the CAD: {error}")
            return
        cad = self.loose.transformed(inverse(placed.T_target_source), surface.frame)
        # which of the poses of a symmetric part it is makes no difference to what is to be looked at
        if placed.doubt or not _within(cad.bounds_m, self.box_m, PLACED_SLACK_M):
            say(f"going on without the CAD: {placed.doubt or 'it would stand outside the work volume'}")
            return
        self.cad, self.loose, self._stands = cad, None, True

    def next(self, surface: Surface, taken: Array, reach: Reach | None) -> tuple[Array, float]:
        """Return the views to take next, best first, and the share measured so far."""
        reachable = None if reach is None else reach(surface)
        if self.cad is None:
            return self._beyond_borders(surface, taken, reachable)
        if self.plan is None:
            self.plan = self._cover(self.cad, reachable)
            self.bound = self.plan.n_views_bound
        points = cover_points(self.cad, float(self.box_m[0, 2]))
        missing = self.plan.measurable & ~found(points, surface, FOUND_VOXELS * COARSE_VOXEL_M)
        fraction = 1.0 - float(missing.sum()) / max(int(self.plan.measurable.sum()), 1)
        tried = measurable(self.camera, taken, points, RayCaster(self.cad)).sum(axis=0)
        missing &= tried < GIVEN_UP_VIEWS
        n_allowed = self.missing_max * float(self.plan.measurable.sum())
        plan = plan_cover(
            self.camera, self.cad, float(self.box_m[0, 2]), reachable=reachable, wanted=missing,
            share=float(np.clip(1.0 - n_allowed / max(missing.sum(), 1), 0.3, 1.0)), n_views=NEXT_VIEWS_PER_ROUND,
        )  # fmt: skip
        return plan.T_part_camera, fraction

    def _lean(self, reach: Reach | None) -> Array:
        views = plan_first_look(self.camera, 0.5 * self.box_m.sum(axis=0), np.ptp(self.box_m, axis=0))
        n_row = len(views) - N_OBLIQUE
        within = np.ones(len(views), bool) if reach is None else np.array([reach(None)(T) for T in views])
        row, oblique = views[:n_row], views[n_row:][within[n_row:]]
        self.reserve = oblique[N_LEAN:]
        return np.concatenate([row, oblique[:N_LEAN]])

    def _cover(self, shape: Surface, reachable: Callable[[Array], bool] | None) -> CoverPlan:
        floor_z_m = float(self.box_m[0, 2])
        return plan_cover(self.camera, shape, floor_z_m, share=1.0 - self.missing_max, reachable=reachable)

    def _beyond_borders(
        self, surface: Surface, taken: Array, reachable: Callable[[Array], bool] | None
    ) -> tuple[Array, float]:
        following = plan_next_views(
            self.camera, surface, self.box_m, taken, n_views=NEXT_VIEWS_PER_ROUND, reachable=reachable
        )
        # as many as are needed, if they keep what they promise
        share = following.measured_fraction
        wanted_m2 = (1.0 - self.missing_max - share) * surface.area_m2 / max(share, 1e-6)
        n = int(np.searchsorted(np.cumsum(following.gain_m2), wanted_m2)) + 1
        missing_m2 = surface.area_m2 * (1.0 / max(share, 1e-6) - 1.0) * self._kept(surface, taken)
        self._before, self._planned = surface, (following.T_part_camera[:n], following.gain_m2[:n])
        return following.T_part_camera[:n], surface.area_m2 / (surface.area_m2 + missing_m2)

    def _kept(self, surface: Surface, taken: Array) -> float:
        """Return which share of the surface that the last views taken were to show was there."""
        if self._before is None or self._planned is None or len(self._planned[1]) == 0:
            return 1.0
        planned, gain_m2 = self._planned
        apart_m = np.linalg.norm(planned[:, None, :3, 3] - taken[None, :, :3, 3], axis=2).min(axis=1)
        reached = apart_m < SAME_VIEW_M
        if reached.sum() < KEPT_VIEWS:
            return 1.0
        far = RayCaster(self._before).distance(surface.centroids_m) > NEW_VOXELS * COARSE_VOXEL_M
        return float(np.clip(surface.triangle_areas_m2[far].sum() / gain_m2[reached].sum(), KEPT_MIN, 1.0))


def found(points: Patches, surface: Surface, within_m: float) -> NDArray[np.bool_]:
    """Return which points have surface within a distance that faces the same way."""
    nearest, triangle = RayCaster(surface).closest(points.points_m)
    near = np.linalg.norm(nearest - points.points_m, axis=1) < within_m
    return near & (np.einsum("ij,ij->i", surface.triangle_normals[triangle], points.normals) > FACING_COS)


def _within(bounds_m: Array, box_m: Array, slack_m: Array | float) -> bool:
    """Whether bounds (2, 3) span something and lie in a box but for a slack at its low and high faces [m]."""
    low, high = np.asarray(bounds_m, float)
    below, above = np.broadcast_to(slack_m, (2,))
    return bool(np.all(low >= box_m[0] - below) and np.all(high <= box_m[1] + above) and np.all(high > low))
