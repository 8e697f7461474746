"""The film of a plan is found again along the path as run."""

from dataclasses import replace

import numpy as np
import pytest
from spray_parts import GUN

from cell_core.errors import CoverageError
from cell_core.restoring import Attainable
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke, ToolPath
from spray_planner.restoring import FilmRestorer

THROTTLED = GUN.model_copy(update={"flow_min_m3_per_s": 6e-7})


def plate() -> Surface:
    x, y = np.meshgrid(np.linspace(-0.2, 0.2, 21), np.linspace(-0.2, 0.2, 21), indexing="ij")
    i = np.arange(21 * 21).reshape(21, 21)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(
        vertices_m=np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3),
        triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]],
    )


def strokes(coat: int = 1) -> list[Stroke]:
    y = np.linspace(-0.25, 0.25, 51)
    return [
        Stroke(
            kind="area",
            position_m=np.c_[np.full(51, x), y, np.full(51, 0.2)],
            tool_axis=np.tile([0.0, 0.0, -1.0], (51, 1)),
            travel=np.tile([0.0, 1.0, 0.0], (51, 1)),
            speed_m_per_s=np.full(51, 0.4),
            process_value=np.full(51, 5e-6),
            on=np.ones(51, bool),
            freedom=Freedom(spin="fixed", tilt_rad=0.35),
            coat=coat,
        )
        for x in (-0.1, 0.0, 0.1)
    ]


def path(of: list[Stroke]) -> ToolPath:
    return ToolPath(process="spray", strokes=of, tool=GUN.as_block(), surface={"path": "", "sha256": ""})


def tilted(stroke: Stroke) -> Stroke:
    """Lean the gun by 20 degrees over the middle of the stroke, about the point it aims at."""
    lean = np.radians(20.0) * np.exp(-0.5 * (stroke.position_m[:, 1] / 0.08) ** 2)
    axis = np.stack([np.sin(lean), np.zeros_like(lean), -np.cos(lean)], axis=1)
    aim = stroke.position_m + 0.2 * stroke.tool_axis
    return replace(stroke, tool_axis=axis, position_m=aim - 0.2 * axis)


def able(of: list[Stroke], fastest_m_per_s: float = 1.0) -> list[Attainable]:
    return [Attainable(fastest_m_per_s=np.full(len(s), fastest_m_per_s), value_asked=np.full(len(s), 5e-6)) for s in of]


def test_the_plan_itself_is_not_off():
    restorer = FilmRestorer(plate(), path(strokes()), THROTTLED)
    assert restorer.off(path(strokes())) < 1e-6
    assert restorer.off(path([s.reversed() for s in strokes()])) < 0.01


def test_tilted_poses_get_speeds_that_bring_the_film_back():
    restorer = FilmRestorer(plate(), path(strokes()), THROTTLED)
    run = path([tilted(s) for s in strokes()])
    found = restorer.restored(run, able(strokes()))
    assert restorer.off(run) > 0.03
    assert restorer.off(found) < 0.6 * restorer.off(run)
    for before, after in zip(run.strokes, found.strokes, strict=True):
        assert np.array_equal(before.position_m, after.position_m)
        assert np.array_equal(before.tool_axis, after.tool_axis)


def test_a_slower_arm_gets_less_flow():
    restorer = FilmRestorer(plate(), path(strokes()), THROTTLED)
    slow = path([replace(s, speed_m_per_s=np.full(51, 0.2)) for s in strokes()])
    assert restorer.off(slow) == pytest.approx(1.0, abs=0.05)
    found = restorer.restored(slow, able(strokes(), 0.2))
    assert restorer.off(found) < 0.01
    assert max(s.speed_m_per_s.max() for s in found.strokes) <= 0.2 + 1e-9
    assert min(s.process_value.min() for s in found.strokes) >= 6e-7


def test_coats_are_restored_one_after_the_other():
    both = strokes() + strokes(coat=2)
    restorer = FilmRestorer(plate(), path(both), THROTTLED)
    run = path([tilted(s) for s in strokes()] + strokes(coat=2))
    found = restorer.restored(run, able(both))
    assert restorer.off(found) < restorer.off(run)
    assert [s.coat for s in found.strokes] == [1, 1, 1, 2, 2, 2]


def test_a_path_beside_the_surface_is_refused():
    away = [replace(s, position_m=s.position_m + [5.0, 0.0, 0.0]) for s in strokes()]
    restorer = FilmRestorer(plate(), path(away), THROTTLED)
    with pytest.raises(CoverageError, match="leaves nothing"):
        restorer.off(path(away))
