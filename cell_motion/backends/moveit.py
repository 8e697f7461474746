"""Free moves planned by MoveIt, and whole trajectories validated by it; process motion itself stays ours."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cell_core.errors import CollisionError
from cell_core.surface import Surface
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from cell_motion.backends.moveit_modules import SceneObject
from cell_motion.backends.moveit_request import Invalid, Planned, Request
from cell_motion.backends.moveit_worker import MoveItProcess
from cell_motion.collision import PART, Obstacle, contact_link
from cell_motion.solid import filling, merged_boxes
from cell_motion.trajectory import Collision, phases, process_of
from cell_motion.transitions import Mover, close_by, moved_m
from robot_description.model import Cell
from robot_description.moveit import OMPL, moveit_parameters

INSIDE = f"{PART}:inside"
PLANNING_TIME_S = 2.0
TRIES = 3
"""MoveIt keeps no margin between links of the arm; a path that keeps too little is asked for anew."""
STEP_M = 0.02
"""Farthest that any point of the arm goes between two positions that MoveIt is asked about."""
AT_ONCE = 500
STRAIGHT_RAD = 1e-4
UP = np.array([0.0, 0.0, 1.0])


@dataclass(kw_only=True)
class Tally:
    """What MoveIt was asked, and how long it took."""

    plans: int = 0
    failed_plans: int = 0
    plan_s: list[float] = field(default_factory=list)
    checked: int = 0
    check_s: float = 0.0


class MoveItMover:
    """Plans free joint moves by MoveIt's OMPL pipeline in a planning scene that holds the cell and the filled part."""

    def __init__(
        self,
        call: Callable[..., Any],
        cell: Cell,
        *,
        part_names: Sequence[str] = (),
        margins_mover: Mover | None = None,
        padding_m: float = 0.0,
    ) -> None:
        """Use a MoveItSession whose scene is filled.

        Args:
            call: calls a method of the session by name.
            cell: robot and obstacles.
            part_names: the objects of the scene that are the part.
            margins_mover: checks every path at the planning margins as well; None: MoveIt's word is enough.
            padding_m: by how much the links are thicker while free moves are planned.
        """
        self._call, self._cell, self._margins, self._padding_m = call, cell, margins_mover, padding_m
        self._part_names = tuple(part_names)
        self.tally = Tally()
        self._call("pad", padding_m)

    @staticmethod
    def connect(
        cell: Cell, part: Surface | None, T_base_part: Array, margins_mover: Mover | None = None, padding_m: float = 0.0
    ) -> "MoveItMover":
        """Start MoveIt in a process of its own and fill its scene.

        Raises:
            ConfigurationError: moveit_py is not installed, or does not know the robot's group.
            DeviceError: MoveIt did not start or refused the scene.
        """
        objects = scene_objects(cell, part, T_base_part)
        process = MoveItProcess(session_arguments(cell))
        process.call("fill", objects)
        names = [o.name for o in objects if o.name in (PART, INSIDE)]
        return MoveItMover(process.call, cell, part_names=names, margins_mover=margins_mover, padding_m=padding_m)

    def is_clear(self, start_rad: Array, end_rad: Array) -> bool:
        """Tell whether the straight joint move is free: by the margins where there are some, they are the stricter."""
        if self._margins is not None:
            return self._margins.is_clear(start_rad, end_rad)
        return self.first_invalid(close_by(np.stack([start_rad, end_rad]), STEP_M)) is None

    def first_invalid(self, path_rad: Array) -> Invalid | None:
        """Return where MoveIt first finds joint positions (N, 6) in collision; None: nowhere."""
        start_s = time.perf_counter()
        try:
            for first in range(0, len(path_rad), AT_ONCE):
                some = path_rad[first : first + AT_ONCE]
                self.tally.checked += len(some)
                found = self._call("first_invalid", some)
                if found is not None:
                    return Invalid(index=first + found.index, pairs=found.pairs)
            return None
        finally:
            self.tally.check_s += time.perf_counter() - start_s

    def plan(self, start_rad: Array, goal_rad: Array, *, seed: int, time_s: float) -> Array | None:
        """Return joint waypoints (K, 6) by MoveIt, or None. MoveIt's planners take no seed."""
        start_rad, goal_rad = np.asarray(start_rad, float), np.asarray(goal_rad, float)
        if self.is_clear(start_rad, goal_rad):
            return np.stack([start_rad, goal_rad])
        end = time.monotonic() + time_s
        for _ in range(TRIES):
            left_s = end - time.monotonic()
            if left_s <= 0.0:
                break
            planned: Planned = self._call("plan", start_rad, goal_rad, Request(time_s=min(left_s, PLANNING_TIME_S)))
            self.tally.plans += 1
            self.tally.plan_s.append(planned.time_s)
            path = self._usable(planned.path_rad, start_rad, goal_rad)
            if path is not None:
                return path
            self.tally.failed_plans += 1
            if planned.path_rad is None:
                break
        return None

    def _usable(self, path_rad: Array | None, start_rad: Array, goal_rad: Array) -> Array | None:
        """Return the corners of a path that leads from start to goal at the margins; None where it does not."""
        if path_rad is None or len(path_rad) < 2 or np.abs(path_rad[[0, -1]] - [start_rad, goal_rad]).max() > 1e-3:
            return None
        path = corners(np.concatenate([[start_rad], path_rad[1:-1], [goal_rad]]))
        return path if self._margins is None or self._margins.is_clear_path(path) else None

    def validate(self, trajectory: JointTrajectory) -> None:
        """Let MoveIt check a whole trajectory at zero margin, strokes included.

        The pad may touch the part where our own check lets it.

        Raises:
            CollisionError: MoveIt finds something meeting; says what, when and in which segment.
        """
        at_m = moved_m(trajectory.position_rad)
        chosen = np.unique(np.searchsorted(at_m, np.r_[np.arange(0.0, at_m[-1], STEP_M), at_m[-1]]))
        time_s, position = trajectory.time_s[chosen], trajectory.position_rad[chosen]
        process = process_of(self._cell, trajectory.tool_frame)
        pad = contact_link(self._cell, process) if process else None
        kinds, touching = phases(self._cell, trajectory, time_s, position, touch=pad is not None)
        self._call("pad", 0.0)
        try:
            for rows, may_touch in ((np.flatnonzero(~touching), False), (np.flatnonzero(touching), True)):
                invalid = self._first_invalid_of(position[rows], pad if may_touch else None)
                if invalid is None:
                    continue
                at = rows[invalid.index]
                pair = invalid.pairs[0] if invalid.pairs else ("the arm", "something")
                hit = Collision(time_s=float(time_s[at]), pair=pair, kind=self._kind(pair[1]), segment=kinds[at])
                raise CollisionError(
                    f"moveit: {pair[0]} meets {pair[1]} at {hit.time_s:.3f} s ({hit.segment}) at zero margin",
                    collisions=[hit],
                )
        finally:
            self._call("pad", self._padding_m)

    def figures(self) -> dict[str, float | int]:
        """Return what MoveIt was asked so far, and how long it took by its own clock and by ours [s]."""
        tally = self.tally
        return {
            "moveit_plans": tally.plans,
            "moveit_failed_plans": tally.failed_plans,
            "moveit_plan_time_s": sum(tally.plan_s),
            "moveit_checked_positions": tally.checked,
            "moveit_check_time_s": tally.check_s,
        }

    def _first_invalid_of(self, path_rad: Array, pad: str | None) -> Invalid | None:
        if len(path_rad) == 0:
            return None
        for other in self._part_names if pad is not None else ():
            self._call("allow", pad, other, True)
        try:
            return self.first_invalid(path_rad)
        finally:
            for other in self._part_names if pad is not None else ():
                self._call("allow", pad, other, False)

    def _kind(self, other: str) -> Obstacle:
        if other in self._part_names:
            return "part"
        return "cell" if other in {box.name for box in self._cell.obstacles} else "self"


def session_arguments(cell: Cell, pipelines: Sequence[str] = (OMPL,)) -> dict[str, Any]:
    """Return what a MoveItSession takes for planning: paths come back as planned, their timing is ours.

    Args:
        pipelines: those to load; each has to be installed.
    """
    parameters = copy.deepcopy(moveit_parameters(cell))
    parameters["planning_pipelines"]["pipeline_names"] = list(pipelines)
    # nobody tells joint states while a plan is made
    parameters["planning_scene_monitor_options"]["wait_for_initial_state_timeout"] = 0.0
    ompl = parameters[OMPL]
    adapters = ompl["response_adapters"]
    ompl["response_adapters"] = [a for a in adapters if not a.endswith("AddTimeOptimalParameterization")]
    for settings in ompl["planner_configs"].values():
        settings["interpolate"] = 0
    return {
        "parameters": parameters,
        "joint_names": cell.robot.joint_names,
        "links": sorted({shape.link for shape in cell.robot.tree.collisions}),
        "frame": cell.robot.config.base_frame,
    }


def scene_objects(cell: Cell, part: Surface | None, T_base_part: Array) -> list[SceneObject]:
    """Return the cell's boxes, the part, and what fills it: MoveIt's meshes are hollow."""
    none = np.empty((0, 3))
    objects = [
        SceneObject(name=b.name, T_base_object=b.T_base_box, centres_m=np.zeros((1, 3)), sizes_m=np.array([b.size_m]))
        for b in cell.obstacles
    ]
    if part is None:
        return objects
    T = np.asarray(T_base_part, float)
    mesh = {"vertices_m": part.vertices_m, "triangles": part.triangles}
    objects.append(SceneObject(name=PART, T_base_object=T, centres_m=none, sizes_m=none, **mesh))
    centres, sizes = merged_boxes(filling(part, up=T[:3, :3].T @ UP))
    if len(centres):
        objects.append(SceneObject(name=INSIDE, T_base_object=T, centres_m=centres, sizes_m=sizes))
    return objects


def corners(path_rad: Sequence[Array] | Array) -> Array:
    """Return a path (N, 6) without the positions that lie on the straight line between their neighbours."""
    path = np.asarray(path_rad, float)
    kept = [0]
    for k in range(1, len(path) - 1):
        a, b, c = path[kept[-1]], path[k], path[k + 1]
        length = float(np.linalg.norm(c - a))
        share = float((b - a) @ (c - a)) / length**2 if length > 0.0 else 0.0
        if np.abs(b - a - share * (c - a)).max() > STRAIGHT_RAD or not 0.0 <= share <= 1.0:
            kept.append(k)
    return path[[*kept, len(path) - 1]]
