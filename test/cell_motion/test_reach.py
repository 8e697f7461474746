"""What becomes of every sample, and what would let the arm take more of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from motion_paths import dome, dome_strokes, toolpath

from cell_core.errors import InputRefusedError
from cell_core.surface_io import read_ply
from cell_core.toolpath import ToolPath
from cell_core.trajectory import Unreached
from cell_core.transforms import Array
from cell_motion import plan_process
from cell_motion.clearance import MARGINS_M, clearance
from cell_motion.reach import REASONS, Reach, outcomes, suggestions
from cell_operator.reach_figure import NO_STROKE, reach_map
from robot_description import Cell, load_cell

FAR_M = 0.85
"""So much farther away some of the dome is out of reach."""


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


@pytest.fixture(scope="module")
def path() -> ToolPath:
    return toolpath("spray", dome_strokes("spray", 3))


def away(cell: Cell, x_m: float) -> Array:
    T = cell.T_base_fixture.copy()
    T[0, 3] += x_m
    return T


def test_the_score_goes_from_all_to_nothing_with_distance(cell, path):
    reach = Reach(cell, path, dome())
    shares = [reach.score(away(cell, x)) for x in (0.0, FAR_M, 2.5)]
    assert shares[0] == 1.0 and 0.1 < shares[1] < 0.95 and shares[2] == 0.0
    assert set(reach.reasons(away(cell, 2.5))) == {"ik"}
    assert reach.by_kinematics(away(cell, 0.0)) == 1.0 and reach.by_kinematics(away(cell, 2.5)) == 0.0


def test_a_pose_that_reaches_more_is_suggested_and_does(cell, path):
    T = away(cell, FAR_M)
    now, found = suggestions(cell, path, dome(), T)
    assert now < 0.95 and found
    best = found[0]
    assert best.kind == "pose" and best.T_fixture_part is not None
    assert best.reached_fraction > now + 0.2
    moved = cell.T_base_fixture @ best.T_fixture_part
    assert Reach(cell, path, dome()).score(moved) == best.reached_fraction
    assert moved[2, 3] == pytest.approx(T[2, 3]) and moved[2, 2] == pytest.approx(1.0)
    assert all(a.reached_fraction >= b.reached_fraction for a, b in pairwise(found))


def test_nothing_is_suggested_where_all_is_reached(cell, path):
    assert suggestions(cell, path, dome(), cell.T_base_fixture) == (1.0, [])


def test_a_path_that_is_off_has_no_reach(cell, path):
    off = replace(path, strokes=[replace(s, on=np.zeros(len(s), bool)) for s in path.strokes])
    with pytest.raises(InputRefusedError, match="process is on nowhere"):
        Reach(cell, off, dome())


def test_the_map_tells_every_sample_on_the_part(cell, path, tmp_path):
    n = len(path.strokes[0])
    lost = [Unreached(stroke=0, sample=i, reason="ik") for i in range(n // 2)]
    lost += [Unreached(stroke=2, sample=i, reason="cell") for i in range(n)]
    codes = outcomes(path, lost)
    assert [int((c == REASONS.index("ik")).sum()) for c in codes] == [n // 2, 0, 0]
    found = reach_map(dome(), path, codes, 0.2)
    x = dome().vertices_m[:, 0]
    assert set(np.unique(found.code[x > 0.12])) <= {REASONS.index("cell"), NO_STROKE}
    assert {REASONS.index("ik"), 0} <= set(np.unique(found.code[x < -0.12]))
    found.write(tmp_path)
    again = read_ply(tmp_path / "reach.ply")
    np.testing.assert_array_equal(again.fields["reach_code"], found.code)
    assert (tmp_path / "reach.png").stat().st_size > 5000


def test_slower_samples_and_the_room_kept_are_told(cell, path):
    fast = replace(path, strokes=[replace(path.strokes[1], speed_m_per_s=np.full(len(path.strokes[1]), 3.0))])
    plan = plan_process(cell, fast, dome(), cell.T_base_fixture)
    (codes,) = outcomes(fast, plan.trajectory.unreached, plan)
    assert REASONS.index("slower") in codes
    room = clearance(cell, plan.trajectory, dome(), moments=40)
    assert set(room.kept_m) == {"self", "cell", "part"}
    for kept in room.kept_m.values():
        assert set(kept) <= set(MARGINS_M) and kept.min() >= 0.002
    up = plan.trajectory.T_base_part.copy()
    up[2, 3] += 0.15
    assert clearance(cell, replace(plan.trajectory, T_base_part=up), dome(), moments=40).kept_m["part"].min() < 0.1
