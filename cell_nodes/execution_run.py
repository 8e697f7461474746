"""One trajectory run with its process, whatever arm and tool are behind it; and how it stops."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cell_core.errors import CellError, DeviceError
from cell_core.trajectory import JointTrajectory, ProcessEvent, last_switch
from cell_nodes.execution_rig import Away, Motion, Record, Rig
from cell_nodes.execution_state import ExecutionState, StateMachine
from cell_nodes.pausing import PausedError

WATCH_PERIOD_S = 0.02
OFF_WAIT_S = 0.5
QUIET_WAIT_S = 0.3
"""At a pause the arm keeps its speed for at most so long while paint or pressure dies away."""
STOP_WAIT_S = 5.0
FEEDBACK_WAIT_S = 2.0
"""A controller that says nothing of an accepted trajectory for so long is not to be trusted with it."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a run asks many times a second."""

    fault: Callable[[Motion, bool], CellError | None]
    """Why to stop now, given the motion and whether a process runs."""
    request: Callable[[], CellError | None]
    """What somebody asked for: PausedError for a pause, anything else for a stop."""
    tell: Callable[[float, str], None]
    """Progress 0..1 and words; raises to cancel."""


class ProcessRun:
    """Runs a trajectory to its end, or stops it: the process first, whatever happens, and then the motion."""

    def __init__(
        self,
        rig: Rig,
        trajectory: JointTrajectory,
        *,
        process: str,
        states: StateMachine,
        watch: Watch,
        journal: Record | None = None,
        retractor: Away | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rig, self._trajectory, self._process = rig, trajectory, process
        self._states, self._watch, self._journal, self._retractor = states, watch, journal, retractor
        self._wall = wall
        self._passed, self._zero_told = 0, False
        self._overruled: CellError | None = None
        self._started_s = wall()

    def run(self, identity: str) -> None:
        """Run it.

        Raises:
            PausedError: paused; the tool is off and away from the part, or the message says why it stayed.
            CellError: a fault or a stop on request, or whatever `tell` raises; the tool is off and the arm at rest.
        """
        motion: Motion | None = None
        try:
            self._states.to(ExecutionState.ARMED)
            if self._process:
                self._rig.select_and_arm(self._process)
            motion = self._rig.start(self._trajectory, identity, self._process)
            self._started_s = self._wall()
            self._states.to(ExecutionState.APPROACHING)
            while not motion.wait(WATCH_PERIOD_S):
                self._look(motion)
            self._note_zero(motion)
            error = motion.error()
            if error is not None:
                raise error
            if self._journal is not None:
                self._journal.done()
            self._states.to(ExecutionState.DONE)
        except PausedError as pause:
            try:
                done = self._paused(motion, pause)
            except Exception:
                self._states.to(ExecutionState.FAULTED)
                raise
            raise done from pause
        except Exception as error:
            remark = ""
            try:
                remark = self._stopped(motion, str(error), quietly=False)
            finally:
                # whatever cannot be written down: it has stopped, and is told as stopped
                self._states.to(ExecutionState.FAULTED)
            if remark and isinstance(error, CellError):
                raise DeviceError(f"{error}{remark}") from error
            raise
        finally:
            if self._process:
                self._rig.process_off(OFF_WAIT_S)

    def _look(self, motion: Motion) -> None:
        self._note_zero(motion)
        request = self._watch.request()
        if request is not None:
            raise request
        fault = self._watch.fault(motion, bool(self._process))
        if fault is not None:
            raise fault
        waited_s = self._wall() - self._started_s
        if motion.zero_s is None and waited_s > FEEDBACK_WAIT_S:
            raise DeviceError(f"arm controller: no feedback for {waited_s:.1f} s, limit {FEEDBACK_WAIT_S:g} s")
        trajectory = self._trajectory
        # before anything is heard of it, the motion may be as far as the clock
        path_s = motion.path_time_s if motion.zero_s is not None else waited_s
        while self._passed < len(trajectory.segments):
            segment = trajectory.segments[self._passed]
            if path_s < trajectory.time_s[segment.i0] or motion.zero_s is None:
                break
            self._states.passes(segment)
            self._passed += 1
        message = f"{path_s:.1f} of {trajectory.duration_s:.1f} s"
        if self._journal is not None:
            self._journal.advance(path_s, self._wall())
            message = f"stroke {self._journal.stroke} of {self._journal.n_strokes}, {message}"
        self._watch.tell(min(path_s / trajectory.duration_s, 1.0), message)

    def _note_zero(self, motion: Motion) -> None:
        if not self._zero_told and motion.zero_s is not None and self._journal is not None:
            self._zero_told = True
            self._journal.running(motion.zero_s)

    def _stopped(self, motion: Motion | None, reason: str, *, quietly: bool) -> str:
        """Switch the process off, then stop the motion; write down when the process was off.

        Returns what the arm did not do, or "".

        Args:
            quietly: keep the speed until nothing comes out any more, for at most QUIET_WAIT_S.
        """
        asked_s, remark = 0.0 if motion is None else motion.path_time_s, ""
        confirmed = self._rig.process_off(OFF_WAIT_S) if self._process else True
        if quietly and confirmed:
            self._rig.wait_until_quiet(QUIET_WAIT_S)
        if motion is not None:
            motion.cancel()
            if not motion.wait(STOP_WAIT_S):
                remark = f"; the arm did not confirm its stop within {STOP_WAIT_S:g} s"
        if self._process:
            confirmed = self._rig.wait_until_off(OFF_WAIT_S) and confirmed
        if self._journal is not None:
            zero_s = None if motion is None else motion.zero_s
            end_s = asked_s
            if zero_s is not None:
                end_s = process_end_s(asked_s, self._rig.off_stamp_s - zero_s, self._trajectory.events)
            # a motion under way whose path time nobody knows went off nobody knows where
            known = confirmed and (motion is None or zero_s is not None)
            self._journal.stopped(end_s, reason + remark, confirmed=known)
        return remark

    def _paused(self, motion: Motion | None, pause: PausedError) -> PausedError:
        near = 0 < self._passed <= len(self._trajectory.segments) and (
            self._trajectory.segments[self._passed - 1].kind != "transition"
        )
        unstopped = self._stopped(motion, str(pause), quietly=True).removeprefix("; ")
        retracted_m, remark = 0.0, unstopped or "the tool was not beside the part"
        if near and self._process and not unstopped:
            retracted_m, remark = self._retract()
        if self._journal is not None:
            self._journal.paused(str(pause), retracted_m, remark)
        self._states.to(ExecutionState.PAUSED)
        done = f"retracted {1e3 * retracted_m:.0f} mm" if retracted_m > 0.0 else f"stays where it is: {remark}"
        return PausedError(f"{pause}; process off, {done}")

    def _retract(self) -> tuple[float, str]:
        """Move away from the part; return how far, and why not farther."""
        if self._retractor is None:
            return 0.0, "no retract is set up"
        try:
            here = self._rig.positions(self._trajectory.joint_names)
            trajectory, distance_m = self._retractor.away(here)  # pyright: ignore[reportArgumentType]
            fault = self._watch.fault(_Resting(), True)
            if fault is not None:
                raise fault
            self._states.to(ExecutionState.RETRACTING)
            motion = self._rig.start(trajectory, "retract", "")
            while not motion.wait(WATCH_PERIOD_S):
                self._keep_watch(motion)
            error = motion.error()
            if error is not None:
                raise error
        except CellError as error:
            if error is self._overruled:
                raise
            return 0.0, str(error)
        return distance_m, ""

    def _keep_watch(self, motion: Motion) -> None:
        """Stop a retract for the reasons that stop a process, and for an abort or a cancel."""
        try:
            request = self._watch.request()
            if request is not None and not isinstance(request, PausedError):
                self._overruled = request
                raise request
            fault = self._watch.fault(motion, True)
            if fault is not None:
                raise fault
            self._watch.tell(1.0, "paused: retracting")
        except Exception:
            motion.cancel()
            motion.wait(STOP_WAIT_S)
            raise


class _Resting:
    """Stands in for a motion where the arm is at rest."""

    zero_s: float | None = None
    tracking_error_rad = 0.0
    path_time_s = 0.0

    def wait(self, seconds: float) -> bool:
        """Nothing moves."""
        return True

    def cancel(self) -> None:
        """Nothing moves."""

    def error(self) -> CellError | None:
        """Nothing went wrong."""
        return None


def process_end_s(asked_s: float, off_s: float, events: Sequence[ProcessEvent]) -> float:
    """Return the path time at which the process was really off [s].

    Args:
        asked_s: when somebody asked for it.
        off_s: when the device last went off; long before, where it was off already.
        events: the trajectory's. Where they left the process on when it was asked for, the device's word counts, also
            when it went off by itself before; where they had switched it off, the moment of asking does.
    """
    switch = last_switch(events, asked_s)
    if switch is not None and switch.name == "on":
        # a device last seen to go off before that never came on
        return max(off_s, switch.time_s)
    return max(off_s, asked_s)
