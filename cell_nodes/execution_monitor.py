"""When a running motion or process must stop: what was last heard against config/monitors; without ROS."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cell_core.config import GrindToolConfig, GunConfig
from cell_core.config.monitors import Monitor, MonitorsConfig, Watched
from cell_core.errors import CellError, DeviceError, InterlockError, LimitError
from cell_nodes.pausing import PausedError

READINGS_MIN = 3
OF_TOOL = frozenset(
    {"disarmed", "not_on", "force_error_n", "contact_lost_share", "spindle_share", "valve_share", "valve_leak_share"}
)
TOLD = (
    *("interlock_closed", "ventilation_on", "purge_ok", "armed", "on"),
    *("force_n", "force_setpoint_n", "spindle_rpm", "flow_m3_per_s"),
)
"""What an observation takes from a tool state."""
PRESSES_N = 1.0
"""A pad told to press with less than this is not told to press [N]."""


@dataclass(frozen=True, kw_only=True)
class Nominal:
    """What the tool of the process does when it is well."""

    spindle_rpm: float = 0.0
    flow_m3_per_s: float = 0.0

    @classmethod
    def of(cls, tool: GunConfig | GrindToolConfig | None) -> "Nominal":
        """Return a tool's; None: no process."""
        if isinstance(tool, GunConfig):
            return cls(flow_m3_per_s=tool.flow_m3_per_s)
        return cls(spindle_rpm=0.0 if tool is None else tool.rpm)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was last heard when the monitor looks."""

    joint_state_age_s: float
    tool_state_age_s: float
    heartbeat_ages_s: Mapping[str, float]
    """By node; a node never heard is absent."""
    tracking_error_rad: float
    interlock_closed: bool
    ventilation_on: bool
    purge_ok: bool
    joint_jump_rad: float = 0.0
    """Most that a joint moved beyond what its speed limit allows since the last look; infinite for NaN."""
    armed: bool = False
    on: bool = False
    told_armed: bool = False
    """Whether who looks armed the tool, and did not disarm it since."""
    told_on: bool = False
    """Whether the path has the process on now."""
    force_n: float = 0.0
    force_setpoint_n: float = 0.0
    spindle_rpm: float = 0.0
    flow_m3_per_s: float = 0.0
    nominal: Nominal = field(default_factory=Nominal)


@dataclass(frozen=True, kw_only=True)
class Trip:
    """A monitor whose limit was passed for long enough."""

    monitor: str
    error: CellError


def unsafe_inputs(observation: Observation) -> list[str]:
    """Return the safety inputs that do not permit the process."""
    names = {"interlock": "interlock_closed", "ventilation": "ventilation_on", "purge": "purge_ok"}
    return [name for name, attribute in names.items() if not getattr(observation, attribute)]


def jump_rad(
    before_rad: Sequence[float], after_rad: Sequence[float], seconds: float, fastest: Sequence[float]
) -> float:
    """Return how much farther a joint moved than its speed limit allows in that time [rad]; infinite for NaN.

    Args:
        seconds: between two joint states, by their stamps; a clock that stands still or runs back allows no motion.
        fastest: speed limits of the joints [rad/s].
    """
    if not all(map(math.isfinite, (*before_rad, *after_rad))):
        return math.inf
    allowed_s = max(seconds, 0.0)
    return max(abs(b - a) - v * allowed_s for a, b, v in zip(before_rad, after_rad, fastest, strict=True))


def passed(
    observation: Observation, config: MonitorsConfig, *, process: bool, required: Sequence[str]
) -> dict[str, CellError]:
    """Return the monitors whose limits are passed now, with what they say.

    Args:
        process: whether a process runs; then what the tool says counts as well.
        required: nodes whose heartbeat must not stop.
    """
    o, found = observation, {}
    if o.joint_state_age_s > config.joint_state_age_s.limit:
        found["joint_state_age_s"] = DeviceError(_age("joint states", o.joint_state_age_s, config.joint_state_age_s))
    # not <=: a NaN passes no limit
    if not o.joint_jump_rad <= config.joint_jump_rad.limit:
        found["joint_jump_rad"] = DeviceError(
            f"joint states: a joint jumped {o.joint_jump_rad:.3f} rad beyond its speed limit, "
            f"limit {config.joint_jump_rad.limit:g} rad"
        )
    if not o.tracking_error_rad <= config.tracking_error_rad.limit:
        found["tracking_error_rad"] = LimitError(
            f"tracking error {o.tracking_error_rad:.4f} rad exceeds {config.tracking_error_rad.limit:.4f} rad"
        )
    for name in required:
        age_s = o.heartbeat_ages_s.get(name)
        if age_s is not None and age_s > config.heartbeat_age_s.limit:
            found["heartbeat_age_s"] = DeviceError(_age(f"node {name}", age_s, config.heartbeat_age_s), node=name)
            break
    if process:
        if o.tool_state_age_s > config.tool_state_age_s.limit:
            found["tool_state_age_s"] = DeviceError(_age("tool state", o.tool_state_age_s, config.tool_state_age_s))
        found |= _switched(o)
        found |= _of_grinding(o, config) if o.nominal.spindle_rpm > 0.0 else _of_spraying(o, config)
    return found


def _switched(o: Observation) -> dict[str, CellError]:
    if o.told_armed and not o.armed:
        return {"disarmed": DeviceError("tool: disarmed, and not by this run: the device looked after itself")}
    if o.told_on and not o.on:
        return {"not_on": DeviceError("tool: off where the path has it on")}
    return {}


def _of_grinding(o: Observation, config: MonitorsConfig) -> dict[str, CellError]:
    if o.force_setpoint_n <= PRESSES_N:
        return {}
    found: dict[str, CellError] = {}
    if not abs(o.force_n - o.force_setpoint_n) <= config.force_error_n.limit:
        found["force_error_n"] = DeviceError(
            f"force {o.force_n:.1f} N is off its set-point {o.force_setpoint_n:.1f} N, "
            f"limit {config.force_error_n.limit:g} N for {config.force_error_n.hold_s:g} s"
        )
    least_n = config.contact_lost_share.limit * o.force_setpoint_n
    if o.force_n < least_n:
        found["contact_lost_share"] = DeviceError(
            f"contact lost: force {o.force_n:.1f} N, at least {least_n:.1f} N wanted, "
            f"for {config.contact_lost_share.hold_s:g} s"
        )
    least_rpm = config.spindle_share.limit * o.nominal.spindle_rpm
    if o.spindle_rpm < least_rpm:
        found["spindle_share"] = DeviceError(
            f"spindle at {o.spindle_rpm:.0f} rpm while it presses, at least {least_rpm:.0f} rpm wanted, "
            f"for {config.spindle_share.hold_s:g} s"
        )
    return found


def _of_spraying(o: Observation, config: MonitorsConfig) -> dict[str, CellError]:
    if o.nominal.flow_m3_per_s <= 0.0:
        return {}
    share = o.flow_m3_per_s / o.nominal.flow_m3_per_s
    if o.on and not share >= config.valve_share.limit:
        words = f"gun is on and {100 * share:.1f} % of its flow comes, at least {100 * config.valve_share.limit:g} %"
        return {"valve_share": DeviceError(f"valve: {words} wanted, for {config.valve_share.hold_s:g} s")}
    if not o.on and share > config.valve_leak_share.limit:
        most = 100 * config.valve_leak_share.limit
        words = f"gun is off and {100 * share:.1f} % of its flow comes, at most {most:g} %"
        return {"valve_leak_share": DeviceError(f"valve: {words} allowed, for {config.valve_leak_share.hold_s:g} s")}
    return {}


def idle(observation: Observation) -> frozenset[str]:
    """Return the monitors that can tell nothing now: their counts stand still meanwhile, and are not forgotten.

    Many strokes last less than a force needs to be called lost.
    """
    if observation.nominal.spindle_rpm > 0.0:
        names = ("force_error_n", "contact_lost_share", "spindle_share")
        return frozenset(names) if observation.force_setpoint_n <= PRESSES_N else frozenset()
    return frozenset({"valve_leak_share" if observation.on else "valve_share"})


class Monitors:
    """Looks many times a second: counts how long limits are passed, and keeps what only an operator may reset."""

    def __init__(self, config: MonitorsConfig) -> None:
        self.config = config
        self._passing: dict[str, _Passing] = {}
        self.latched: dict[str, str] = {}
        """What no goal may start before reset_monitors: monitor to words."""

    def start(self) -> None:
        """Begin a run: what was counted before counts no more.

        Raises:
            DeviceError: a monitor waits for an operator.
        """
        self._passing = {}
        for words in self.latched.values():
            raise DeviceError(f"{words}; waits for an operator: reset_monitors")

    def reset(self) -> list[str]:
        """Take an operator's word that what tripped is good again; return what was reset."""
        names, self.latched = list(self.latched), {}
        return names

    def look(
        self, observation: Observation, now_s: float, tool_s: float, *, process: bool, required: Sequence[str]
    ) -> Trip | None:
        """Return what trips now, or None; safety inputs first, and without delay.

        Args:
            now_s: the device's time of the last joint state [s].
            tool_s: that of the last tool state [s]; what the tool says lasts as long as its own stamps tell, and only
                where READINGS_MIN of them say so.
        """
        if process and (bad := unsafe_inputs(observation)):
            words = f"safety input {bad[0]} does not permit the process"
            return Trip(monitor="safety_inputs", error=InterlockError(words))
        found = passed(observation, self.config, process=process, required=required)
        resting = {name: count for name, count in self._passing.items() if name in idle(observation)}
        for count in resting.values():
            count.rest()
        self._passing = {name: self._passing.get(name, _Passing()) for name in found} | resting
        for name, error in found.items():
            monitor: Watched = getattr(self.config, name)
            by_tool = name in OF_TOOL
            held_s, readings = self._passing[name].at(tool_s if by_tool else now_s)
            if held_s < monitor.hold_s or (by_tool and readings < READINGS_MIN):
                continue
            if monitor.reset == "operator":
                self.latched[name] = str(error)
            return Trip(monitor=name, error=PausedError(str(error)) if monitor.reaction == "pause" else error)
        return None


class _Passing:
    """How long a limit is passed, and how many readings say so."""

    def __init__(self) -> None:
        self._held_s, self._readings = 0.0, 0
        self._last_s: float | None = None

    def at(self, stamp_s: float) -> tuple[float, int]:
        """Take one more look; return how long it lasts [s] and the readings with stamps of their own."""
        if stamp_s != self._last_s:
            self._held_s += 0.0 if self._last_s is None else stamp_s - self._last_s
            self._readings, self._last_s = self._readings + 1, stamp_s
        return self._held_s, self._readings

    def rest(self) -> None:
        """Let what cannot be told now not count."""
        self._last_s = None


def _age(what: str, age_s: float, monitor: Monitor) -> str:
    return f"{what}: silent for {age_s:.2f} s, limit {monitor.limit:g} s"
