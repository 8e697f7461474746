"""The depth of a ground plan is found again along the path as run."""

from dataclasses import replace

import numpy as np
import pytest

from cell_core.config import GrindToolConfig, load_named
from cell_core.restoring import Attainable
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from grinding_planner.restoring import GroundRestorer, restores

TOOL = load_named(GrindToolConfig, "tools", "orbital_125")


def plate() -> Surface:
    x, y = np.meshgrid(np.linspace(-0.2, 0.2, 21), np.linspace(-0.2, 0.2, 21), indexing="ij")
    i = np.arange(21 * 21).reshape(21, 21)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(
        vertices_m=np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3),
        triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]],
    )


def strokes(speed_m_per_s: float = 0.1, force_n: float = 40.0) -> list[Stroke]:
    y = np.linspace(-0.13, 0.13, 27)
    return [
        Stroke(
            kind="area",
            position_m=np.c_[np.full(27, x), y, np.zeros(27)],
            tool_axis=np.tile([0.0, 0.0, -1.0], (27, 1)),
            travel=np.tile([0.0, 1.0, 0.0], (27, 1)),
            speed_m_per_s=np.full(27, speed_m_per_s),
            process_value=np.full(27, force_n),
            on=np.ones(27, bool),
        )
        for x in (-0.06, 0.0, 0.06)
    ]


def path(of: list[Stroke]) -> ToolPath:
    return ToolPath(process="grind", strokes=of, tool={"name": "x", "kind": "pad"}, surface={"path": "", "sha256": ""})


@pytest.fixture(scope="module")
def restorer() -> GroundRestorer:
    return GroundRestorer(plate(), path(strokes()), TOOL)


def test_the_plan_itself_is_not_off(restorer):
    assert restorer.off(path(strokes())) < 1e-6
    assert restorer.off(path([s.reversed() for s in strokes()])) < 0.01


def test_depth_goes_with_force_over_speed(restorer):
    """Preston's law: half the speed takes off twice as much, half the force as well makes up for it."""
    assert restorer.off(path(strokes(0.05))) == pytest.approx(1.0, abs=0.1)
    assert restorer.off(path(strokes(0.05, 20.0))) < 0.01
    planned, slow = (restorer.predicted(path(strokes(v))) for v in (0.1, 0.05))
    assert slow["mean_m"] == pytest.approx(2.0 * planned["mean_m"], rel=0.02)
    assert restorer.predicted(path(strokes(0.1)[:1]))["coverage_area_fraction"] < 0.7


def test_force_makes_up_for_a_slower_arm(restorer):
    slower = np.where(np.abs(np.linspace(-0.13, 0.13, 27)) < 0.05, 0.06, 0.1)
    run = path([replace(s, speed_m_per_s=slower) for s in strokes()])
    able = [Attainable(fastest_m_per_s=slower, value_asked=np.full(27, 40.0)) for _ in run.strokes]
    found = restorer.restored(run, able)
    assert restorer.off(run) > 0.2
    assert restorer.off(found) < 0.05
    for stroke in found.strokes:
        assert np.all(stroke.speed_m_per_s <= slower + 1e-9)
        assert np.all(stroke.process_value >= TOOL.force_n.low - 1e-9)
        assert stroke.process_value.min() < 30.0


def test_beads_and_edges_are_not_restored():
    assert restores(path(strokes()))
    assert not restores(path([replace(s, kind="bead") for s in strokes()]))
