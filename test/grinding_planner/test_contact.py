"""The pad's contact against closed forms, and what must hold on any surface."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.transforms import apply, tool_frames
from grinding_planner.contact import balance, nominal_speed, pad_pairs, relative_speed, removal_rates
from grinding_planner.samples import SurfaceSamples, sample_surface

DOWN = np.array([[0.0, 0.0, -1.0]])
ALONG = np.array([[1.0, 0.0, 0.0]])


def frame_at(x_m: float, y_m: float, z_m: float = 0.0) -> np.ndarray:
    return tool_frames(np.array([[x_m, y_m, z_m]]), DOWN, ALONG)


def test_samples_carry_the_area_and_sit_on_the_surface(make_sheet):
    surface = make_sheet((0.3, 0.2), 0.05, lambda x, y: 0.2 * x)
    samples = sample_surface(surface, 0.008)
    assert samples.areas_m2.sum() == pytest.approx(surface.area_m2, rel=1e-9)
    assert np.abs(samples.points_m[:, 2] - 0.2 * samples.points_m[:, 0]).max() < 1e-9
    assert 0.5 < len(samples) * 0.008**2 / surface.area_m2 < 2.0


def test_flat_ground_carries_force_over_area(make_sheet, orbital):
    surface = make_sheet((0.4, 0.4), 0.02, lambda x, y: 0.0 * x)
    samples = sample_surface(surface, orbital.radius_m / 12)
    pairs = pad_pairs(samples, frame_at(0.003, -0.002, 0.001), orbital.radius_m)
    contact = balance(pairs, 50.0, orbital.stiffness_pa_per_m)
    full = 50.0 / (np.pi * orbital.radius_m**2)
    assert np.allclose(contact.pressure_pa, full, rtol=0.02)
    # the tool centre point hangs 1 mm above the plate: the pad advances by that and by its compression
    assert contact.advance_m[0] == pytest.approx(0.001 + full / orbital.stiffness_pa_per_m, rel=0.01)
    assert contact.centre_offset_m[0] < 0.02 * orbital.radius_m


def test_sphere_has_the_closed_form(make_sheet, disc):
    # gap r^2/(2 R): contact radius c with c^2 = 2 R d, force = K pi R d^2
    ball, force = 0.5, 15.0
    surface = make_sheet((0.06, 0.06), 0.001, lambda x, y: np.sqrt(ball**2 - x**2 - y**2) - ball)
    samples = sample_surface(surface, 0.001)
    pairs = pad_pairs(samples, frame_at(0.0, 0.0), disc.radius_m)
    contact = balance(pairs, force, 5e7)
    advance = np.sqrt(force / (5e7 * np.pi * ball))
    assert np.sqrt(2 * ball * advance) < 0.95 * disc.radius_m
    assert contact.advance_m[0] == pytest.approx(advance, rel=0.01)
    assert contact.pressure_max_pa[0] == pytest.approx(5e7 * advance, rel=0.01)
    assert contact.contact_area_m2[0] == pytest.approx(np.pi * 2 * ball * advance, rel=0.03)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), force=st.floats(1.0, 200.0), stiffness=st.floats(1e5, 1e9))
def test_any_ground_carries_the_force_and_no_pressure_is_negative(seed, force, stiffness):
    rng = np.random.default_rng(seed)
    n = 300
    samples = SurfaceSamples(
        points_m=np.c_[rng.uniform(-0.05, 0.05, (n, 2)), rng.normal(0.0, 2e-3, n)],
        normals=np.tile([0.0, 0.0, 1.0], (n, 1)),
        areas_m2=rng.uniform(0.1, 1.0, n) * 1e-4,
        spacing_m=0.005,
    )
    frames = np.concatenate([frame_at(*rng.uniform(-0.04, 0.04, 2)) for _ in range(4)])
    pairs = pad_pairs(samples, frames, 0.03)
    contact = balance(pairs, force, stiffness)
    assert len(pairs.pose)
    assert contact.pressure_pa.min() >= 0.0
    occupied = np.bincount(pairs.pose, minlength=4) > 0
    assert np.allclose(contact.force_n[occupied], force, rtol=1e-9)
    # complementarity: pressed exactly where the pad has advanced past the gap
    assert np.array_equal(contact.pressure_pa > 0.0, contact.advance_m[pairs.pose] > pairs.gap_m)


def test_rigid_motion_changes_nothing(make_sheet, orbital):
    surface = make_sheet((0.3, 0.3), 0.01, lambda x, y: 0.3 * x**2 - 0.2 * x * y)
    samples = sample_surface(surface, 0.01)
    frames = np.concatenate([frame_at(0.0, 0.0), frame_at(0.1, -0.12)])
    rng = np.random.default_rng(3)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = q * np.sign(np.linalg.det(q)), [0.3, -1.0, 2.0]
    moved = SurfaceSamples(
        points_m=apply(T, samples.points_m),
        normals=samples.normals @ T[:3, :3].T,
        areas_m2=samples.areas_m2,
        spacing_m=0.01,
    )
    rates = [
        removal_rates(pairs, balance(pairs, 50.0, orbital.stiffness_pa_per_m), orbital).toarray()
        for pairs in (pad_pairs(samples, frames, orbital.radius_m), pad_pairs(moved, T @ frames, orbital.radius_m))
    ]
    assert rates[0].max() > 0.0
    assert np.allclose(rates[0], rates[1], rtol=1e-6, atol=1e-12)


def test_edge_overhang_raises_pressure_by_the_missing_area(make_sheet, orbital):
    surface = make_sheet((0.4, 0.4), 0.02, lambda x, y: 0.0 * x)
    samples = sample_surface(surface, orbital.radius_m / 16)
    inside = 0.5 * orbital.radius_m
    pairs = pad_pairs(samples, frame_at(0.2 - inside, 0.0), orbital.radius_m)
    contact = balance(pairs, 50.0, orbital.stiffness_pa_per_m)
    cut = np.arccos(0.5)
    kept = 1.0 - (cut - np.sin(cut) * np.cos(cut)) / np.pi
    full = 50.0 / (np.pi * orbital.radius_m**2)
    assert contact.pressure_max_pa[0] == pytest.approx(full / kept, rel=0.02)
    # no sample reaches past the edge, and the pad's centre of pressure moved inwards by 0.171 R
    assert contact.centre_offset_m[0] == pytest.approx(0.171 * orbital.radius_m, rel=0.05)


def test_a_layer_wraps_an_edge_and_rubs_the_wall_behind_it(orbital):
    # the top of a block up to x = 0, and a wall 84 degrees steep from there on
    xy = np.stack(np.meshgrid(np.arange(-0.0495, 0.0, 0.001), np.arange(-0.0495, 0.05, 0.001)), axis=-1).reshape(-1, 2)
    depth, y = np.meshgrid(np.arange(0.00025, 0.01, 0.0005), np.arange(-0.0495, 0.05, 0.001))
    wall = np.c_[0.105 * depth.ravel(), y.ravel(), -depth.ravel()]
    normal = np.array([1.0, 0.0, 0.105]) / np.hypot(1.0, 0.105)
    top = np.c_[xy, np.zeros(len(xy))]
    samples = SurfaceSamples(
        points_m=np.r_[top, wall],
        normals=np.r_[np.tile([0.0, 0.0, 1.0], (len(top), 1)), np.tile(normal, (len(wall), 1))],
        areas_m2=np.r_[np.full(len(top), 1e-6), np.full(len(wall), 0.5e-6)],
        spacing_m=0.001,
    )
    pairs = pad_pairs(samples, frame_at(-0.01, 0.0), orbital.radius_m)
    contact = balance(pairs, 30.0, orbital.stiffness_pa_per_m)
    rate = np.asarray(removal_rates(pairs, contact, orbital).todense())[:, 0]
    advance = float(contact.advance_m[0])
    assert 0.0005 < advance < 0.005
    rubbed, depth = rate[len(top) :], -wall[:, 2]
    under = np.abs(wall[:, 1]) < 0.04
    assert (rubbed[under & (depth < 0.9 * advance)] > 0.0).all()
    assert (rubbed[depth > advance] == 0.0).all()
    # as far as the layer is pressed in there, of what it is pressed in on top
    deep = under & (depth < 0.6 * advance)
    assert rubbed[deep] / rate[: len(top)].max() == pytest.approx(1.0 - depth[deep] / advance, rel=0.02)


def test_orbital_speed_with_feed_matches_the_mean_over_a_turn(orbital):
    circle = orbital.rpm * 2 * np.pi / 60 * orbital.orbit_radius_m
    phase = np.linspace(0.0, 2 * np.pi, 20_000, endpoint=False)
    for feed in (0.0, 0.1, 1.0, 4.0):
        mean = np.hypot(circle * np.cos(phase) + feed, circle * np.sin(phase)).mean()
        assert float(relative_speed(orbital, 0.0, 0.0, feed)) == pytest.approx(mean, rel=1e-4)


def test_disc_speed_is_omega_r_plus_feed(disc):
    omega = disc.rpm * 2 * np.pi / 60
    assert float(relative_speed(disc, 0.0, 0.01, 0.5)) == pytest.approx(abs(0.5 - omega * 0.01))
    assert float(relative_speed(disc, 0.02, 0.0, 0.0)) == pytest.approx(omega * 0.02)
    assert nominal_speed(disc) == pytest.approx(2 / 3 * omega * disc.radius_m)


def test_pass_over_flat_ground_removes_the_preston_volume_and_chord_profile(make_sheet, orbital):
    surface = make_sheet((0.6, 0.3), 0.02, lambda x, y: 0.0 * x)
    samples = sample_surface(surface, orbital.radius_m / 10)
    x = np.linspace(-0.2, 0.2, 201)
    frames = tool_frames(np.c_[x, 0 * x, 0 * x], np.tile(DOWN, (201, 1)), np.tile(ALONG, (201, 1)))
    pairs = pad_pairs(samples, frames, orbital.radius_m)
    rates = removal_rates(pairs, balance(pairs, 50.0, orbital.stiffness_pa_per_m), orbital)
    feed = 0.1
    removed = rates @ np.full(201, (x[1] - x[0]) / feed)
    volume = orbital.preston_per_pa * 50.0 * nominal_speed(orbital) * 201 * (x[1] - x[0]) / feed
    assert samples.areas_m2 @ removed == pytest.approx(volume, rel=0.01)
    middle = (np.abs(samples.points_m[:, 0]) < 0.1) & (np.abs(samples.points_m[:, 1]) < 0.9 * orbital.radius_m)
    pressure = 50.0 / (np.pi * orbital.radius_m**2)
    chord = 2 * np.sqrt(orbital.radius_m**2 - samples.points_m[middle, 1] ** 2)
    depth = orbital.preston_per_pa * pressure * nominal_speed(orbital) * chord / feed
    assert np.abs(removed[middle] / depth - 1).mean() < 0.05


def test_share_along_a_line_is_the_mean_over_the_way(orbital):
    # one row of small pieces across the rim of a pad that moves on by 12 mm a sample
    step, radius = 0.012, orbital.radius_m
    x, y = np.meshgrid(np.arange(-0.08, 0.08, 0.002), [0.0, 0.04])
    points = np.c_[x.ravel(), y.ravel(), 0.0 * x.ravel()]
    samples = SurfaceSamples(
        points_m=points,
        normals=np.tile([0.0, 0.0, 1.0], (len(points), 1)),
        areas_m2=np.full(len(points), 4e-6),
        spacing_m=0.002,
    )
    frame = np.diag([1.0, -1.0, -1.0, 1.0])[None]
    pairs = pad_pairs(samples, frame, radius, step_m=step)
    found = np.zeros(len(points))
    found[pairs.point] = pairs.share
    at = np.linspace(-step, step, 4001)
    hat = (1.0 - np.abs(at) / step) / np.sum(1.0 - np.abs(at) / step)
    under = np.hypot(points[:, :1] - at, points[:, 1:2]) <= radius
    assert found == pytest.approx(under @ hat, abs=0.02)
    assert 0.2 < found.min(where=found > 0.15, initial=1.0) < 0.5
