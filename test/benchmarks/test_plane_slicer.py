"""The plane-slicing baseline against noether's own output, on flat ground, and where it is kinder."""

import json
from pathlib import Path

import numpy as np
import pytest
from plane_slicer import Line, SlicerSettings, plane_slicer, slice_surface, snake, spray_strokes
from scipy.spatial import KDTree

from cell_core.errors import ConfigurationError
from cell_core.surface import Surface

GOLDEN = json.loads((Path(__file__).parent / "noether_wavy_plate.json").read_text())
"""What noether_tpp 0.16.0 (commit e64b330) answered for `wavy_plate` with the settings in the file: the mesh as 32-bit
PLY, normals from faces, its legacy plane slicer with principal axis and centroid, snake order; a waypoint is its
position [m] and z axis. `cut` is the plane through the middle as the plain plane slicer leaves it, not resampled;
`smoothed_normals` are lines 2 and 3 in raster order after its moving average over 5 points. To make it again, run those
three pipelines on the same mesh and settings."""


def grid(x, y, z) -> Surface:
    i = np.arange(x.size).reshape(x.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    triangles = np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])
    return Surface(vertices_m=np.column_stack([x.ravel(), y.ravel(), z.ravel()]), triangles=triangles)


def wavy_plate() -> Surface:
    """Lopsided, doubly curved, with a hole wider than the joining distance and one narrower."""
    u, v = np.meshgrid(np.linspace(0.0, 1.0, 38), np.linspace(0.0, 1.0, 27), indexing="ij")
    x, y = 0.37 * u + 0.16 * u**2, 0.37 * v
    whole = grid(x, y, 0.025 * np.sin(7.0 * x) + 0.02 * np.cos(9.0 * y) + 0.05 * x * y)
    cx, cy, _ = whole.centroids_m.T
    return whole.select_triangles((np.hypot(cx - 0.20, cy - 0.13) > 0.045) & (np.hypot(cx - 0.38, cy - 0.27) > 0.018))


def flat(length: float = 0.5, width: float = 0.3) -> Surface:
    x, y = np.meshgrid(np.linspace(0.0, width, 20), np.linspace(0.0, length, 30), indexing="ij")
    return grid(x, y, np.zeros_like(x))


def settings(**changes) -> SlicerSettings:
    return SlicerSettings(**{**GOLDEN["settings"], "normals": "carried", **changes})


def test_lines_are_noethers_point_for_point():
    lines = snake(slice_surface(wavy_plate(), settings()))
    assert len(GOLDEN["lines"]) == 16
    assert len(lines) == len(GOLDEN["lines"])
    assert len({line.plane for line in lines}) == GOLDEN["n_planes"]
    for line, waypoints in zip(lines, GOLDEN["lines"], strict=True):
        theirs = np.array(waypoints)
        assert line.points_m == pytest.approx(theirs[:, :3], abs=2e-6)
        assert line.normals == pytest.approx(theirs[:, 3:], abs=1.5e-5)


def test_normals_of_the_cut_are_noethers_before_its_resampling():
    theirs = np.array(GOLDEN["cut"])
    fine = settings(point_spacing_m=2e-4, min_hole_m=0.0, min_segment_m=0.0, normals="mesh")
    lines = [line for line in slice_surface(wavy_plate(), fine) if line.plane == 0]
    points, normals = (np.concatenate([getattr(line, name) for line in lines]) for name in ("points_m", "normals"))
    distance, nearest = KDTree(points).query(theirs[:, :3])
    assert len(theirs) > 50
    assert distance.max() < 1.1e-4
    assert normals[nearest] == pytest.approx(theirs[:, 3:], abs=3e-4)


def test_smoothing_is_noethers():
    plain, ours = (slice_surface(wavy_plate(), settings(smoothing_points=n))[2:4] for n in (1, 5))
    for line, before, theirs in zip(ours, plain, GOLDEN["smoothed_normals"], strict=True):
        assert line.normals == pytest.approx(np.array(theirs), abs=2e-4)
        assert np.abs(line.normals - before.normals).max() > 0.015


def test_resampling_loses_the_tilt_across_the_stroke():
    ours, theirs = (
        np.concatenate([line.normals for line in slice_surface(wavy_plate(), settings(normals=name))])
        for name in ("mesh", "carried")
    )
    angle = np.degrees(np.arccos(np.clip(np.sum(ours * theirs, axis=1), -1.0, 1.0)))
    assert angle.max() > 10.0


def test_flat_plate_is_covered_at_the_spacing_in_snake_order():
    lines = plane_slicer(flat(), 0.06)
    assert [line.plane for line in lines] == sorted(line.plane for line in lines)
    across = np.array([line.points_m[:, 1].mean() for line in lines])
    assert np.abs(np.diff(across)) == pytest.approx(0.06, abs=1e-9)
    assert all(np.ptp(line.points_m[:, 1]) < 1e-12 for line in lines)
    ends = np.array([[line.points_m[0, 0], line.points_m[-1, 0]] for line in lines])
    assert (ends[1:, 0] == pytest.approx(ends[:-1, 1])) and len(lines) == 9
    for line in lines:
        steps = np.linalg.norm(np.diff(line.points_m, axis=0), axis=1)
        assert steps[1:-1] == pytest.approx(0.015)
        assert 0.0074 < steps[0] < 0.0151 and steps[-1] == pytest.approx(steps[0])
        assert np.abs(line.normals) == pytest.approx(np.tile([0.0, 0.0, 1.0], (len(line.normals), 1)))


def test_holes_are_joined_below_their_size_only():
    counts = [len(slice_surface(wavy_plate(), settings(min_hole_m=gap))) for gap in (0.0, 0.05, 1.0)]
    assert counts[0] > counts[1] > counts[2] == GOLDEN["n_planes"]


def test_closed_part_is_cut_on_both_sides():
    ring, height = np.meshgrid(np.linspace(0.0, 2.0 * np.pi, 41)[:-1], np.linspace(0.0, 0.6, 20), indexing="ij")
    tube = grid(0.1 * np.cos(ring), 0.1 * np.sin(ring), height)
    n = ring.shape[1]
    wrap = np.arange(n - 1)
    last = (ring.shape[0] - 1) * n
    seam = np.concatenate(
        [
            np.column_stack([last + wrap, wrap, wrap + 1]),
            np.column_stack([last + wrap, wrap + 1, last + wrap + 1]),
        ]
    )
    closed = Surface(vertices_m=tube.vertices_m, triangles=np.concatenate([tube.triangles, seam]))
    lines = slice_surface(closed, SlicerSettings(line_spacing_m=0.05, point_spacing_m=0.01))
    assert len(lines) > 8
    for line in lines:
        assert line.points_m[0] == pytest.approx(line.points_m[-1])
        assert line.length_m == pytest.approx(0.2 * np.pi, rel=0.01)


def test_strokes_stand_off_along_the_normal_and_overtravel_straight():
    points = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.2, 0.0, 0.0]])
    line = Line(points_m=points, normals=np.tile([0.0, 0.0, 1.0], (3, 1)), plane=0)
    (stroke,) = spray_strokes([line], 0.2, 0.05, 0.3, 1e-6)
    assert stroke.position_m == pytest.approx(np.array([[x, 0.0, 0.2] for x in (-0.05, 0.0, 0.1, 0.2, 0.25)]))
    assert stroke.tool_axis == pytest.approx(np.tile([0.0, 0.0, -1.0], (5, 1)))
    assert stroke.travel == pytest.approx(np.tile([1.0, 0.0, 0.0], (5, 1)))
    assert stroke.on.all() and set(stroke.speed_m_per_s) == {0.3}


def test_spacing_must_be_positive():
    with pytest.raises(ConfigurationError, match=r"line_spacing_m is 0.0 m"):
        plane_slicer(flat(), 0.0)
