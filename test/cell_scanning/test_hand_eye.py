"""The hand-eye is found from depth images of an unknown scene, with a covariance that holds; poor data are refused."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cell_core.errors import InputRefusedError
from cell_core.transforms import inverse, transform_from_xyz_rpy
from cell_scanning.hand_eye import calibrate_hand_eye
from cell_scanning.hand_eye_result import twist_motion
from cell_scanning.pose_system import ViewReadings, solve_poses
from cell_scanning.views import looking_at

X = transform_from_xyz_rpy([0.12, -0.05, 0.11], [0.1, -0.35, 1.2])
ERROR = np.array([2.5e-4, -2.0e-4, 2.4e-4, 1.0e-3, -1.1e-3, 0.9e-3])


def poses(n: int, seed: int = 3) -> np.ndarray:
    """Camera poses all around, rolled."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(n):
        turn, tilt, away = 2.4 * k, rng.uniform(0.5, 1.5), rng.uniform(0.42, 0.52)
        eye = away * np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
        T = looking_at(eye + [0.0, 0.0, 0.03], [*rng.uniform(-0.04, 0.04, 2), 0.03])
        out.append(T @ twist_motion(np.r_[0.0, 0.0, 0.0, 0.0, 0.0, rng.uniform(-3.0, 3.0)]))
    return np.array(out)


@pytest.fixture(scope="module")
def scene(shapes):
    part = shapes.grid_surface(shapes.dome, 0.15, 60)
    return shapes.with_table(part)


@pytest.fixture(scope="module")
def taken(shapes, scene):
    """Frames taken through a hand-eye that is not the believed one, and the flange poses."""
    studio = shapes.studio(scene, shapes.qvga, noise=True, seed=1)
    T_base_flange = poses(12) @ inverse(X)
    depths = [studio.depth(T) for T in T_base_flange @ X @ twist_motion(ERROR)]
    return depths, T_base_flange


def off(found) -> tuple[float, float]:
    D = inverse(X @ twist_motion(ERROR)) @ found.T_flange_camera
    return float(np.linalg.norm(D[:3, 3])), float(Rotation.from_matrix(D[:3, :3]).magnitude())


def test_an_injected_error_is_found_and_the_covariance_holds(taken, shapes):
    depths, flange = taken
    found = calibrate_hand_eye(depths, flange, X, shapes.qvga)
    shift, turn = off(found)
    assert found.go, found.faults
    assert shift < 8e-5 and turn < np.radians(0.02)
    D = inverse(found.T_flange_camera) @ X @ twist_motion(ERROR)
    error = np.r_[D[:3, 3], Rotation.from_matrix(D[:3, :3]).as_rotvec()]
    assert error @ np.linalg.solve(found.covariance, error) < 22.5, "99.9 % of chi2 with six degrees of freedom"
    assert np.all(found.rms_after_m < found.rms_before_m)


def test_a_view_with_a_wrong_flange_pose_is_left_out(taken, shapes):
    depths, flange = taken
    bumped = flange.copy()
    bumped[4] = bumped[4] @ twist_motion(np.array([0.003, -0.002, 0.002, 0.004, 0.004, 0.0]))
    found = calibrate_hand_eye(depths, bumped, X, shapes.qvga)
    assert found.frames_off == (4,)
    assert found.go and off(found)[0] < 8e-5


def test_scatter_of_the_robot_widens_the_covariance_until_it_is_no_go(taken, shapes):
    depths, flange = taken
    rng = np.random.default_rng(5)
    sigma = np.repeat([3e-4, 1e-3], 3)
    shaken = np.array([T @ twist_motion(sigma * rng.normal(size=6)) for T in flange])
    found = calibrate_hand_eye(depths, shaken, X, shapes.qvga)
    assert not found.go and "95 %" in found.faults[0]
    assert 1.5e-4 < found.scatter[0] < 8e-4


def test_a_late_camera_and_a_depth_bias_are_told_apart_from_the_hand_eye(shapes, scene):
    studio = shapes.studio(scene, shapes.qvga, noise=True, seed=2)
    flange = poses(14) @ inverse(X)
    twist = np.random.default_rng(4).normal(size=(14, 6)) * np.repeat([0.1, 0.2], 3)
    late = np.array([T @ twist_motion(0.02 * v) for T, v in zip(flange, twist, strict=True)])
    depths = [studio.depth(T) for T in late @ X @ twist_motion(ERROR)]
    depths = [np.where(d > 0.0, (d - 0.001) / 1.004, 0.0).astype(np.float32) for d in depths]
    fit = ("time_offset_s", "depth_offset_m", "depth_slope")
    found = calibrate_hand_eye(depths, flange, X, shapes.qvga, fit=fit, flange_twist=twist)
    assert off(found)[0] < 1.5e-4 and off(found)[1] < np.radians(0.02)
    for name, true, least in (
        ("time_offset_s", 0.02, 1e-3),
        ("depth_offset_m", 1e-3, 4e-4),
        ("depth_slope", 4e-3, 1e-3),
    ):
        value, error = found.extras[name]
        assert error < least
        assert value == pytest.approx(true, abs=max(4.0 * error, 1e-5)), name


def test_too_few_views_or_no_turning_is_refused(taken, shapes):
    depths, flange = taken
    with pytest.raises(InputRefusedError, match="5 different flange poses, at least 8"):
        calibrate_hand_eye(depths[:5], flange[:5], X, shapes.qvga)
    level = np.tile(np.eye(4), (12, 1, 1))
    level[:, :3, 3] = 0.01 * np.arange(12)[:, None]
    with pytest.raises(InputRefusedError, match=r"flange turns by 0\.000"):
        calibrate_hand_eye(depths, level, X, shapes.qvga)


def test_views_that_do_not_overlap_are_refused(taken, shapes):
    depths, flange = taken
    apart = flange.copy()
    apart[:, 0, 3] += 3.0 * np.arange(12)
    with pytest.raises(InputRefusedError, match="views must overlap"):
        calibrate_hand_eye(depths, apart, X, shapes.qvga)


def test_an_unknown_that_nothing_tells_is_left_wide():
    rng = np.random.default_rng(0)
    theta = np.array([1e-4, 2e-4, -1e-4, 1e-3, -1e-3, 5e-4])
    views = []
    for _ in range(10):
        normals = rng.normal(size=(400, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        points = rng.uniform(-0.2, 0.2, (400, 3)) + [0.0, 0.0, 0.5]
        J = np.c_[normals, np.cross(points, normals), np.zeros(400)]
        residual = -J[:, :6] @ theta + 1e-5 * rng.normal(size=400)
        views.append(ViewReadings(jacobian=J, residual_m=residual, sigma_m=np.full(400, 1e-5), cell=np.arange(400)))
    solved = solve_poses(views, np.tile(np.eye(6), (10, 1, 1)), 400)
    assert solved.theta[:6] == pytest.approx(theta, abs=6e-6)
    assert np.sqrt(solved.covariance[6, 6]) > 0.1, "a column of zeros says nothing about the seventh"
    assert solved.noise_ratio == pytest.approx(1.0, abs=0.1)
