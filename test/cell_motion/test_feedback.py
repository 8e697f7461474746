"""Motion asks for speeds that leave what was planned, runs them, and keeps what is better."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from motion_paths import dome, dome_strokes, toolpath

from cell_core.restoring import Attainable
from cell_core.toolpath import ToolPath
from cell_motion import check_trajectory, plan_process
from cell_motion.path import SMOOTHING_S, SpeedLaw, StrokePath, profile, rounded
from robot_description import Cell, load_cell


class SlowerIsBetter:
    """Claims that every stroke should be run at a share of the speed, with less flow by as much."""

    def __init__(self, share: float, *, honest: bool = True) -> None:
        self.share, self.honest, self.asked = share, honest, []

    def off(self, run: ToolPath) -> float:
        mean = float(np.mean([s.speed_m_per_s.mean() for s in run.strokes]))
        return abs(mean - 0.3 * self.share) if self.honest else 0.3 - mean + 0.1

    def predicted(self, run: ToolPath) -> dict[str, float]:
        return {"mean_m": self.off(run)}

    def restored(self, run: ToolPath, attainable: Sequence[Attainable]) -> ToolPath:
        self.asked.append(attainable)
        return replace(
            run,
            strokes=[
                replace(s, speed_m_per_s=np.full(len(s), 0.3 * self.share), process_value=self.share * a.value_asked)
                for s, a in zip(run.strokes, attainable, strict=True)
            ],
        )


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


@pytest.fixture(scope="module")
def path() -> ToolPath:
    return toolpath("spray", dome_strokes("spray", 5)[1:3])


def test_speeds_asked_for_are_run_and_checked(cell, path):
    restorer = SlowerIsBetter(0.7)
    plan = plan_process(cell, path, dome(), cell.T_base_fixture, restorer=restorer)
    assert restorer.asked and len(restorer.asked[0]) == 2
    assert plan.toolpath is not None and len(plan.toolpath.strokes) == 2
    for stroke in plan.toolpath.strokes:
        assert stroke.speed_m_per_s == pytest.approx(0.21, rel=0.02)
        assert stroke.process_value == pytest.approx(0.7 * 5e-6, rel=0.02)
    figures = plan.figures
    assert figures["restoring_rounds"] >= 1
    assert figures["off_plan_rms_fraction"] < 0.1 * figures["off_plan_before_rms_fraction"]
    assert figures["velocity_ratio_max"] < 1.0 and figures["jerk_ratio_max"] < 1.0
    assert check_trajectory(cell, plan.trajectory, dome(), cell.T_base_fixture) == []


def test_speeds_that_make_it_worse_are_dropped(cell, path):
    plain = plan_process(cell, path, dome(), cell.T_base_fixture)
    plan = plan_process(cell, path, dome(), cell.T_base_fixture, restorer=SlowerIsBetter(0.7, honest=False))
    assert plan.figures["restoring_rounds"] == 0
    before = plan.figures["off_plan_before_rms_fraction"]
    assert plan.figures["off_plan_rms_fraction"] == pytest.approx(before, rel=0.05)
    assert np.array_equal(plan.trajectory.position_rad, plain.trajectory.position_rad)


def test_tool_speed_is_that_of_the_path_handed_on(cell, path):
    """At 1 kHz, between samples too, where the speeds asked for have kinks and steps."""
    kinked = []
    for stroke in path.strokes:
        n = np.arange(len(stroke))
        kinked.append(replace(stroke, speed_m_per_s=np.where(n // 12 % 2, 0.25, 0.4)))
    asked = replace(path, strokes=kinked)
    plan = plan_process(cell, asked, dome(), cell.T_base_fixture)
    assert plan.toolpath is not None
    assert plan.toolpath.prediction == pytest.approx(
        {"duration_s": plan.toolpath.duration_s, "length_m": plan.toolpath.length_m}
    )
    off_length, length, missed = 0.0, 0.0, 0.0
    for segment in (s for s in plan.trajectory.segments if s.kind == "process"):
        stroke = plan.toolpath.strokes[segment.stroke or 0]
        start, end = (float(plan.trajectory.time_s[i]) for i in (segment.i0, segment.i1))
        assert stroke.times_s[-1] == pytest.approx(end - start, rel=2e-3)
        time = np.arange(start, end, 1e-3)
        position, _ = plan.trajectory.sample(time)
        tcp = cell.robot.forward(position, plan.trajectory.tool_frame)[:, :3, 3]
        pace = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(tcp, axis=0), axis=1))]
        at = np.r_[0.0, np.cumsum(stroke.step_lengths_m)]
        said = np.sqrt(np.interp(pace, at, stroke.speed_m_per_s**2))
        served = plan.served[segment.stroke or 0]
        planned = asked.strokes[served.stroke].speed_m_per_s[:: -1 if served.reversed else 1]
        coarse = np.interp(pace, at[-1] * np.linspace(0.0, 1.0, len(planned)), planned)
        speed, step = np.gradient(pace, 1e-3), np.gradient(pace)
        length += step.sum()
        off_length += step[np.abs(speed / said - 1.0) > 0.01].sum()
        missed += step[np.abs(speed / coarse - 1.0) > 0.01].sum()
    assert off_length <= 0.005 * length < missed


def test_what_the_arm_can_do_is_told(cell, path):
    restorer = SlowerIsBetter(0.7)
    plan_process(cell, path, dome(), cell.T_base_fixture, restorer=restorer)
    for one in restorer.asked[0]:
        assert np.all(one.fastest_m_per_s >= 0.29) and np.all(one.fastest_m_per_s <= 0.46)
        assert np.all(one.value_asked == 5e-6)


def test_speed_is_rounded_only_where_asked():
    stroke = dome_strokes("spray", 3, step_m=0.005)[1]
    zigzag = 0.3 + 0.03 * np.abs((np.arange(len(stroke)) % 40) / 20.0 - 1.0)
    path = StrokePath(replace(stroke, speed_m_per_s=zigzag))
    law = SpeedLaw.of(path)
    none = np.zeros(len(law.s_m))
    level, eased = rounded(law.s_m, none, np.array([0.1]))
    assert eased.all() and level.max() == pytest.approx(1.0, abs=0.05)
    assert np.all(level[np.abs(law.s_m - 0.1) > 0.06] < 1e-3)
    sharp, local, blunt = (profile(law, 2.0, 2.0, x) for x in (none, level, none + len(SMOOTHING_S) - 1.0))
    far = np.linspace(0.2, 0.5, 200)

    def off(one):
        return np.abs(one.speed_at(one.time_at(far)) / np.interp(far, law.s_m, law.speed_m_per_s) - 1.0).max()

    assert off(local) == pytest.approx(off(sharp), rel=1e-3)
    assert off(blunt) > 1.5 * off(sharp)
    full = np.full(len(law.s_m), len(SMOOTHING_S) - 1.0)
    assert not rounded(law.s_m, full, np.array([0.1]))[1].any()
