"""A disc leant in a hollow: it touches with the lowest piece of its rim and clears the rest."""

import numpy as np
import pytest

from cell_core.config import GrindToolConfig, load_named
from grinding_planner.bead_leans import HOLLOW_FACTOR, lean_rad, leant_over
from grinding_planner.bead_parent import fit_parent

HOLLOW_M, HALF_WIDTH_M = 0.3, 0.007


@pytest.fixture(scope="module")
def tool() -> GrindToolConfig:
    return load_named(GrindToolConfig, "tools", "disc_12")


@pytest.fixture(scope="module")
def lines(make_sheet, tool):
    surface = make_sheet((0.14, 0.12), 0.004, lambda x, y: HOLLOW_M - np.sqrt(HOLLOW_M**2 - x**2 - y**2))
    parent = fit_parent(surface, np.ones(len(surface.vertices_m), bool))
    x = np.linspace(-0.03, 0.03, 21)
    middle = np.c_[x, 0.0 * x, HOLLOW_M - np.sqrt(HOLLOW_M**2 - x**2)]
    outward = np.c_[-x, 0.0 * x, HOLLOW_M - middle[:, 2]] / HOLLOW_M
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(-0.03, 0.03, 121), np.linspace(-HALF_WIDTH_M, HALF_WIDTH_M, 29)))
    bead = np.c_[u, v, HOLLOW_M - np.sqrt(HOLLOW_M**2 - u**2 - v**2)]
    rise = 0.5 * tool.radius_m**2 / HOLLOW_M
    return leant_over(parent, middle, outward, bead, lean_rad(rise, tool), tool)


def test_the_lean_is_the_hollows_and_only_hollows_need_one(tool):
    rise = 0.5 * tool.radius_m**2 / HOLLOW_M
    assert lean_rad(rise, tool) == pytest.approx(HOLLOW_FACTOR * tool.radius_m / HOLLOW_M)
    assert lean_rad(20.0 * rise, tool) == tool.tilt_max_rad
    assert [lean_rad(r, tool) for r in (-rise, 0.0, 10e-6)] == [0.0, 0.0, 0.0]
    assert lean_rad(rise, tool.model_copy(update={"tilt_max_rad": 0.0})) == 0.0


def test_the_rim_touches_where_it_is_lowest_and_the_rest_is_clear(lines, tool):
    assert len(lines) >= 9
    radius = tool.radius_m * np.sqrt(np.linspace(0.0, 1.0, 30))
    angle = np.linspace(0.0, 2.0 * np.pi, 121)
    x, y = (np.outer(radius, f(angle)).ravel() for f in (np.cos, np.sin))
    lowest_across = []
    for line in lines:
        across = np.cross(line.tool_axis, line.travel)
        face = line.position_m[:, None] + x[:, None] * line.travel[:, None] + y[:, None] * across[:, None]
        clear = HOLLOW_M - np.linalg.norm(face - [0.0, 0.0, HOLLOW_M], axis=2)
        assert clear.min() > -5e-6
        assert clear.min(axis=1) == pytest.approx(0.0, abs=5e-6)
        low = np.argmin(clear, axis=1)
        assert np.hypot(x[low], y[low]) == pytest.approx(tool.radius_m)
        # under the middle there is room for what an upright disc leaves
        assert clear[:, 0].min() > 0.5 * tool.radius_m**2 / HOLLOW_M
        lowest_across.append(float(np.median(face[np.arange(len(low)), low, 1])))
    assert min(lowest_across) == pytest.approx(-HALF_WIDTH_M, abs=0.0005)
    assert max(lowest_across) == pytest.approx(HALF_WIDTH_M, abs=0.0005)
    assert np.diff(np.sort(lowest_across)).max() < 0.0025
