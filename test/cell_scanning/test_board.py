"""A X = X B from board poses: exact without noise, covariance that holds with it, bad files named with their line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cell_core.errors import InputRefusedError
from cell_core.transforms import Array, inverse, transform_from_xyz_rpy
from cell_scanning.board import COLUMNS, calibrate_from_board, read_board_poses
from cell_scanning.hand_eye_result import HandEye, twist_motion

X = transform_from_xyz_rpy([0.12, -0.05, 0.11], [0.1, -0.35, 1.2])
BOARD = transform_from_xyz_rpy([1.1, 0.2, 0.3], [0.2, 0.1, 2.0])


def pairs(n: int, seed: int, shift_m: float = 0.0, turn_rad: float = 0.0, true: Array = X) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    sigma = np.repeat([shift_m, turn_rad], 3)
    flange, board = [], []
    for _ in range(n):
        T = np.eye(4)
        T[:3, :3] = Rotation.from_rotvec(rng.normal(0.0, 0.6, 3) + [np.pi, 0.0, 0.0]).as_matrix()
        T[:3, 3] = rng.uniform(-0.2, 0.2, 3) + [1.0, 0.0, 0.8]
        flange.append(T)
        board.append(inverse(T @ true) @ BOARD @ twist_motion(sigma * rng.normal(size=6)))
    return np.array(flange), np.array(board)


def error(found: HandEye, true: Array = X) -> Array:
    D = inverse(found.T_flange_camera) @ true
    return np.r_[D[:3, 3], Rotation.from_matrix(D[:3, :3]).as_rotvec()]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3),
    st.lists(st.floats(-1.4, 1.4), min_size=3, max_size=3),
    st.integers(0, 1000),
)
def test_exact_poses_give_any_hand_eye_back(xyz, rpy, seed):
    true = transform_from_xyz_rpy(xyz, rpy)
    found = calibrate_from_board(*pairs(12, seed, true=true), start=np.eye(4))
    assert error(found, true) == pytest.approx(np.zeros(6), abs=1e-7)


def test_the_covariance_holds_under_noise():
    chi = []
    for seed in range(30):
        found = calibrate_from_board(*pairs(25, seed, 2e-4, 5e-4), start=X)
        e = error(found)
        chi.append(e @ np.linalg.solve(found.covariance, e) / 6.0)
    assert 0.6 < np.mean(chi) < 1.7
    assert found.scatter == pytest.approx((2e-4, 5e-4), rel=0.5)


def test_few_noisy_poses_are_no_go():
    found = calibrate_from_board(*pairs(8, 0, 1e-3, 2e-3), start=X)
    assert not found.go and "position is known to" in found.faults[0]


def test_poses_turned_about_one_axis_are_refused():
    flange, board = pairs(10, 0)
    flange[:, :3, :3] = Rotation.from_rotvec(np.outer(np.linspace(0.0, 1.0, 10), [0.0, 0.0, 1.0])).as_matrix()
    with pytest.raises(InputRefusedError, match="about more than one axis"):
        calibrate_from_board(flange, board, start=X)


def row(*poses: Array) -> str:
    values = np.concatenate([np.r_[T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_quat()] for T in poses])
    return ",".join(repr(float(v)) for v in values)


def test_a_file_is_read_back_and_its_faults_are_named(tmp_path: Path):
    flange, board = pairs(3, 0)
    lines = [",".join(COLUMNS), *(row(a, b) for a, b in zip(flange, board, strict=True))]
    (tmp_path / "b.csv").write_text("\n".join(lines))
    a, b = read_board_poses(tmp_path / "b.csv")
    assert a == pytest.approx(flange) and b == pytest.approx(board)
    lines[2] = lines[2].replace(",", ",9", 1)[: len(lines[2]) // 2]
    (tmp_path / "b.csv").write_text("\n".join(lines))
    with pytest.raises(InputRefusedError, match=r"b\.csv:3"):
        read_board_poses(tmp_path / "b.csv")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputRefusedError, match="wanted the header"):
        read_board_poses(tmp_path / "b.csv")
