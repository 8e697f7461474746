from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cell_core.config import GunConfig, Interval
from cell_core.errors import CoverageError
from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.optimise.dwell import SpeedLimits
from cell_core.optimise.pose_knots import PoseKnots, rate_changes
from cell_core.optimise.refine import RefineLimits, refine_strokes
from cell_core.optimise.refine_problem import RefineProblem
from cell_core.optimise.stroke_limits import PathLimits
from cell_core.optimise.stroke_spacing import aims
from cell_core.sampling import sample_surface
from cell_core.strokes.layout import stroke_from_poses
from cell_core.surface import Surface
from cell_core.transforms import unit

GUN = GunConfig(
    format="grind_spray_cell/gun", version=1, name="test", kind="elliptic_double_beta", a_m=0.12, b_m=0.04,
    beta_1=2.0, beta_2=2.0, reference_standoff_m=0.2, flow_m3_per_s=3e-6, solids_volume_fraction=0.45,
    transfer_efficiency=0.65, on_delay_s=0.0, off_delay_s=0.0, standoff_m=Interval(low=0.12, high=0.3),
    speed_m_per_s=Interval(low=0.05, high=1.0), acceleration_m_per_s2=2.0, tilt_max_rad=0.35, incidence_max_rad=1.047,
)
FOOTPRINT = EllipticDoubleBeta(GUN)
TARGET_M = 50e-6
RAISED_M = 0.2
LIMITS = RefineLimits(
    speed=SpeedLimits(low_m_per_s=0.05, high_m_per_s=1.0, acceleration_m_per_s2=2.0), shift_m=0.04,
    standoff_m=(-0.06, 0.06), tilt_rad=0.3, path=PathLimits(),
)


def plate(size_m=0.4, n=21) -> Surface:
    g = np.linspace(-0.5 * size_m, 0.5 * size_m, n)
    X, Y = np.meshgrid(g, g, indexing="ij")
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    vertices = np.stack([X, Y, 0.2 * X * X - 0.4 * X * Y], axis=-1).reshape(-1, 3)
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


def raster(spacing_m=0.1, n=5, half_m=0.26):
    x = np.linspace(-half_m, half_m, 120)
    strokes = []
    for k, y in enumerate((np.arange(n) - 0.5 * (n - 1)) * spacing_m):
        position = np.column_stack([x, np.full_like(x, y), RAISED_M + 0.2 * x * x - 0.4 * x * y])
        axis = np.tile([0.0, 0.0, -1.0], (len(x), 1))
        stroke = stroke_from_poses(
            position, axis, np.ones(len(x), bool), step_m=0.0057, speed_m_per_s=0.17,
            process_value=GUN.flow_m3_per_s,
        )
        strokes.append(stroke.reversed() if k % 2 else stroke)
    return strokes


def refined(strokes, limits=LIMITS, samples=None, **kwargs):
    samples = samples or sample_surface(plate(), 0.014)
    return refine_strokes(
        samples, np.full(len(samples), TARGET_M), samples.areas_m2, strokes, FOOTPRINT, limits, caster=None,
        pivot_m=0.2, speed_knot_m=0.03, pose_knot_m=0.12, iterations_max=kwargs.pop("iterations_max", 6), **kwargs,
    )


@pytest.fixture(scope="module")
def result():
    return refined(raster())


def bent_poses(seed=0):
    knots = PoseKnots(raster(n=2), knot_m=0.1, pivot_m=0.2)
    scale = np.array([0.01, 0.01, 0.1, 0.1])[:, None]
    rng = np.random.default_rng(seed)
    return knots, scale * rng.normal(size=(4, knots.n_coefficients)), scale * rng.normal(size=(4, knots.n_coefficients))


def test_no_change_of_the_freedoms_gives_the_strokes_back():
    strokes = raster(n=2)
    knots = PoseKnots(strokes, knot_m=0.1, pivot_m=0.2)
    again = knots.with_poses(
        knots.poses(np.zeros((4, knots.n_coefficients))), np.concatenate([s.speed_m_per_s for s in strokes])
    )
    for a, b in zip(strokes, again, strict=True):
        assert np.abs(a.frames - b.frames).max() < 1e-9


def test_motions_are_the_derivative_of_the_frames():
    knots, q, d = bent_poses()
    h = 1e-5
    twists, shifts = knots.motions(knots.poses(q))
    ahead, behind, now = (knots.poses(q + s * h * d).frames for s in (1.0, -1.0, 0.0))
    rotation = now[:, :3, :3]
    slide = (ahead[:, :3, 3] - behind[:, :3, 3]) / (2 * h)
    turn = Rotation.from_matrix(ahead[:, :3, :3] @ behind[:, :3, :3].transpose(0, 2, 1)).as_rotvec() / (2 * h)
    wanted = np.concatenate([np.einsum("nji,nj->ni", rotation, v) for v in (slide, turn)], axis=1)
    got = np.column_stack([t @ d.ravel() for t in twists])
    assert np.abs(wanted).max(axis=0).min() > 1e-2
    assert got == pytest.approx(wanted, abs=1e-6)
    assert np.column_stack([s @ d.ravel() for s in shifts]) == pytest.approx(slide, abs=1e-8)


def test_a_tilted_gun_keeps_its_spot():
    knots, q, _ = bent_poses()
    q[:2] = 0.0
    aimed = aims(knots, knots.poses(q))
    assert aimed == pytest.approx(aims(knots, knots.poses(np.zeros_like(q))), abs=1e-12)


def test_rate_changes_predict_the_rates_of_a_moved_gun():
    # beta 3: smooth at the fan's edge, so that a difference is a derivative there as well
    footprint = EllipticDoubleBeta(GUN.model_copy(update={"beta_1": 3.0, "beta_2": 3.0}))
    samples = sample_surface(plate(), 0.02)
    stroke = raster(n=1)[0]
    matrix = coverage_of_points(samples.points_m, samples.normals, [stroke], footprint, caster=None).matrix
    changes = rate_changes(samples.points_m, samples.normals, stroke.frames, matrix, footprint.rates)
    assert len(changes) == 6
    for k, change in enumerate(changes):
        step = 5e-4 if k < 3 else 2.5e-3
        movement = np.eye(4)
        if k < 3:
            movement[k, 3] = step
        else:
            movement[:3, :3] = Rotation.from_rotvec(step * np.eye(3)[k - 3]).as_matrix()
        films = []
        for moved in (stroke.frames @ movement, stroke.frames @ np.linalg.inv(movement)):
            other = replace(stroke, position_m=moved[:, :3, 3], tool_axis=moved[:, :3, 2], travel=moved[:, :3, 0])
            films.append(
                coverage_of_points(samples.points_m, samples.normals, [other], footprint, caster=None).matrix.toarray()
            )
        wanted = (films[0] - films[1]) / (2.0 * step)
        assert np.abs(wanted).max() > 0.0
        assert np.abs(change.toarray() - wanted).max() < 0.03 * np.abs(wanted).max()


def test_refinement_improves_the_film_and_says_what_it_left(result):
    assert result.residual_rms_m < 0.35 * result.history[0] * TARGET_M
    assert result.residual_rms_m < 0.015 * TARGET_M
    samples = sample_surface(plate(), 0.014)
    film = coverage_of_points(
        samples.points_m, samples.normals, result.strokes, FOOTPRINT, caster=None
    ).predict(result.strokes)
    assert film == pytest.approx(result.predicted_m, rel=1e-5)
    rms = np.sqrt(np.average((film - TARGET_M) ** 2, weights=samples.areas_m2))
    assert rms == pytest.approx(result.residual_rms_m, rel=1e-4)
    assert min(result.history) * TARGET_M == pytest.approx(result.residual_rms_m, rel=1e-9)


def test_refined_strokes_keep_every_bound(result):
    for stroke, given in zip(result.strokes, raster(), strict=True):
        v = stroke.speed_m_per_s
        assert v.min() >= 0.05 - 1e-9 and v.max() <= 1.0 + 1e-9
        assert np.all(np.abs(np.diff(v**2)) <= 2.0 * 2.0 * stroke.step_lengths_m * (1 + 1e-6))
        assert np.arccos(np.einsum("ij,ij->i", stroke.tool_axis, given.tool_axis).min()) <= 0.3 + 1e-6
        assert np.abs(np.einsum("ij,ij->i", stroke.tool_axis, stroke.travel)).max() < 1e-6
        aim = given.position_m + 0.2 * given.tool_axis
        standoff = np.einsum("ij,ij->i", aim - stroke.position_m, stroke.tool_axis)
        assert standoff.min() > 0.2 - 0.06 - 0.04 * np.sin(0.3) and standoff.max() < 0.2 + 0.06 + 0.04 * np.sin(0.3)


def test_one_speed_per_stroke(result):
    one = refined(raster(), replace(LIMITS, one_speed=True))
    for stroke in one.strokes:
        assert np.ptp(stroke.speed_m_per_s) < 1e-12
    assert one.residual_rms_m < 0.5 * one.history[0] * TARGET_M
    assert one.residual_rms_m >= result.residual_rms_m


def test_neighbours_keep_their_spacing():
    interval = (0.09, 0.105)
    free, bound = refined(raster()), refined(raster(), replace(LIMITS, spacing_m=interval))

    def gaps(strokes):
        at = np.linspace(-0.1, 0.1, 9)
        across = []
        for stroke in strokes:
            aim = stroke.position_m + 0.2 * stroke.tool_axis
            order = np.argsort(aim[:, 0])
            across.append(np.interp(at, aim[order, 0], aim[order, 1]))
        return np.abs(np.diff(across, axis=0))

    def outside(g):
        return float(np.maximum(np.maximum(interval[0] - g, g - interval[1]), 0.0).max())

    assert outside(gaps(bound.strokes)) < 0.5 * outside(gaps(free.strokes))


def test_what_the_caller_forbids_holds_the_stroke_back():
    def valid(frames):
        return frames[:, 2, 3] <= RAISED_M + 0.2 * 0.26**2 + 0.4 * 0.26 * 0.2 + 1e-6

    highest = max(s.position_m[:, 2].max() for s in refined(raster()).strokes)
    held = refined(raster(), valid=valid)
    assert highest > RAISED_M + 0.2 * 0.26**2 + 0.4 * 0.26 * 0.2
    assert all(valid(s.frames).all() for s in held.strokes)
    assert held.residual_rms_m < held.history[0] * TARGET_M


def test_refinement_moves_with_the_part(result):
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
    T[:3, 3] = [0.3, -1.2, 0.7]
    samples = sample_surface(plate(), 0.014)
    moved = replace(
        samples, points_m=samples.points_m @ T[:3, :3].T + T[:3, 3], normals=unit(samples.normals @ T[:3, :3].T)
    )
    other = refined([s.transformed(T) for s in raster()], samples=moved)
    assert other.residual_rms_m == pytest.approx(result.residual_rms_m, rel=0.02)


def test_nothing_wanted_is_refused():
    samples = sample_surface(plate(), 0.03)
    with pytest.raises(CoverageError, match="nothing is wanted"):
        refine_strokes(
            samples, np.zeros(len(samples)), samples.areas_m2, raster(), FOOTPRINT, LIMITS, caster=None, pivot_m=0.2,
            speed_knot_m=0.03, pose_knot_m=0.12,
        )


def on_time(result):
    return sum(float(s.dwell_s.sum()) for s in result.strokes)


def test_no_price_of_time_changes_nothing(result):
    again = refined(raster(), dwell_price_per_s=0.0)
    assert again.history == pytest.approx(result.history, rel=1e-5)
    assert again.merit == pytest.approx(again.residual_rms_m**2 / TARGET_M**2, rel=1e-9)


def test_a_price_of_time_saves_what_misses_and_keeps_the_mean(result):
    samples = sample_surface(plate(), 0.014)
    priced = refined(raster(), dwell_price_per_s=3e-4)
    assert on_time(priced) < 0.95 * on_time(result)
    for one in (priced, result):
        mean = float(samples.areas_m2 @ one.predicted_m / samples.areas_m2.sum())
        assert mean == pytest.approx(TARGET_M, rel=0.01)
    assert priced.residual_rms_m < 0.03 * TARGET_M


def test_the_priced_gradient_is_the_derivative_of_half_the_merit():
    samples = sample_surface(plate(), 0.014)
    footprint = EllipticDoubleBeta(GUN.model_copy(update={"beta_1": 3.0, "beta_2": 3.0}))
    problem = RefineProblem(
        samples, np.full(len(samples), TARGET_M), samples.areas_m2, raster(n=3), footprint, LIMITS, caster=None,
        pivot_m=0.2, speed_knot_m=0.03, pose_knot_m=0.12, valid=None, dwell_price_per_s=0.02,
    )
    state = problem.start()
    gradient = problem.linearise(state).gradient
    free = gradient_of(problem, state, price=0.0)
    rng = np.random.default_rng(0)
    d = np.r_[0.3 * rng.normal(size=problem.n_speeds), 0.05 * rng.normal(size=4 * problem.n_pose)]
    h = 0.01

    def merit(sign):
        x = np.r_[state.slowness, state.coefficients.ravel()] + sign * h * d * problem.scale
        coefficients = x[problem.n_speeds :].reshape(4, -1)
        return problem._state(x[: problem.n_speeds], coefficients, problem.pose_knots.poses(coefficients), ()).merit

    slope = (merit(1.0) - merit(-1.0)) / (2.0 * h)
    assert abs(float((gradient - free) @ d)) > 0.2 * abs(slope)
    assert float(gradient @ d) == pytest.approx(0.5 * slope, rel=0.03)


def gradient_of(problem, state, price):
    own, problem.price_per_s = problem.price_per_s, price
    gradient = problem.linearise(state).gradient
    problem.price_per_s = own
    return gradient
