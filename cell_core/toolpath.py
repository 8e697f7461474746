"""Tool paths: strokes of tool poses with speed and process value, and their JSON file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cell_core.arrays import frozen_array
from cell_core.errors import InputRefusedError
from cell_core.files import read_json, write_json
from cell_core.schemas import validate
from cell_core.transforms import Array, apply, rotate, tool_frames

FORMAT = "grind_spray_cell/toolpath"
Process = Literal["spray", "grind"]
PROCESS_UNIT: Mapping[str, str] = {"spray": "m3/s", "grind": "N"}


@dataclass(frozen=True, kw_only=True)
class Freedom:
    """What motion planning may change of a stroke's poses."""

    spin: Literal["free", "fixed", "exact"] = "free"
    """free: any rotation about the tool axis; fixed: x along travel, or turned by half a turn (fans are symmetric);
    exact: x along travel, for patterns that are not."""
    tilt_rad: float = 0.0
    """Largest tilt of the tool axis [rad]."""
    standoff_m: tuple[float, float] = (0.0, 0.0)
    """Lowest and highest shift back along the tool axis, relative to position_m [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stroke:
    """One uninterrupted sweep of N >= 2 samples; speed is that of position_m, acceleration constant between samples."""

    kind: Literal["area", "edge", "bead", "border"]
    position_m: Array
    """(N, 3) tool centre point [m]."""
    tool_axis: Array
    """(N, 3) unit, from the tool into the surface."""
    travel: Array
    """(N, 3) unit, along the stroke."""
    speed_m_per_s: Array
    """(N,) speed of the tool centre point [m/s], > 0."""
    process_value: Array
    """(N,) force [N] when grinding, flow [m3/s] when spraying."""
    on: NDArray[np.bool_]
    """(N,) process on at the sample; it switches half way between samples."""
    freedom: Freedom = field(default_factory=Freedom)

    def __post_init__(self) -> None:
        try:
            position = frozen_array(self.position_m, (None, 3), "position_m")
            n = len(position)
            arrays = {
                "position_m": position,
                "tool_axis": frozen_array(self.tool_axis, (n, 3), "tool_axis"),
                "travel": frozen_array(self.travel, (n, 3), "travel"),
                "speed_m_per_s": frozen_array(self.speed_m_per_s, (n,), "speed_m_per_s"),
                "process_value": frozen_array(self.process_value, (n,), "process_value"),
                "on": frozen_array(self.on, (n,), "on", np.bool_),
            }
        except ValueError as error:
            raise InputRefusedError(f"stroke: {error}") from error
        if n < 2:
            raise InputRefusedError(f"stroke: {n} sample(s), at least 2 needed")
        for name in ("tool_axis", "travel"):
            length = np.linalg.norm(arrays[name], axis=1)
            if np.any(np.abs(length - 1.0) > 1e-6):
                i = int(np.argmax(np.abs(length - 1.0)))
                raise InputRefusedError(f"stroke: {name}[{i}] has length {length[i]:.6g}, wanted 1")
        if np.any(arrays["speed_m_per_s"] <= 0.0):
            i = int(np.argmin(arrays["speed_m_per_s"]))
            raise InputRefusedError(f"stroke: speed_m_per_s[{i}] is {arrays['speed_m_per_s'][i]:.6g}, must be > 0 m/s")
        if np.any(arrays["process_value"] < 0.0):
            i = int(np.argmin(arrays["process_value"]))
            raise InputRefusedError(f"stroke: process_value[{i}] is {arrays['process_value'][i]:.6g}, must be >= 0")
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.position_m)

    @property
    def frames(self) -> Array:
        """(N, 4, 4) tool frames: z along tool_axis, x along travel."""
        return tool_frames(self.position_m, self.tool_axis, self.travel)

    @property
    def step_lengths_m(self) -> Array:
        """(N-1,) distance between neighbouring samples [m]."""
        return np.linalg.norm(np.diff(self.position_m, axis=0), axis=1)

    @property
    def step_durations_s(self) -> Array:
        """(N-1,) time from sample to sample at constant acceleration: 2 ds / (v0 + v1) [s]."""
        v = self.speed_m_per_s
        return 2.0 * self.step_lengths_m / (v[:-1] + v[1:])

    @property
    def times_s(self) -> Array:
        """(N,) time since the stroke's first sample [s]."""
        return np.r_[0.0, np.cumsum(self.step_durations_s)]

    @property
    def dwell_s(self) -> Array:
        """(N,) time with the process on that belongs to each sample: half of each neighbouring step [s]."""
        half = 0.5 * self.step_durations_s
        dwell = np.zeros(len(self))
        dwell[:-1] += half
        dwell[1:] += half
        return np.where(self.on, dwell, 0.0)

    @property
    def length_m(self) -> float:
        """Length of the stroke [m]."""
        return float(self.step_lengths_m.sum())

    def transformed(self, T: Array) -> "Stroke":
        """Return the stroke moved by the 4x4 transform."""
        return replace(
            self,
            position_m=apply(T, self.position_m),
            tool_axis=rotate(T, self.tool_axis),
            travel=rotate(T, self.travel),
        )

    def reversed(self) -> "Stroke":
        """Return the stroke run backwards."""
        return replace(
            self,
            position_m=self.position_m[::-1],
            tool_axis=self.tool_axis[::-1],
            travel=-self.travel[::-1],
            speed_m_per_s=self.speed_m_per_s[::-1],
            process_value=self.process_value[::-1],
            on=self.on[::-1],
        )

    def part(self, start: int, stop: int) -> "Stroke":
        """Return the samples start..stop-1 as a stroke."""
        s = slice(start, stop)
        return replace(
            self,
            position_m=self.position_m[s],
            tool_axis=self.tool_axis[s],
            travel=self.travel[s],
            speed_m_per_s=self.speed_m_per_s[s],
            process_value=self.process_value[s],
            on=self.on[s],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ToolPath:
    """Strokes in the order they are run, with the tool they were planned for and what they promise."""

    process: Process
    strokes: Sequence[Stroke]
    tool: Mapping[str, Any]
    """The gun or grinding tool as used: everything a stranger needs to recompute the result (DESIGN.md section 3)."""
    surface: Mapping[str, str]
    """path and sha256 of the surface the path was planned on."""
    prediction: Mapping[str, float] = field(default_factory=dict)
    """mean_m, cv, min_m, max_m, in_tolerance_area_fraction, coverage_area_fraction, overspray_fraction, duration_s,
    length_m."""
    unreached: Mapping[str, Any] = field(default_factory=lambda: {"area_fraction": 0.0, "reasons": {}})
    """area_fraction and reasons {reason: area fraction} of the target that no stroke serves."""
    frame: str = "part"

    def __post_init__(self) -> None:
        object.__setattr__(self, "strokes", tuple(self.strokes))
        if not self.strokes:
            raise InputRefusedError("tool path: 0 strokes, at least 1 needed")

    @property
    def n_samples(self) -> int:
        """Samples over all strokes."""
        return sum(len(s) for s in self.strokes)

    @property
    def length_m(self) -> float:
        """Length of all strokes [m]."""
        return sum(s.length_m for s in self.strokes)

    @property
    def duration_s(self) -> float:
        """Time on all strokes, transitions not counted [s]."""
        return float(sum(s.times_s[-1] for s in self.strokes))

    def transformed(self, T: Array, frame: str) -> "ToolPath":
        """Return the tool path moved by the 4x4 transform, now in `frame`."""
        return replace(self, strokes=[s.transformed(T) for s in self.strokes], frame=frame)

    def write(self, path: Path) -> None:
        """Write the JSON file atomically, validated against its schema."""
        document = {
            "format": FORMAT,
            "version": 1,
            "process": self.process,
            "frame": self.frame,
            "surface": dict(self.surface),
            "tool": dict(self.tool),
            "strokes": [_stroke_document(s, PROCESS_UNIT[self.process]) for s in self.strokes],
            "prediction": dict(self.prediction),
            "unreached": dict(self.unreached),
        }
        validate(document, "toolpath", str(path))
        write_json(path, document)

    @staticmethod
    def read(path: Path) -> "ToolPath":
        """Read and validate a tool path file.

        Raises:
            InputRefusedError: missing, not JSON, or not a version-1 tool path; says where.
        """
        document = read_json(path)
        validate(document, "toolpath", str(path))
        try:
            strokes = [_stroke_from(d) for d in document["strokes"]]
        except InputRefusedError as error:
            raise InputRefusedError(f"{path}: {error}") from error
        keys = ("process", "tool", "surface", "prediction", "unreached", "frame")
        return ToolPath(strokes=strokes, **{k: document[k] for k in keys})


def _stroke_document(stroke: Stroke, unit: str) -> dict[str, Any]:
    return {
        "kind": stroke.kind,
        "position_m": stroke.position_m.round(7).tolist(),
        "tool_axis": stroke.tool_axis.round(9).tolist(),
        "travel": stroke.travel.round(9).tolist(),
        "speed_m_per_s": stroke.speed_m_per_s.tolist(),
        "process_value": stroke.process_value.tolist(),
        "process_unit": unit,
        "on": stroke.on.tolist(),
        "freedom": {
            "spin": stroke.freedom.spin,
            "tilt_rad": stroke.freedom.tilt_rad,
            "standoff_m": list(stroke.freedom.standoff_m),
        },
    }


def _stroke_from(document: dict[str, Any]) -> Stroke:
    freedom = document["freedom"]
    keys = ("kind", "position_m", "tool_axis", "travel", "speed_m_per_s", "process_value", "on")
    return Stroke(
        **{k: document[k] for k in keys},
        freedom=Freedom(spin=freedom["spin"], tilt_rad=freedom["tilt_rad"], standoff_m=tuple(freedom["standoff_m"])),
    )
