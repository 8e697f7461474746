"""When a running motion or process must stop: pure limits on what was last heard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cell_core.errors import CellError, DeviceError, InterlockError, LimitError


@dataclass(frozen=True, kw_only=True)
class MonitorLimits:
    """Limits; ages are wall time."""

    joint_state_age_s: float = 0.5
    """A joint state older than this is no joint state."""
    tool_state_age_s: float = 0.7
    """The same for tool state, checked while a process runs."""
    heartbeat_age_s: float = 2.0
    """A required node silent for longer counts as dead."""
    tracking_error_rad: float = 0.05
    """Largest distance of a joint from its trajectory."""


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


def unsafe_inputs(observation: Observation) -> list[str]:
    """Return the safety inputs that do not permit the process."""
    names = {"interlock": "interlock_closed", "ventilation": "ventilation_on", "purge": "purge_ok"}
    return [name for name, attribute in names.items() if not getattr(observation, attribute)]


def find_fault(
    observation: Observation, limits: MonitorLimits, *, process: bool, required: Sequence[str]
) -> CellError | None:
    """Return why to stop now, or None.

    Args:
        process: whether a process runs; then tool state and safety inputs count as well.
        required: nodes whose heartbeat must not stop.
    """
    if observation.joint_state_age_s > limits.joint_state_age_s:
        return DeviceError(_age("joint states", observation.joint_state_age_s, limits.joint_state_age_s))
    if observation.tracking_error_rad > limits.tracking_error_rad:
        return LimitError(
            f"tracking error {observation.tracking_error_rad:.4f} rad exceeds {limits.tracking_error_rad:.4f} rad"
        )
    for name in required:
        age = observation.heartbeat_ages_s.get(name)
        if age is not None and age > limits.heartbeat_age_s:
            return DeviceError(_age(f"node {name}", age, limits.heartbeat_age_s), node=name)
    if process:
        if observation.tool_state_age_s > limits.tool_state_age_s:
            return DeviceError(_age("tool state", observation.tool_state_age_s, limits.tool_state_age_s))
        if bad := unsafe_inputs(observation):
            return InterlockError(f"safety input {bad[0]} does not permit the process")
    return None


def _age(what: str, age_s: float, limit_s: float) -> str:
    return f"{what}: silent for {age_s:.2f} s, limit {limit_s:g} s"
