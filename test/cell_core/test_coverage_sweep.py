"""Sub-steps, the round footprint, passes, threads and columns taken over."""

from dataclasses import replace

import numpy as np
import pytest

from cell_core.config import GunConfig, Interval
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.operator.coverage import CoverageOperator, build_coverage, coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta, RoundFootprint
from cell_core.operator.sweep import SweepPoses, substeps_needed
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.toolpath import Stroke

GUN = EllipticDoubleBeta(GunConfig(
    format="grind_spray_cell/gun", version=1, name="test", kind="elliptic_double_beta", a_m=0.125, b_m=0.035,
    beta_1=2.0, beta_2=2.0, reference_standoff_m=0.2, flow_m3_per_s=5e-6, solids_volume_fraction=0.45,
    transfer_efficiency=0.65, on_delay_s=0.03, off_delay_s=0.03, standoff_m=Interval(low=0.12, high=0.3),
    speed_m_per_s=Interval(low=0.08, high=1.0), acceleration_m_per_s2=2.0, tilt_max_rad=0.35, incidence_max_rad=1.047,
))  # fmt: skip
DISC = RoundFootprint(0.015, depth_m=0.003)
SPEED = 0.3


def bent(radius: float, n=(61, 41), arc=0.5, width=0.2) -> Surface:
    """Return a cylinder piece seen from above, convex for radius > 0, its axis along y."""
    U, Y = np.meshgrid(np.linspace(-arc / 2, arc / 2, n[0]), np.linspace(-width / 2, width / 2, n[1]), indexing="ij")
    angle = U / abs(radius)
    Z = np.sign(radius) * abs(radius) * (np.cos(angle) - 1.0)
    i = np.arange(U.size).reshape(U.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    vertices = np.stack([abs(radius) * np.sin(angle), Y, Z], axis=-1).reshape(-1, 3)
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


def arc_stroke(radius: float, y: float, step: float, standoff: float, arc=0.5, extra=0.1) -> Stroke:
    """Return a stroke around `bent`, square to it, that starts and ends `extra` beyond."""
    u = np.linspace(-arc / 2 - extra, arc / 2 + extra, round((arc + 2 * extra) / step) + 1)
    angle, sign, zero = u / abs(radius), np.sign(radius), np.zeros(len(u))
    normal = np.stack([sign * np.sin(angle), zero, np.cos(angle)], axis=1)
    on_part = np.stack([abs(radius) * np.sin(angle), zero + y, sign * abs(radius) * (np.cos(angle) - 1.0)], axis=1)
    return Stroke(
        kind="area",
        position_m=on_part + standoff * normal,
        tool_axis=-normal,
        travel=np.stack([np.cos(angle), zero, -sign * np.sin(angle)], axis=1),
        speed_m_per_s=zero + SPEED,
        process_value=zero + 1.0,
        on=np.ones(len(u), bool),
    )


@pytest.mark.parametrize("radius", [0.3, -0.35, 50.0])
@pytest.mark.parametrize("footprint, standoff, spacing", [(GUN, 0.2, GUN.spacing_m()), (DISC, 0.0, 0.025)])
def test_halving_the_step_of_coarse_strokes_changes_no_vertex_by_half_a_percent(radius, footprint, standoff, spacing):
    part = bent(radius)
    films = []
    for step in (0.02, 0.01):
        strokes = [arc_stroke(radius, k * spacing, step, standoff) for k in range(-4, 5)]
        needed = substeps_needed(strokes, GUN.step_m) if footprint is GUN else 1
        films.append(build_coverage(part, strokes, footprint, substeps=needed).predict(strokes))
    assert films[1].min() > 0.2 * films[1].mean()
    assert np.abs(films[0] - films[1]).max() < 0.005 * films[1].mean()


def test_poses_alone_would_not_do_at_that_step():
    part = bent(0.3)
    strokes = [[arc_stroke(0.3, k * GUN.spacing_m(), step, 0.2) for k in range(-2, 3)] for step in (0.02, 0.01)]
    films = [build_coverage(part, s, GUN).predict(s) for s in strokes]
    assert np.abs(films[0] - films[1]).max() > 0.02 * films[1].mean()


def test_every_step_up_to_step_m_will_do_and_twice_that_will_not():
    low = GUN.gun.standoff_m.low / GUN.gun.reference_standoff_m
    x = np.linspace(-0.03, 0.03, 201)

    def film(step: float):
        s = np.arange(-0.06, 0.06 + step / 2, step)
        return step * GUN.reference_rates((x[:, None] - s) / low, np.zeros((len(x), len(s)))).sum(axis=1)

    peak = film(1e-4).max()
    changes = {f: np.abs(film(f * GUN.step_m) - film(f * GUN.step_m / 2)).max() / peak for f in np.linspace(0.4, 2, 33)}
    assert max(c for f, c in changes.items() if f <= 1.0) < 0.005
    assert max(c for f, c in changes.items() if f > 1.0) > 0.01


def test_sub_steps_make_the_column_the_mean_over_half_a_step_either_side():
    part = bent(0.3)
    coarse, fine = arc_stroke(0.3, 0.01, 0.02, 0.2), arc_stroke(0.3, 0.01, 0.02 / 3, 0.2)
    averaged = build_coverage(part, [coarse], GUN, substeps=3).matrix.toarray()
    poses = SweepPoses.of([coarse], 3)
    single = build_coverage(part, [fine], GUN).matrix.toarray()
    assert np.bincount(poses.column, poses.weight) == pytest.approx(np.ones(len(coarse)))
    wanted = np.zeros_like(averaged)
    for pose, (column, weight) in enumerate(zip(poses.column, poses.weight, strict=True)):
        wanted[:, column] += weight * single[:, pose]
    # the fine stroke lies on the arc, the sub-poses on its chords
    assert np.abs(averaged - wanted).max() < 2e-3 * averaged.max()


@pytest.mark.parametrize("substeps", [1, 3, 7])
def test_poses_of_a_sample_lie_within_half_a_step_of_it_on_both_sides(substeps):
    strokes = [arc_stroke(0.3, 0.0, 0.02, 0.2), arc_stroke(0.3, 0.1, 0.035, 0.2)]
    poses = SweepPoses.of(strokes, substeps)
    sample_m = np.concatenate([s.position_m for s in strokes])
    step = np.repeat([s.step_lengths_m.max() for s in strokes], [len(s) for s in strokes])
    away = np.linalg.norm(poses.origins_m.T - sample_m[poses.column], axis=1)
    assert (away <= 0.5 * step[poses.column]).all()
    mean = np.stack([np.bincount(poses.column, poses.weight * o) for o in poses.origins_m], axis=1)
    inner = np.setdiff1d(np.arange(len(step)), [0, len(strokes[0]) - 1, len(strokes[0]), len(step) - 1])
    assert np.linalg.norm(mean - sample_m, axis=1)[inner].max() < 0.03 * step.max()
    assert poses.behind_m.sum() + poses.ahead_m.sum() == pytest.approx(sum(s.length_m for s in strokes))


@pytest.mark.parametrize("substeps", [0, 2, -1])
def test_even_sub_steps_are_refused(substeps):
    with pytest.raises(InputRefusedError, match=f"{substeps} sub-steps"):
        build_coverage(bent(0.3), [arc_stroke(0.3, 0.0, 0.02, 0.2)], GUN, substeps=substeps)


@pytest.mark.parametrize("step", [0.003, 0.02, 0.07])
def test_a_disc_passes_over_a_point_for_its_chord_over_speed_whatever_the_step(step):
    plate = bent(1e4, n=(5, 41), arc=0.1, width=0.05)
    stroke = arc_stroke(1e4, 0.0, step, 0.0)
    covered_s = build_coverage(plate, [stroke], DISC).predict([stroke])
    y = plate.vertices_m[:, 1]
    chord = 2.0 * np.sqrt(np.maximum(0.015**2 - y**2, 0.0))
    assert covered_s == pytest.approx(chord / SPEED, abs=1e-5)


def test_a_disc_covers_only_what_faces_it_within_its_depth():
    disc = RoundFootprint(0.015, depth_m=0.003, facing_max_rad=np.pi / 3)
    points = np.array([[0.0, 0, 0], [0.0149, 0, 0], [0.0151, 0, 0], [0, 0, 0.0029], [0, 0, -0.0029], [0, 0, 0.0031]])
    out = np.tile([0.0, 0.0, -1.0], (6, 1))
    index = np.zeros(6, np.int64)
    assert disc.rates(points, out, index).tolist() == [1, 1, 0, 1, 1, 0]
    assert disc.rates(points, -out, index).tolist() == [0] * 6
    for angle, covers in ((1.04, 1.0), (1.05, 0.0)):
        tilted = np.tile([np.sin(angle), 0.0, -np.cos(angle)], (1, 1))
        assert disc.rates(points[:1], tilted, index[:1]).tolist() == [covers]
    with pytest.raises(ConfigurationError, match="radius 0 m"):
        RoundFootprint(0.0, depth_m=0.003)


def test_passes_of_a_disc_are_counted_one_by_one():
    plate = bent(1e4, n=(41, 21), arc=0.2, width=0.1)
    there, back = arc_stroke(1e4, 0.0, 0.01, 0.0), arc_stroke(1e4, 0.02, 0.01, 0.0).reversed()
    both = Stroke(**{
        name: np.concatenate([getattr(there, name), getattr(back, name)])
        for name in ("position_m", "tool_axis", "travel", "speed_m_per_s", "process_value", "on")
    }, kind="area")  # fmt: skip
    operator = build_coverage(plate, [both], DISC)
    y = plate.vertices_m[:, 1]
    twice = (np.abs(y) < 0.0149) & (np.abs(y - 0.02) < 0.0149)
    once = ~twice & ((np.abs(y) < 0.0149) | (np.abs(y - 0.02) < 0.0149))
    assert twice.sum() > 20 < once.sum()
    visits = operator.visits(both.dwell_s, 0.0, leave_m=0.03)
    assert (visits[twice] == 2.0).all() and (visits[once] == 1.0).all()
    assert (visits[(y < -0.0151) | (y > 0.0351)] == 0.0).all()
    assert (operator.visits(both.dwell_s, 0.0)[twice] == 1.0).all()
    apart = [there, back]
    split = build_coverage(plate, apart, DISC)
    assert (split.visits(np.concatenate([s.dwell_s for s in apart]), 0.0) == visits).all()
    bare = CoverageOperator(matrix=operator.matrix, stroke_of_column=operator.stroke_of_column)
    with pytest.raises(InputRefusedError, match="along_m"):
        bare.visits(both.dwell_s, 0.0, leave_m=0.03)


def test_a_stroke_that_is_off_visits_nothing():
    plate = bent(1e4, n=(11, 11))
    stroke = arc_stroke(1e4, 0.0, 0.01, 0.0)
    off = replace(stroke, on=np.zeros(len(stroke), bool))
    operator = build_coverage(plate, [stroke], DISC)
    assert operator.visits(stroke.dwell_s, 0.0).max() == 1.0
    assert operator.visits(off.dwell_s, 0.0).max() == 0.0


def bits(operator: CoverageOperator) -> tuple[bytes, ...]:
    return tuple(np.ascontiguousarray(a).tobytes() for a in (
        operator.matrix.data, operator.matrix.indices, operator.matrix.indptr, operator.stroke_of_column,
        operator.along_m,
    ))  # fmt: skip


@pytest.mark.parametrize("footprint, standoff", [(GUN, 0.2), (DISC, 0.0)])
@pytest.mark.parametrize("substeps", [1, 3])
def test_the_result_does_not_depend_on_threads(footprint, standoff, substeps):
    part = bent(-0.35)
    strokes = [arc_stroke(-0.35, y, 0.008, standoff) for y in np.linspace(-0.1, 0.1, 5)]
    one, two, five = (build_coverage(part, strokes, footprint, substeps=substeps, threads=n) for n in (1, 2, 5))
    assert one.matrix.nnz > 1000
    assert bits(one) == bits(two) == bits(five)


@pytest.mark.parametrize("substeps", [1, 3])
def test_columns_taken_over_are_those_of_a_full_build(substeps):
    part = bent(-0.35)
    ys = (-0.08, -0.02, 0.03, 0.09)
    strokes = [arc_stroke(-0.35, y, 0.02, 0.2) for y in ys]
    caster = RayCaster(part)

    def full(strokes):
        return coverage_of_points(
            part.vertices_m, part.vertex_normals, strokes, GUN, caster=caster, substeps=substeps
        )

    operator = full(strokes)
    slower = replace(strokes[0], speed_m_per_s=0.5 * strokes[0].speed_m_per_s)
    new = arc_stroke(-0.35, 0.0, 0.01, 0.2)
    for changed in (
        [strokes[0], strokes[1], new, strokes[3]],
        [strokes[3], new, slower],
        [new],
        strokes,
        strokes[::-1],
        [strokes[2], strokes[2], strokes[0].reversed()],
    ):
        assert bits(operator.with_strokes(changed)) == bits(full(changed))
    kept = operator.columns_of(np.array([3, 1]))
    assert bits(kept) == bits(full([strokes[3], strokes[1]]))
    assert bits(kept.with_strokes([new, strokes[1]])) == bits(full([new, strokes[1]]))


def test_known_columns_are_not_computed_again():
    part = bent(0.3)
    strokes = [arc_stroke(0.3, y, 0.02, 0.2) for y in (-0.05, 0.0, 0.05)]
    asked: list[int] = []

    class Counting(EllipticDoubleBeta):
        def rates(self, local_points_m, local_normals, pose_index):
            asked.append(len(pose_index))
            return super().rates(local_points_m, local_normals, pose_index)

    operator = build_coverage(part, strokes, Counting(GUN.gun))
    whole = sum(asked)
    asked.clear()
    operator.with_strokes([strokes[2], strokes[0]])
    assert asked == []
    operator.with_strokes([*strokes, arc_stroke(0.3, 0.1, 0.02, 0.2)])
    assert 0 < sum(asked) < 0.5 * whole


def test_an_operator_made_by_hand_says_that_it_cannot_grow():
    stroke = arc_stroke(0.3, 0.0, 0.02, 0.2)
    operator = build_coverage(bent(0.3), [stroke], GUN)
    bare = CoverageOperator(matrix=operator.matrix, stroke_of_column=operator.stroke_of_column)
    with pytest.raises(InputRefusedError, match="made by hand"):
        bare.with_strokes([stroke])


def test_nothing_to_cover_or_to_cover_with_is_refused():
    part, stroke = bent(0.3), arc_stroke(0.3, 0.0, 0.02, 0.2)
    with pytest.raises(InputRefusedError, match="0 strokes"):
        build_coverage(part, [], GUN)
    with pytest.raises(InputRefusedError, match="0 points"):
        coverage_of_points(np.empty((0, 3)), np.empty((0, 3)), [stroke], GUN, caster=None)
    with pytest.raises(InputRefusedError, match="0 m"):
        substeps_needed([stroke], 0.0)


def test_cancelling_from_progress_stops_the_threads():
    part, strokes = bent(0.3), [arc_stroke(0.3, y, 0.005, 0.2) for y in np.linspace(-0.1, 0.1, 9)]

    def cancel(fraction: float, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_coverage(part, strokes, GUN, threads=2, progress=cancel)
