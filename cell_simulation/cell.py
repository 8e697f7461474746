"""The simulated cell: arm, camera, tools and the true part, moved on together in simulated time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cell_core.config import GrindToolConfig, GunConfig
from cell_core.errors import InputRefusedError, LimitError
from cell_core.files import read_npz, write_atomically
from cell_core.surface import Surface
from cell_core.trajectory import ProcessEvent
from cell_core.transforms import Array, inverse
from cell_simulation.arm import TICK_S, Arm, ArmKind
from cell_simulation.camera import DepthCamera, DepthFrame
from cell_simulation.grind import GrindTruth
from cell_simulation.log import ExecutionLog
from cell_simulation.pad import ROW_TICKS, BalancedPad, Pad, PressedPad
from cell_simulation.spray import SprayBalance, SprayTruth
from cell_simulation.tool_parameters import GunTruth, PadTruth, ToolErrors
from cell_simulation.tools import HISTORY_S, ProcessName, ToolIO, ToolState, check_events
from cell_simulation.true_part import TruePart
from robot_description import Cell

TICKS_PER_BLOCK = 20
BLOCK_S = TICKS_PER_BLOCK * TICK_S


class SimulatedCell:
    """A cell with one part in it. Time moves only in `step`; the same calls with the same seed give the same result.

    Arm and switches advance in ticks of 2 ms, arm dynamics and pad contact in steps of 1 ms; what the tool does to the
    part is computed from the real poses in blocks of 40 ms that lie on a fixed grid of simulated time, so the result
    does not depend on how `step` is cut up.
    """

    def __init__(
        self,
        cell: Cell,
        part: Surface,
        T_base_part: Array,
        *,
        seed: int = 0,
        errors: ToolErrors | None = None,
        arm: ArmKind = "mujoco",
    ) -> None:
        """Put a part into a cell.

        Args:
            cell: robot, tools, camera, surroundings.
            part: the true part in its own mesh frame.
            T_base_part: (4, 4) that frame in the base frame.
            seed: of every random draw.
            errors: how the devices differ from their data sheets; None: typical ones.
            arm: "mujoco": arm with masses and torques, pad on a slide with mass; "servo": neither, the slide in
                balance at every pose. Cheaper, and all there is for a URDF without masses or torque limits.

        Raises:
            ConfigurationError: the URDF's masses or torque limits are missing or not physical.
        """
        errors = ToolErrors() if errors is None else errors
        self.arm_kind: ArmKind = arm
        self._cell, self._robot = cell, cell.robot
        self._part = TruePart(part.transformed(np.asarray(T_base_part, float), "base"))
        configs = {tool.process: tool for tool in cell.tools}
        gun = pad = None
        if "spray" in configs and isinstance(configs["spray"].config, GunConfig):
            gun = GunTruth.from_config(configs["spray"].config)
            self._spray = SprayTruth(self._part, gun, seed=seed, errors=errors, block_s=BLOCK_S)
        if "grind" in configs and isinstance(configs["grind"].config, GrindToolConfig):
            pad = PadTruth.from_config(configs["grind"].config)
            self._grind = GrindTruth(self._part, pad, seed=seed, errors=errors)
        self._rpm = pad.rpm if pad else 0.0
        self._tcp_frame = {process: tool.tcp_frame for process, tool in configs.items()}
        self._tools = ToolIO(gun, pad)
        self._pad = None if pad is None else self._make_pad(pad, arm, errors, seed)
        boxes = [(box.T_base_box, box.size_m) for box in cell.obstacles]
        self.camera = DepthCamera(cell.camera, self._part, boxes, seed=seed)
        self._arm = Arm(self._robot, kind=arm, seed=seed, model_error=errors.arm_model_error)
        self._ticks = 0
        self._wanted_ticks = 0.0
        self._next_events: list[ProcessEvent] = []
        self._block = np.zeros((TICKS_PER_BLOCK + 1, len(self._robot.joint_names)))
        self._block[0] = self._arm.position_rad
        self._block_on = np.zeros(TICKS_PER_BLOCK, bool)
        self._block_running = np.zeros(TICKS_PER_BLOCK, bool)
        self._log = ExecutionLog(len(self._robot.joint_names))

    def _make_pad(self, pad: PadTruth, arm: ArmKind, errors: ToolErrors, seed: int) -> Pad:
        frame, vertices = self._tcp_frame["grind"], self._part.surface.vertices_m
        if arm == "servo":
            return BalancedPad(self._robot, frame, self._grind, self._tools)
        return PressedPad(
            self._robot,
            frame,
            self._grind,
            self._tools,
            pad,
            errors=errors,
            seed=seed,
            part_box_m=(vertices.min(axis=0), vertices.max(axis=0)),
            block_ticks=TICKS_PER_BLOCK,
        )

    @property
    def time_s(self) -> float:
        """Simulated time."""
        return self._ticks * TICK_S

    @property
    def position_rad(self) -> Array:
        """(6,) joint positions."""
        return self._arm.position_rad.copy()

    @property
    def velocity_rad_per_s(self) -> Array:
        """(6,) joint velocities."""
        return self._arm.velocity_rad_per_s.copy()

    @property
    def is_moving(self) -> bool:
        """Whether a trajectory is running or the arm is still coming to rest."""
        return self._arm.is_moving

    @property
    def spray_balance(self) -> SprayBalance:
        """Volume of dry film emitted and landed so far."""
        return self._spray.balance

    def accept_trajectory(
        self,
        joint_names: Sequence[str],
        times_s: Array,
        positions: Array,
        velocities: Array,
        accelerations: Array | None = None,
    ) -> None:
        """Take a trajectory and start it at once, with the events scheduled for it.

        Raises:
            LimitError: a real controller would refuse it; says joint, sample, value and bound. Its events stay pending.
        """
        if not self._tools.interlock_closed:
            raise LimitError("trajectory: the interlock is open")
        self._arm.accept(joint_names, times_s, positions, velocities, accelerations)
        self._tools.schedule(self._next_events, self.time_s)
        self._next_events = []

    def schedule_events(self, events: Sequence[ProcessEvent]) -> None:
        """Schedule process events on path time: of the running trajectory, or of the next one when none is running.

        Raises:
            LimitError: an unknown name, a time or value that is not finite, a negative value.
        """
        if self._arm.status == "running":
            self._tools.schedule(events, self.time_s - self._arm.path_time_s)
            return
        check_events(events)
        self._next_events = list(events)

    def select_tool(self, process: ProcessName) -> None:
        """Make the gun or the sander the active tool; disarms.

        Raises:
            LimitError: no such tool.
            InterlockError: a process is on.
        """
        self._tools.select(process, self.time_s)

    def arm(self, arm: bool) -> None:
        """Arm or disarm the active tool; disarming turns it off at once.

        Raises:
            InterlockError: a safety input forbids arming.
        """
        self._tools.arm(arm, self.time_s)

    def set_safety(
        self, *, interlock_closed: bool | None = None, ventilation_on: bool | None = None, purge_ok: bool | None = None
    ) -> None:
        """Set safety inputs (None: unchanged).

        A bad one turns the process off at once and disarms; an open interlock also stops the arm.
        """
        self._tools.set_safety(
            self.time_s, interlock_closed=interlock_closed, ventilation_on=ventilation_on, purge_ok=purge_ok
        )
        if not self._tools.interlock_closed:
            self._arm.stop("interlock open")

    def stop(self, reason: str) -> None:
        """Turn the process off at once, then bring the arm to rest along its path; the trajectory is aborted."""
        self._tools.off(self.time_s)
        self._next_events = []
        self._arm.stop(reason)

    def trajectory_status(self) -> tuple[str, float, float]:
        """Return "idle", "running", "done" or "aborted"; path time [s]; tracking error [rad]."""
        return self._arm.status, self._arm.path_time_s, self._arm.tracking_error_rad

    @property
    def abort_reason(self) -> str:
        """Why the last trajectory was aborted, or ""."""
        return self._arm.abort_reason

    def step(self, duration_s: float) -> None:
        """Advance by a duration [s]; what is left of a tick is made up in the next step."""
        if not (np.isfinite(duration_s) and duration_s >= 0.0):
            raise LimitError(f"step: duration {duration_s} s must be finite and >= 0")
        self._wanted_ticks += duration_s / TICK_S
        while self._ticks + 1 <= self._wanted_ticks + 1e-6:
            self._tick()

    def _tick(self) -> None:
        running = self._arm.status == "running"
        now = self.time_s
        self._tools.fire_until(now + TICK_S)
        pad = self._pad if self._tools.selected == "grind" else None
        self._arm.advance(None if pad is None else pad.load(now, self._arm))
        self._ticks += 1
        if self._arm.abort_reason and self._tools.is_on:
            self._tools.off(self.time_s)
        elif running and self._arm.status != "running":
            # the path has ended: nothing may go on running without it
            self._tools.off(self.time_s)
        row = (self._ticks - 1) % TICKS_PER_BLOCK + 1
        self._block[row] = self._arm.position_rad
        self._block_on[row - 1], self._block_running[row - 1] = self._tools.is_on, running
        if row == TICKS_PER_BLOCK:
            self._process_block()
            self._block[0] = self._block[-1]

    def _process_block(self) -> None:
        """Let the active tool act on the part along the poses of the block just completed."""
        block = self._ticks // TICKS_PER_BLOCK - 1
        times = np.asarray(block * BLOCK_S + TICK_S * np.arange(TICKS_PER_BLOCK + 1), np.float64)
        spray = self._tools.selected == "spray"
        rows = slice(ROW_TICKS - 1, None, ROW_TICKS)
        power = slide = np.zeros(TICKS_PER_BLOCK // ROW_TICKS)
        if spray or self._pad is None:
            values = self._spray_block(block, times)[rows]
        else:
            values, power, slide = self._pad.finish_block(times, self._block)
        on, running = self._block_on[rows], self._block_running[rows]
        q = self._block[1:][rows]
        self._log.append(times[1:][rows], q, on, values, spray, running, power_w=power, slide_m=slide)
        if block % 25 == 0:
            self._tools.forget_before(times[0] - HISTORY_S)

    def _spray_block(self, block: int, times: np.ndarray) -> Array:
        """Return the paint flow (K,) at the ticks."""
        if self._pad is not None:
            self._pad.rest()
        if not self._tools.valve.any_open(times[0], times[-1]):
            return np.zeros(len(times) - 1)
        self._spray.spray(block, times, self._robot.forward(self._block, self._tcp_frame["spray"]), self._tools.flow_at)
        return self._tools.flow_at(times[1:])

    def tool_state(self) -> ToolState:
        """Return what the tool reports now: the sensor's force; slide and power of the last 40 ms block."""
        tools, now = self._tools, np.array([self.time_s])
        spray = tools.selected == "spray"
        return ToolState(
            tool=tools.selected,
            armed=tools.armed,
            on=tools.is_on,
            flow_m3_per_s=float(tools.flow_at(now)[0]) if spray else 0.0,
            force_n=self._pad.force_n if self._pad else 0.0,
            force_setpoint_n=0.0 if spray else float(tools.force_at(now)[0]),
            spindle_rpm=0.0 if spray else self._rpm * float(tools.spindle.at(now)[0]),
            spindle_power_w=self._pad.power_w if self._pad else 0.0,
            slide_m=self._pad.slide_m if self._pad else 0.0,
            interlock_closed=tools.interlock_closed,
            ventilation_on=tools.ventilation_on,
            purge_ok=tools.purge_ok,
        )

    @property
    def contact_force_n(self) -> float:
        """True contact force now, which no sensor of the cell tells exactly; 0 without a grinding tool."""
        return self._pad.contact_n if self._pad else 0.0

    def render_depth(self) -> DepthFrame:
        """Return a depth image from where the camera is now."""
        return self.camera.render(self.camera_pose(), self.time_s)

    def camera_pose(self) -> Array:
        """Return where the camera is now, T_base_camera (4, 4)."""
        return self._robot.forward(self._arm.position_rad, self._cell.config.camera.optical_frame)

    @property
    def removed_m(self) -> Array:
        """(V,) depth taken off the part so far [m]."""
        return self._part.removed_m

    def truth(self) -> Surface:
        """Return the true part in frame "part" (the fixture frame) as it came, with what was done to it.

        Fields: film_thickness_m, removed_depth_m, and change_m, which is the one of the selected tool. Edges are at
        most about 4.5 mm; the first vertices are those of the given mesh, and along sharp edges each face has its own.
        """
        film, removed = self._part.film_thickness_m, self._part.removed_m
        change = film if self._tools.selected == "spray" else removed
        surface = self._part.surface.transformed(inverse(self._cell.T_base_fixture), "part")
        return surface.with_fields(film_thickness_m=film, removed_depth_m=removed, change_m=change)

    def executed_log(self) -> dict[str, np.ndarray]:
        """Return what ran while trajectories were running, one row per 4 ms.

        time_s (N,), q (N, 6) [rad], T_base_tcp (N, 4, 4) of the tool selected then, on (N,) bool, process_value (N,):
        paint flow [m3/s] or mean true contact force [N], spindle_power_w (N,), slide_m (N,) its extension, tool (N,)
        "spray" or "grind".
        """
        return self._log.arrays(self._robot, self._tcp_frame)

    def save_state(self, path: Path) -> None:
        """Write what was done to the part, and to the abrasive (npz)."""
        state = {
            "n_vertices": np.array(len(self._part.removed_m)),
            "checksum_m": self._checksum(),
            "film_volume_m3": self._part.film_volume_m3,
            "removed_m": self._part.removed_m,
            "abrasive": self._grind.abrasive.state if self._rpm else np.zeros(4),
        }
        # not compressed: it is written every second while a process runs
        write_atomically(Path(path), lambda aside: np.savez(aside, allow_pickle=False, **state))

    def load_state(self, path: Path) -> None:
        """Take back what `save_state` wrote for the same part.

        Raises:
            InputRefusedError: not such a file, or of another part or pose.
        """
        arrays = read_npz(Path(path))
        missing = {"n_vertices", "checksum_m", "film_volume_m3", "removed_m", "abrasive"} - arrays.keys()
        if missing:
            raise InputRefusedError(f"{path}: no state of a simulated part: {sorted(missing)[0]} is missing")
        n = len(self._part.removed_m)
        if arrays["film_volume_m3"].shape != (n,) or arrays["removed_m"].shape != (n,):
            found = int(arrays["n_vertices"])
            raise InputRefusedError(f"{path}: state of a part with {found} vertices, this one has {n}")
        if not np.allclose(arrays["checksum_m"], self._checksum(), atol=1e-6):
            raise InputRefusedError(f"{path}: state of another part or of another pose")
        self._part.film_volume_m3[:] = arrays["film_volume_m3"]
        self._part.removed_m[:] = arrays["removed_m"]
        if self._rpm:
            self._grind.abrasive.take(arrays["abrasive"])

    def _checksum(self) -> Array:
        v = self._part.surface.vertices_m
        return np.concatenate([v.mean(axis=0), v.std(axis=0), v[0], v[-1]])
