"""Leaned passes over a bead, and what stays standing for what is in doubt."""

import numpy as np
import pytest

from cell_core.config import Interval, PadTool
from grinding_planner.bead_leans import INSET_M, LEAN_RAD, lean_rad, leant_over
from grinding_planner.bead_parent import fit_parent
from grinding_planner.bead_plan import GAIN_ERROR, gain_error
from grinding_planner.bead_state import AIM_M, BeadState, Care
from grinding_planner.samples import SurfaceSamples

WIDTH_M = 0.014
CARE = Care(gain_error=0.15, force_error_n=2.0, left_max_m=30e-6, spare_m=5e-6, undercut_max_m=5e-6)


@pytest.fixture(scope="module")
def small_disc(disc) -> PadTool:
    return disc.model_copy(update={"radius_m": 0.006, "tilt_max_rad": 0.06})


def test_a_leaned_disc_touches_up_to_the_foot_and_the_rest_of_it_is_lifted(make_sheet, small_disc):
    sheet = make_sheet((0.16, 0.08), 0.003, lambda x, y: 0.0 * x)
    parent = fit_parent(sheet, np.ones(len(sheet.vertices_m), bool))
    middle = np.c_[np.linspace(-0.04, 0.04, 81), np.zeros((81, 2))]
    up = np.broadcast_to([0.0, 0.0, 1.0], middle.shape)
    lines = leant_over(parent, middle, up, WIDTH_M, 0.02, 0.001, small_disc)
    assert len(lines) > 10
    for line in lines:
        # steepest way down the disc's face
        down = line.tool_axis[:, 2:] * line.tool_axis - [0.0, 0.0, 1.0]
        down = down / np.linalg.norm(down, axis=1)[:, None]
        lowest = line.position_m + small_disc.radius_m * down
        assert np.abs(lowest[:, 2]).max() < 1e-6
        assert (line.position_m[:, 2] > 0.9 * 0.02 * small_disc.radius_m).all()
        assert (np.abs(lowest[:, 1]) < 0.5 * WIDTH_M).all()
        assert (np.abs(lowest[:, 0]) < 0.04 + 1e-4).all()
    outermost = max(float(np.abs(line.position_m[:, 1]).max()) for line in lines)
    assert outermost < 0.5 * WIDTH_M - INSET_M + small_disc.radius_m


def test_the_lean_fits_hollows_and_keeps_to_the_tool(small_disc):
    assert lean_rad(-1e-4, small_disc) == pytest.approx(LEAN_RAD)
    # rise r^2 / 2R: the rim's own radius r / lean must be smaller than the hollow's
    rise = small_disc.radius_m**2 / (2.0 * 0.2)
    assert small_disc.radius_m / lean_rad(rise, small_disc) < 0.2
    assert lean_rad(1e-3, small_disc) == small_disc.tilt_max_rad
    assert lean_rad(rise, small_disc.model_copy(update={"tilt_max_rad": 0.0})) == 0.0


def test_what_stands_for_doubt_grows_with_depth_and_shrinks_to_nothing_at_the_end():
    samples = SurfaceSamples(
        points_m=np.zeros((2, 3)), normals=np.tile([0.0, 0.0, 1.0], (2, 1)), areas_m2=np.ones(2) * 1e-6, spacing_m=1e-3
    )
    state = BeadState(
        surface=samples,
        height_m=np.array([1.5e-3, 20e-6]),
        wanted=np.ones(2, bool),
        removed_m=np.zeros(2),
        seen_m=np.full(2, 3e-6),
        ground_m=np.zeros(2),
        harmed_m=np.zeros(2),
        guard=np.ones(2),
        care=CARE,
    )
    goal = state.goal_m(20.0)
    error = np.hypot(0.15, 2.0 / 20.0)
    assert CARE.error_at(20.0) == pytest.approx(error)
    assert 1.5e-3 - goal[0] > 0.9 * error * goal[0]
    assert goal[1] == pytest.approx(20e-6 - AIM_M)
    after = state.without(goal, np.zeros(2), 20.0)
    assert np.abs(after.left_m - AIM_M).max() < 0.05 * error * goal[0]


def test_an_identified_tool_is_in_less_doubt(small_disc):
    assert gain_error(small_disc) == GAIN_ERROR
    k = small_disc.preston_per_pa
    known = small_disc.model_copy(update={"preston_interval_per_pa": Interval(low=0.96 * k, high=1.04 * k)})
    assert gain_error(known) == pytest.approx(0.04)
