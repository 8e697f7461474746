"""Stock on a scan: what certainly stands above the CAD, and a pose at which nothing is missing."""

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import apply, transform_from_xyz_rpy
from grinding_planner.stock import fit_inside, stock_on
from grinding_planner.target import target_from_cad


def dome(x, y):
    return -1.2 * x**2 - 0.7 * y**2 + 0.8 * x * y


def scan_of(cad: Surface, heights: np.ndarray, seed: int) -> Surface:
    noise = np.random.default_rng(seed).normal(0.0, 30e-6, len(heights))
    return Surface(vertices_m=cad.vertices_m + (heights + noise)[:, None] * cad.vertex_normals, triangles=cad.triangles)


def test_stock_is_found_down_to_its_foot_and_noise_is_not(make_sheet):
    cad = make_sheet((0.3, 0.2), 0.003, dome)
    x, y, _ = cad.vertices_m.T
    high = 0.5e-3 * np.clip(1.5 - np.hypot(x - 0.05, y) / 0.03, 0.0, 1.0)
    stock = stock_on(scan_of(cad, high, seed=1), cad)
    assert stock.sigma_m == pytest.approx(30e-6, rel=0.4)
    assert len(stock.regions) == 1
    depth = stock.depth_m(0.4e-3)
    assert depth.max() == 0.4e-3
    assert np.all(depth[high > 4 * stock.sigma_m] > 0.0)
    assert np.all(depth[np.hypot(x - 0.05, y) > 0.06] == 0.0)


def test_noise_alone_is_no_stock(make_sheet):
    cad = make_sheet((0.3, 0.2), 0.003, dome)
    with pytest.raises(InputRefusedError, match="nothing of the scan certainly stands above"):
        target_from_cad(scan_of(cad, np.zeros(len(cad.vertices_m)), seed=2), cad, 1e-3)


def test_a_casting_lies_upon_its_cad_however_uneven_its_allowance(make_sheet):
    cad = make_sheet((0.3, 0.2), 0.003, dome)
    allowance = 1e-3 + 8e-3 * np.abs(cad.vertices_m[:, 0])
    scan = scan_of(cad, allowance, seed=3)
    # best fit buries part of it
    T = transform_from_xyz_rpy([0.0, 0.0, 1.6e-3], [0.0, 0.003, 0.0])
    fitted = fit_inside(scan, cad, T)
    before, after = (stock_on(scan, cad.transformed(pose, "scan")).deviation_m for pose in (T, fitted))
    assert np.mean(before < -0.1e-3) > 0.2
    assert np.mean(after < -0.1e-3) < 0.05
    assert np.abs(apply(fitted, cad.vertices_m) - cad.vertices_m).max() < 5e-3


def test_what_is_missing_outright_is_no_noise(make_sheet):
    cad = make_sheet((0.3, 0.2), 0.003, dome)
    x, y, _ = cad.vertices_m.T
    high = 0.5e-3 * np.clip(1.5 - np.hypot(x - 0.05, y) / 0.03, 0.0, 1.0)
    missing = np.where((x < -0.11) & (y < -0.06), -5e-3, 0.0)
    stock = stock_on(scan_of(cad, high + missing, seed=4), cad)
    assert stock.sigma_m == pytest.approx(30e-6, rel=0.4)
    assert np.all(stock.depth_m(1e-3)[high > 0.15e-3] > 0.0)


def test_noise_is_no_stock_even_on_a_cad_laid_inside_it(make_sheet):
    cad = make_sheet((0.3, 0.2), 0.003, dome)
    scan = scan_of(cad, np.zeros(len(cad.vertices_m)), seed=5)
    laid = cad.transformed(fit_inside(scan, cad, np.eye(4)), "scan")
    assert np.abs(np.mean(stock_on(scan, laid).deviation_m)) < 15e-6
    with pytest.raises(InputRefusedError, match="nothing of the scan certainly stands above"):
        target_from_cad(scan, laid, 1e-3)
