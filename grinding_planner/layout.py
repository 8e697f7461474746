"""Lay lines over open ground: along the outermost firm poses, then parallel ones, cut to where the pad stands."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from cell_core.config import GrindToolConfig
from cell_core.errors import CoverageError
from cell_core.transforms import Array, tool_frames
from grinding_planner.face import reach_m
from grinding_planner.ground import AXIS_RADII, Ground
from grinding_planner.seating import Seating, any_perpendicular, pad_axes, seat
from grinding_planner.strokes import (
    Line,
    Sheet,
    border_loops,
    clear_of,
    line_through,
    parallel_lines,
    patches_of,
    resampled,
    runs_of,
    turned,
)

SHORTEST_STROKE_RADII = 0.4
OUT_RADII = np.linspace(-0.4, 0.6, 21)
"""How far from the outermost seats a border line is tried, outwards."""
SECOND_BORDER_RADII = 0.4
"""A second line runs this far inside the first: with one alone what lies between border and parallel lines varies."""
BORDER_CLEAR_RADII = 0.25
EXACT_CLEAR_RADII = 0.1
"""Lines end where they come this close to one along the border; exact ones, which the map needs there, closer by."""
CALM_RADII = 0.3
"""Axes are smoothed over so many radii along their lines before the pad is seated: the slope under it jumps at rims and
holes, and no arm follows jumps. Exact lines keep closer to the ground: over EXACT_CALM_RADII."""
EXACT_CALM_RADII = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Laid:
    """Lines with the contact that the pad makes at every sample of them."""

    lines: list[Line]
    seats: Seating

    def cut(self, keep: NDArray[np.bool_], n_min: int) -> "Laid | None":
        """Return the runs of at least n_min samples kept (N,); None: there are none."""
        ends = np.cumsum([len(line) for line in self.lines])[:-1]
        lines, long = [], np.zeros(len(keep), bool)
        for line, ok, own in zip(self.lines, np.split(keep, ends), np.split(long, ends), strict=True):
            for run in runs_of(ok):
                if run.stop - run.start >= n_min:
                    lines.append(line.part(run))
                    own[run] = True
        return Laid(lines=lines, seats=self.seats.select(long)) if lines else None

    def joined(self, other: "Laid | None") -> "Laid":
        """Return these lines and the others."""
        return self if other is None else Laid(lines=self.lines + other.lines, seats=self.seats.joined(other.seats))


def lay(
    ground: Ground,
    tool: GrindToolConfig,
    force_n: float,
    spacing_m: float,
    wanted: NDArray[np.bool_],
    *,
    step_m: float,
    across: bool = False,
    exact: bool = False,
) -> "Laid":
    """Return lines over the seats that press wanted samples (S,), cut to the poses that stand firmly.

    Args:
        across: parallel lines run across the direction they would have.
        exact: parallel lines are just `spacing_m` apart, not up to half of it closer.

    Raises:
        CoverageError: no line of SHORTEST_STROKE_RADII fits.
    """
    seats, radius = ground.seats, reach_m(tool)
    on_wanted = (seats.contact.pressure_pa > 0.0) & wanted[seats.pairs.point]
    use = seats.valid & (np.bincount(seats.pairs.pose, on_wanted, seats.pairs.n_poses) > 0)
    points, axes = seats.frames[use, :3, 3], seats.frames[use, :3, 2]
    clear = (EXACT_CLEAR_RADII if exact else BORDER_CLEAR_RADII) * radius
    lines: list[Line] = []
    for patch in patches_of(points, axes, ground.seat_spacing_m):
        sheet = Sheet(points[patch], axes[patch], ground.seat_spacing_m)
        borders: list[Line] = []
        for loop in border_loops(sheet, step_m):
            outer = _outermost(ground, tool, force_n, sheet, loop, step_m)
            inner = _shifted(sheet, outer, np.full(len(outer), -SECOND_BORDER_RADII * radius), step_m)
            first, second = ([line for line in [line_through(*sheet.lift(uv))] if line] for uv in (outer, inner))
            borders += first + clear_of(first, second, clear)
        rows = parallel_lines(sheet, spacing_m, step_m, across=across, exact=exact)
        lines += borders + clear_of(borders, rows, clear)
    laid = firm_parts(ground, tool, force_n, lines, step_m, exact=exact)
    if laid is None:
        raise CoverageError(
            f"pad {tool.name}: no stroke of at least {SHORTEST_STROKE_RADII * radius:.3g} m fits on the ground "
            f"it can serve, though {int(use.sum())} single poses do"
        )
    return laid


def _outermost(
    ground: Ground, tool: GrindToolConfig, force_n: float, sheet: Sheet, loop: Array, step_m: float
) -> Array:
    """Return a border loop (N, 2) moved, sample by sample, as far out as the pad still stands firmly."""
    out = OUT_RADII * reach_m(tool)
    tried = (loop[:, None] + out[:, None] * sheet.outward(loop)[:, None]).reshape(-1, 2)
    position, axis = sheet.lift(tried)
    axis = pad_axes(ground.samples, position, -axis, reach_m(tool), n_rounds=1, middle_m=AXIS_RADII * reach_m(tool))
    frames = tool_frames(position, axis, any_perpendicular(axis))
    firm = seat(ground.samples, ground.caster, frames, tool, force_n, any_direction=ground.is_sheet).valid.reshape(
        len(loop), len(out)
    )
    start = int(np.argmin(np.abs(out)))
    # outwards without a gap from the loop, or from the first firm pose inside it
    held = np.where(firm, np.arange(len(out)), -1)
    inside = held[:, : start + 1].max(axis=1)
    broken = ~firm & (np.arange(len(out)) > inside[:, None])
    reach = np.where(broken.any(axis=1), np.argmax(broken, axis=1) - 1, len(out) - 1)
    reach = np.where(inside < 0, start, reach)
    mode = "wrap" if np.allclose(loop[0], loop[-1]) else "nearest"
    shift = gaussian_filter1d(minimum_filter1d(out[reach], 3, mode=mode), 1.0, mode=mode)
    return _shifted(sheet, loop, shift, step_m)


def _shifted(sheet: Sheet, loop: Array, shift_m: Array, step_m: float) -> Array:
    moved = loop + shift_m[:, None] * sheet.outward(loop)
    length = np.linalg.norm(np.diff(moved, axis=0), axis=1).sum()
    return resampled(moved, max(4, int(np.ceil(length / step_m))))


def firm_parts(
    ground: Ground, tool: GrindToolConfig, force_n: float, lines: list[Line], step_m: float, *, exact: bool = False
) -> "Laid | None":
    """Return the lines with the axis that lays the pad flat along them, cut to where it then stands firmly."""
    if not lines:
        return None
    ends = np.cumsum([len(line) for line in lines])[:-1]
    points, axes = (np.concatenate([getattr(line, n) for line in lines]) for n in ("position_m", "tool_axis"))
    radius = reach_m(tool)
    flat = pad_axes(ground.samples, points, -axes, radius, n_rounds=1, middle_m=AXIS_RADII * radius)
    calm = (EXACT_CALM_RADII if exact else CALM_RADII) * radius / step_m
    lines = [turned(line, axis, calm) for line, axis in zip(lines, np.split(flat, ends), strict=True)]
    frames = np.concatenate([tool_frames(line.position_m, line.tool_axis, line.travel) for line in lines])
    seats = seat(ground.samples, ground.caster, frames, tool, force_n, any_direction=ground.is_sheet, step_m=step_m)
    return Laid(lines=lines, seats=seats).cut(seats.valid, n_least(tool, step_m))


def n_least(tool: GrindToolConfig, step_m: float) -> int:
    """Return the samples of the shortest stroke worth laying."""
    return 1 + round(SHORTEST_STROKE_RADII * reach_m(tool) / step_m)
