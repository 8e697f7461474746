"""One running MoveItPy: its scene, plans and execution, with every silent failure of moveit_py turned into an error.

What bites (MoveIt 2.14): scaling factors of 0 or above 1 are silently taken as 1; an unknown planner silently becomes
the default one; `bool(response)` is the only test of success; setters with an unknown name return False; an unknown
frame in a collision object is only logged; `is_path_valid` looks at collisions alone, wants `invalid_index=[]` and
fills a copy of it; contacts cannot be read. `plan` holds Python's lock: a session belongs in a process of its own.
"""

import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cell_core.errors import ConfigurationError, DeviceError
from cell_core.transforms import Array
from cell_motion.backends.moveit_modules import Modules, SceneObject, TimedPath
from cell_motion.backends.moveit_request import Invalid, Planned, Request, check
from robot_description.moveit import GROUP

NODE = "cell_motion_moveit"
STOP_POLL_S = 0.02
STATE_S = 3.0
START_RAD = 0.01


class MoveItSession:
    """MoveItPy for one robot."""

    def __init__(
        self,
        parameters: dict[str, Any],
        joint_names: Sequence[str],
        links: Sequence[str],
        frame: str,
        modules: Modules | None = None,
    ) -> None:
        """Start MoveItPy.

        Args:
            parameters: robot_description.moveit.moveit_parameters.
            joint_names: of the group, in the order of all joint positions here.
            links: those with a collision shape.
            frame: in which objects are placed.

        Raises:
            ConfigurationError: moveit_py is not installed, or the robot has no such group or frame.
            DeviceError: MoveIt did not start.
        """
        self._modules = modules or Modules()
        self._joint_names, self._links, self._frame = tuple(joint_names), tuple(links), frame
        self._pipelines = tuple(parameters["planning_pipelines"]["pipeline_names"])
        self._moveit = self._started(parameters)
        self._model = self._moveit.get_robot_model()
        if not self._model.has_joint_model_group(GROUP):
            raise ConfigurationError(
                f"moveit: no planning group {GROUP!r} in the robot's SRDF; "
                f"known: {', '.join(self._model.joint_model_group_names) or 'none'}"
            )
        self._component = self._moveit.get_planning_component(GROUP)
        self._monitor = self._moveit.get_planning_scene_monitor()
        self._objects: list[str] = []
        self._execution: threading.Thread | None = None
        self._status: Any = None
        with self._monitor.read_only() as scene:
            if not scene.knows_frame_transform(frame):
                raise ConfigurationError(f"moveit: frame {frame!r} is no link of the robot")

    def _started(self, parameters: dict[str, Any]) -> Any:
        # config_dict would leave a file in the temporary folder
        with tempfile.TemporaryDirectory(prefix="moveit_") as folder:
            path = Path(folder) / "parameters.yaml"
            path.write_text(yaml.safe_dump({NODE: {"ros__parameters": parameters}}), encoding="utf-8")
            try:
                return self._modules.planning.MoveItPy(node_name=NODE, launch_params_filepaths=[str(path)])
            except RuntimeError as error:
                raise DeviceError(f"moveit: did not start: {error}") from error

    def fill(self, objects: Sequence[SceneObject]) -> None:
        """Put objects into the planning scene.

        Raises:
            DeviceError: the scene does not hold them afterwards, or lacks shapes of them.
        """
        with self._monitor.read_write() as scene:
            for item in objects:
                scene.apply_collision_object(self._modules.scene_object(item, self._frame))
            scene.current_state.update()
            world = scene.planning_scene_message.world
        held = {o.id: len(o.primitives) + len(o.meshes) for o in world.collision_objects}
        wanted = {o.name: len(o.centres_m) + (o.vertices_m is not None) for o in objects}
        missing = [name for name, n in wanted.items() if held.get(name) != n]
        if missing:
            raise DeviceError(f"moveit: planning scene refused {', '.join(missing)}", missing=missing)
        self._objects = sorted({*self._objects, *wanted})

    def pad(self, padding_m: float) -> None:
        """Make the robot's links thicker against the cell and the part; not against one another.

        Raises:
            DeviceError: the scene does not say so afterwards.
        """
        self._monitor.new_planning_scene_message(self._modules.padding(self._links, padding_m))
        with self._monitor.read_only() as scene:
            held = {p.link_name: p.padding for p in scene.planning_scene_message.link_padding}
        off = [link for link in self._links if abs(held.get(link, np.inf) - padding_m) > 1e-9]
        if off:
            raise DeviceError(f"moveit: padding {padding_m:g} m refused for {', '.join(off)}", links=off)

    def allow(self, link: str, other: str, allowed: bool) -> None:
        """Let a link touch an object, or not any more.

        Raises:
            DeviceError: a name is unknown, or the scene does not say so afterwards.
        """
        unknown = {link, other} - {*self._links, *self._objects}
        if unknown:
            raise DeviceError(f"moveit: {', '.join(sorted(unknown))} is neither a link with a shape nor an object")
        with self._monitor.read_write() as scene:
            matrix = scene.allowed_collision_matrix
            matrix.set_entry(link, other, allowed)
            scene.allowed_collision_matrix = matrix
            held = scene.allowed_collision_matrix.get_entry(link, other)
        if held[1] != ("ALWAYS" if allowed else "NEVER"):
            raise DeviceError(f"moveit: collision matrix says {held[1]} for {link} and {other}")

    def first_invalid(self, path_rad: Array) -> Invalid | None:
        """Return where MoveIt first finds joint positions (N, J) in collision; None: nowhere."""
        time_s = np.arange(len(path_rad), dtype=float)
        path = TimedPath(joint_names=self._joint_names, time_s=time_s, position_rad=path_rad)
        trajectory = self._trajectory(path)
        with self._monitor.read_only() as scene:
            if scene.is_path_valid(trajectory, GROUP, False, []):
                return None
            for i, position in enumerate(path_rad):
                state = self._state(position)
                if scene.is_state_colliding(state, GROUP, False):
                    return Invalid(index=i, pairs=self._pairs(scene, state))
        raise DeviceError(f"moveit: a path of {len(path_rad)} positions is invalid, yet none of them collides")

    def colliding(self, position_rad: Array) -> list[bool]:
        """Tell for each of joint positions (N, J) whether MoveIt finds it in collision."""
        with self._monitor.read_only() as scene:
            return [bool(scene.is_state_colliding(self._state(q), GROUP, False)) for q in position_rad]

    def pairs(self, position_rad: Array) -> tuple[tuple[str, str], ...]:
        """Return what meets what at joint position (J,)."""
        with self._monitor.read_only() as scene:
            return self._pairs(scene, self._state(position_rad))

    def plan(self, start_rad: Array, goal_rad: Array, request: Request) -> Planned:
        """Plan a free move. MoveIt's planners take no seed.

        Raises:
            ConfigurationError: a request that MoveIt would silently read as another one.
            DeviceError: start or goal refused, or an answer that is none.
        """
        check(request, self._pipelines)
        if not self._component.set_start_state(robot_state=self._state(start_rad)):
            raise DeviceError("moveit: start state refused")
        if not self._component.set_goal_state(robot_state=self._state(goal_rad)):
            raise DeviceError("moveit: goal state refused")
        asked = self._modules.planning.PlanRequestParameters(self._moveit, "")
        asked.planning_pipeline, asked.planner_id = request.pipeline, request.planner
        asked.planning_attempts, asked.planning_time = 1, float(request.time_s)
        asked.max_velocity_scaling_factor = float(request.velocity_scaling)
        asked.max_acceleration_scaling_factor = float(request.acceleration_scaling)
        response = self._component.plan(single_plan_parameters=asked)
        code, time_s = int(response.error_code.val), float(response.planning_time)
        if not response:
            return Planned(path_rad=None, error_code=code, time_s=time_s)
        message = response.trajectory.get_robot_trajectory_msg().joint_trajectory
        names = list(message.joint_names)
        if sorted(names) != sorted(self._joint_names):
            raise DeviceError(f"moveit: plan moves {', '.join(names)}, wanted {', '.join(self._joint_names)}")
        order = [names.index(name) for name in self._joint_names]
        path = np.array([p.positions for p in message.points], float).reshape(-1, len(names))[:, order]
        return Planned(path_rad=path, error_code=code, time_s=time_s)

    def execute(self, path: TimedPath) -> None:
        """Begin to run a path through the trajectory execution manager; `running` tells when it is over.

        Raises:
            DeviceError: one is running, no controller moves these joints, or the manager did not take it.
        """
        if self.running():
            raise DeviceError("moveit: a trajectory is running")
        manager = self._moveit.get_trajectory_execution_manager()
        if not manager.ensure_active_controllers_for_group(GROUP):
            raise DeviceError(f"moveit: no active controller moves group {GROUP!r}")
        self._wait_for_start(path.position_rad[0])
        if not manager.push(self._modules.trajectory(path)):
            raise DeviceError("moveit: the execution manager refused the trajectory")
        self._status = None

        def run() -> None:
            self._status = manager.execute_and_wait()

        self._execution = threading.Thread(target=run, daemon=True, name="execution")
        self._execution.start()

    def _wait_for_start(self, position_rad: Array) -> None:
        """Wait until MoveIt has heard of the arm: by simulated time it takes a state of zeros for a fresh one."""
        end = time.monotonic() + STATE_S
        while time.monotonic() < end:
            with self._monitor.read_only() as scene:
                held = scene.current_state.joint_positions
            if max(abs(held[n] - q) for n, q in zip(self._joint_names, position_rad, strict=True)) <= START_RAD:
                return
            time.sleep(STOP_POLL_S)

    def running(self) -> bool:
        """Tell whether a trajectory is being run."""
        return self._execution is not None and self._execution.is_alive()

    def outcome(self) -> str:
        """Return how the last run ended, in MoveIt's words; "" where none has ended."""
        return "" if self.running() or self._status is None else str(self._status.status)

    def stop(self, wait_s: float) -> bool:
        """Stop what runs; return whether the manager let go of it in time."""
        manager = self._moveit.get_trajectory_execution_manager()
        for _ in range(max(round(wait_s / STOP_POLL_S), 1)):
            if not self.running():
                return True
            # a stop that comes before the manager has begun would be forgotten
            manager.stop_execution()
            assert self._execution is not None
            self._execution.join(STOP_POLL_S)
        return not self.running()

    def _trajectory(self, path: TimedPath) -> Any:
        trajectory = self._modules.core.robot_trajectory.RobotTrajectory(self._model)
        trajectory.joint_model_group_name = GROUP
        trajectory.set_robot_trajectory_msg(self._state(path.position_rad[0]), self._modules.trajectory(path))
        if len(trajectory) != len(path.position_rad):
            raise DeviceError(f"moveit: took {len(trajectory)} of {len(path.position_rad)} positions")
        return trajectory

    def _state(self, position_rad: Array) -> Any:
        state = self._modules.core.robot_state.RobotState(self._model)
        state.set_to_default_values()
        state.joint_positions = dict(zip(self._joint_names, np.asarray(position_rad, float).tolist(), strict=True))
        state.update()
        return state

    def _pairs(self, scene: Any, state: Any) -> tuple[tuple[str, str], ...]:
        # contacts cannot be read: ask for one pair after the other, with all others allowed
        detection = self._modules.core.collision_detection
        matrix, names = scene.allowed_collision_matrix, [*self._links, *self._objects]
        found = []
        for k, link in enumerate(self._links):
            for other in names[k + 1 :]:
                if matrix.get_entry(link, other) == (True, "ALWAYS"):
                    continue
                alone = detection.AllowedCollisionMatrix(names, True)
                alone.set_entry(link, other, False)
                result, request = detection.CollisionResult(), detection.CollisionRequest()
                request.joint_model_group_name = GROUP
                scene.check_collision(request, result, state, alone)
                if result.collision:
                    found.append((link, other))
        return tuple(found)
