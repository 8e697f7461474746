"""What a slowed stroke leaves stays what was planned, within the tool's range."""

from dataclasses import replace

import numpy as np
import pytest

from cell_core.config import GrindToolConfig, GunConfig, load_named
from cell_core.toolpath import Stroke
from cell_motion.compensation import compensated


def _stroke(speed: np.ndarray, value: float) -> Stroke:
    n = len(speed)
    return Stroke(
        kind="area",
        position_m=np.c_[np.linspace(0.0, 0.3, n), np.zeros((n, 2))],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=speed,
        process_value=np.full(n, value),
        on=np.ones(n, bool),
    )


def test_flow_over_speed_is_kept() -> None:
    gun = load_named(GunConfig, "guns", "hvlp_240")
    planned = _stroke(np.full(31, 0.3), 2.4e-6)
    run = replace(planned, speed_m_per_s=0.3 - 0.1 * np.sin(np.linspace(0, np.pi, 31)))
    stroke, excess = compensated(run, planned, gun)
    assert excess == 0.0
    assert stroke.process_value.min() < 0.7 * 2.4e-6
    np.testing.assert_allclose(stroke.process_value / stroke.speed_m_per_s, 2.4e-6 / 0.3)


def test_force_stops_at_the_tools_least_and_says_what_remains() -> None:
    tool = load_named(GrindToolConfig, "tools", "orbital_125")
    planned = _stroke(np.full(11, 0.2), 50.0)
    run = replace(planned, speed_m_per_s=np.full(11, 0.03))
    stroke, excess = compensated(run, planned, tool)
    np.testing.assert_allclose(stroke.process_value, tool.force_n.low)
    assert stroke.on.all()
    assert excess == pytest.approx(tool.force_n.low / 7.5 - 1.0)


def test_a_tool_nearly_at_rest_is_switched_off() -> None:
    gun = load_named(GunConfig, "guns", "hvlp_240")
    planned = _stroke(np.full(11, 0.3), 2.4e-6)
    speed = np.full(11, 0.3)
    speed[:2] = 0.001
    stroke, excess = compensated(replace(planned, speed_m_per_s=speed), planned, gun)
    assert stroke.on.tolist() == [False, False] + [True] * 9
    assert excess == 0.0


def test_a_gun_that_cannot_be_throttled_keeps_its_flow() -> None:
    gun = load_named(GunConfig, "guns", "hvlp_240").model_copy(update={"flow_min_m3_per_s": None})
    planned = _stroke(np.full(11, 0.3), 2.4e-6)
    run = replace(planned, speed_m_per_s=np.full(11, 0.2))
    stroke, excess = compensated(run, planned, gun)
    np.testing.assert_allclose(stroke.process_value, 2.4e-6)
    assert excess == pytest.approx(0.5)


def test_a_faster_sample_is_never_given_more() -> None:
    gun = load_named(GunConfig, "guns", "hvlp_240")
    planned = _stroke(np.full(11, 0.2), 2.4e-6)
    stroke, _ = compensated(replace(planned, speed_m_per_s=np.full(11, 0.3)), planned, gun)
    np.testing.assert_allclose(stroke.process_value, 2.4e-6)
