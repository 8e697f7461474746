"""Strokes run in the model: what lies under a line's poses serves for any part of it, in either direction."""

from dataclasses import replace

import numpy as np
import pytest

from cell_core.transforms import tool_frames
from grinding_planner.bead_run import part_of, run_passes, run_strokes
from grinding_planner.contact import pad_pairs
from grinding_planner.results import stroke_of
from grinding_planner.samples import sample_surface
from grinding_planner.strokes import line_through

FORCE_N = 20.0


@pytest.fixture(scope="module")
def ground(make_sheet):
    return sample_surface(make_sheet((0.06, 0.03), 0.001, lambda x, y: 1e-4 * np.sin(300.0 * x) - 2.0 * y**2), 0.0007)


@pytest.fixture(scope="module")
def line():
    x = np.linspace(-0.02, 0.02, 41)
    return line_through(np.c_[x, 0.001 * x, 0.0 * x], np.tile([0.0, 0.02, -1.0], (41, 1)))


@pytest.mark.parametrize("back", [False, True])
def test_a_part_of_a_line_is_run_with_the_lines_pairs(ground, line, disc, back):
    run = slice(8, 30)
    stroke = stroke_of(line.part(run), np.full(22, FORCE_N), "bead", np.linspace(0.02, 0.05, 22), disc)
    stroke = stroke.reversed() if back else stroke
    gone = np.linspace(0.0, 3e-6, len(ground))
    whole = pad_pairs(ground, tool_frames(line.position_m, line.tool_axis, line.travel), disc.radius_m)
    taken = run_passes(gone, [(stroke, part_of(whole, run, back=back))], disc)
    lower = replace(ground, points_m=ground.points_m - gone[:, None] * ground.normals)
    asked = run_strokes(lower, np.zeros(len(ground)), [stroke], disc)
    assert asked.max() > 1e-6
    assert taken == pytest.approx(asked, abs=0.01 * asked.max())


def test_what_is_gone_already_is_not_pressed(ground, line, disc):
    stroke = stroke_of(line, np.full(41, FORCE_N), "bead", np.full(41, 0.03), disc)
    hole = np.where(np.abs(ground.points_m[:, 0]) < 0.004, 1e-3, 0.0)
    taken = run_strokes(ground, hole, [stroke], disc)
    assert taken[hole > 0.0].max() == 0.0 and taken[hole == 0.0].max() > 1e-6
