import numpy as np
import pytest
from scorer_coverage import filled, passes, random_points, score_coverage

from cell_core.toolpath import Stroke
from cell_simulation import shapes

RADIUS_M, DEPTH_M, INCIDENCE_RAD = 0.015, 0.0075, np.deg2rad(60.0)


def stroke(points, axis=(0.0, 0.0, -1.0)) -> Stroke:
    points = np.asarray(points, float)
    n = len(points)
    return Stroke(
        kind="area", position_m=points, tool_axis=np.tile(axis, (n, 1)), travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.ones(n), process_value=np.zeros(n), on=np.ones(n, bool),
    )  # fmt: skip


def test_a_stroke_covers_its_stadium_once():
    plate = shapes.plane(0.4, 0.2)
    centre = plate.bounds_m.mean(axis=0)
    line = stroke(centre + np.array([[-0.1, 0.0, 0.0], [0.1, 0.0, 0.0]]))
    points, normals = random_points(plate, 60_000, 1)
    score = score_coverage(
        plate, points, normals, np.ones(len(points), bool), [line],
        radius_m=RADIUS_M, depth_m=DEPTH_M, incidence_rad=INCIDENCE_RAD,
    )  # fmt: skip
    stadium = 0.2 * 2 * RADIUS_M + np.pi * RADIUS_M**2
    assert score.covered == pytest.approx(stadium / plate.area_m2, rel=0.03)
    assert score.mean_visits == pytest.approx(score.covered)
    assert score.off_surface_m < 1e-6 and score.length_m == pytest.approx(0.2)


def test_coming_back_counts_again_and_long_strokes_lose_nothing_between_blocks():
    there_and_back = np.r_[np.linspace(0.0, 4.0, 9), np.linspace(3.5, 0.0, 8)]
    line = stroke(np.c_[there_and_back, np.zeros(17), np.zeros(17)])
    assert len(filled(line, 0.1 * RADIUS_M)[0]) > 4000
    points = np.array([[2.0, 0.0, 0.0], [3.995, 0.0, 0.0], [1.0, 0.02, 0.0], [1.0, 0.0, 0.009]])
    normals = np.tile([0.0, 0.0, 1.0], (4, 1))
    assert passes(points, normals, [line], RADIUS_M, DEPTH_M, INCIDENCE_RAD).tolist() == [2, 1, 0, 0]
    turned = np.tile([np.sin(1.1), 0.0, np.cos(1.1)], (4, 1))
    assert passes(points, turned, [line], RADIUS_M, DEPTH_M, INCIDENCE_RAD).sum() == 0


def test_leaving_the_surface_between_samples_is_seen():
    ball = shapes.sphere(radius_m=0.1, edge_m=0.005)
    angle = np.array([0.0, 0.4])
    chord = stroke(0.1 * np.c_[np.sin(angle), np.zeros(2), np.cos(angle)])
    points, normals = random_points(ball, 1000, 0)
    score = score_coverage(
        ball, points, normals, np.ones(1000, bool), [chord],
        radius_m=RADIUS_M, depth_m=DEPTH_M, incidence_rad=INCIDENCE_RAD,
    )  # fmt: skip
    assert score.off_surface_m == pytest.approx(0.1 * (1.0 - np.cos(0.2)), rel=0.1)
