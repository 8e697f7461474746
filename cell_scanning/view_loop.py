"""Look, fuse, and look again where something is missing, until what is measurable is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cell_core.config.models import CameraConfig
from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError, UnreachableError
from cell_core.plan import Progress, no_progress
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_scanning.camera import Intrinsics, as_intrinsics
from cell_scanning.frames import Frame
from cell_scanning.fusion import fuse
from cell_scanning.view_target import COARSE_VOXEL_M, Reach, Target

ROUNDS_MAX = 8
GAIN_MIN_PER_VIEW = 0.001
"""Views are no longer worth taking when those of the last round brought less than this share each."""

Visit = Callable[[Array, Surface | None], Sequence[Sequence[Frame]]]
"""Takes poses (K, 4, 4) T_part_camera and what is known of the part; returns the frames of each view reached."""


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
    cad: Surface | None = None
    """The CAD where it was found to stand."""


def look_around(
    camera: Intrinsics | CameraConfig,
    box_m: Array,
    settings: ScanSettings,
    visit: Visit,
    *,
    cad: Surface | None = None,
    cad_elsewhere: Surface | None = None,
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
        cad: the part's shape where it stands, if known. Where the first views find little of it there, it is taken for
            `cad_elsewhere`.
        cad_elsewhere: the part's shape, if it is not known where it stands: what was seen so far is registered on it
            after each of the first rounds. Where that is refused or doubtful the scan goes on as without it.
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
    target = Target.of(
        intrinsics, box_m, settings.measured_area_fraction_min,
        cad=cad, cad_elsewhere=cad_elsewhere, part_box_m=part_box_m,
    )  # fmt: skip
    views = target.first(reach) if earlier is None else earlier.T_part_camera
    coarse = settings.model_copy(update={"voxel_m": max(COARSE_VOXEL_M, settings.voxel_m)})
    frames: list[Frame] = []
    taken: list[Array] = []
    surface, fraction = target.guard if earlier is None else earlier.surface, 0.0
    progress(0.0, "looking around" if earlier is None else "looking again")
    for _ in range(ROUNDS_MAX):
        n_before, before = len(taken), fraction
        for shots in visit(views[: settings.views_max - len(taken)], surface):
            frames += shots
            taken.append(shots[-1].T_part_camera)
        if not frames:
            raise UnreachableError(f"scan: none of {len(views)} views can be reached")
        try:
            surface = fuse(frames, intrinsics, coarse, crop=box_m, refine=False).surface
        except InputRefusedError:
            views, target.reserve = target.reserve, target.reserve[:0]
            if len(views) == 0 or len(taken) >= settings.views_max:
                raise
            continue
        if show is not None:
            show(surface)
        target.place(surface, np.stack(taken), partial(progress, fraction))
        views, fraction = target.next(surface, np.stack(taken), reach)
        progress(fraction, f"{len(taken)} views, {100.0 * fraction:.1f} % measured")
        if fraction >= settings.measured_area_fraction_min or len(taken) >= settings.views_max:
            break
        n_new = len(taken) - n_before
        if len(views) == 0 or (n_new > 0 and fraction - before < GAIN_MIN_PER_VIEW * n_new):
            # what was left out of the first look may show what no border leads to
            views, target.reserve = target.reserve, target.reserve[:0]
            if len(views) == 0:
                break
    assert surface is not None
    return Looked(
        frames=tuple(frames),
        taken=np.stack(taken),
        surface=surface,
        measured_fraction=fraction,
        n_views_bound=target.bound,
        cad=target.cad,
    )
