"""One contract over the footprints of every kind of gun."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.config import GunConfig, load_named
from cell_core.config.guns import KINDS
from cell_core.operator.coverage import build_coverage, coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta, GunFootprint, footprint_for
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import transform_from_xyz_rpy

COMMON = {
    "format": "grind_spray_cell/gun", "version": 1, "name": "test", "reference_standoff_m": 0.2,
    "flow_m3_per_s": 5e-6, "solids_volume_fraction": 0.45, "transfer_efficiency": 0.65, "on_delay_s": 0.03,
    "off_delay_s": 0.03, "standoff_m": {"low": 0.12, "high": 0.3}, "speed_m_per_s": {"low": 0.08, "high": 1.0},
    "acceleration_m_per_s2": 2.0, "tilt_max_rad": 0.35, "incidence_max_rad": 1.047,
}  # fmt: skip
PATTERNS = {
    "elliptic_double_beta": {"a_m": 0.12, "b_m": 0.04, "beta_1": 2.5, "beta_2": 1.8},
    "axisymmetric_beta": {"radius_m": 0.06, "beta": 2.2},
    "gaussian_sum": {
        "gaussians": (
            {"share": 0.6, "offset_x_m": -0.01, "offset_y_m": -0.05, "sigma_x_m": 0.015, "sigma_y_m": 0.03},
            {"share": 0.4, "offset_x_m": 0.01, "offset_y_m": 0.04, "sigma_x_m": 0.02, "sigma_y_m": 0.025},
        )
    },
    "bell_ring": {"ring_radius_m": 0.06, "ring_width_m": 0.02, "hollow_fill": 0.3},
}
VOLUME_PER_S = 5e-6 * 0.45 * 0.65
ALL = pytest.mark.parametrize("kind", KINDS)


def gun(kind: str, **changes) -> GunConfig:
    return GunConfig(**{**COMMON, "kind": kind, **PATTERNS[kind], **changes})


def test_every_kind_is_under_contract():
    assert set(PATTERNS) == set(KINDS) and len(KINDS) == 4


def grid(footprint: GunFootprint, n: int = 801):
    reach = max(max(abs(e.centre_x_m) + e.half_x_m, abs(e.centre_y_m) + e.half_y_m) for e in footprint.supports)
    place = np.linspace(-reach, reach, n)
    x, y = np.meshgrid(place, place, indexing="ij")
    return place, x.ravel(), y.ravel(), (place[1] - place[0]) ** 2


def plane_points(x, y, z):
    return np.column_stack([x, y, np.broadcast_to(z, x.shape)]), np.tile([0.0, 0.0, -1.0], (len(x), 1))


@ALL
def test_it_says_what_a_planner_asks(kind):
    footprint = footprint_for(gun(kind))
    assert footprint.occludes
    assert footprint.volume_rate_m3_per_s == pytest.approx(VOLUME_PER_S)
    assert 0.0 < footprint.detail_m <= max(footprint.half_width_m, footprint.half_height_m) < footprint.reach_m


BETAS, LENGTHS, SHARES = st.floats(1.2, 6.0), st.floats(0.03, 0.15), st.floats(0.05, 0.95)
OFFSETS = st.floats(-0.06, 0.06)
TERMS = st.tuples(OFFSETS, OFFSETS, st.floats(0.01, 0.05), st.floats(0.01, 0.05))
ANY_PATTERN = st.one_of(
    st.builds(
        lambda a, b, p, q: gun("elliptic_double_beta", a_m=a, b_m=b, beta_1=p, beta_2=q), LENGTHS, LENGTHS, BETAS, BETAS
    ),
    st.builds(lambda r, p: gun("axisymmetric_beta", radius_m=r, beta=p), LENGTHS, BETAS),
    st.builds(
        lambda r, w, f: gun("bell_ring", ring_radius_m=r, ring_width_m=w, hollow_fill=f),
        LENGTHS, st.floats(0.01, 0.05), st.floats(0.0, 1.0),
    ),
    st.builds(
        lambda s, t, u: gun("gaussian_sum", gaussians=tuple(
            dict(zip(("share", "offset_x_m", "offset_y_m", "sigma_x_m", "sigma_y_m"), (share, *term), strict=True))
            for share, term in ((s, t), (1.0 - s, u))
        )),
        SHARES, TERMS, TERMS,
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(own=ANY_PATTERN)
def test_what_leaves_the_gun_lands_on_the_plane_and_stripes_are_its_integrals(own):
    footprint = footprint_for(own)
    place, x, y, cell = grid(footprint)
    pattern = footprint.density(x, y).reshape(len(place), -1)
    step = place[1] - place[0]
    # exponents near 1 cut off steeply: the sum over cells is then good to a few per mille
    assert pattern.sum() * cell == pytest.approx(1.0, abs=4e-3)
    for stripe, film in ((footprint.stripe_across, pattern.sum(axis=0)), (footprint.stripe_along, pattern.sum(axis=1))):
        closed = stripe(place)
        assert closed.sum() * step == pytest.approx(1.0, abs=1e-3)
        assert np.abs(closed - film * step).mean() < 2e-3 * closed.max()
    assert pattern.min() >= 0.0


@ALL
@settings(max_examples=10, deadline=None)
@given(
    tilt=st.floats(-0.25, 0.25), other=st.floats(-0.25, 0.25), standoff=st.floats(0.15, 0.28), wave=st.floats(0, 0.008)
)
def test_mass_is_balanced_on_any_shell_that_catches_the_cone(kind, tilt, other, standoff, wave):
    n, half = 301, 0.45
    place = np.linspace(-half, half, n)
    X, Y = np.meshgrid(place, place, indexing="ij")
    Z = wave * np.sin(13.0 * X) * np.cos(11.0 * Y)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    part = Surface(
        vertices_m=np.column_stack([X.ravel(), Y.ravel(), Z.ravel()]), triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]]
    )
    T = transform_from_xyz_rpy((0.0, 0.0, standoff), (np.pi + tilt, other, 0.3))
    own = Stroke(
        kind="area", position_m=T[:3, 3] + np.outer([0.0, 0.001], T[:3, 0]), tool_axis=np.tile(T[:3, 2], (2, 1)),
        travel=np.tile(T[:3, 0], (2, 1)), speed_m_per_s=np.ones(2), process_value=np.ones(2), on=np.ones(2, bool),
    )  # fmt: skip
    caught = build_coverage(part, [own], footprint_for(gun(kind)), occlusion=False).adjoint(part.vertex_areas_m2)
    assert caught == pytest.approx(np.full(2, VOLUME_PER_S), rel=6e-3)


@ALL
@settings(max_examples=10, deadline=None)
@given(xyz=st.tuples(*[st.floats(-2.0, 2.0)] * 3), rpy=st.tuples(*[st.floats(-1.5, 1.5)] * 3), seed=st.integers(0, 99))
def test_film_moves_with_part_and_path(kind, xyz, rpy, seed):
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(-0.15, 0.15, (200, 2)), rng.uniform(-0.03, 0.03, 200)])
    normals = rng.normal(size=(200, 3)) * 0.3 + [0.0, 0.0, 1.0]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    x = np.linspace(-0.1, 0.1, 9)
    stroke = Stroke(
        kind="area", position_m=np.column_stack([x, 0.0 * x, 0.0 * x + 0.2]), travel=np.tile([1.0, 0.0, 0.0], (9, 1)),
        tool_axis=np.tile([0.0, 0.0, -1.0], (9, 1)), speed_m_per_s=np.full(9, 0.3), process_value=np.ones(9),
        on=np.ones(9, bool),
    )  # fmt: skip
    T = transform_from_xyz_rpy(xyz, rpy)
    footprint, moved = footprint_for(gun(kind)), stroke.transformed(T)
    here = coverage_of_points(points, normals, [stroke], footprint, caster=None)
    there = coverage_of_points(
        points @ T[:3, :3].T + T[:3, 3], normals @ T[:3, :3].T, [moved], footprint, caster=None
    )
    assert here.matrix.nnz > 100
    assert here.predict([stroke]) == pytest.approx(there.predict([moved]), abs=2e-5 * here.predict([stroke]).max())


@ALL
def test_nothing_lands_behind_or_on_faces_turned_away(kind):
    footprint = footprint_for(gun(kind))
    _, x, y, _ = grid(footprint, 41)
    index = np.zeros(len(x), np.int64)
    points, facing = plane_points(x, y, 0.2)
    assert footprint.rates(points, facing, index).max() > 0.0
    assert footprint.rates(points, -facing, index).max() == 0.0
    assert footprint.rates(points * [1.0, 1.0, -1.0], facing, index).max() == 0.0
    assert footprint.rates(points * [1.0, 1.0, 0.05], facing, index).max() == 0.0, "closer than the model says anything"


@ALL
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_coarse_test_never_hides_a_point_with_a_rate(kind, seed):
    rng = np.random.default_rng(seed)
    footprint = footprint_for(gun(kind))
    centres = rng.uniform([-0.4, -0.4, -0.1], [0.4, 0.4, 0.6], (300, 3))
    radius = rng.uniform(0.0, 0.1, 300) * rng.integers(0, 2, 300)
    inside = rng.normal(size=(300, 3))
    inside *= (rng.uniform(0.0, 1.0, 300) * radius / np.linalg.norm(inside, axis=1))[:, None]
    points = centres + inside
    rates = footprint.rates(points, -points / np.linalg.norm(points, axis=1, keepdims=True), np.zeros(300, np.int64))
    within = np.linalg.norm(points, axis=1) <= footprint.reach_m
    assert footprint.may_reach(centres, radius)[(rates > 0.0) & within].all()
    assert footprint.may_reach(points, np.zeros(300))[rates > 0.0].all()
    assert (rates > 0.0).any()


@ALL
def test_the_coarse_test_is_of_use(kind):
    footprint = footprint_for(gun(kind))
    beside = np.array([[0.9, 0.0, 0.2], [0.0, 0.9, 0.2], [0.0, 0.0, -0.3], [-0.9, -0.9, 0.2]])
    assert not footprint.may_reach(beside, np.full(4, 0.05)).any()


@ALL
def test_reach_covers_the_cone_to_two_and_a_half_standoffs(kind):
    footprint = footprint_for(gun(kind))
    _, x, y, _ = grid(footprint, 101)
    for share in (0.6, 1.0, 2.49):
        points, facing = plane_points(share * x, share * y, 0.2 * share)
        rates = footprint.rates(points, facing, np.zeros(len(x), np.int64))
        assert np.linalg.norm(points[rates > 0.0], axis=1).max() <= footprint.reach_m


@ALL
def test_single_precision_asks_and_answers_in_single_precision(kind):
    footprint = footprint_for(gun(kind))
    _, x, y, _ = grid(footprint, 101)
    points, normals = plane_points(1.1 * x, 1.1 * y, 0.22)
    index = np.zeros(len(x), np.int64)
    double = footprint.rates(points, normals, index)
    single = footprint.rates(points.astype(np.float32), normals.astype(np.float32), index)
    assert single.dtype == np.float32 and double.dtype == np.float64
    # on the very edge of a pattern that ends steeply a point may fall on either side
    assert np.mean(np.abs(single - double) > 2e-5 * double.max()) < 2e-3


@ALL
def test_half_widths_hold_nearly_all_paint_and_little_else(kind):
    footprint = footprint_for(gun(kind))
    place = np.linspace(-0.4, 0.4, 4001)
    for stripe, half in (
        (footprint.stripe_across(place), footprint.half_width_m),
        (footprint.stripe_along(place), footprint.half_height_m),
    ):
        share = np.cumsum(stripe) / stripe.sum()
        low, high = place[np.searchsorted(share, 0.001)], place[np.searchsorted(share, 0.999)]
        assert 0.4 * (high - low) <= half <= 0.6 * (high - low)


@ALL
def test_steps_no_longer_than_asked_for_leave_the_same_stripe_at_any_phase(kind):
    own = gun(kind)
    footprint = footprint_for(own)
    y = np.linspace(-1.2, 1.2, 61) * footprint.half_width_m
    standoff = own.standoff_m.low
    exact = footprint.stripe_across(y * 0.2 / standoff) * 0.2 / standoff * VOLUME_PER_S
    for phase in (0.0, 0.21, 0.5):
        x = np.arange(-0.3, 0.3, footprint.step_m) + phase * footprint.step_m
        X, Y = np.meshgrid(x, y, indexing="ij")
        points, normals = plane_points(X.ravel(), Y.ravel(), standoff)
        rates = footprint.rates(points, normals, np.zeros(X.size, np.int64)).reshape(X.shape)
        assert rates.sum(axis=0) * footprint.step_m == pytest.approx(exact, abs=0.006 * exact.max())
    assert 0.002 < footprint.step_m < footprint.half_height_m


@ALL
@pytest.mark.parametrize("order, bound", [(1, 0.03), (2, 0.01), (3, 0.005)])
def test_a_raster_at_the_spacing_is_even_and_nowhere_near_any_wider_one_so_even(kind, order, bound):
    footprint = footprint_for(gun(kind))
    spacing = footprint.spacing_m(order)
    assert 0.2 * footprint.half_width_m < spacing < 2.0 * footprint.half_width_m
    # the pattern itself laid pass by pass, there and back
    y = np.linspace(0.0, 2.0 * spacing, 64, endpoint=False)
    x = np.linspace(-0.3, 0.3, 1201)
    passes = [
        footprint.density(*np.broadcast_arrays(x[:, None], (y - k * spacing) * (-1.0) ** k)).sum(axis=0)
        for k in range(-12, 15)
    ]
    film = np.sum(passes, axis=0)
    assert film.std() / film.mean() < bound
    assert footprint.ripple(1.04 * spacing) > footprint.ripple(spacing)


def test_the_closed_form_spacing_is_the_least_ripple_found_by_search():
    for beta in (1.5, 2.0, 3.0):
        fan = EllipticDoubleBeta(gun("elliptic_double_beta", beta_1=beta))
        for order in (1, 2):
            near = fan.spacing_m(order) * np.linspace(0.93, 1.07, 141)
            least = near[np.argmin([fan.ripple(d) for d in near])]
            assert fan.spacing_m(order) == pytest.approx(least, rel=0.02)


def test_a_round_jet_is_the_fan_with_equal_axes():
    jet = footprint_for(gun("axisymmetric_beta"))
    r = np.linspace(0.0, 0.07, 50)
    expected = 2.2 / (np.pi * 0.06**2) * np.maximum(1.0 - (r / 0.06) ** 2, 0.0) ** 1.2
    for turn in (0.0, 0.7, 1.9):
        assert jet.density(r * np.cos(turn), r * np.sin(turn)) == pytest.approx(expected, abs=1e-6 * expected.max())


@pytest.mark.parametrize("name", ["hvlp_240", "round_air_120", "bell_300", "lopsided_fan_220"])
def test_shipped_guns_have_footprints(name):
    footprint = footprint_for(load_named(GunConfig, "guns", name))
    assert 0.03 < footprint.half_width_m < 0.2 and 0.02 < footprint.spacing_m() < 0.15
