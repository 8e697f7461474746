"""The force-controlled slide alone: statics, touch-down, ends of the stroke, sensor, letting go."""

import numpy as np
import pytest

from cell_simulation.slide import APPROACH_M_PER_S, INTEGRAL_MAX_N, PARKED_M, Demand, ForceSlide
from cell_simulation.tool_parameters import PadTruth

PAD = PadTruth(
    radius_m=0.04, stiffness_pa_per_m=2e7, preston_per_pa=1e-9, motion="orbital", rpm=10000.0, orbit_radius_m=0.0025
)
BRISTLES = 50
BRISTLE_N_PER_M = 2e7 * np.pi * 0.04**2 / BRISTLES
STEP_S = 0.001


def run(slide: ForceSlide, seconds: float, gap_m, force_n: float, **acts: float) -> np.ndarray:
    """Hold the pad over flat ground at gap_m(t) and return the contact force over time."""
    forces = []
    for k in range(round(seconds / STEP_S)):
        demand = Demand(force_set_n=force_n, ripple_n=acts.get("ripple", 0.0), sensor_error_n=acts.get("sensor", 0.0),
                        arm_speed_m_per_s=0.0)  # fmt: skip
        forces.append(slide.step(STEP_S, np.full(BRISTLES, gap_m(k * STEP_S)), BRISTLE_N_PER_M, demand))
    return np.array(forces)


def test_in_balance_the_layer_carries_the_set_force() -> None:
    slide = ForceSlide(PAD, friction_n=0.3)
    force = run(slide, 1.5, lambda t: 0.0, 40.0)
    assert force[-1] == pytest.approx(40.0, abs=0.02)
    assert slide.extension_m == pytest.approx(40.0 / (BRISTLE_N_PER_M * BRISTLES), rel=1e-3)


def test_touch_down_is_slow_and_comes_to_rest() -> None:
    slide = ForceSlide(PAD, friction_n=0.0)
    force = run(slide, 1.0, lambda t: 0.004, 20.0)
    first = int(np.argmax(force > 0.0)) * STEP_S
    assert first == pytest.approx((0.004 + PARKED_M) / APPROACH_M_PER_S, abs=0.03)
    # an impact of 1 kg at 0.1 m/s on 100 kN/m gives at most sqrt(k m) v beyond the drive's force
    assert force.max() < 20.0 + 0.1 * np.sqrt(BRISTLE_N_PER_M * BRISTLES)
    assert force[-1] == pytest.approx(20.0, abs=0.1)


def test_slow_disturbances_are_worked_off_by_what_the_sensor_tells() -> None:
    assert run(ForceSlide(PAD, friction_n=0.0), 3.0, lambda t: 0.0, 20.0, ripple=2.0)[-1] == pytest.approx(
        20.0, abs=0.02
    )
    # what the sensor tells wrong, the control makes wrong
    assert run(ForceSlide(PAD, friction_n=0.0), 3.0, lambda t: 0.0, 20.0, sensor=0.5)[-1] == pytest.approx(
        19.5, abs=0.02
    )
    beyond = run(ForceSlide(PAD, friction_n=0.0), 5.0, lambda t: 0.0, 20.0, ripple=2.0 * INTEGRAL_MAX_N)[-1]
    assert beyond == pytest.approx(20.0 + INTEGRAL_MAX_N, abs=0.02)


def test_a_wave_in_the_ground_costs_force_by_damping_and_mass_only() -> None:
    slide = ForceSlide(PAD, friction_n=0.0)
    run(slide, 1.0, lambda t: 0.0, 20.0)
    force = run(slide, 2.0, lambda t: 5e-4 * np.sin(2.0 * np.pi * t), 20.0)
    v, a = 5e-4 * 2.0 * np.pi, 5e-4 * (2.0 * np.pi) ** 2
    assert np.abs(force[1000:] - 20.0).max() < 1.5 * (40.0 * v + 1.0 * a)
    assert np.abs(force[1000:] - 20.0).max() > 0.2 * 40.0 * v


def test_the_stroke_ends() -> None:
    slide = ForceSlide(PAD, friction_n=0.0)
    assert run(slide, 1.0, lambda t: 0.02, 20.0).max() == 0.0
    assert slide.extension_m == pytest.approx(0.5 * PAD.slide_stroke_m + 20.0 / PAD.slide_stiffness_n_per_m, abs=1e-4)
    pressed = run(ForceSlide(PAD, friction_n=0.0), 1.0, lambda t: -0.012 * min(t / 0.5, 1.0), 20.0)
    # the end stop in series with the layer takes the 2 mm that the stroke lacks
    series = 1.0 / (1.0 / PAD.slide_stiffness_n_per_m + 1.0 / (BRISTLE_N_PER_M * BRISTLES))
    assert pressed[-1] == pytest.approx(20.0 - INTEGRAL_MAX_N + 0.002 * series, rel=0.1)


def test_without_a_set_point_it_lets_go_within_a_few_milliseconds() -> None:
    slide = ForceSlide(PAD, friction_n=0.3)
    run(slide, 1.0, lambda t: 0.0, 40.0)
    force = run(slide, 1.0, lambda t: 0.0, 0.0)
    assert force[20:].max() == 0.0
    assert slide.extension_m == pytest.approx(-PARKED_M, abs=2e-4)


def test_a_rigid_layer_stays_stable() -> None:
    slide = ForceSlide(PAD, friction_n=0.0)
    forces = []
    for _ in range(1000):
        demand = Demand(force_set_n=40.0, ripple_n=0.0, sensor_error_n=0.0, arm_speed_m_per_s=0.0)
        forces.append(slide.step(STEP_S, np.zeros(BRISTLES), 1e8 / BRISTLES, demand))
    assert forces[-1] == pytest.approx(40.0, abs=0.1)
    assert np.std(forces[500:]) < 0.1
