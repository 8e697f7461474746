"""Where a part rests."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.surface import Surface
from cell_core.transforms import apply
from robot_description import resting_pose


def box_surface(low: list[float], size: list[float]) -> Surface:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    triangles = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5]])
    return Surface(vertices_m=np.array(low) + corners * np.array(size), triangles=triangles)


SIZE = st.lists(st.floats(0.01, 2.0), min_size=3, max_size=3)
PLACE = st.lists(st.floats(-5.0, 5.0), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(low=PLACE, size=SIZE)
def test_a_part_stands_centred_on_the_fixture_with_its_long_side_along_y(low: list[float], size: list[float]) -> None:
    surface = box_surface(low, size)
    T = resting_pose(surface)
    moved = apply(T, surface.vertices_m)
    assert np.allclose(moved.min(axis=0)[2], 0.0, atol=1e-9)
    assert np.allclose((moved.min(axis=0) + moved.max(axis=0))[:2], 0.0, atol=1e-9)
    extent = np.ptp(moved, axis=0)
    assert extent[1] >= extent[0] * (1.0 - 1e-5)
    assert np.allclose(T[:3, 2], [0.0, 0.0, 1.0]), "the part is not tipped over"
    assert np.linalg.det(T[:3, :3]) == 1.0
    again = resting_pose(surface.transformed(T, "part"))
    assert np.allclose(again, np.eye(4), atol=1e-9), "resting again moves nothing"
