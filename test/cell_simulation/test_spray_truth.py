import numpy as np
import pytest
import trimesh
from scipy.special import beta as beta_function

from cell_core.surface import Surface
from cell_simulation.actuators import Actuator
from cell_simulation.patterns import FanPattern
from cell_simulation.spray import SprayTruth
from cell_simulation.tool_parameters import CorrelatedNoise, GunTruth, ToolErrors
from cell_simulation.true_part import TruePart

BLOCK_S = 0.04
FAN = FanPattern(a_m=0.125, b_m=0.035, beta_1=2.0, beta_2=2.0)
GUN = GunTruth(
    pattern=FAN,
    reference_standoff_m=0.2,
    solids_volume_fraction=0.45,
    transfer_efficiency=0.65,
    flow_m3_per_s=5e-6,
)
DRY_M3_PER_S = GUN.flow_m3_per_s * GUN.solids_volume_fraction * GUN.transfer_efficiency
DOWN = np.diag([1.0, -1.0, -1.0])


def plate(length_x: float, length_y: float, spacing: float, z: float = 0.0) -> Surface:
    x = np.linspace(-length_x / 2, length_x / 2, round(length_x / spacing) + 1)
    y = np.linspace(-length_y / 2, length_y / 2, round(length_y / spacing) + 1)
    X, Y = np.meshgrid(x, y, indexing="ij")
    n = len(y)
    i = (np.arange(len(x) - 1)[:, None] * n + np.arange(n - 1)).ravel()
    return Surface(
        vertices_m=np.column_stack([X.ravel(), Y.ravel(), np.full(X.size, z)]),
        triangles=np.concatenate([np.column_stack([i, i + n, i + n + 1]), np.column_stack([i, i + n + 1, i + 1])]),
    )


def joined(*surfaces: Surface) -> Surface:
    offsets = np.cumsum([0, *(len(s.vertices_m) for s in surfaces)])
    return Surface(
        vertices_m=np.concatenate([s.vertices_m for s in surfaces]),
        triangles=np.concatenate([s.triangles + o for s, o in zip(surfaces, offsets, strict=False)]),
    )


def constant_flow(times_s: np.ndarray) -> np.ndarray:
    return np.full(len(times_s), GUN.flow_m3_per_s)


def sweep(part: TruePart, *, x0: float, x1: float, speed: float, flow=constant_flow, errors=None, seed=0):
    spray = SprayTruth(part, GUN, seed=seed, errors=errors or ToolErrors.none(), block_s=BLOCK_S)
    for block in range(int(np.ceil((x1 - x0) / speed / BLOCK_S))):
        times = block * BLOCK_S + np.linspace(0.0, BLOCK_S, 11)
        T = np.tile(np.eye(4), (11, 1, 1))
        T[:, :3, :3] = DOWN
        T[:, :3, 3] = np.column_stack([x0 + speed * times, np.zeros(11), np.full(11, GUN.reference_standoff_m)])
        spray.spray(block, times, T, flow)
    return spray.balance


def volume_on(part: TruePart) -> float:
    return float(part.film_thickness_m @ part.surface.vertex_areas_m2)


def test_stripe_on_a_flat_plate_is_the_closed_form() -> None:
    part = TruePart(plate(0.4, 0.32, 0.005))
    speed = 0.1
    sweep(part, x0=-0.25, x1=0.25, speed=speed)
    film, v = part.film_thickness_m, part.surface.vertices_m
    whole = FAN.a_m * FAN.b_m * beta_function(0.5, FAN.beta_2) * beta_function(0.5, FAN.beta_1 + 0.5)
    inside = np.maximum(1.0 - (v[:, 1] / FAN.a_m) ** 2, 0.0)
    q_max = DRY_M3_PER_S / whole
    expected = q_max * FAN.b_m * beta_function(0.5, FAN.beta_2) / speed * inside ** (FAN.beta_1 - 0.5)
    middle = np.abs(v[:, 0]) < 0.15
    peak = expected.max()
    # levelling and turbulence round the fan's edge; elsewhere only droplet noise is left
    assert np.sqrt(np.mean((film - expected)[middle] ** 2)) < 0.012 * peak
    assert np.abs(film - expected)[middle].max() < 0.05 * peak
    assert np.mean(film[middle]) == pytest.approx(np.mean(expected[middle]), rel=2e-3)


def test_volume_on_the_part_is_emitted_times_catch() -> None:
    part = TruePart(plate(0.30, 0.10, 0.006))
    balance = sweep(part, x0=-0.3, x1=0.3, speed=0.3)
    assert balance.emitted_m3 == pytest.approx(DRY_M3_PER_S * 2.0, rel=1e-9)
    assert volume_on(part) == pytest.approx(balance.landed_m3, rel=1e-12)
    assert 0.2 < balance.landed_m3 / balance.emitted_m3 < 0.5
    assert part.film_thickness_m.min() >= 0.0


def test_everything_lands_on_a_plate_wider_than_the_fan() -> None:
    part = TruePart(plate(0.7, 0.4, 0.02))
    balance = sweep(part, x0=-0.2, x1=0.2, speed=0.2)
    assert balance.landed_m3 == pytest.approx(balance.emitted_m3, rel=1e-12)


def test_film_noise_is_below_two_percent_at_fifty_micrometres() -> None:
    part = TruePart(plate(0.3, 0.06, 0.0045))
    sweep(part, x0=-0.2, x1=0.2, speed=0.1)
    v = part.surface.vertices_m
    strip = (np.abs(v[:, 0]) < 0.1) & (np.abs(v[:, 1]) < 0.012)
    film = part.film_thickness_m[strip] / part.film_thickness_m[strip].mean()
    assert strip.sum() > 100
    assert film.std() < 0.02


def test_a_screen_throws_a_shadow() -> None:
    part = TruePart(joined(plate(0.3, 0.3, 0.005), plate(0.06, 0.06, 0.005, z=0.05)))
    sweep(part, x0=-0.15, x1=0.15, speed=0.3)
    v, film = part.surface.vertices_m, part.film_thickness_m
    under = (np.abs(v[:, 1]) < 0.01) & (v[:, 2] == 0.0) & (np.abs(v[:, 0]) < 0.005)
    beside = (np.abs(v[:, 1] - 0.06) < 0.01) & (v[:, 2] == 0.0) & (np.abs(v[:, 0]) < 0.005)
    screen = (v[:, 2] > 0.0) & (np.abs(v[:, 0]) < 0.01) & (np.abs(v[:, 1]) < 0.01)
    assert film[under].max() < 0.25 * film[beside].mean()
    assert film[screen].mean() > film[beside].mean()


def test_standing_gun_follows_the_inverse_square_law() -> None:
    near, far = (TruePart(plate(0.5, 0.5, 0.0125, z=z)) for z in (0.0, -0.2))
    for part in (near, far):
        sweep(part, x0=0.0, x1=1e-6, speed=1e-6 / 0.4)
    centre = np.argmin(np.linalg.norm(near.surface.vertices_m[:, :2], axis=1))
    assert far.film_thickness_m[centre] == pytest.approx(near.film_thickness_m[centre] / 4.0, rel=0.06)


def test_valve_opens_late_and_its_delay_moves_the_edge() -> None:
    speed, on_s, delay_s = 0.2, 1.0, 0.05
    valve = Actuator(on_delay_s=delay_s, off_delay_s=delay_s, rise_s=0.01, fall_s=0.01)
    valve.switch(on_s, True)
    part = TruePart(plate(0.5, 0.3, 0.005))
    sweep(part, x0=-0.25, x1=0.25, speed=speed, flow=lambda t: valve.at(t) * GUN.flow_m3_per_s)
    v, film = part.surface.vertices_m, part.film_thickness_m
    row = np.abs(v[:, 1]) < 0.02
    x, level = np.unique(v[row, 0]), film[row]
    profile = np.array([level[v[row, 0] == xi].mean() for xi in x])
    half = np.interp(0.5 * profile[x > 0.08].mean(), profile[(x > -0.08) & (x < 0.05)], x[(x > -0.08) & (x < 0.05)])
    assert half == pytest.approx(-0.25 + speed * (on_s + delay_s), abs=0.003)


def test_same_seed_same_film_and_another_seed_another() -> None:
    films = []
    for seed in (3, 3, 4):
        part = TruePart(plate(0.2, 0.2, 0.01))
        sweep(part, x0=-0.1, x1=0.1, speed=0.5, seed=seed, errors=ToolErrors())
        films.append(part.film_thickness_m)
    assert np.array_equal(films[0], films[1])
    assert not np.allclose(films[0], films[2], rtol=1e-4)


def test_actuator_ramp_delay_and_cut() -> None:
    valve = Actuator(on_delay_s=0.03, off_delay_s=0.03, rise_s=0.02, fall_s=0.02)
    valve.switch(1.0, True)
    assert valve.at(np.array([0.0, 1.019, 1.03, 1.05, 2.0])) == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])
    valve.switch(2.0, False)
    valve.cut(2.025)
    assert valve.at(np.array([2.0, 2.0249, 2.025, 3.0])) == pytest.approx([1.0, 0.755, 0.0, 0.0], abs=1e-3)
    assert not valve.commanded


def test_correlated_noise_has_unit_variance_and_no_memory_of_calls() -> None:
    noise = CorrelatedNoise(1, 2, 0.1)
    times = np.arange(0.0, 400.0, 0.01)
    values = noise(times)
    assert values.std() == pytest.approx(1.0, abs=0.05)
    assert np.array_equal(values[::7], noise(times[::7]))


def test_film_does_not_creep_round_a_sharp_edge() -> None:
    box = trimesh.creation.box((0.24, 0.24, 0.003))
    part = TruePart(Surface(vertices_m=box.vertices, triangles=box.faces))
    sweep(part, x0=-0.2, x1=0.2, speed=0.3)
    v, up = part.surface.vertices_m, part.surface.vertex_normals[:, 2]
    film = part.film_thickness_m
    assert film[up < -0.5].max() == 0.0
    row = (up > 0.5) & (np.abs(v[:, 1]) < 0.03)
    rim, middle = row & (np.abs(v[:, 0]) > 0.119), row & (np.abs(v[:, 0]) < 0.08)
    assert film[rim].mean() == pytest.approx(film[middle].mean(), rel=0.05)


def test_droplets_stray_by_the_turbulence(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = []
    for turbulence in (0.0, 0.02):
        monkeypatch.setattr("cell_simulation.spray.TURBULENCE_RAD", turbulence)
        part = TruePart(plate(0.3, 0.5, 0.005))
        sweep(part, x0=0.0, x1=1e-6, speed=1e-6 / 0.4)
        volume = part.film_thickness_m * part.surface.vertex_areas_m2
        squares.append(float(volume @ part.surface.vertices_m[:, 0] ** 2 / volume.sum()))
    stray = GUN.reference_standoff_m * 0.02
    assert squares[1] - squares[0] == pytest.approx(stray**2, rel=0.1)


def test_flow_errs_by_its_bias_and_noise() -> None:
    def emitted(seed: int, errors: ToolErrors) -> float:
        part = TruePart(plate(0.1, 0.1, 0.05))
        return sweep(part, x0=0.0, x1=0.08, speed=0.5, seed=seed, errors=errors).emitted_m3 / (DRY_M3_PER_S * 0.16)

    none = {"flow_bias": 0.0, "flow_noise": 0.0}
    biased = [emitted(seed, ToolErrors(**{**none, "flow_bias": 0.05})) for seed in range(40)]
    noisy = [emitted(seed, ToolErrors(**{**none, "flow_noise": 0.05}, flow_correlation_s=1.0)) for seed in range(40)]
    # the bias is cut at two standard deviations; the noise hardly changes within the 0.16 s of a correlation time
    for shares in (biased, noisy):
        assert np.mean(shares) == pytest.approx(1.0, abs=0.025)
        assert 0.03 < np.std(shares) < 0.07
    assert np.ptp(biased) <= 0.2 + 1e-9
