"""Removal between two scans: laid on untouched ground, with its uncertainty, against what was really taken."""

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import transform_from_xyz_rpy
from cell_inspection.ground import lay_on_ground, near_rim, untouched_ground
from cell_inspection.measured import contradicted, measurable, measure_removal

DEPTH_M = 4e-4
NOISE_M = 4e-5
SHIFT = transform_from_xyz_rpy((1.5e-3, -0.8e-3, 1.0e-3), (4e-3, -3e-3, 5e-3))


def bumpy(x, y):
    return 0.02 * np.cos(35.0 * x) * np.cos(28.0 * y)


@pytest.fixture(scope="module")
def worked(make_sheet):
    sheet = make_sheet(bumpy, n=101)
    return np.linalg.norm(sheet.vertices_m[:, :2], axis=1) < 0.03


@pytest.fixture(scope="module")
def scans(make_sheet, worked):
    """A sheet before and after a spot was ground, with noise, the later one moved."""
    rng = np.random.default_rng(0)
    sheet = make_sheet(bumpy, n=101)
    normals = sheet.vertex_normals
    depth = DEPTH_M * worked

    def scanned(gone):
        noise = NOISE_M * rng.normal(size=len(gone))
        return Surface(
            vertices_m=sheet.vertices_m + (noise - gone)[:, None] * normals,
            triangles=sheet.triangles,
            fields={"residual_m": np.full(len(gone), 2 * NOISE_M), "frame_count": np.full(len(gone), 4.0)},
        )

    return scanned(np.zeros(len(depth))), scanned(depth).transformed(SHIFT, "part"), depth


def test_a_moved_scan_is_laid_back_by_the_ground_that_nobody_touched(scans, worked):
    before, after, _ = scans
    fit = lay_on_ground(before, after, untouched_ground(before, worked))
    back = fit.T_before_after @ SHIFT
    corners = before.bounds_m
    np.testing.assert_allclose(corners @ back[:3, :3].T + back[:3, 3], corners, atol=3e-5)
    assert fit.shift_m == pytest.approx(np.linalg.norm(fit.T_before_after[:3, 3]))
    assert 0.0 < np.median(fit.sigma_m) < NOISE_M


def test_the_depth_is_right_and_its_uncertainty_is_what_it_is_off_by(scans, worked):
    before, after, depth = scans
    measured = measure_removal(before, after, worked, depth)
    inside = np.linalg.norm(before.vertices_m[:, :2], axis=1) < 0.025
    error = (measured.removed_m - depth)[inside]
    assert abs(error.mean()) < 1e-5
    assert 0.6 < error.std() / np.median(measured.sigma_m[inside]) < 1.6
    # two noisy scans, the mean of some dozen vertices
    assert np.sqrt(2.0) * NOISE_M / np.sqrt(50.0) < measured.floor_m < np.sqrt(2.0) * NOISE_M / np.sqrt(12.0)
    assert np.isnan(measured.removed_m[near_rim(before)]).all()


def test_what_the_model_did_not_expect_is_measured_all_the_same(scans, worked):
    before, after, depth = scans
    inside = np.linalg.norm(before.vertices_m[:, :2], axis=1) < 0.02
    measured = measure_removal(before, after, worked, 0.5 * depth)
    assert np.nanmean(measured.removed_m[inside]) == pytest.approx(DEPTH_M, rel=0.03)
    wrong = contradicted(before, measured, 0.5 * depth)
    assert wrong[inside].mean() > 0.95 and wrong[~worked].mean() < 0.02
    # at the rim, a step, a mean over neighbours is neither
    beyond = np.linalg.norm(before.vertices_m[:, :2], axis=1) > 0.036
    assert not contradicted(before, measured, depth)[beyond].any()


def test_ground_that_did_change_hardly_pulls(scans, worked):
    before, after, depth = scans
    dent = np.linalg.norm(before.vertices_m[:, :2] - [0.07, 0.07], axis=1) < 0.015
    gouged = Surface(
        vertices_m=after.vertices_m - 1e-3 * dent[:, None] * after.vertex_normals,
        triangles=after.triangles,
        fields=after.fields,
    )
    measured = measure_removal(before, gouged, worked, depth)
    inside = np.linalg.norm(before.vertices_m[:, :2], axis=1) < 0.025
    assert np.mean((measured.removed_m - depth)[inside]) == pytest.approx(0.0, abs=3e-5)
    assert contradicted(before, measured, depth)[dent].mean() > 0.8


def test_a_tolerance_below_the_noise_is_not_measurable(scans, worked):
    before, after, depth = scans
    measured = measure_removal(before, after, worked, depth)
    inside = worked & np.isfinite(measured.removed_m)
    assert measurable(measured, np.full(len(depth), 2e-4))[inside].mean() > 0.99
    assert not measurable(measured, np.full(len(depth), 5e-6)).any()


def test_a_flat_face_alone_leaves_other_faces_loose(make_sheet):
    # ground that looks one way does not hold what looks another way
    flat = make_sheet(n=61)
    n = len(flat.vertices_m)
    wall = flat.transformed(transform_from_xyz_rpy((0.2, 0.0, 0.0), (0.0, np.pi / 2, 0.0)), "part")
    both = Surface(
        vertices_m=np.concatenate([flat.vertices_m, wall.vertices_m]),
        triangles=np.concatenate([flat.triangles, wall.triangles + n]),
    )
    rng = np.random.default_rng(1)
    noisy = Surface(vertices_m=both.vertices_m + 2e-5 * rng.normal(size=(2 * n, 3)), triangles=both.triangles)
    ground = untouched_ground(both, np.arange(2 * n) >= n)
    fit = lay_on_ground(both, noisy, ground)
    assert np.median(fit.sigma_m[:n]) < 3e-5 < 1e-3 < np.median(fit.sigma_m[n:])


def test_too_little_ground_and_another_part_are_refused(scans, make_sheet):
    before, after, _ = scans
    with pytest.raises(InputRefusedError, match="patches of 10 mm lie untouched"):
        lay_on_ground(before, after, untouched_ground(before, np.linalg.norm(before.vertices_m, axis=1) < 0.12))
    far = after.transformed(transform_from_xyz_rpy((0.0, 0.0, 0.05), (0.0, 0.0, 0.0)), "part")
    with pytest.raises(InputRefusedError, match="untouched ground lies within"):
        lay_on_ground(before, far, untouched_ground(before, np.zeros(len(before.vertices_m), bool)))
