"""Time laws keep limits, ends and speeds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_paths import stroke_over

from cell_motion.path import SpeedLaw, StrokePath, profile, turned
from cell_motion.timing import Limits, Motion, along, polyline

LIMITS = Limits(
    velocity_rad_per_s=np.array([3.0, 3.0, 3.0, 4.0, 4.0, 6.0]),
    acceleration_rad_per_s2=np.array([6.0, 6.0, 8.0, 10.0, 10.0, 12.0]),
    jerk_rad_per_s3=np.array([60.0, 60.0, 80.0, 100.0, 100.0, 120.0]),
)


def _keeps(motion: Motion) -> None:
    velocity, acceleration = motion.ratios(LIMITS)
    assert velocity.max() <= 1.001
    assert acceleration.max() <= 1.02  # the spline through the nodes overshoots a little
    assert motion.jerk_ratio(LIMITS) <= 1.05
    np.testing.assert_allclose(motion.velocity_rad_per_s[[0, -1]], 0.0, atol=1e-12)
    assert np.diff(motion.time_s).max() <= 0.008 + 1e-9


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.01, 2.0), st.sampled_from([1.0, 0.5]))
@settings(max_examples=40, deadline=None)
def test_polylines_keep_limits_and_reach_their_end(seed: int, n: int, size: float, speed: float) -> None:
    waypoints = np.random.default_rng(seed).uniform(-size, size, (n, 6))
    motion = polyline(waypoints, LIMITS, 0.008, speed)
    _keeps(motion)
    np.testing.assert_allclose(motion.position_rad[[0, -1]], waypoints[[0, -1]], atol=1e-9)


def test_a_straight_leg_stays_straight_and_slower_corners_are_sharper() -> None:
    a, b, c = np.zeros(6), np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    assert np.abs(polyline(np.stack([a, b]), LIMITS, 0.008).position_rad[:, 1:]).max() < 1e-12

    def cut(speed: float) -> float:
        q = polyline(np.stack([a, b, c]), LIMITS, 0.008, speed).position_rad
        return float(np.min(np.abs(q[:, :2] - b[:2]).sum(axis=1)))

    assert cut(0.25) < 0.4 * cut(0.5) < 0.4 * cut(1.0)


def test_a_path_is_run_within_limits() -> None:
    u = np.linspace(0.0, 1.0, 12)[:, None]
    _keeps(along(np.sin(2.0 * u) * np.ones((1, 6)), LIMITS, 0.008))


def _stroke(speed: np.ndarray) -> StrokePath:
    x = np.linspace(0.0, 0.6, len(speed))
    points = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1)
    return StrokePath(stroke_over(points, np.tile([0.0, 0.0, 1.0], (len(x), 1)), speed_m_per_s=speed, value=1.0))


def test_a_profile_takes_as_long_as_the_stroke_and_is_at_speed_at_both_ends() -> None:
    path = _stroke(0.3 + 0.05 * np.sin(np.linspace(0.0, 6.0, 61)))
    law = SpeedLaw.of(path)
    timing = profile(law, 2.0, 2.0, np.ones(len(law.s_m)))
    assert abs(timing.end_s - timing.start_s - path.stroke.times_s[-1]) < 2e-3
    speed = np.gradient(timing.s_m, timing.time_s)
    at_samples = np.interp(timing.time_at(path.at_m), timing.time_s, speed)
    np.testing.assert_allclose(at_samples[1:-1], path.stroke.speed_m_per_s[1:-1], rtol=0.01)
    np.testing.assert_allclose(at_samples, path.stroke.speed_m_per_s, rtol=0.02)  # the law has kinks at its ends
    assert speed[[0, -1]].max() < 1e-6
    time, start, end = timing.nodes(0.008)
    assert abs(time[start] - timing.start_s) < 1e-9
    assert abs(time[end] - timing.end_s) < 1e-9


def test_caps_slow_before_they_bind() -> None:
    path = _stroke(np.full(61, 0.3))
    law = SpeedLaw.of(path)
    slow = law.capped(np.array([0.0, 0.29, 0.3, 0.31, 0.6]), np.array([1.0, 1.0, 0.1, 1.0, 1.0]), 1.0)
    assert slow.speed_m_per_s.min() <= 0.1 + 1e-9
    acceleration = np.diff(slow.speed_m_per_s**2) / (2.0 * np.diff(slow.s_m))
    assert np.abs(acceleration).max() <= 1.0 + 1e-6
    assert (slow.speed_m_per_s <= law.speed_m_per_s + 1e-12).all()


def test_tilt_turns_about_the_pivot_and_spin_about_the_axis() -> None:
    T = np.eye(4)
    tilted = turned(T, tilt_rad=np.array([0.2, -0.1]), pivot_m=0.3)
    np.testing.assert_allclose(tilted @ [0.0, 0.0, 0.3, 1.0], [0.0, 0.0, 0.3, 1.0], atol=1e-12)
    assert np.isclose(np.arccos(tilted[2, 2]), np.hypot(0.2, 0.1))
    spun = turned(T, spin_rad=0.5, standoff_m=0.02)
    np.testing.assert_allclose(spun[:3, 2], [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(spun[:3, 3], [0.0, 0.0, -0.02], atol=1e-12)


def test_free_moves_start_and_end_without_a_jump_of_acceleration():
    limits = Limits(
        velocity_rad_per_s=np.full(6, 3.0), acceleration_rad_per_s2=np.full(6, 10.0), jerk_rad_per_s3=np.full(6, 100.0)
    )
    motion = polyline(np.array([np.zeros(6), np.full(6, 0.4), np.array([0.8, 0.2, 0.8, 0.2, 0.8, 0.2])]), limits, 0.008)
    ends = np.abs(motion.acceleration_rad_per_s2[[0, -1]])
    # what the limit allows in a tenth of a millisecond
    assert ends.max() < 1e-4 * 100.0
    assert motion.jerk_ratio(limits) <= 1.0
