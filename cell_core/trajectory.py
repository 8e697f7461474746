"""Joint trajectories with segments and process events, and their JSON file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cell_core.arrays import frozen_array
from cell_core.errors import InputRefusedError
from cell_core.files import read_json, write_json
from cell_core.schemas import validate
from cell_core.transforms import Array

FORMAT = "grind_spray_cell/trajectory"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Samples i0..i1, both included, run as one motion."""

    kind: Literal["approach", "process", "transition", "retract"]
    i0: int
    i1: int
    stroke: int | None = None
    """Index of the tool path's stroke for a process segment."""


@dataclass(frozen=True, kw_only=True)
class ProcessEvent:
    """A switch on path time. "on" and "off" already lead the path by the tool's delay."""

    time_s: float
    name: Literal["on", "off", "set_force_n", "set_flow_m3_per_s"]
    value: float = 0.0


def last_switch(events: Sequence[ProcessEvent], time_s: float) -> ProcessEvent | None:
    """Return the last event up to a path time [s] that switches the process on or off; None: there is none."""
    switches = [event for event in events if event.name in ("on", "off") and event.time_s <= time_s]
    return switches[-1] if switches else None


@dataclass(frozen=True, kw_only=True)
class Unreached:
    """A sample of the tool path that the trajectory does not serve, and why."""

    stroke: int
    sample: int
    reason: Literal["ik", "limits", "self", "cell", "part", "singularity", "speed", "flip", "transition", "time"]


@dataclass(frozen=True, kw_only=True, eq=False)
class JointTrajectory:
    """Joint motion; between samples the arm follows the cubic Hermite spline of positions and velocities."""

    joint_names: Sequence[str]
    time_s: Array
    """(N,) strictly increasing [s], first 0."""
    position_rad: Array
    """(N, J) joint positions [rad]."""
    velocity_rad_per_s: Array
    """(N, J) joint velocities [rad/s]."""
    acceleration_rad_per_s2: Array
    """(N, J) joint accelerations [rad/s2]."""
    segments: Sequence[Segment]
    events: Sequence[ProcessEvent]
    tool_frame: str
    base_frame: str
    T_base_part: Array
    """(4, 4) part frame in the base frame."""
    unreached: Sequence[Unreached] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        try:
            time = frozen_array(self.time_s, (None,), "time_s")
            shape = (len(time), len(self.joint_names))
            arrays = {
                "time_s": time,
                "position_rad": frozen_array(self.position_rad, shape, "position_rad"),
                "velocity_rad_per_s": frozen_array(self.velocity_rad_per_s, shape, "velocity_rad_per_s"),
                "acceleration_rad_per_s2": frozen_array(self.acceleration_rad_per_s2, shape, "acceleration_rad_per_s2"),
                "T_base_part": frozen_array(self.T_base_part, (4, 4), "T_base_part"),
            }
        except ValueError as error:
            raise InputRefusedError(f"trajectory: {error}") from error
        if len(time) < 2 or np.any(np.diff(time) <= 0.0):
            raise InputRefusedError("trajectory: time_s must hold at least 2 strictly increasing values")
        for segment in self.segments:
            if not 0 <= segment.i0 <= segment.i1 < len(time):
                raise InputRefusedError(f"trajectory: segment {segment} outside 0..{len(time) - 1}")
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        for name in ("joint_names", "segments", "events", "unreached"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def duration_s(self) -> float:
        """Whole time [s]."""
        return float(self.time_s[-1])

    def sample(self, time_s: Array) -> tuple[Array, Array]:
        """Evaluate the cubic Hermite spline: positions and velocities (M, J) at times (M,), held at both ends."""
        t = np.clip(np.asarray(time_s, float), 0.0, self.duration_s)
        i = np.clip(np.searchsorted(self.time_s, t, side="right") - 1, 0, len(self.time_s) - 2)
        h = (self.time_s[i + 1] - self.time_s[i])[:, None]
        u = (t - self.time_s[i])[:, None] / h
        p0, p1 = self.position_rad[i], self.position_rad[i + 1]
        m0, m1 = h * self.velocity_rad_per_s[i], h * self.velocity_rad_per_s[i + 1]
        position = (
            (2 * u**3 - 3 * u**2 + 1) * p0
            + (u**3 - 2 * u**2 + u) * m0
            + (3 * u**2 - 2 * u**3) * p1
            + (u**3 - u**2) * m1
        )
        slope = (6 * u**2 - 6 * u) * (p0 - p1) + (3 * u**2 - 4 * u + 1) * m0 + (3 * u**2 - 2 * u) * m1
        return position, slope / h

    def write(self, path: Path) -> None:
        """Write the JSON file atomically, validated against its schema."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "version": 1,
            "joint_names": list(self.joint_names),
            "time_s": self.time_s.round(6).tolist(),
            "position_rad": self.position_rad.round(8).tolist(),
            "velocity_rad_per_s": self.velocity_rad_per_s.round(7).tolist(),
            "acceleration_rad_per_s2": self.acceleration_rad_per_s2.round(6).tolist(),
            "segments": [_segment_document(s) for s in self.segments],
            "events": [{"time_s": e.time_s, "name": e.name, "value": e.value} for e in self.events],
            "tool_frame": self.tool_frame,
            "base_frame": self.base_frame,
            "T_base_part": self.T_base_part.tolist(),
            "unreached": [{"stroke": u.stroke, "sample": u.sample, "reason": u.reason} for u in self.unreached],
        }
        validate(document, "trajectory", str(path))
        write_json(path, document)

    @staticmethod
    def read(path: Path) -> "JointTrajectory":
        """Read and validate a trajectory file.

        Raises:
            InputRefusedError: missing, not JSON, or not a version-1 trajectory; says where.
        """
        d = read_json(path)
        validate(d, "trajectory", str(path))
        keys = ("joint_names", "time_s", "position_rad", "velocity_rad_per_s", "acceleration_rad_per_s2")
        return JointTrajectory(
            **{k: d[k] for k in (*keys, "tool_frame", "base_frame", "T_base_part")},
            segments=[Segment(kind=s["kind"], i0=s["i0"], i1=s["i1"], stroke=s["stroke"]) for s in d["segments"]],
            events=[ProcessEvent(**e) for e in d["events"]],
            unreached=[Unreached(**u) for u in d["unreached"]],
        )


def _segment_document(segment: Segment) -> Mapping[str, Any]:
    return {"kind": segment.kind, "stroke": segment.stroke, "i0": segment.i0, "i1": segment.i1}
