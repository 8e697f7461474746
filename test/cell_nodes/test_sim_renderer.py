"""Depth images rendered in a process of their own are those of the part as it is."""

import numpy as np
import pytest
from node_kit import dome, until

from cell_nodes.sim_renderer import Renderer
from cell_simulation.camera import DepthCamera
from cell_simulation.true_part import TruePart
from robot_description import load_cell

LOOKING_DOWN = np.diag([1.0, -1.0, -1.0, 1.0])
LOOKING_DOWN[2, 3] = 0.5


@pytest.fixture
def camera() -> DepthCamera:
    return DepthCamera(load_cell("default").camera, TruePart(dome()), seed=1)


def test_the_other_process_renders_the_same_and_follows_what_is_ground_off(camera):
    renderer = Renderer(camera)
    removed_m = np.zeros_like(camera._shape.removed_m)
    try:
        until(lambda: renderer.render(LOOKING_DOWN, 0.0, removed_m) is not None)
        first = renderer.render(LOOKING_DOWN, 1.5, removed_m)
        lower = renderer.render(LOOKING_DOWN, 2.5, removed_m + 0.01)
        here = camera.render(LOOKING_DOWN, 1.5)
        assert first is not None and lower is not None and (first.stamp_s, lower.stamp_s) == (1.5, 2.5)
        seen = (first.depth_m > 0.0) & (here.depth_m > 0.0) & (lower.depth_m > 0.0)
        assert seen.sum() > 10000
        assert abs(np.median((first.depth_m - here.depth_m)[seen])) < 1e-4
        assert 0.009 < np.median((lower.depth_m - first.depth_m)[seen]) < 0.012
    finally:
        renderer.close()
    assert not renderer._process.is_alive()


def test_a_process_that_died_is_told_and_not_asked_again(camera):
    renderer = Renderer(camera)
    removed_m = np.zeros_like(camera._shape.removed_m)
    until(lambda: renderer.render(LOOKING_DOWN, 0.0, removed_m) is not None)
    renderer._process.kill()
    renderer._process.join(5.0)
    assert renderer.render(LOOKING_DOWN, 0.0, removed_m) is None and renderer.failed
    assert renderer.render(LOOKING_DOWN, 0.0, removed_m) is None
    renderer.close()


def test_closing_what_was_never_asked_starts_nothing(camera):
    renderer = Renderer(camera)
    renderer.close()
    assert renderer._process.pid is None
