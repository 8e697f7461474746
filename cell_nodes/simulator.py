"""Embedded simulator node: arm controller, depth camera, tool and physical part behind the cell's ROS interfaces."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from cell_interfaces.msg import Heartbeat, ToolState
from cell_interfaces.srv import ArmTool, ScheduleEvents, SelectTool, WriteTruth
from geometry_msgs.msg import WrenchStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from cell_core.errors import CellError, ConfigurationError
from cell_core.trajectory import ProcessEvent
from cell_nodes.messages import events_from, joint_state_message, time_message, tool_state_message
from cell_nodes.node_base import LOSSLESS, STREAM, URGENT, CellNode, run_node
from cell_nodes.sim_loop import SimLoop

SWITCH_S = 5e-4
EXECUTION_NODE = "execution"
SLOW_PERIOD_S = 0.016
"""Clock, tool state and wrench come so often in wall time, and at every switch [s]."""
FAST_PERIOD_S = 0.004
"""Shortest wall time between publications at other real-time factors than 1: bandwidth is for planning then [s]."""
REST_PERIOD_S = 0.02
"""Wall time between publications at rest when the simulation is asked to run faster than the wall [s]."""


class SimulatorNode(CellNode):
    """Wraps cell_simulation.SimulatedCell; see docs/ros_api.md."""

    def __init__(self, **options: Any) -> None:
        super().__init__("simulator", **options)
        self.declare_parameter("job_dir", "")
        self.declare_parameter("rtf", 1.0)
        self.declare_parameter("joint_state_rate_hz", 250.0)
        self.declare_parameter("lockstep", False)
        self.declare_parameter("arm", "auto")
        self.declare_parameter("dead_man_s", 0.5)
        self.declare_parameter("safety_inputs_good", True)
        self.loop: SimLoop | None = None
        self.sim: Any = None
        self._pending: list[ProcessEvent] = []
        stream = LOSSLESS if self.get_parameter("lockstep").get_parameter_value().bool_value else STREAM
        self._joint_states = self.create_publisher(JointState, "/joint_states", stream)
        self._clock_publisher = self.create_publisher(Clock, "/clock", STREAM)
        self._tool_state = self.create_publisher(ToolState, "tool_state", stream)
        self._wrench = self.create_publisher(WrenchStamped, "wrench", STREAM)
        self.create_service(SelectTool, "select_tool", self._select_tool)
        self.create_service(ArmTool, "arm_tool", self._arm_tool)
        self.create_service(ScheduleEvents, "schedule_events", self._schedule_events)
        self.create_service(WriteTruth, "write_truth", self._write_truth)
        for name in ("interlock_closed", "ventilation_on", "purge_ok"):
            self.create_subscription(Bool, f"safety/{name}", lambda m, n=name: self._safety(n, m.data), STREAM)
        self.create_subscription(Heartbeat, "heartbeat", self._heard, STREAM)
        self._n_ticks = 0
        self._published_s = -1.0
        self._switches: tuple[Any, ...] = ()

    def configure(self) -> None:
        """Build the simulated cell with its part and load the part's state where one was left."""
        from cell_nodes.sim_arm import ArmController
        from cell_nodes.sim_camera import SimCamera
        from cell_nodes.sim_part import simulated_cell

        rtf = self.number("rtf")
        if not 0.0 <= rtf <= 1000.0:
            raise ConfigurationError(f"parameter rtf: {rtf:g}, must be 0 (as fast as possible) or 0 < rtf <= 1000")
        job = self.string("job_dir")
        if not job:
            raise ConfigurationError(
                "parameter job_dir: empty; the simulator needs the job whose simulated_part it holds"
            )
        folder = self.job_path(job)
        rate_hz = self.number("joint_state_rate_hz")
        if not 10.0 <= rate_hz <= 1000.0:
            raise ConfigurationError(f"parameter joint_state_rate_hz: {rate_hz:g}, must be within 10..1000 Hz")
        arm = self.string("arm")
        if arm not in ("auto", "mujoco", "servo"):
            raise ConfigurationError(f"parameter arm: {arm!r}, must be auto, mujoco or servo")
        self._period_s = 1.0 / rate_hz if rtf == 1.0 else max(1.0 / rate_hz, FAST_PERIOD_S)
        self.cell, self.sim = simulated_cell(folder, self.string("cell"), arm, self.get_logger().warning)
        state_path = folder / "execution" / "sim_state.npz"
        if state_path.is_file():
            self.sim.load_state(state_path)
            self.get_logger().info(f"part continues from {state_path}")
        good = self.get_parameter("safety_inputs_good").get_parameter_value().bool_value
        self.sim.set_safety(interlock_closed=good, ventilation_on=good, purge_ok=good)
        self.loop = SimLoop(
            self.sim,
            rtf=rtf,
            on_tick=self._tick,
            dead_man_s=self.number("dead_man_s"),
            state_path=state_path,
            log=self.get_logger().warning,
            period_s=self._period_s,
            lockstep=self.get_parameter("lockstep").get_parameter_value().bool_value,
        )
        self._slow_s = 0.0
        self._rtf = rtf
        self._camera = SimCamera(self, self.cell, self.sim, self.loop, apart=rtf == 1.0 and not self.loop.lockstep)
        self._arm = ArmController(self, self.sim, self.loop, self._take_pending)

    def activate(self) -> None:
        """Let time run."""
        if self.loop is not None:
            self.loop.start()
            self._camera.start()

    def deactivate(self) -> None:
        """Stop process and motion, save the part, stop time."""
        if self.loop is not None:
            self._camera.close()
            self.loop.close()
            self.loop = None

    def _tick(self) -> None:
        self._n_ticks += 1
        loop = self.loop
        if loop is None:
            return
        sim, busy = self.sim, loop.busy
        # at rest nothing changes; the bandwidth of ten processes is better spent on planning
        if not busy and (self._rtf != 1.0 or loop.lockstep) and self._n_ticks % round(REST_PERIOD_S / self._period_s):
            return
        now = float(sim.time_s)
        # in lock-step time stands still at rest, and who listens must hear that the arm does too
        if now <= self._published_s and not (loop.lockstep and not busy):
            return
        self._published_s = now
        names = self.cell.robot.joint_names
        self._joint_states.publish(joint_state_message(names, sim.position_rad, sim.velocity_rad_per_s, now))
        state = sim.tool_state()
        switches = (state.tool, state.armed, state.on, state.interlock_closed, state.ventilation_on, state.purge_ok)
        if switches != self._switches or not busy or loop.lockstep or time.monotonic() - self._slow_s > SLOW_PERIOD_S:
            self._switches, self._slow_s = switches, time.monotonic()
            self._publish_slow(state, now)

    def _publish_slow(self, state: Any, now: float) -> None:
        self._clock_publisher.publish(Clock(clock=time_message(now)))
        self._tool_state.publish(tool_state_message(state, now))
        wrench = WrenchStamped()
        wrench.header.stamp = time_message(now)
        wrench.header.frame_id = self.cell.tool(state.tool or "spray").tcp_frame
        wrench.wrench.force.z = -float(state.force_n)  # the surface pushes back against the tool axis
        self._wrench.publish(wrench)

    def _heard(self, message: Heartbeat) -> None:
        if message.node == EXECUTION_NODE and self.loop is not None:
            self.loop.alive()

    def _take_pending(self) -> list[ProcessEvent]:
        events, self._pending = self._pending, []
        return events

    def _answer(self, response: Any, field: str, action: Any) -> Any:
        try:
            self.require_active()
            assert self.loop is not None
            self.loop.call(action)
            setattr(response, field, True)
        except (CellError, ValueError) as error:
            setattr(response, field, False)
            response.message = str(error)
            self.get_logger().warning(f"refused: {error}")
        return response

    def _select_tool(self, request: Any, response: Any) -> Any:
        return self._answer(response, "ok", lambda: self.sim.select_tool(request.process))

    def _arm_tool(self, request: Any, response: Any) -> Any:
        def action() -> None:
            self.sim.arm(bool(request.arm))
            self._publish_slow(self.sim.tool_state(), float(self.sim.time_s))  # stamped when it switched
            if self.loop is not None:
                # who commands is alive
                self.loop.alive()
                if not request.arm:
                    self.loop.save()

        return self._answer(response, "ok", action)

    def _schedule_events(self, request: Any, response: Any) -> Any:
        def action() -> None:
            self._pending = events_from(request.events)

        return self._answer(response, "accepted", action)

    def _write_truth(self, request: Any, response: Any) -> Any:
        from cell_nodes.sim_part import write_truth

        def action() -> None:
            folder: Path = self.job_path(request.folder)
            write_truth(folder, self.sim)
            if self.loop is not None:
                self.loop.save()

        return self._answer(response, "ok", action)

    def _safety(self, name: str, value: bool) -> None:
        if self.loop is not None and self.is_active:
            self.loop.call(lambda: self.sim.set_safety(**{name: bool(value)}))


def main() -> None:
    """Run the node."""
    np.seterr(all="ignore")
    # every call into MuJoCo or Embree gives the interpreter away; the camera's thread must give it back soon
    sys.setswitchinterval(SWITCH_S)
    run_node(SimulatorNode, niceness=URGENT)


if __name__ == "__main__":
    main()
