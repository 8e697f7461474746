"""In a hollow the ground pushes the pad back on its slide; it may touch until it comes free, no longer."""

import numpy as np
import pytest
from motion_paths import stroke_over, toolpath

from cell_core.errors import UnreachableError
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, ToolPath
from cell_motion import check_trajectory, plan_process
from robot_description import Cell, load_cell

RADIUS_M = 0.26
"""A pad of 62.5 mm radius stands 7.6 mm over the bottom of a trough this round."""


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def trough() -> Surface:
    x, y = np.meshgrid(np.linspace(-0.16, 0.16, 65), np.linspace(-0.2, 0.2, 41), indexing="ij")
    z = 0.05 + RADIUS_M - np.sqrt(RADIUS_M**2 - x**2)
    i = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (k.ravel() for k in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    return Surface(
        vertices_m=np.stack([x, y, z], -1).reshape(-1, 3), triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]]
    )


def along_the_bottom() -> ToolPath:
    y = np.linspace(-0.1, 0.1, 21)
    points = np.stack([np.zeros(21), y, np.full(21, 0.05)], axis=1)
    up = np.tile([0.0, 0.0, 1.0], (21, 1))
    return toolpath("grind", [stroke_over(points, up, speed_m_per_s=0.08, value=40.0, freedom=Freedom())])


def with_slide(cell: Cell, stroke_m: float) -> Cell:
    tool = cell.tool("grind").config
    return cell.equipped(tool.model_copy(update={"slide_stroke_m": stroke_m}))


def test_a_trough_is_ground_and_left_along_the_axis(cell):
    part = trough()
    plan = plan_process(cell, along_the_bottom(), part, cell.T_base_fixture)
    assert plan.figures["reached_fraction"] == 1.0
    assert check_trajectory(cell, plan.trajectory, part, cell.T_base_fixture) == []


def test_a_pad_whose_slide_is_too_short_does_not_come_free(cell):
    with pytest.raises(UnreachableError, match=r"0 of 1 strokes can be run \((part, )?transition\)|part"):
        plan_process(with_slide(cell, 0.002), along_the_bottom(), trough(), cell.T_base_fixture)
    plan = plan_process(cell, along_the_bottom(), trough(), cell.T_base_fixture)
    found = check_trajectory(with_slide(cell, 0.002), plan.trajectory, trough(), cell.T_base_fixture)
    assert {c.pair for c in found} == {("sander_pad", "part")}
