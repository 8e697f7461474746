"""A leg as it will be run, or why it cannot be."""

from dataclasses import dataclass, replace

from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from cell_motion.collision import Checker
from cell_motion.pacing import Course
from cell_motion.path import Profile
from cell_motion.strokes import Leg
from cell_motion.timing import Motion


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a leg cannot be run as chosen."""

    reason: str
    s_m: float
    """Where, as chord length along the leg; below 0 on the lead-in, above its length on the lead-out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One leg as it will be run."""

    leg: Leg
    reverse: bool
    course: Course
    """How joints and freedoms run along the path; its path's stroke holds the speeds asked for, in this direction."""
    first_asked: Stroke
    """The same samples as asked for at first, before speeds were found anew."""
    stroke: Stroke
    """The samples as really run, in the part's frame: axes, positions and speeds."""
    timing: Profile
    """Where along the path the tool is when, on the motion's clock."""
    motion: Motion
    """Lead-in, process, lead-out; at rest at both ends."""
    heights_m: tuple[float, float]
    """How far beginning and end of the motion are off the stroke, along the tool axis [m]."""
    contacts_m: tuple[float, float]
    """Up to how far off the stroke's first and last sample, along the tool axis there, the pad may touch the part."""
    start: int
    """Time node at the stroke's first sample."""
    end: int
    """Time node at the stroke's last sample."""
    sample_times_s: Array
    """(N,) when the motion passes each sample [s]."""
    stretch: Array
    """(N,) length run by the tool centre point per length planned; 1 unless a tilt turns about a point ahead of it."""
    strain: Array
    """(N,) the joint limits' share that speed and acceleration use around each sample: it could be faster by the
    inverse."""
    lost_s: float
    """How much longer the stroke takes than planned [s]."""
    n_slowed: int
    """Samples run slower than planned by more than 1 %."""
    n_tilted: int
    """Samples run with another axis or standoff than planned."""
    speed_error: Array
    """(M,) tool speed over that of the stroke as run, less 1, at time nodes with the process on."""
    planned_speed_error: Array
    """(M,) tool speed over that of the stroke as planned, less 1, there."""
    node_length_m: Array
    """(M,) length of path around those nodes [m]."""
    singular_value_min: float

    def with_values(self, stroke: Stroke) -> "Run":
        """Return the same motion with the process values and switches of a stroke of as many samples."""
        own = replace(self.stroke, process_value=stroke.process_value, on=stroke.on)
        asked = replace(own, speed_m_per_s=own.speed_m_per_s / self.stretch)
        course = replace(self.course, path=self.course.path.with_stroke(asked))
        return replace(self, stroke=own, course=course)


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkers:
    """Views of the scene for the phases of a run."""

    process: Checker
    """Planning margins; the pad may touch the part."""
    leaving: Checker
    """Planning margins; the pad may come close to the part but not touch it."""
    free: Checker
    """Planning margins for free moves."""
    verify: Checker
    """Zero margins."""
