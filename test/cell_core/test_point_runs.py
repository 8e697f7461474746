import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.operator.point_runs import NOWHERE_M, POINTS_PER_RUN, PointRuns, hilbert_keys
from cell_core.transforms import tool_frames, unit


def test_the_curve_passes_every_cell_once_and_steps_to_a_neighbour():
    n = 8
    cells = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    order = np.argsort(hilbert_keys(cells.astype(float)))
    keys = hilbert_keys(cells.astype(float))
    assert len(np.unique(keys)) == n**3
    assert (np.abs(np.diff(cells[order], axis=0)).sum(axis=1) == 1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(0, 10_000))
def test_every_point_has_one_slot_within_its_ball(n, seed):
    points = np.random.default_rng(seed).normal(size=(n, 3))
    runs = PointRuns.of(points)
    real = np.abs(runs.offsets_m[0]).T.ravel() < NOWHERE_M / 2
    assert np.sort(runs.order[real]).tolist() == list(range(n))
    where = runs.centres_m[0][:, None, :] + runs.offsets_m
    assert np.abs(where.transpose(2, 1, 0).reshape(-1, 3)[real] - points[runs.order[real]]).max() < 1e-6
    for centre, radius in zip(runs.centres_m, runs.radii_m, strict=True):
        size = -(-len(real) // len(radius))
        owner = np.arange(len(real)) // (POINTS_PER_RUN * 8 ** round(np.log(size / POINTS_PER_RUN) / np.log(8)))
        away = np.linalg.norm(points[runs.order] - centre.T[owner], axis=1)[real]
        assert (away <= radius[owner][real] * (1.0 + 1e-9) + 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3000), st.floats(0.01, 1.0), st.integers(0, 10_000))
def test_no_point_within_reach_is_missed(n, reach, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1.0, 1.0, (n, 3))
    runs = PointRuns.of(points)
    axis = unit(rng.normal(size=(9, 3)))
    frames = tool_frames(rng.uniform(-1.0, 1.0, (9, 3)), axis, unit(np.cross(axis, rng.normal(size=(9, 3)))))
    run, pose, local = runs.near(
        frames[:, :3, :3].transpose(1, 2, 0),
        frames[:, :3, 3].T,
        np.arange(9),
        lambda centre, radius, pose: np.linalg.norm(centre, axis=1) <= reach + radius,
    )
    assert (np.diff(pose) >= 0).all()
    found = set(zip(pose.tolist(), run.tolist(), strict=True))
    assert len(found) == len(run)
    centre = np.einsum("pji,pj->pi", frames[pose, :3, :3], runs.centres_m[0].T[run] - frames[pose, :3, 3])
    assert np.abs(centre - local.T).max(initial=0.0) < 1e-12
    home = np.empty(n, int)
    home[runs.order] = np.arange(len(runs.order)) // POINTS_PER_RUN
    for k in range(9):
        within = np.flatnonzero(np.linalg.norm(points - frames[k, :3, 3], axis=1) <= reach)
        assert {(k, r) for r in home[within].tolist()} <= found
