"""What must hold for any part and any strokes: symmetry, mass, superposition, convergence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.config import GunConfig, Interval
from cell_core.operator.coverage import build_coverage, coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta, Footprint, RoundFootprint
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import transform_from_xyz_rpy, unit

FOOTPRINTS = ["gun", "disc"]
SHIFTS = st.tuples(*[st.floats(-2.0, 2.0)] * 3)
TURNS = st.tuples(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
WAVES = st.tuples(st.floats(0.0, 0.03), st.floats(0.0, 6.0), st.floats(5.0, 20.0), st.floats(5.0, 20.0))
FILM_VOLUME_PER_S = 5e-6 * 0.45 * 0.65


def footprint(name: str, size: float = 1.0) -> Footprint:
    if name == "disc":
        return RoundFootprint(0.025 * size, depth_m=0.015 * size)
    return EllipticDoubleBeta(GunConfig(
        format="grind_spray_cell/gun", version=1, name="test", kind="elliptic_double_beta", a_m=0.1 * size,
        b_m=0.04 * size, beta_1=2.0, beta_2=2.0, reference_standoff_m=0.2 * size, flow_m3_per_s=5e-6,
        solids_volume_fraction=0.45, transfer_efficiency=0.65, on_delay_s=0.03, off_delay_s=0.03,
        standoff_m=Interval(low=0.12, high=0.3), speed_m_per_s=Interval(low=0.08, high=1.0),
        acceleration_m_per_s2=2.0, tilt_max_rad=0.35, incidence_max_rad=1.047,
    ))  # fmt: skip


def height(wave, x, y):
    amplitude, phase, kx, ky = wave
    return amplitude * np.sin(kx * x + phase) * np.cos(ky * y)


def shell(wave, n=25, half=0.12) -> Surface:
    """Return a square wavy shell of (n - 1)^2 cells."""
    X, Y = np.meshgrid(*[np.linspace(-half, half, n)] * 2, indexing="ij")
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    vertices = np.stack([X, Y, height(wave, X, Y)], axis=-1).reshape(-1, 3)
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


def stroke(name: str, wave, y: float, n: int = 17, half: float = 0.1) -> Stroke:
    """Return a stroke along x: a gun 0.2 m above, a disc on the shell and square to it."""
    x, ys, zero = np.linspace(-half, half, n), np.full(n, y), np.zeros(n)
    if name == "gun":
        z, normal = zero + 0.2, np.stack([zero, zero, zero + 1.0], axis=1)
    else:
        h = 1e-6
        z = height(wave, x, ys)
        slope_x = (height(wave, x + h, ys) - height(wave, x - h, ys)) / (2.0 * h)
        slope_y = (height(wave, x, ys + h) - height(wave, x, ys - h)) / (2.0 * h)
        normal = unit(np.stack([-slope_x, -slope_y, zero + 1.0], axis=1))
    travel = unit(np.stack([normal[:, 2], zero, -normal[:, 0]], axis=1))
    return Stroke(
        kind="area",
        position_m=np.stack([x, ys, z], axis=1),
        tool_axis=-normal,
        travel=travel,
        speed_m_per_s=zero + 0.3,
        process_value=zero + 1.0,
        on=np.ones(n, bool),
    )


@pytest.mark.parametrize("name", FOOTPRINTS)
@settings(max_examples=15, deadline=None)
@given(xyz=SHIFTS, rpy=TURNS, wave=WAVES)
def test_the_operator_moves_with_the_part(name, xyz, rpy, wave):
    T = transform_from_xyz_rpy(xyz, rpy)
    part, strokes = shell(wave), [stroke(name, wave, y) for y in (-0.031, 0.029)]
    here = build_coverage(part, strokes, footprint(name), substeps=3)
    moved = [s.transformed(T) for s in strokes]
    there = build_coverage(part.transformed(T, "cell"), moved, footprint(name), substeps=3)
    assert here.matrix.nnz > 200
    off = np.abs((here.matrix - there.matrix).toarray())
    # facing and depth cut off sharply: a pair on the very edge may fall on either side
    assert np.mean(off > 1e-4 * here.matrix.max()) < 2e-3
    films = here.predict(strokes), there.predict(moved)
    assert np.abs(films[0] - films[1]).mean() < 1e-3 * films[0].mean()


@pytest.mark.parametrize("name", FOOTPRINTS)
@settings(max_examples=15, deadline=None)
@given(size=st.floats(0.3, 4.0), wave=WAVES)
def test_everything_larger_spreads_the_same_volume_over_more_area(name, size, wave):
    """Part, path and footprint times k: a gun's film rate goes by k^-2, a contact's share of time stays."""
    part, own = shell(wave), stroke(name, wave, 0.013)
    large = Surface(vertices_m=size * part.vertices_m, triangles=part.triangles)
    far = Stroke(**{**vars(own), "position_m": size * own.position_m})
    caster, large_caster = RayCaster(part), RayCaster(large)
    here = coverage_of_points(part.vertices_m, part.vertex_normals, [own], footprint(name), caster=caster)
    there = coverage_of_points(
        large.vertices_m, large.vertex_normals, [far], footprint(name, size), caster=large_caster,
        clearance_m=0.003 * size,
    )  # fmt: skip
    factor = size**2 if name == "gun" else 1.0
    off = np.abs((here.matrix - factor * there.matrix).toarray())
    assert here.matrix.nnz > 100
    assert np.mean(off > 1e-4 * here.matrix.max()) < 2e-3


@pytest.mark.parametrize("name", FOOTPRINTS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), wave=WAVES)
def test_the_order_of_the_vertices_does_not_matter(name, seed, wave):
    part, own = shell(wave), stroke(name, wave, 0.013)
    shuffled = np.random.default_rng(seed).permutation(len(part.vertices_m))
    place = np.argsort(shuffled)
    other = Surface(vertices_m=part.vertices_m[shuffled], triangles=place[part.triangles])
    here, there = (build_coverage(p, [own], footprint(name)).matrix.toarray() for p in (part, other))
    assert (here > 0.0).sum() > 100
    assert np.mean(np.abs(here[shuffled] - there) > 1e-5 * here.max()) < 1e-3


@settings(max_examples=15, deadline=None)
@given(tilt=st.floats(-0.3, 0.3), wave=WAVES)
def test_a_shell_that_catches_the_whole_cone_gets_all_that_is_emitted(tilt, wave):
    """Whatever its shape, as long as no fold hides another: 3 % of height over waves of 0.3 m and more."""
    gentle = (0.3 * wave[0], wave[1], wave[2], wave[3])
    part = shell(gentle, n=161, half=0.24)
    own = stroke("gun", gentle, 0.0, n=3, half=0.02)
    axis = np.tile([np.sin(tilt), 0.0, -np.cos(tilt)], (3, 1))
    travel = np.tile([np.cos(tilt), 0.0, np.sin(tilt)], (3, 1))
    own = Stroke(**{**vars(own), "tool_axis": axis, "travel": travel})
    caught = build_coverage(part, [own], footprint("gun")).adjoint(part.vertex_areas_m2)
    assert caught == pytest.approx(np.full(3, FILM_VOLUME_PER_S), rel=0.01)


@pytest.mark.parametrize("cut, catch", [(0.0, 0.5), (0.04, None), (-0.03, None)])
def test_mass_caught_is_emitted_times_catch(cut, catch):
    """A plate that ends at y = cut, against rays drawn from the gun's own distribution."""
    plate = shell((0.0, 0.0, 5.0, 5.0), n=201)
    keep = (plate.vertices_m[plate.triangles][:, :, 1] >= cut - 1e-9).all(axis=1)
    half = plate.select_triangles(keep)
    edge = half.vertices_m[:, 1].min()
    gun = footprint("gun")
    own = stroke("gun", (0.0, 0.0, 5.0, 5.0), 0.0, n=3, half=0.001)
    caught = build_coverage(half, [own], gun).adjoint(half.vertex_areas_m2)[1]
    if catch is None:
        rng = np.random.default_rng(0)
        x, y = rng.uniform(-0.04, 0.04, 200_000), rng.uniform(-0.1, 0.1, 200_000)
        rate = gun.reference_rates(x, y)  # pyright: ignore
        catch = rate[y >= edge].sum() / rate.sum()
    assert caught == pytest.approx(FILM_VOLUME_PER_S * catch, rel=0.015)


@pytest.mark.parametrize("name", FOOTPRINTS)
@settings(max_examples=15, deadline=None)
@given(ys=st.lists(st.floats(-0.1, 0.1), min_size=1, max_size=4), wave=WAVES, substeps=st.sampled_from([1, 3]))
def test_strokes_together_leave_what_they_leave_apart(name, ys, wave, substeps):
    part, strokes = shell(wave), [stroke(name, wave, y) for y in ys]
    together = build_coverage(part, strokes, footprint(name), substeps=substeps)
    apart = [build_coverage(part, [s], footprint(name), substeps=substeps) for s in strokes]
    for k, single in enumerate(apart):
        own = together.columns_of(np.array([k])).matrix
        assert own.shape == single.matrix.shape and (own != single.matrix).nnz == 0
    total = sum(a.predict([s]) for a, s in zip(apart, strokes, strict=True))
    assert together.predict(strokes) == pytest.approx(total, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", FOOTPRINTS)
def test_finer_triangles_and_finer_steps_converge(name):
    wave = (0.02, 1.0, 9.0, 7.0)
    films = []
    for n, steps in ((13, 9), (25, 33), (49, 129), (97, 513)):
        part, strokes = shell(wave, n=n), [stroke(name, wave, y, n=steps) for y in (-0.04, 0.0, 0.04)]
        stride = (n - 1) // 12
        film = build_coverage(part, strokes, footprint(name)).predict(strokes).reshape(n, n)
        films.append(film[::stride, ::stride][1:-1, 1:-1])
    errors = [np.abs(f - films[-1]).mean() / films[-1].mean() for f in films[:-1]]
    assert films[-1].min() >= 0.0 < films[-1].mean()
    assert errors[1] < 0.5 * errors[0] and errors[2] < 0.5 * errors[1]
    assert errors[2] < 0.005


def test_an_edge_that_hides_part_of_the_shell_hides_it_from_the_ray_caster_too():
    """Every entry is a free ray, every pair in the cone that is missing is a blocked one or faces away."""
    wave = (0.03, 1.5, 5.0, 100.0)
    part, own = shell(wave, n=97), stroke("gun", wave, 0.0, n=5)
    gun, caster = footprint("gun"), RayCaster(part)
    got = build_coverage(part, [own], gun).matrix.toarray()
    free = build_coverage(part, [own], gun, occlusion=False).matrix.toarray()
    point, sample = np.nonzero(free)
    blocked = caster.blocked(own.position_m[sample], part.vertices_m[point], 0.003)
    assert 20 < blocked.sum() < 0.9 * len(blocked)
    wrong = (got[point, sample] > 0.0) == blocked
    assert wrong.mean() < 2e-3  # rays that graze an edge
    assert (got[point, sample][~blocked & ~wrong] == free[point, sample][~blocked & ~wrong]).all()
