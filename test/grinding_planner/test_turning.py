"""How axes turn along strokes: no more than the ground under the pad does, and how the figures tell."""

import numpy as np
import pytest

from cell_core.toolpath import Freedom, Stroke
from grinding_planner.planner import plan_grind
from grinding_planner.strokes import Line, smoothed, turned
from grinding_planner.turning import bending, haste, turn_figures

STEP_M, RADIUS_M, SLOPE_MAX = 0.0125, 0.0625, 0.05


def arc(n: int, turn_rad_per_m: float) -> Line:
    """Samples along a circle, the axis towards its middle."""
    angle = np.arange(n) * STEP_M * turn_rad_per_m
    around = np.stack([np.sin(angle), 0.0 * angle, np.cos(angle)], axis=1)
    travel = np.stack([np.cos(angle), 0.0 * angle, -np.sin(angle)], axis=1)
    return Line(position_m=around / turn_rad_per_m, tool_axis=-around, travel=travel)


def test_bending_is_the_change_of_turn_of_line_and_leans_together():
    line = arc(31, 1.5)
    matrix, offset = bending([line], RADIUS_M, SLOPE_MAX)
    # an even turn only bends as a circle does: its second difference is the square of the angle of a step
    even = np.linalg.norm(offset) ** 2
    assert even == pytest.approx((RADIUS_M**2 * 1.5**2 / SLOPE_MAX) ** 2 * 29 / 30, rel=1e-2)
    rng = np.random.default_rng(1)
    tilt = 0.5 * rng.normal(size=(31, 2))
    across = np.cross(line.tool_axis, line.travel)
    leant = line.tool_axis + SLOPE_MAX * (tilt[:, :1] * line.travel + tilt[:, 1:] * across)
    step = np.linalg.norm(np.diff(line.position_m, axis=0), axis=1)[0]
    second = np.diff(leant, n=2, axis=0) / step**2 * RADIUS_M**2 / SLOPE_MAX
    told = matrix @ tilt.T.ravel() + offset
    assert told @ told == pytest.approx(np.sum(second**2) / 30, rel=1e-9)


def test_bending_of_several_lines_keeps_them_apart():
    a, b = arc(9, 1.0), arc(2, 2.0)
    matrix, offset = bending([a, b], RADIUS_M, SLOPE_MAX)
    assert matrix.shape == (3 * 7, 2 * 11)
    assert offset.shape == (21,)
    # two samples turn evenly whatever they do
    assert np.abs(matrix[:, 9:11]).sum() == 0.0
    assert haste([np.full(9, 0.2), np.full(2, 0.01)]) == pytest.approx(np.ones(21))
    assert haste([np.full(9, 0.05)]) == pytest.approx(np.full(21, 0.25))


def test_smoothed_axes_of_a_plane_stay_and_a_jump_is_spread():
    x = np.arange(41) * STEP_M
    line = Line(
        position_m=np.c_[x, 0 * x, 0 * x],
        tool_axis=np.tile([0.0, 0.0, -1.0], (41, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (41, 1)),
    )
    assert turned(line, line.tool_axis, 2.0).tool_axis == pytest.approx(line.tool_axis, abs=1e-12)
    jump = np.deg2rad(20.0) * (np.arange(41) >= 20)
    out = turned(line, np.stack([np.sin(jump), 0 * jump, -np.cos(jump)], axis=1), 2.0)
    angle = np.arctan2(out.tool_axis[:, 0], -out.tool_axis[:, 2])
    assert np.diff(angle).max() < 0.25 * np.deg2rad(20.0)
    assert angle[[0, -1]] == pytest.approx([0.0, np.deg2rad(20.0)], abs=1e-6)
    assert np.abs(np.einsum("ij,ij->i", out.travel, out.tool_axis)).max() < 1e-12


def test_smoothing_keeps_axes_square_to_an_arc_up_to_its_ends():
    step, radius, reach = 0.001, 0.2, 0.010
    angle = np.arange(-0.06, 0.06, step) / radius
    true = np.c_[np.sin(angle), np.cos(angle)]
    calm = smoothed(true, reach / step)
    calm /= np.linalg.norm(calm, axis=1)[:, None]
    assert np.arccos(np.einsum("ij,ij->i", calm, true).clip(-1.0, 1.0)).max() < 1e-3
    noise = np.random.default_rng(2).normal(0.0, 1.0, (400, 1))
    assert np.std(smoothed(noise, 10.0)[50:-50]) < 0.3
    # fewer values than the smoothing reaches over
    assert smoothed(np.arange(3.0)[:, None], 8.0).shape == (3, 1)


def test_figures_tell_turns_and_steps():
    line = arc(21, 2.0)
    speed = np.full(21, 0.1)
    speed[10:] = 0.12
    stroke = Stroke(
        kind="area", position_m=line.position_m, tool_axis=line.tool_axis, travel=line.travel, speed_m_per_s=speed,
        process_value=np.full(21, 30.0), on=np.ones(21, bool), freedom=Freedom(),
    )  # fmt: skip
    figures = turn_figures([stroke])
    assert figures["axis_turn_max_rad_per_m"] == pytest.approx(2.0, rel=1e-3)
    assert figures["axis_turn_p95_rad_per_m"] == pytest.approx(2.0, rel=1e-3)
    assert figures["axis_turn_max_rad_per_s"] == pytest.approx(0.24, rel=1e-3)
    assert figures["speed_step_max"] == pytest.approx(0.2)
    assert figures["speed_step_p95"] == pytest.approx(0.0, abs=1e-12)


def test_strokes_turn_hardly_more_than_the_ground(make_sheet, area_recipe, orbital):
    radius = 0.9
    bowl = make_sheet((0.32, 0.30), 0.008, lambda x, y: np.sqrt(radius**2 - x**2 - y**2) - radius)
    figures = plan_grind(bowl, area_recipe, orbital).figures
    assert figures["in_tolerance_area_fraction"] > 0.97
    # chords turn by 1 / R; leans at the rim come on top
    assert 0.8 / radius < figures["axis_turn_p95_rad_per_m"] < 1.6 / radius
    assert figures["axis_turn_max_rad_per_m"] < 2.5 / radius


def test_strokes_over_a_plane_hardly_turn(make_sheet, area_recipe, orbital):
    flat = make_sheet((0.30, 0.28), 0.02, lambda x, y: 0.0 * x)
    plan = plan_grind(flat, area_recipe, orbital)
    assert plan.figures["in_tolerance_area_fraction"] > 0.97
    # leans only: within the tool's tilt, over several samples
    assert plan.figures["axis_turn_max_rad_per_m"] * 0.2 * orbital.radius_m < 0.3 * orbital.tilt_max_rad
    for stroke in plan.toolpath.strokes:
        change = np.abs(np.diff(stroke.speed_m_per_s**2)) / (2 * stroke.step_lengths_m)
        assert change.max() <= 0.6 * orbital.acceleration_m_per_s2 * (1.0 + 1e-6)
