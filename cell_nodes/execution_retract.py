"""The way back from the part at a pause: straight along the tool axis, checked against scan, cell and arm."""

import numpy as np

from cell_core.config import GunConfig
from cell_core.errors import CollisionError
from cell_core.surface import Surface
from cell_core.trajectory import JointTrajectory, Segment
from cell_core.transforms import Array
from cell_motion.collision import Margins, Scene, contact_link, slide_back_m
from cell_motion.desk import PAD_MARGIN_M, PLANNED_FRACTION, SELF_MARGIN_M
from cell_motion.kinematics import Kinematics
from cell_motion.run import Checkers
from cell_motion.runs import Runner
from cell_motion.timing import Limits, Motion
from robot_description import Cell

SHARES = (1.0, 0.5, 0.25)
"""Tried in turn: a little is better than nothing."""


class Retractor:
    """Finds retracts for one tool beside one part."""

    def __init__(self, cell: Cell, process: str, part: Surface, T_base_part: Array, distance_m: float) -> None:
        tool, config = cell.tool(process), cell.config
        scene = Scene(cell, part=part, T_base_part=T_base_part)
        margins = Margins(self_m=SELF_MARGIN_M, cell_m=config.collision_margin_m, part_m=max(config.part_margin_m, 0.0))
        pad = contact_link(cell, process)
        checkers = Checkers(
            process=scene.checker(margins, contact=pad),
            leaving=scene.checker(margins, contact=pad, contact_margin_m=PAD_MARGIN_M),
            free=scene.checker(margins),
            verify=scene.checker(Margins()),
        )
        self._cell, self._distance_m = cell, distance_m
        self._T_base_part, self._tcp_frame = np.asarray(T_base_part, float), tool.tcp_frame
        self._checkers = checkers
        self._runner = Runner(
            kinematics=Kinematics(cell.robot, tool.tcp_frame),
            limits=Limits.of(cell.robot, PLANNED_FRACTION),
            checkers=checkers,
            grinding=process == "grind",
            acceleration_m_per_s2=tool.config.acceleration_m_per_s2,
            period_s=config.controller_period_s,
            pivot_m=tool.config.reference_standoff_m if isinstance(tool.config, GunConfig) else 0.0,
            slide_m=slide_back_m(tool.config),
        )

    def away(self, position_rad: Array) -> tuple[JointTrajectory, float]:
        """Return the motion from rest at a joint position (6,) back along the tool axis, and how far it goes [m].

        The whole distance where that is free; else half or a quarter of it. What ends where a free move can begin is
        preferred.

        Raises:
            CollisionError: none is free; the arm had better stay.
        """
        found: list[tuple[Motion, float]] = []
        for share in SHARES:
            distance = share * self._distance_m
            motion = self._runner.line(np.asarray(position_rad, float), distance)
            if motion is None:
                continue
            if self._checkers.free.is_free(motion.position_rad[-1]):
                return self._trajectory(motion), distance
            found.append((motion, distance))
        if not found:
            raise CollisionError(
                f"no free retract: neither {1e3 * self._distance_m:.0f} mm nor a quarter of it back along the tool axis"
            )
        motion, distance = found[0]
        return self._trajectory(motion), distance

    def _trajectory(self, motion: Motion) -> JointTrajectory:
        return JointTrajectory(
            joint_names=self._cell.robot.joint_names,
            time_s=motion.time_s,
            position_rad=motion.position_rad,
            velocity_rad_per_s=motion.velocity_rad_per_s,
            acceleration_rad_per_s2=motion.acceleration_rad_per_s2,
            segments=[Segment(kind="retract", i0=0, i1=len(motion.time_s) - 1)],
            events=[],
            tool_frame=self._tcp_frame,
            base_frame=self._cell.robot.config.base_frame,
            T_base_part=self._T_base_part,
        )
