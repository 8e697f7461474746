"""Segments cut from a trajectory run as the whole did."""

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.slicing import slice_segments
from cell_core.trajectory import JointTrajectory, ProcessEvent, Segment


def _trajectory() -> JointTrajectory:
    time_s = np.linspace(0.0, 3.0, 31)
    position = np.outer(np.sin(time_s), np.ones(6))
    velocity = np.outer(np.cos(time_s), np.ones(6))
    return JointTrajectory(
        joint_names=[f"joint_{i}" for i in range(6)],
        time_s=time_s,
        position_rad=position,
        velocity_rad_per_s=velocity,
        acceleration_rad_per_s2=-position,
        segments=[
            Segment(kind="approach", i0=0, i1=10),
            Segment(kind="process", i0=10, i1=20, stroke=0),
            Segment(kind="retract", i0=20, i1=30),
        ],
        events=[ProcessEvent(time_s=1.1, name="on"), ProcessEvent(time_s=1.9, name="off")],
        tool_frame="gun_tcp",
        base_frame="base_link",
        T_base_part=np.eye(4),
    )


def test_a_cut_moves_as_the_whole():
    whole = _trajectory()
    cut = slice_segments(whole, 1, 1)
    t = np.linspace(0.0, 1.0, 50)
    assert np.allclose(cut.sample(t)[0], whole.sample(t + 1.0)[0])
    assert [round(e.time_s, 9) for e in cut.events] == [0.1, 0.9]
    assert (cut.segments[0].i0, cut.segments[0].i1, cut.segments[0].stroke) == (0, 10, 0)


def test_all_segments_are_the_trajectory_itself():
    whole = _trajectory()
    assert slice_segments(whole, 0, -1) is whole


@pytest.mark.parametrize("first, last", [(-1, 0), (2, 1), (0, 3)])
def test_missing_segments_are_refused(first: int, last: int):
    with pytest.raises(InputRefusedError, match=r"it has 0\.\.2"):
        slice_segments(_trajectory(), first, last)
