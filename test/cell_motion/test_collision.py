"""The collision scene: nothing is hollow, margins hold, the quick check agrees with the slow one."""

import numpy as np
import pytest
import trimesh

from cell_core.surface import Surface
from cell_motion import collision
from cell_motion.collision import Margins, Scene, contact_link
from cell_motion.solid import Filling, filling
from robot_description import Cell, load_cell, resting_pose

PLANNING = Margins(self_m=0.005, cell_m=0.010, part_m=0.005)


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def _sphere(radius_m: float, fineness: int = 4) -> Surface:
    mesh = trimesh.creation.icosphere(fineness, radius_m)
    return Surface(vertices_m=mesh.vertices, triangles=mesh.faces)


def _at(cell: Cell, link: str) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = cell.robot.forward(cell.robot.home_rad, link)[:3, 3]
    return T


def test_home_is_free_in_the_bare_cell(cell: Cell) -> None:
    checker = Scene(cell).checker(PLANNING)
    assert checker.is_free(cell.robot.home_rad)
    assert checker.hits(cell.robot.home_rad) == []


def test_tools_wholly_inside_a_closed_part_are_found(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    part, T = _sphere(0.45), _at(cell, "tool_plate")
    inside = {hit[1] for hit in Scene(cell, part=part, T_base_part=T).checker(Margins()).hits(cell.robot.home_rad)}
    assert {"tool_plate", "gun", "sander", "sander_pad"} <= inside
    empty = Filling(index=np.zeros((0, 3), np.int64), voxel_m=0.01, origin_m=np.zeros(3))
    monkeypatch.setattr(collision, "filling", lambda surface, up=None: empty)
    hollow = {hit[1] for hit in Scene(cell, part=part, T_base_part=T).checker(Margins()).hits(cell.robot.home_rad)}
    assert "gun" not in hollow  # the mesh alone sees only links that cross it


def test_broadphase_agrees_with_checking_every_pair(cell: Cell) -> None:
    part = _sphere(0.25, 3)
    scene = Scene(cell, part=part, T_base_part=cell.T_base_fixture @ resting_pose(part))
    near = cell.robot.home_rad + np.random.default_rng(0).normal(0.0, 0.5, (150, 6))
    for margins in (Margins(), PLANNING, Margins(part_m=0.05, cell_m=0.05)):
        checker = scene.checker(margins)
        free = checker.free(near)
        assert 0.2 < free.mean() < 1.0
        assert [not checker.hits(q) for q in near] == free.tolist()


def test_a_margin_is_a_distance(cell: Cell) -> None:
    part = _sphere(0.05, 1)
    start = _at(cell, "gun_tcp")

    def touches(distance_m: float, margin_m: float) -> bool:
        T = start.copy()
        T[2, 3] -= distance_m
        return not Scene(cell, part=part, T_base_part=T).checker(Margins(part_m=margin_m)).is_free(cell.robot.home_rad)

    def first_free(margin_m: float) -> float:
        low, high = 0.0, 0.5
        assert touches(low, margin_m)
        assert not touches(high, margin_m)
        for _ in range(9):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if touches(middle, margin_m) else (low, middle)
        return high

    assert 0.018 < first_free(0.02) - first_free(0.0) < 0.035


def test_the_pad_may_touch_the_part_and_nothing_else_may(cell: Cell) -> None:
    pad = contact_link(cell, "grind")
    assert pad == "sander_pad"
    assert contact_link(cell, "spray") is None
    scene = Scene(cell, part=_sphere(0.006), T_base_part=_at(cell, "sander_tcp"))
    assert {h[1] for h in scene.checker(Margins()).hits(cell.robot.home_rad)} == {"sander_pad"}
    assert scene.checker(Margins(), contact=pad).is_free(cell.robot.home_rad)
    assert not scene.checker(Margins(), contact=pad, contact_margin_m=0.0).is_free(cell.robot.home_rad)


def test_filling_fills_closed_parts_and_open_ones_only_from_above() -> None:
    closed = filling(_sphere(0.2))
    volume = len(closed.index) * closed.voxel_m**3
    assert 0.6 < volume / (4.0 / 3.0 * np.pi * 0.2**3) < 1.0
    centres = closed.origin_m + (closed.index + 0.5) * closed.voxel_m
    assert np.linalg.norm(centres, axis=1).max() + closed.voxel_m * np.sqrt(0.75) < 0.2
    sphere = _sphere(0.2)
    cap = sphere.select_triangles(sphere.centroids_m[:, 2] > -0.01)  # half a sphere, open below
    assert len(filling(cap).index) < 0.2 * len(closed.index)
    assert len(filling(cap, up=np.array([0.0, 0.0, 1.0])).index) > 0.3 * len(closed.index)


def test_filling_does_not_depend_on_orientation_or_small_holes() -> None:
    sphere = _sphere(0.2)
    flipped = Surface(vertices_m=sphere.vertices_m, triangles=sphere.triangles[:, ::-1])
    np.testing.assert_array_equal(filling(sphere).index, filling(flipped).index)
    holed = sphere.select_triangles(np.linalg.norm(sphere.centroids_m - [0.0, 0.0, 0.2], axis=1) > 0.008)
    assert len(filling(holed).index) > 0.95 * len(filling(sphere).index)
