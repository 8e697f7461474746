"""The log of an execution pairs joint and tool states by when they were, not by when they were heard."""

from types import SimpleNamespace

import numpy as np
import pytest

from cell_core.remainder import executed_log
from cell_nodes.execution_log import ExecutedLog
from robot_description import load_cell


def _stamped(time_s: float, **fields: object) -> SimpleNamespace:
    whole = int(time_s)
    stamp = SimpleNamespace(sec=whole, nanosec=round(1e9 * (time_s - whole)))
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp), **fields)


@pytest.fixture
def log(tmp_path):
    robot = load_cell("default").robot
    return ExecutedLog(tmp_path / "executed_0.npz", robot.joint_names, robot, "gun_tcp")


def _joint(log: ExecutedLog, time_s: float):
    names = load_cell("default").robot.joint_names
    return _stamped(time_s, name=list(reversed(names)), position=[0.1 * time_s] * len(names))


def _tool(time_s: float, on: bool, flow: float = 0.0):
    return _stamped(time_s, tool="spray", on=on, flow_m3_per_s=flow, force_n=0.0, spindle_power_w=0.0)


def test_a_tool_state_holds_from_its_own_stamp_on_however_late_it_is_heard(log, tmp_path):
    for time_s in (1.0, 1.1, 1.2, 1.3):
        log.add(_joint(log, time_s))
    log.add_tool(_tool(1.1, True, 5e-6))
    log.add_tool(_tool(1.25, False))
    log.write()
    read = executed_log(tmp_path, 0)
    assert read is not None
    np.testing.assert_allclose(read["time_s"], [1.0, 1.1, 1.2, 1.3])
    assert read["on"].tolist() == [False, True, True, False]
    np.testing.assert_allclose(read["process_value"], [0.0, 5e-6, 5e-6, 0.0])


def test_a_joint_state_told_again_is_no_row(log, tmp_path):
    for time_s in (1.0, 1.0, 1.1, 1.1, 1.1):
        log.add(_joint(log, time_s))
    log.write()
    read = executed_log(tmp_path, 0)
    assert read is not None and read["time_s"].tolist() == [1.0, 1.1]


def test_a_run_of_nothing_leaves_an_empty_log(log, tmp_path):
    log.keep_until(5.0)
    log.write()
    read = executed_log(tmp_path, 0)
    assert read is not None and read["T_base_tcp"].shape == (0, 4, 4) and not (tmp_path / "executed_0.rows").exists()
