import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.surface import Surface
from cell_simulation.faces import covered_fraction
from cell_simulation.grind import GrindTruth
from cell_simulation.tool_parameters import PadTruth, ToolErrors
from cell_simulation.true_part import TruePart

PAD = PadTruth(
    radius_m=0.04, stiffness_pa_per_m=2e7, preston_per_pa=1e-9, motion="orbital", rpm=10000.0, orbit_radius_m=0.0025
)
V_REL = 10000.0 * 2.0 * np.pi / 60.0 * 0.0025
DOWN = np.diag([1.0, -1.0, -1.0])
TICK_S = 0.004


def plate(length_x: float, length_y: float, spacing: float, height=lambda x, y: 0.0 * x) -> Surface:
    x = np.linspace(-length_x / 2, length_x / 2, round(length_x / spacing) + 1)
    y = np.linspace(-length_y / 2, length_y / 2, round(length_y / spacing) + 1)
    X, Y = (a.ravel() for a in np.meshgrid(x, y, indexing="ij"))
    n = len(y)
    i = (np.arange(len(x) - 1)[:, None] * n + np.arange(n - 1)).ravel()
    return Surface(
        vertices_m=np.column_stack([X, Y, height(X, Y)]),
        triangles=np.concatenate([np.column_stack([i, i + n, i + n + 1]), np.column_stack([i, i + n + 1, i + 1])]),
    )


def drag(grind: GrindTruth, *, x0: float, x1: float, speed: float, force_n: float, z=lambda x: 0.0 * x):
    """Drag the pad along x with its face at height z(x); return contact forces and slide extensions."""
    n_blocks = int(np.ceil((x1 - x0) / speed / (10 * TICK_S)))
    forces, slides = [], []
    for block in range(n_blocks):
        times = (block * 10 + np.arange(10) + 0.5) * TICK_S
        T = np.tile(np.eye(4), (10, 1, 1))
        T[:, :3, :3] = DOWN
        x = x0 + speed * times
        T[:, :3, 3] = np.column_stack([x, np.zeros(10), z(x)])
        contact = grind.grind(times, T, np.full(10, force_n), np.ones(10))
        forces.append(contact.force_n)
        slides.append(contact.slide_m)
    return np.concatenate(forces), np.concatenate(slides), n_blocks * 10 * TICK_S


def nominal(surface: Surface, pad: PadTruth = PAD) -> tuple[TruePart, GrindTruth]:
    part = TruePart(surface)
    return part, GrindTruth(part, pad, seed=0, errors=ToolErrors.none())


def volume(part: TruePart) -> float:
    return float(part.removed_m @ part.surface.vertex_areas_m2)


@pytest.mark.parametrize("spacing", [0.0013, 0.0045, 0.04])
def test_flat_pad_takes_off_preston_volume_on_any_mesh(spacing: float) -> None:
    part, grind = nominal(plate(0.3, 0.12, spacing))
    grind.settle(40.0)
    force, _, duration = drag(grind, x0=-0.09, x1=0.09, speed=0.1, force_n=40.0)
    assert force[20:] == pytest.approx(40.0, abs=0.05)
    assert volume(part) == pytest.approx(PAD.preston_per_pa * 40.0 * V_REL * duration, rel=0.01)
    v = part.surface.vertices_m
    middle = (np.abs(v[:, 0]) < 0.03) & (np.abs(v[:, 1]) < 0.003)
    expected = PAD.preston_per_pa * 40.0 / (np.pi * PAD.radius_m**2) * V_REL * 2.0 * PAD.radius_m / 0.1
    assert part.removed_m[middle].mean() == pytest.approx(expected, rel=0.02)
    assert part.removed_m[middle].std() < 0.02 * expected


@pytest.mark.parametrize("curvature_per_m", [-1.5, 1.5, 4.0])
def test_force_balance_on_curved_ground(curvature_per_m: float) -> None:
    """On a paraboloid, Winkler has a closed form: with gap k r2/2, full contact at F = pi R2 K (s - k R2 / 4)."""
    part, grind = nominal(plate(0.16, 0.16, 0.002, lambda x, y: -0.5 * curvature_per_m * (x**2 + y**2)))
    grind.settle(80.0)
    times = (np.arange(60) + 0.5) * TICK_S
    T = np.tile(np.eye(4), (60, 1, 1))
    T[:, :3, :3] = DOWN
    contact = grind.grind(times, T, np.full(60, 80.0), np.ones(60))
    assert contact.force_n[-1] == pytest.approx(80.0, abs=0.02)
    area = np.pi * PAD.radius_m**2
    load = 80.0 / PAD.stiffness_pa_per_m
    full = load / area + 0.25 * curvature_per_m * PAD.radius_m**2
    reach2 = np.sqrt(4.0 * load / (np.pi * abs(curvature_per_m)))
    if curvature_per_m > 0.0 and reach2 < PAD.radius_m**2:
        full = 0.5 * curvature_per_m * reach2
    if curvature_per_m < 0.0 and reach2 < PAD.radius_m**2:
        full = 0.5 * curvature_per_m * PAD.radius_m**2 + 0.5 * abs(curvature_per_m) * reach2
    assert contact.slide_m[-1] == pytest.approx(full, abs=0.05 * abs(curvature_per_m) * PAD.radius_m**2)
    r = np.linalg.norm(part.surface.vertices_m[:, :2], axis=1)
    inner, outer = part.removed_m[r < 0.01].mean(), part.removed_m[(r > 0.030) & (r < 0.038)].mean()
    assert (inner > outer) if curvature_per_m > 0.0 else (inner < outer)
    # volume across the tool axis is force, whatever the shape
    normal_z = part.surface.vertex_normals[:, 2]
    projected = float(part.removed_m @ (part.surface.vertex_areas_m2 * normal_z))
    assert projected == pytest.approx(PAD.preston_per_pa * 80.0 * V_REL * 60 * TICK_S, rel=0.01)


def test_slide_makes_up_for_a_wrong_scan_and_says_when_it_cannot() -> None:
    flat = plate(0.3, 0.12, 0.0045)
    depths = []
    for error_m in (0.0, 0.002, -0.002):
        part, grind = nominal(flat)
        grind.settle(40.0)
        drag(grind, x0=-0.09, x1=0.09, speed=0.1, force_n=40.0, z=lambda x, e=error_m: 0.0 * x + e)
        depths.append(part.removed_m.max())
    assert depths == pytest.approx([depths[0]] * 3, rel=0.02)
    part, grind = nominal(flat)
    force, slide, _ = drag(grind, x0=-0.02, x1=0.02, speed=0.1, force_n=40.0, z=lambda x: 0.0 * x + 0.015)
    assert force.max() == 0.0
    assert slide[-1] == pytest.approx(0.5 * PAD.slide_stroke_m)
    assert part.removed_m.max() == 0.0


def test_bottomed_out_slide_presses_harder_than_told() -> None:
    _, grind = nominal(plate(0.2, 0.12, 0.0045))
    force, slide, _ = drag(grind, x0=-0.02, x1=0.02, speed=0.1, force_n=40.0, z=lambda x: 0.0 * x - 0.012)
    assert slide[-1] == pytest.approx(-0.5 * PAD.slide_stroke_m)
    assert force[-1] > 50.0


def test_no_removal_without_spindle_or_force() -> None:
    part, grind = nominal(plate(0.2, 0.12, 0.0045))
    times = (np.arange(10) + 0.5) * TICK_S
    T = np.tile(np.eye(4), (10, 1, 1))
    T[:, :3, :3] = DOWN
    grind.grind(times, T, np.full(10, 40.0), np.zeros(10))
    grind.grind(times, T, np.zeros(10), np.ones(10))
    assert part.removed_m.max() == 0.0


def test_bead_is_worn_before_the_ground_beside_it() -> None:
    stiff = PadTruth(
        radius_m=0.04, stiffness_pa_per_m=2e8, preston_per_pa=1e-9, motion="orbital", rpm=10000.0, orbit_radius_m=0.0025
    )

    def bead(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 1.5e-3 * np.clip(1.0 - (y / 0.007) ** 2, 0.0, None)

    part, grind = nominal(plate(0.2, 0.12, 0.0015, bead), stiff)
    drag(grind, x0=-0.05, x1=0.05, speed=0.1, force_n=40.0, z=lambda x: 0.0 * x + 1.5e-3)
    v = part.surface.vertices_m
    crest = (np.abs(v[:, 1]) < 0.001) & (np.abs(v[:, 0]) < 0.02)
    ground = (np.abs(v[:, 1]) > 0.009) & (np.abs(v[:, 1]) < 0.03)
    assert part.removed_m[crest].min() > 1e-6
    assert part.removed_m[ground].max() == 0.0


def test_pad_follows_what_was_taken() -> None:
    part, grind = nominal(plate(0.2, 0.12, 0.0045))
    _, before, _ = drag(grind, x0=-0.01, x1=0.01, speed=0.1, force_n=40.0)
    part.removed_m[:] = 1e-3
    force, after, _ = drag(grind, x0=-0.01, x1=0.01, speed=0.1, force_n=40.0)
    assert after[-1] - before[-1] == pytest.approx(1e-3, abs=2e-5)
    assert force[-1] == pytest.approx(40.0, abs=0.1)


def test_typical_device_holds_its_force() -> None:
    part = TruePart(plate(0.3, 0.12, 0.003, lambda x, y: 0.4 * (x**2 + y**2)))
    grind = GrindTruth(part, PAD, seed=5, errors=ToolErrors())
    force, _, _ = drag(grind, x0=-0.1, x1=0.1, speed=0.1, force_n=20.0, z=lambda x: 0.4 * x**2)
    assert abs(force[50:].mean() - 20.0) < 0.4
    assert 0.05 < force[50:].std() < 0.6


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.06, 0.06), st.floats(-0.06, 0.06), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05))
def test_covered_fraction_is_the_time_inside_the_disc(x: float, y: float, dx: float, dy: float) -> None:
    t = (np.arange(4000) + 0.5) / 4000 - 0.5
    inside = np.hypot(x - t * dx, y - t * dy) < 0.04
    got = covered_fraction(np.array([[x, y]]), np.array([dx, dy]), 0.04)[0]
    assert got == pytest.approx(inside.mean(), abs=2e-3)


@pytest.mark.parametrize("crown_radius_m", [0.0, 0.05])
@pytest.mark.parametrize("spacing", [0.0015, 0.0045])
def test_a_wheel_takes_off_the_preston_volume_of_its_rim(spacing: float, crown_radius_m: float) -> None:
    wheel = PadTruth(
        radius_m=0.05, preston_per_pa=1e-11, motion="wheel", rpm=3000.0, width_m=0.03, crown_radius_m=crown_radius_m,
        effective_modulus_pa=2e6, force_max_n=40.0,
    )  # fmt: skip
    part, grind = nominal(plate(0.3, 0.12, spacing), wheel)
    grind.settle(25.0)
    force, _, duration = drag(grind, x0=-0.09, x1=0.09, speed=0.1, force_n=25.0)
    assert force[20:] == pytest.approx(25.0, abs=0.05)
    rim = 3000.0 * 2.0 * np.pi / 60.0 * 0.05
    assert volume(part) == pytest.approx(1e-11 * 25.0 * (rim + 0.1) * duration, rel=0.02)
    across = np.abs(part.surface.vertices_m[part.removed_m > 1e-3 * part.removed_m.max(), 1]).max()
    half = (0.75 * 25.0 * 0.05 / 2e6) ** (1 / 3) if crown_radius_m else 0.015
    assert across == pytest.approx(half, abs=spacing)


def test_a_wheel_is_slow_where_the_ground_is_hollow() -> None:
    # the same force over a wider contact: less depth at the bottom of a hollow than on a crown
    wheel = PadTruth(
        radius_m=0.05, preston_per_pa=1e-11, motion="wheel", rpm=3000.0, width_m=0.03, crown_radius_m=0.05,
        effective_modulus_pa=2e6, force_max_n=40.0,
    )  # fmt: skip
    depth = []
    for curvature in (6.0, -6.0):
        part, grind = nominal(plate(0.3, 0.12, 0.003, lambda x, y, c=curvature: 0.5 * c * y**2), wheel)
        grind.settle(25.0)
        drag(grind, x0=-0.05, x1=0.05, speed=0.1, force_n=25.0)
        v = part.surface.vertices_m
        depth.append(part.removed_m[(np.abs(v[:, 0]) < 0.02) & (np.abs(v[:, 1]) < 0.002)].mean())
    assert depth[0] < 0.85 * depth[1]
