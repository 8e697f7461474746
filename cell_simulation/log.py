"""What really ran: joint positions and process values, tick by tick, while a trajectory was running."""

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array
from robot_description import RobotModel


class ExecutionLog:
    """Rows in blocks: time, process on, process value, spindle power, tool, slide, joint positions."""

    def __init__(self, n_joints: int) -> None:
        self._blocks: list[Array] = [np.zeros((0, 6 + n_joints))]

    def append(
        self,
        time_s: Array,
        q: Array,
        on: NDArray[np.bool_],
        process_value: Array,
        spray: bool,
        keep: NDArray[np.bool_],
        *,
        power_w: Array,
        slide_m: Array,
    ) -> None:
        """Take down K ticks; only those to keep."""
        if keep.any():
            rows = np.column_stack([time_s, on, process_value, power_w, np.full(len(time_s), spray), slide_m, q])
            self._blocks.append(rows[keep])

    def arrays(self, robot: RobotModel, tcp_frame: dict[str, str]) -> dict[str, np.ndarray]:
        """Return the rows as arrays by name, with tool poses from the robot's forward kinematics."""
        rows = np.concatenate(self._blocks)
        self._blocks = [rows]
        spray = rows[:, 4] > 0.0
        T = np.tile(np.eye(4), (len(rows), 1, 1))
        for process, mask in (("spray", spray), ("grind", ~spray)):
            if mask.any():
                T[mask] = robot.forward(rows[mask, 6:], tcp_frame[process])
        return {
            "time_s": rows[:, 0].copy(),
            "q": rows[:, 6:].copy(),
            "T_base_tcp": T,
            "on": rows[:, 1] > 0.0,
            "process_value": rows[:, 2].copy(),
            "spindle_power_w": rows[:, 3].copy(),
            "slide_m": rows[:, 5].copy(),
            "tool": np.where(spray, "spray", "grind"),
        }
