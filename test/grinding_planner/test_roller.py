"""Rollers against Hertz's closed forms, on flat and curved ground."""

import numpy as np
import pytest

from cell_core.config import GrindToolConfig
from cell_core.transforms import tool_frames
from grinding_planner.contact import nominal_speed, relative_speed, removal_rates
from grinding_planner.face import pairs_under, press, reach_m
from grinding_planner.roller import contact_half_sizes_m
from grinding_planner.samples import sample_surface

FORCE_N = 30.0
MODULUS_PA = 2.0e6


def roller(kind: str = "wheel", **changes) -> GrindToolConfig:
    own = {
        "wheel": {"effective_modulus_pa": MODULUS_PA, "crown_radius_m": 0.06},
        "belt": {"effective_modulus_pa": MODULUS_PA, "belt_speed_m_per_s": 12.0},
        "burr": {"stiffness_pa_per_m": 1.0e10},
    }[kind]
    data = {
        "format": "grind_spray_cell/grind_tool",
        "version": 1,
        "name": kind,
        "kind": kind,
        "radius_m": 0.06,
        "width_m": 0.04,
        "preston_per_pa": 1e-9,
        "rpm": 3000.0,
        "force_n": {"low": 1.0, "high": 60.0},
        "speed_m_per_s": {"low": 0.005, "high": 0.3},
        "acceleration_m_per_s2": 1.0,
        "tilt_max_rad": 0.05,
        "slide_stroke_m": 0.02,
        "slide_stiffness_n_per_m": 3.0e4,
        "spin_up_s": 0.5,
        "spin_down_s": 0.5,
    }
    return GrindToolConfig(**{**data, **own, **changes})


def pressed(make_sheet, tool, height, spacing_m=5e-4, size_m=0.05):
    surface = make_sheet((size_m, size_m), size_m / 40, height)
    samples = sample_surface(surface, spacing_m)
    frames = tool_frames(np.zeros((1, 3)), np.array([[0.0, 0.0, -1.0]]), np.array([[1.0, 0.0, 0.0]]))
    pairs = pairs_under(samples, frames, tool)
    return pairs, press(pairs, FORCE_N, tool)


@pytest.mark.parametrize("curvature_per_m", [0.0, -4.0, 6.0])
def test_round_contact_is_hertz(make_sheet, curvature_per_m):
    tool = roller()
    pairs, contact = pressed(make_sheet, tool, lambda x, y: 0.5 * curvature_per_m * (x**2 + y**2))
    radius = 1.0 / (1.0 / 0.06 - curvature_per_m)
    half = (0.75 * FORCE_N * radius / MODULUS_PA) ** (1 / 3)
    assert contact.pressure_max_pa[0] == pytest.approx(1.5 * FORCE_N / (np.pi * half**2), rel=0.02)
    assert contact.force_n[0] == pytest.approx(FORCE_N, rel=1e-9)
    assert contact.advance_m[0] == pytest.approx(half**2 / radius, rel=0.04)
    touched = pairs.x_m[contact.pressure_pa > 0.0]
    assert touched.max() == pytest.approx(half, rel=0.06)


def test_elliptic_contact_keeps_hertz_pressure_within_a_few_percent(make_sheet):
    # Hertz for radii 60 and 20 mm: cos(theta) = 0.5, so m = 1.378, n = 0.754 by the elliptic integrals
    tool = roller(crown_radius_m=0.02)
    _, contact = pressed(make_sheet, tool, lambda x, y: 0.0 * x)
    total = 2.0 / (1.0 / 0.06 + 1.0 / 0.02)
    size = (1.5 * FORCE_N * total / 2.0 / MODULUS_PA) ** (1 / 3)
    peak = 1.5 * FORCE_N / (np.pi * 1.378 * 0.754 * size**2)
    assert contact.pressure_max_pa[0] == pytest.approx(peak, rel=0.08)
    along, across = contact_half_sizes_m(tool, FORCE_N)
    assert along == pytest.approx(1.378 * size, rel=0.1)
    assert across == pytest.approx(0.754 * size, rel=0.1)


def test_straight_rim_presses_a_line(make_sheet):
    tool = roller("belt")
    pairs, contact = pressed(make_sheet, tool, lambda x, y: 0.0 * x, size_m=0.08)
    half = np.sqrt(4.0 * FORCE_N / 0.04 * 0.06 / (np.pi * MODULUS_PA))
    # as the module says: a contact up to a fifth too long on a straight rim, never too short
    touched = np.abs(pairs.x_m[contact.pressure_pa > 0.0]).max()
    assert half < touched < 1.25 * half
    assert np.abs(pairs.y_m[contact.pressure_pa > 0.0]).max() == pytest.approx(0.02, abs=5e-4)
    assert reach_m(tool, FORCE_N) == pytest.approx(np.sqrt(half * 0.02))


def test_stiff_burr_presses_by_its_layer(make_sheet):
    tool = roller("burr", radius_m=0.006, width_m=0.012)
    _, contact = pressed(make_sheet, tool, lambda x, y: 0.0 * x, spacing_m=5e-5, size_m=0.014)
    half, _ = contact_half_sizes_m(tool, FORCE_N)
    depth = half**2 / 0.012
    assert contact.pressure_max_pa[0] == pytest.approx(1.0e10 * depth, rel=0.03)


def test_removal_is_preston_of_the_rim_speed(make_sheet):
    belt, wheel = roller("belt"), roller()
    assert nominal_speed(belt) == 12.0
    assert nominal_speed(wheel) == pytest.approx(3000.0 * 2 * np.pi / 60 * 0.06)
    assert float(relative_speed(belt, 0.0, 0.0, 0.2)) == pytest.approx(12.2)
    pairs, contact = pressed(make_sheet, belt, lambda x, y: 0.0 * x, size_m=0.08)
    rates = removal_rates(pairs, contact, belt)
    # off the rim's ends a piece is touched in part: it loses depth in that share of its area
    areas = np.zeros(pairs.n_points)
    areas[pairs.point] = pairs.area_m2 / pairs.share
    assert float(areas @ rates.toarray()[:, 0]) == pytest.approx(1e-9 * FORCE_N * 12.0, rel=1e-6)
