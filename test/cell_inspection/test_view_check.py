"""One view before the process: a part that stands, was moved, slid, is another one or gone."""

from dataclasses import dataclass

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import apply, rotate, transform_from_xyz_rpy
from cell_inspection.view_check import best_view, check_view

BOX = np.array([[-0.3, -0.3, 0.0], [0.3, 0.3, 0.4]])
BOUND_M = 1e-3


@dataclass(frozen=True)
class Camera:
    fx_px: float = 300.0
    fy_px: float = 300.0
    cx_px: float = 159.5
    cy_px: float = 119.5


CAMERA, SHAPE = Camera(), (240, 320)
# looks down from 0.5 m, slightly aslant
EYE = transform_from_xyz_rpy((0.02, 0.03, 0.5), (np.pi - 0.06, 0.04, 0.0))


ROLLED = EYE @ transform_from_xyz_rpy((0.0, 0.0, 0.0), (0.0, 0.0, np.pi / 4))


def image(part: Surface | None, seed: int, eye: np.ndarray = EYE) -> np.ndarray:
    """Return the depth image of a part on the table z = 0."""
    v, u = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    slopes = np.stack([(u - CAMERA.cx_px) / CAMERA.fx_px, (v - CAMERA.cy_px) / CAMERA.fy_px, np.ones(SHAPE)], -1)
    rays = rotate(eye, slopes.reshape(-1, 3))
    depth = -eye[2, 3] / rays[:, 2]
    if part is not None:
        depth = np.minimum(depth, RayCaster(part).first_hit(np.broadcast_to(eye[:3, 3], rays.shape), rays)[0])
    noise = 1e-4 * np.random.default_rng(seed).normal(size=depth.shape)
    return (depth + noise).reshape(SHAPE).astype(np.float32)


def standing(sheet: Surface) -> Surface:
    """Return a sheet lifted off the table."""
    return sheet.transformed(transform_from_xyz_rpy((0.0, 0.0, 0.03), (0.0, 0.0, 0.0)), "part")


@pytest.fixture(scope="module")
def bumpy(make_sheet):
    return standing(make_sheet(lambda x, y: 0.015 * np.cos(40.0 * x) * np.cos(33.0 * y), half_m=0.08, n=61))


@pytest.fixture(scope="module")
def flat(make_sheet):
    return standing(make_sheet(half_m=0.08, n=21))


def checked(scan: Surface, now: Surface | None, eye: np.ndarray = EYE):
    return check_view(scan, [(image(scan, 1), EYE), (image(scan, 2), EYE)], image(now, 3, eye), eye, CAMERA, BOX)


def test_a_part_that_stands_where_it_stood_passes(bumpy, flat):
    for part in (bumpy, flat):
        found = checked(part, part)
        assert found.fault(BOUND_M) == "" and found.fit_fraction > 0.95, found
        assert found.moved_m < 3e-4 and found.slid_m < 3e-4, found
    assert checked(bumpy, bumpy).held == 6 and checked(flat, flat).held == 3


def test_the_camera_may_come_back_rolled(bumpy, flat):
    for part in (bumpy, flat):
        found = checked(part, part, ROLLED)
        assert found.fault(BOUND_M) == "" and found.gone_fraction < 0.02, found
    slid = checked(flat, flat.transformed(transform_from_xyz_rpy((4e-3, 0, 0), (0, 0, 0)), "part"), ROLLED)
    assert "slid by" in slid.fault(BOUND_M) and slid.slid_m == pytest.approx(4e-3, rel=0.4)


@pytest.mark.parametrize(
    "xyz_m, rpy_rad",
    [((2e-3, 0, 0), (0, 0, 0)), ((0, 0, 1.5e-3), (0, 0, 0)), ((0, 0, 0), (0, 0, 0.02)), ((15e-3, -9e-3, 0), (0, 0, 0))],
)
def test_a_moved_part_is_refused_by_how_far_it_was_moved(bumpy, xyz_m, rpy_rad):
    T = transform_from_xyz_rpy(xyz_m, rpy_rad)
    truly = np.linalg.norm(apply(T, bumpy.vertices_m) - bumpy.vertices_m, axis=1).max()
    found = checked(bumpy, bumpy.transformed(T, "part"))
    assert found.moved_m == pytest.approx(truly, abs=3e-4)
    assert "was moved by" in found.fault(BOUND_M) and "1 mm allowed" in found.fault(BOUND_M)


def test_half_a_millimetre_is_let_pass(bumpy):
    moved = bumpy.transformed(transform_from_xyz_rpy((0.4e-3, 0, 0), (0.0, 0.0, 0.0)), "part")
    assert checked(bumpy, moved).fault(BOUND_M) == ""


def test_a_flat_part_that_slid_on_itself_shows_at_its_outline(flat):
    found = checked(flat, flat.transformed(transform_from_xyz_rpy((4e-3, 0.0, 0.0), (0.0, 0.0, 0.0)), "part"))
    assert found.moved_m < 5e-4 and found.slid_m == pytest.approx(4e-3, rel=0.4)
    assert "slid by" in found.fault(BOUND_M)


def test_a_missing_part_another_part_and_a_hand_in_front_are_refused(bumpy, make_sheet):
    assert "missing" in checked(bumpy, None).fault(BOUND_M)
    other = standing(make_sheet(lambda x, y: 0.015 * np.cos(70.0 * x + 1.0) * np.cos(15.0 * y), half_m=0.08, n=61))
    assert checked(bumpy, other).fault(BOUND_M) != ""
    hand = make_sheet(half_m=0.05, n=11).transformed(transform_from_xyz_rpy((0.0, 0.0, 0.15), (0.0, 0.0, 0.0)), "part")
    n = len(bumpy.vertices_m)
    both = Surface(
        vertices_m=np.concatenate([bumpy.vertices_m, hand.vertices_m]),
        triangles=np.concatenate([bumpy.triangles, hand.triangles + n]),
    )
    assert "stands before" in checked(bumpy, both).fault(BOUND_M)


def test_images_that_cannot_be_compared_are_refused(bumpy):
    now = image(bumpy, 1)
    with pytest.raises(InputRefusedError, match="one size"):
        check_view(bumpy, [(now[:100], EYE)], now, EYE, CAMERA, BOX)
    with pytest.raises(InputRefusedError, match="pixels show the part"):
        check_view(bumpy, [(image(None, 1), EYE)], now, EYE, CAMERA, BOX)


def test_the_view_that_sees_the_part_is_chosen(bumpy):
    away = transform_from_xyz_rpy((0.0, 0.0, 0.5), (0.0, 0.0, 0.0))
    assert best_view(bumpy, np.stack([away, EYE]), CAMERA, SHAPE) == 1
