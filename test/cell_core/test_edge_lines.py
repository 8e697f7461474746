"""Edge lines are written and read whole, alone and with a plan of several tools."""

from dataclasses import replace

import numpy as np
import pytest

from cell_core.edge_lines import EdgeLines
from cell_core.errors import InputRefusedError
from cell_core.files import write_npz
from cell_core.plan import Plan
from cell_core.toolpath import Stroke, ToolPath


@pytest.fixture
def lines() -> EdgeLines:
    return EdgeLines(
        position_m=np.arange(12.0).reshape(4, 3),
        edge=np.array([0, 0, 1, 1]),
        share_m=np.array([0.5e-3, 0.5e-3, 1e-3, 2e-3]),
        width_m=np.array([0.5e-3, 0.61e-3, 0.0, 0.41e-3]),
        tool=np.array([0, 0, -1, 1]),
        reason=np.array([-1, -1, 1, -1]),
        tools=("burr", "point"),
        reasons=("keep_out", "body_blocked"),
        width_wanted_m=0.5e-3,
        tolerance_fraction=0.2,
    )


def test_lengths_and_tolerance(lines):
    assert lines.refused_m == {"keep_out": 0.0, "body_blocked": pytest.approx(1e-3)}
    assert lines.in_tolerance.tolist() == [True, False, False, True]


def test_a_plan_of_two_tools_is_read_as_it_was_written(lines, tmp_path):
    along = np.tile([1.0, 0.0, 0.0], (2, 1))
    stroke = Stroke(
        kind="edge",
        position_m=0.01 * along * [[0.0], [1.0]],
        tool_axis=np.tile([0.0, 0.0, -1.0], (2, 1)),
        travel=along,
        speed_m_per_s=np.full(2, 0.05),
        process_value=np.full(2, 3.0),
        on=np.ones(2, bool),
    )
    nowhere = {"path": "", "sha256": ""}
    path = ToolPath(process="grind", strokes=[stroke], tool={"name": "burr", "kind": "burr"}, surface=nowhere)
    plan = Plan(toolpath=path, fields={}, edges=lines, further=[replace(path, tool={"name": "point", "kind": "pad"})])
    plan.write(tmp_path)
    back = Plan.read(tmp_path)
    assert [p.tool["name"] for p in (back.toolpath, *back.further)] == ["burr", "point"]
    assert back.edges is not None
    for name, value in vars(lines).items():
        np.testing.assert_array_equal(getattr(back.edges, name), value)


def test_a_file_without_an_array_is_refused(lines, tmp_path):
    write_npz(tmp_path / "edges.npz", **{k: np.asarray(v) for k, v in vars(lines).items() if k != "reason"})
    with pytest.raises(InputRefusedError, match=r"edges\.npz: holds .*, wanted reason as well"):
        EdgeLines.read(tmp_path / "edges.npz")
