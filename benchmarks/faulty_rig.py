"""Arm and tool of a simulated cell with a fault between them and whoever commands them, and a judge of every tick."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cell_core.config.monitors import MonitorsConfig
from cell_core.errors import CellError, DeviceError
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from cell_nodes.direct_rig import TICK_S, TOOL_TICKS, DirectMotion, DirectRig
from cell_nodes.execution_monitor import TOLD, Monitors, Nominal, Observation, jump_rad
from cell_nodes.pausing import PausedError
from cell_simulation import SimulatedCell

DEAD_MAN_S = 0.5
"""The device turns process and arm off when nobody commands it for so long."""
STOP_S = 1.0
"""Longest time an arm takes to come to rest."""
MOVES_RAD_PER_S = 2e-3
CANCEL_LATE_S = 1.0


class PowerLossError(BaseException):
    """The computer that commands the cell is gone: no handler of errors may run."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault."""

    process: str
    """spray, grind, or "" for both."""
    says: str
    """What the error must say; empty: the run must end well."""
    bound_s: float = 0.0
    """How long after the fault the process may still be on [s]."""
    film: bool = True
    """Whether the rest makes the part right again: not where the fault itself left too little."""
    stands: bool = True
    """Whether the arm must come to rest."""


M = 0.06
"""Watch period, a tick of the tool's state and a tick of the arm [s]."""
W = 0.5
"""What is watched over several strokes: at each of them a reading tells nothing yet [s]."""
KINDS: dict[str, Kind] = {
    "interlock opens": Kind(process="", says="interlock", bound_s=TICK_S),
    "interlock flickers": Kind(process="", says="interlock|arm:", bound_s=TICK_S),
    "ventilation fails": Kind(process="", says="ventilation", bound_s=TICK_S),
    "purge fails": Kind(process="", says="purge", bound_s=TICK_S),
    "joint states stop": Kind(process="", says="joint states: silent", bound_s=0.5 + M),
    "joint states freeze": Kind(process="", says="joint states", bound_s=0.5 + M),
    "joint state NaN": Kind(process="", says="jumped inf", bound_s=M),
    "joint state jumps": Kind(process="", says="jumped", bound_s=M),
    "tracking lost": Kind(process="", says="tracking error", bound_s=M),
    "tool state stops": Kind(process="", says="tool state: silent", bound_s=0.7 + M),
    "node frozen": Kind(process="", says="node job: silent", bound_s=2.0 + M),
    "drive aborts": Kind(process="", says="arm: drive fault", bound_s=2 * TICK_S),
    "controller rejects": Kind(process="", says="rejected"),
    "controller late": Kind(process="", says=""),
    "controller silent": Kind(process="", says="no feedback", bound_s=2.0 + M),
    "cancel lost": Kind(process="", says="aborted: fault", bound_s=M, stands=False),
    "disarm lost": Kind(process="", says="aborted: fault", bound_s=0.5 + M),
    "operator pauses": Kind(process="", says="paused: fault", bound_s=M),
    "operator aborts": Kind(process="", says="aborted: fault", bound_s=M),
    "wall clock jumps": Kind(process="", says=""),
    "disk full": Kind(process="", says="No space left", bound_s=0.6 + M),
    "power lost": Kind(process="", says="power", bound_s=DEAD_MAN_S + M),
    "force biased": Kind(process="grind", says="off its set-point", bound_s=1.0 + W),
    "force spikes": Kind(process="grind", says=""),
    "force NaN": Kind(process="grind", says="off its set-point", bound_s=1.0 + W),
    "force drops out": Kind(process="grind", says="off its set-point|contact lost", bound_s=1.5 + W),
    "spindle stalls": Kind(process="grind", says="spindle at", bound_s=1.0 + W, film=False),
    "valve sticks shut": Kind(process="spray", says="valve: gun is on", bound_s=0.5 + M, film=False),
    "valve leaks": Kind(process="spray", says="valve: gun is off", bound_s=0.3 + M, film=False),
    "messages lost": Kind(process="", says=""),
    "messages late": Kind(process="", says=""),
    "pause, messages lost": Kind(process="", says="paused: fault", bound_s=M),
    "pause, messages late": Kind(process="", says="paused: fault", bound_s=M),
    "tool disarms itself": Kind(process="", says="tool: disarmed", bound_s=TICK_S),
    "switching on lost": Kind(process="", says="tool: off where", bound_s=0.4 + M),
}
LOST_MOST, LATE_MOST_S = 0.8, 0.15
"""Of joint and tool states up to this share is lost, or all come up to so much later."""


class FaultyRig(DirectRig):
    """A rig that behaves until `at_s`, and from then on as a kind of fault says."""

    def __init__(self, sim: SimulatedCell, monitors: MonitorsConfig, nominal: Nominal, fastest: Array) -> None:
        self.kind, self.at_s, self.size, self._struck = "", math.inf, 1.0, False
        self._nominal, self._fastest = nominal, [float(v) for v in fastest]
        self.monitors = Monitors(monitors)
        super().__init__(sim)
        self.unsafe: list[str] = []
        self._sent = sim.tool_state()
        self._under_way: list[tuple[float, Array, Any]] = []
        self._dice = np.random.default_rng(0)
        self._joint = (float(sim.time_s), np.array(sim.position_rad))
        self._joint_heard_s = self._tool_heard_s = float(sim.time_s)
        self._jump_rad = 0.0
        self._still_s = 0.0
        self.requested: CellError | None = None
        self.retracting: Callable[[], bool] = lambda: False
        self._acting: list[float] = []
        self._worked_s = 0.0
        self._zero_s = math.nan

    @property
    def now_s(self) -> float:
        """Time [s]."""
        return float(self.sim.time_s)

    def wall_s(self) -> float:
        """Return what the computer's clock says [s]."""
        jumps = self.kind == "wall clock jumps" and self.now_s >= self.at_s
        return self.now_s + (3600.0 * self.size if jumps else 0.0)

    def break_at(self, kind: str, at_s: float, size: float) -> None:
        """Let a fault happen at a time [s]; size in 0..1 draws its strength or sign."""
        self.kind, self.at_s, self.size = kind, at_s, size
        self._struck = False
        self._dice = np.random.default_rng(int(1e9 * size))

    def mend(self) -> None:
        """End the fault, and what it left in the monitors; an operator has looked."""
        if self.kind == "cancel lost":
            self.sim.stop("somebody at the controller")
            for _ in range(round(STOP_S / TICK_S)):
                self.advance()
        self.kind, self.at_s, self.requested = "", math.inf, None
        self._under_way.clear()
        self.sim.set_safety(interlock_closed=True, ventilation_on=True, purge_ok=True)
        self._hear_joint()
        self._jump_rad = 0.0
        self._hear(every=1)
        self.monitors.reset()

    @property
    def _broken(self) -> bool:
        return self.now_s >= self.at_s

    def advance(self) -> None:
        """Let one tick pass."""
        self._deliver()
        super().advance()
        if self._broken and not self._struck:
            self._struck = True
            self._strike()
        if self.kind == "interlock flickers" and self.now_s >= self.at_s + 0.02:
            self.sim.set_safety(interlock_closed=True)
        muted = self._broken and self.kind in ("joint states stop", "joint states freeze")
        if not muted and not self._unreliable:
            self._hear_joint()
        self._judge()

    @property
    def _unreliable(self) -> bool:
        return "messages" in self.kind

    def _tell(self, time_s: float, position_rad: Array) -> None:
        if not self._unreliable:
            super()._tell(time_s, position_rad)

    def _deliver(self) -> None:
        """Where messages get lost or come late, hear those that come now."""
        if not self._unreliable:
            return
        late_s = LATE_MOST_S * self.size if "late" in self.kind else 0.0
        share = LOST_MOST * self.size if "lost" in self.kind else 0.0
        state = self.sim.tool_state()
        joint = (self.now_s, np.array(self.sim.position_rad))
        told = state.on != self._sent.on or state.armed != self._sent.armed or self._ticks % TOOL_TICKS == 0
        kept, self._sent = self._dice.random(2) >= share, state
        self._under_way += [(*joint, state if told and kept[1] else None)] if kept[0] or (told and kept[1]) else []
        while self._under_way and self._under_way[0][0] <= self.now_s - late_s + 1e-9:
            sent_s, position, tool = self._under_way.pop(0)
            if tool is not None:
                if self.tool_state.on and not tool.on:
                    self.off_stamp_s = sent_s
                self.tool_state, self._tool_heard_s = tool, self.now_s
            self._take_joint(sent_s, position)
            super()._tell(sent_s, position)

    def _strike(self) -> None:
        kind, sim = self.kind, self.sim
        if kind in ("interlock opens", "interlock flickers"):
            sim.set_safety(interlock_closed=False)
        elif kind == "ventilation fails":
            sim.set_safety(ventilation_on=False)
        elif kind == "purge fails":
            sim.set_safety(purge_ok=False)
        elif kind == "tool disarms itself":
            sim.arm(False)
        elif kind == "drive aborts":
            sim.stop("drive fault")
        elif kind in ("operator pauses", "pause, messages lost", "pause, messages late"):
            self.requested = PausedError("paused: fault")
        elif kind in ("operator aborts", "cancel lost", "disarm lost"):
            self.requested = DeviceError("aborted: fault")
        elif kind == "power lost":
            raise PowerLossError

    def _hear_joint(self) -> None:
        position = np.array(self.sim.position_rad)
        if self._broken and self.kind == "joint state NaN":
            position[int(5.99 * self.size)] = np.nan
        if self._broken and self.kind == "joint state jumps" and self.now_s < self.at_s + 0.05:
            position[int(5.99 * self.size)] += 0.3
        self._take_joint(self.now_s, position)

    def _take_joint(self, stamp_s: float, position: Array) -> None:
        before_s, before = self._joint
        jump = jump_rad(before.tolist(), position.tolist(), stamp_s - before_s, self._fastest)
        self._jump_rad = max(self._jump_rad, jump)
        self._joint, self._joint_heard_s = (stamp_s, position), self.now_s

    def _hear(self, every: int) -> None:
        if self._unreliable or (self._broken and self.kind == "tool state stops"):
            return
        before = self.tool_state
        super()._hear(every)
        if self.tool_state is not before:
            self._tool_heard_s = self.now_s
            if self._broken:
                self.tool_state = self._spoilt(self.tool_state)

    def _spoilt(self, state: Any) -> Any:
        presses = state.force_setpoint_n > 1.0
        changes: Mapping[str, float] = {
            "force biased": {"force_n": state.force_n + math.copysign(25.0 + 20.0 * self.size, self.size - 0.5)},
            "force spikes": {"force_n": state.force_n + (150.0 if self.now_s < self.at_s + 0.1 else 0.0)},
            "force NaN": {"force_n": math.nan},
            "force drops out": {"force_n": 0.0},
            "spindle stalls": {"spindle_rpm": 0.0},
            "valve sticks shut": {"flow_m3_per_s": 0.0},
            "valve leaks": {"flow_m3_per_s": max(state.flow_m3_per_s, 0.2 * self._nominal.flow_m3_per_s)},
        }.get(self.kind, {})
        return replace(state, **changes) if changes and (presses or "force" not in self.kind) else state

    def start(self, trajectory: JointTrajectory, identity: str, process: str) -> DirectMotion:
        """Start the trajectory, or not."""
        if self.kind == "controller rejects" and process:
            raise DeviceError("action follow_joint_trajectory: goal rejected")
        known = trajectory
        if self.kind == "switching on lost" and process:
            known = self._without_switch(trajectory)
        super().start(known, identity, process)
        self._events = trajectory.events if process else ()
        if math.isnan(self._zero_s):
            self._zero_s = self.now_s
        return FaultyMotion(self)

    def _without_switch(self, trajectory: JointTrajectory) -> JointTrajectory:
        """Return what the device knows that lost the first switching on from the fault's moment on, or the last."""
        times = [event.time_s for event in trajectory.events if event.name == "on"]
        lost_s = min((t for t in times if t >= self.at_s - self.now_s), default=times[-1])
        self.at_s = self.now_s + lost_s
        kept = [event for event in trajectory.events if event.name != "on" or event.time_s != lost_s]
        return replace(trajectory, events=kept)

    def process_off(self, wait_s: float) -> bool:
        """Disarm, unless the order is lost."""
        if self._broken and self.kind == "disarm lost":
            for _ in range(round(wait_s / TICK_S)):
                self.advance()
            return False
        return super().process_off(wait_s)

    def positions(self, names: Any) -> list[float]:
        """Return the joint positions last heard."""
        return self._joint[1].tolist()

    def fault(self, motion: Any, process: bool) -> CellError | None:
        """Return what the monitors say of what was last heard."""
        jump, self._jump_rad = self._jump_rad, 0.0
        observation = Observation(
            joint_state_age_s=self.now_s - self._joint_heard_s,
            tool_state_age_s=self.now_s - self._tool_heard_s,
            heartbeat_ages_s={"job": self.now_s - self.at_s if self._broken and self.kind == "node frozen" else 0.0},
            tracking_error_rad=motion.tracking_error_rad,
            joint_jump_rad=jump,
            nominal=self._nominal,
            told_armed=self.told_armed,
            told_on=motion.zero_s is not None and self.told_on(motion.path_time_s),
            **{name: getattr(self.tool_state, name) for name in TOLD},
        )
        trip = self.monitors.look(observation, self._joint[0], self._tool_heard_s, process=process, required=["job"])
        return None if trip is None else trip.error

    def after_power_loss(self) -> None:
        """Let the device's dead man's switch act, and the arm come to rest."""
        self.kind, self.at_s = "", math.inf
        end_s = self.now_s + DEAD_MAN_S
        while self.now_s < end_s:
            self.advance()
        self.sim.stop("nobody commands")
        self.sim.arm(False)
        for _ in range(round(STOP_S / TICK_S)):
            self.advance()

    def acted_s(self, spans_s: list[tuple[float, float]]) -> list[float]:
        """Return how long the device acted within each span of path time of the first trajectory [s]."""
        at = np.array(self._acting) - self._zero_s
        return [TICK_S * float(np.count_nonzero((at > a) & (at <= b))) for a, b in spans_s]

    def _judge(self) -> None:
        """Write down what must not be, by what the simulated device itself is in."""
        state = self.sim.tool_state()
        status = self.sim.trajectory_status()[0]
        moves = float(np.abs(self.sim.velocity_rad_per_s).max()) > MOVES_RAD_PER_S
        if state.on and (state.flow_m3_per_s > 0.0 or state.force_n > 1.0):
            self._acting.append(self.now_s)
        good = state.interlock_closed and state.ventilation_on and state.purge_ok and state.armed
        self._still_s = 0.0 if status == "running" else self._still_s + TICK_S
        if state.on and not good:
            self._note("process on with a safety input missing or the tool not armed")
        if state.on and status != "running":
            self._note("process on without a trajectory")
        if moves and self._still_s > STOP_S:
            self._note(f"arm moves {self._still_s:.2f} s after its trajectory")
        kind = KINDS.get(self.kind)
        if kind is None or not kind.says or not self._broken:
            return
        late_s = self.now_s - self.at_s - kind.bound_s
        if kind.process:
            # a tool that is idle tells nothing of its sensors: what counts is how long it has been at work since
            self._worked_s += TICK_S * self._works(state)
            late_s = self._worked_s - kind.bound_s
        if state.on and late_s > TICK_S:
            self._note(f"process on {late_s:.2f} s past the bound of {kind.bound_s:.2f} s")
        if moves and kind.stands and late_s > STOP_S and not self.retracting():
            self._note(f"arm moves {late_s:.2f} s past the bound of {kind.bound_s:.2f} s")

    def _works(self, state: Any) -> bool:
        """Tell whether what the fault spoils could be noticed now."""
        if self.kind == "valve leaks":
            return not state.on
        return state.on and (KINDS[self.kind].process == "spray" or state.force_setpoint_n > 1.0)

    def _note(self, words: str) -> None:
        if len(self.unsafe) < 5:
            self.unsafe.append(f"{self.now_s:.3f} s: {words}")


class FaultyMotion(DirectMotion):
    """A trajectory of a rig that may hide how far it is, or not hear that it is to stop."""

    def __init__(self, rig: FaultyRig) -> None:
        super().__init__(rig)
        self._faulty = rig
        self._zero = self.zero_s
        self._start_s = rig.now_s
        hides = rig.kind in ("controller late", "controller silent")
        delay_s = 1.5 * rig.size if rig.kind == "controller late" else math.inf
        self._heard_s = rig.now_s + delay_s if hides else -math.inf
        if rig.kind == "controller silent":
            rig.at_s = rig.now_s
        self.zero_s = None if hides else self._zero

    @property
    def tracking_error_rad(self) -> float:
        """Largest distance of a joint from its trajectory."""
        lost = self._faulty.kind == "tracking lost" and self._faulty.now_s >= self._faulty.at_s
        return 0.06 + 0.2 * self._faulty.size if lost else super().tracking_error_rad

    @property
    def path_time_s(self) -> float:
        """How far it is, by the joint state last heard."""
        if self.zero_s is None:
            return 0.0
        return max(self._faulty._joint[0] - self.zero_s, 0.0)

    def wait(self, seconds: float) -> bool:
        """Let time pass."""
        ended = super().wait(seconds)
        if self.zero_s is None and self._faulty.now_s >= self._heard_s:
            self.zero_s = self._zero
        return ended

    def cancel(self) -> None:
        """Stop along the path, unless nobody hears it."""
        if self._faulty.kind == "cancel lost":
            self._cancelled = True
            return
        super().cancel()

