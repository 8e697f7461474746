import numpy as np
import pytest
from scorer_grind import removed_depth, serviceable

from cell_core.sampling import points_by_area
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_simulation import shapes

PAD = {
    "radius_m": 0.02, "stiffness_pa_per_m": 1e7, "preston_per_pa": 1e-9, "motion": "orbital", "rpm": 9000.0,
    "orbit_radius_m": 0.002,
}  # fmt: skip
RADIUS_M, ORBIT_M_PER_S = 0.02, 9000.0 * 2.0 * np.pi / 60.0 * 0.002
FACE_M2 = np.pi * RADIUS_M**2


def stroke(points, speed=0.05, force=10.0, on=None) -> Stroke:
    points = np.asarray(points, float)
    n = len(points)
    return Stroke(
        kind="area", position_m=points, tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)), speed_m_per_s=np.broadcast_to(speed, n),
        process_value=np.broadcast_to(force, n), on=np.ones(n, bool) if on is None else np.asarray(on),
    )  # fmt: skip


@pytest.fixture(scope="module")
def plate() -> Surface:
    return shapes.plane(0.3, 0.2, edge_m=0.01)


def test_a_pad_at_rest_presses_evenly_and_takes_off_what_preston_says(plate):
    points = points_by_area(plate, 0.002)
    depth = removed_depth(plate, points, [stroke([[0, 0, 0], [1e-6, 0, 0]], speed=1e-6, force=12.0)], PAD)
    r = np.hypot(*points.points_m[:, :2].T)
    wanted = 1e-9 * 12.0 / FACE_M2 * ORBIT_M_PER_S * 1.0
    assert (r < 0.9 * RADIUS_M).sum() > 100
    assert depth[r < 0.9 * RADIUS_M] == pytest.approx(wanted, rel=1e-4)
    assert depth[r > 1.1 * RADIUS_M].max() == 0.0


def test_a_pass_leaves_the_chord_of_the_pad_over_its_speed(plate):
    points = points_by_area(plate, 0.002)
    depth = removed_depth(plate, points, [stroke([[-0.1, 0, 0], [0.1, 0, 0]])], PAD)
    x, y = points.points_m[:, :2].T
    middle = (np.abs(x) < 0.07) & (np.abs(y) < 0.9 * RADIUS_M)
    chord = 2.0 * np.sqrt(RADIUS_M**2 - y[middle] ** 2)
    assert depth[middle] == pytest.approx(1e-9 * 10.0 / FACE_M2 * ORBIT_M_PER_S * chord / 0.05, rel=0.02)
    volume = points.areas_m2 @ depth
    assert volume == pytest.approx(1e-9 * 10.0 * ORBIT_M_PER_S * 4.0, rel=0.01)


def test_acceleration_force_and_switch_follow_the_file(plate):
    points = points_by_area(plate, 0.002)
    ends = [[-0.08, 0, 0], [0.08, 0, 0]]
    depth = removed_depth(plate, points, [stroke(ends, speed=[0.02, 0.1], force=[4.0, 12.0], on=[True, False])], PAD)
    at = np.linspace(0.0, 0.5, 4001)
    middle = 0.5 * (at[1:] + at[:-1])
    seconds = 0.16 / 8000.0 / np.sqrt(0.02**2 + middle * (0.1**2 - 0.02**2))
    impulse = seconds @ (4.0 + 8.0 * middle)
    assert points.areas_m2 @ depth == pytest.approx(1e-9 * ORBIT_M_PER_S * impulse, rel=0.02)
    assert depth[points.points_m[:, 0] > 1.1 * RADIUS_M].max() == 0.0


def test_a_ball_is_touched_in_the_middle_alone():
    # Winkler on a sphere: F = pi K a^4 / (4 R_c), p = K (a^2 - r^2) / (2 R_c)
    ball = shapes.sphere(radius_m=0.2, edge_m=0.002)
    points = points_by_area(ball, 0.002)
    a = (4.0 * 0.2 * 2.0 / (np.pi * 1e7)) ** 0.25
    assert a < RADIUS_M
    top = [[0, 0, 0.2], [1e-6, 0, 0.2]]
    depth = removed_depth(ball, points, [stroke(top, speed=1e-6, force=2.0)], PAD)
    r = np.hypot(*points.points_m[:, :2].T)
    near = (r < 0.8 * a) & (points.points_m[:, 2] > 0.0)
    assert near.sum() > 30
    pressure = 1e7 * (a**2 - r[near] ** 2) / 0.4
    assert depth[near] == pytest.approx(1e-9 * pressure * ORBIT_M_PER_S, rel=0.05)
    assert depth[points.points_m[:, 2] < 0.0].max() == 0.0


def test_half_over_an_edge_the_ground_bears_twice(plate):
    points = points_by_area(plate, 0.002)
    depth = removed_depth(plate, points, [stroke([[0.15, 0, 0], [0.15 + 1e-6, 0, 0]], speed=1e-6)], PAD)
    under = np.hypot(points.points_m[:, 0] - 0.15, points.points_m[:, 1]) < 0.9 * RADIUS_M
    assert depth[under] == pytest.approx(2.0 * 1e-9 * 10.0 / FACE_M2 * ORBIT_M_PER_S, rel=0.02)


def test_a_disc_grinds_at_its_rim(plate):
    points = points_by_area(plate, 0.002)
    disc = {**PAD, "motion": "disc", "orbit_radius_m": 0.0}
    depth = removed_depth(plate, points, [stroke([[0, 0, 0], [1e-6, 0, 0]], speed=1e-6)], disc)
    r = np.hypot(*points.points_m[:, :2].T)
    inside = r < 0.9 * RADIUS_M
    speed = 9000.0 * 2.0 * np.pi / 60.0 * r[inside]
    assert depth[inside] == pytest.approx(1e-9 * 10.0 / FACE_M2 * speed, rel=1e-3)


def test_the_far_side_of_a_thin_plate_is_left_alone(plate):
    low = plate.vertices_m - [0.0, 0.0, 0.001]
    both = Surface(
        vertices_m=np.vstack([plate.vertices_m, low]),
        triangles=np.vstack([plate.triangles, plate.triangles[:, ::-1] + len(low)]),
    )
    points = points_by_area(both, 0.002)
    depth = removed_depth(both, points, [stroke([[-0.1, 0, 0], [0.1, 0, 0]])], PAD)
    below = points.normals[:, 2] < 0.0
    assert depth[below].max() == 0.0
    alone = points_by_area(plate, 0.002)
    single = removed_depth(plate, alone, [stroke([[-0.1, 0, 0], [0.1, 0, 0]])], PAD)
    assert points.areas_m2 @ depth == pytest.approx(alone.areas_m2 @ single, rel=0.01)


def test_serviceable_is_what_a_standing_pad_with_a_free_body_presses(plate):
    points = points_by_area(plate, 0.003)
    assert serviceable(plate, points, PAD, 10.0).all()
    # two walls 30 mm apart and 40 mm high: no room for a pad of 40 mm between them
    n = np.array([[-0.15, 0.0], [0.15, 0.0]])
    walls = []
    for k, y in enumerate((-0.015, 0.015)):
        corners = np.c_[np.r_[n[:, 0], n[:, 0]], np.full(4, y), [0.0, 0.0, 0.04, 0.04]]
        walls.append((corners, len(plate.vertices_m) + 4 * k + np.array([[0, 1, 3], [0, 3, 2]])))
    slot = Surface(
        vertices_m=np.vstack([plate.vertices_m, *(w[0] for w in walls)]),
        triangles=np.vstack([plate.triangles, *(w[1] for w in walls)]),
    )
    served = serviceable(slot, points, PAD, 10.0)
    y = np.abs(points.points_m[:, 1])
    assert not served[y < 0.012].any()
    assert served[(y > 0.02) & (y < 0.09)].mean() > 0.99
