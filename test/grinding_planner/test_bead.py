"""Beads: found where they are, taken off in the planner's own model, parent left alone."""

import numpy as np
import pytest

from cell_core.config.masks import BoxMask
from cell_core.errors import CoverageError, InputRefusedError
from cell_core.surface import Surface
from cell_simulation.predict import predict
from grinding_planner.bead import find_beads, known_beads, rim_distance
from grinding_planner.bead_ground import ground_of
from grinding_planner.bead_parent import parent_of
from grinding_planner.bead_state import AIM_M, BeadState, Care
from grinding_planner.planner import plan_grind
from grinding_planner.samples import sample_surface

HEIGHT_M, WIDTH_M = 1.5e-3, 14e-3


def middle(x):
    return 0.02 * np.sin(20.0 * x)


def bead_height(x, y):
    across = np.clip(np.abs(y - middle(x)) / (WIDTH_M / 2), 0.0, 1.0)
    along = np.clip((0.08 - np.abs(x)) / 0.005, 0.0, 1.0)
    return HEIGHT_M * (1.0 - across**2) * along


def parent_height(x, y):
    return -0.35 * x**2 - 0.2 * y**2


@pytest.fixture(scope="module")
def casting(make_sheet) -> Surface:
    clean = make_sheet((0.26, 0.20), 0.0025, lambda x, y: parent_height(x, y) + bead_height(x, y))
    noise = np.random.default_rng(5).normal(0.0, 0.05e-3, len(clean.vertices_m))
    return Surface(vertices_m=clean.vertices_m + np.c_[0 * noise, 0 * noise, noise], triangles=clean.triangles)


@pytest.fixture(scope="module")
def plan(casting, bead_recipe, disc):
    return plan_grind(casting, bead_recipe, disc)


def test_the_bead_is_found_with_its_middle_and_width(casting):
    samples = sample_surface(casting, 0.003)
    height, outward, scatter = parent_of(casting).at(samples.points_m, samples.normals)
    beads = find_beads(samples, height, scatter).beads
    assert len(beads) == 1
    line = beads[0].middle_m
    assert np.abs(line[:, 1] - middle(line[:, 0])).max() < 0.004
    assert np.ptp(line[:, 0]) > 0.14
    assert beads[0].width_m == pytest.approx(WIDTH_M, rel=0.2)
    true = bead_height(samples.points_m[:, 0], samples.points_m[:, 1])
    inner = np.isfinite(scatter) & (np.abs(samples.points_m[:, 0]) < 0.1)
    assert np.abs(height - true)[inner].mean() < 0.06e-3
    assert np.abs(np.linalg.norm(outward, axis=1) - 1.0).max() < 1e-9


def test_the_bead_goes_and_the_parent_stays(plan, casting):
    figures = plan.figures
    assert figures["left_max_m"] <= 0.3e-3
    assert figures["over_cut_max_m"] <= 0.15e-3
    x, y = casting.vertices_m[:, 0], casting.vertices_m[:, 1]
    removed = plan.fields["predicted_change_m"]
    on_bead = bead_height(x, y) > 0.4e-3
    assert on_bead.sum() > 100
    assert np.quantile((bead_height(x, y) - removed)[on_bead], 0.98) < 0.3e-3
    # a sample's width off the bead nothing more than the noise's peaks goes
    off = (np.abs(y - middle(x)) > WIDTH_M / 2 + 0.003) | (np.abs(x) > 0.083)
    assert removed[off].max() < 0.15e-3


def test_passes_are_bead_strokes_within_limits(plan, disc):
    # how many passes a greedy choice takes varies by a third with the last digit of contact; their time does not
    assert 2 <= len(plan.toolpath.strokes) <= 60
    assert plan.figures["duration_s"] <= 16.0
    for stroke in plan.toolpath.strokes:
        assert stroke.kind == "bead"
        assert stroke.speed_m_per_s.max() <= disc.speed_m_per_s.high + 1e-9
        assert stroke.speed_m_per_s.min() >= 0.5 * disc.speed_m_per_s.low
        steps = stroke.step_lengths_m
        assert (np.abs(np.diff(stroke.speed_m_per_s**2)) / (2 * steps)).max() <= disc.acceleration_m_per_s2 * (1 + 1e-6)


def test_a_soft_pad_is_refused_because_it_would_undercut(casting, bead_recipe, disc):
    # PROCESS.md: a soft layer follows the surface, so it takes from the parent what it takes from the bead
    soft = disc.model_copy(update={"stiffness_pa_per_m": 5e6})
    with pytest.raises(CoverageError, match="stiffer or smaller tool"):
        plan_grind(casting, bead_recipe, soft)


def test_nothing_raised_is_nothing_to_do(make_sheet, bead_recipe, disc):
    smooth = make_sheet((0.2, 0.15), 0.004, parent_height)
    with pytest.raises(CoverageError, match="nothing stands"):
        plan_grind(smooth, bead_recipe, disc)


def test_a_step_is_no_bead(make_sheet, bead_recipe, disc):
    step = make_sheet((0.2, 0.15), 0.003, lambda x, y: 0.002 * (x > 0.0))
    with pytest.raises(CoverageError, match="nothing stands"):
        plan_grind(step, bead_recipe, disc)


def looked_at(surface):
    samples = sample_surface(surface, 0.002)
    height, _, scatter = parent_of(surface).at(samples.points_m, samples.normals)
    return find_beads(samples, height, scatter, rim_distance(surface, samples.points_m))


def test_a_rough_rim_is_no_bead_and_says_so(make_sheet):
    smooth = make_sheet((0.2, 0.15), 0.002, parent_height)
    near = rim_distance(smooth, smooth.vertices_m) < 0.006
    off = np.abs(np.random.default_rng(3).normal(0.0, 0.8e-3, len(near))) * near
    scan = Surface(vertices_m=smooth.vertices_m + np.c_[0 * off, 0 * off, off], triangles=smooth.triangles)
    with pytest.raises(CoverageError, match="of the scan's rim") as raised:
        looked_at(scan)
    assert len(raised.value.facts["refused"]) > 0


def test_the_stub_of_a_sprue_is_found_beside_a_rough_rim(make_sheet):
    def height(x, y):
        return parent_height(x, y) + 3e-3 * (np.hypot(x - 0.02, y) < 4e-3)

    smooth = make_sheet((0.2, 0.15), 0.002, height)
    near = rim_distance(smooth, smooth.vertices_m) < 0.006
    off = np.random.default_rng(3).normal(0.0, 0.5e-3, len(near)) * near
    found = looked_at(Surface(vertices_m=smooth.vertices_m + np.c_[0 * off, 0 * off, off], triangles=smooth.triangles))
    assert len(found.beads) == 1
    assert np.linalg.norm(found.beads[0].points_m.mean(axis=0)[:2] - [0.02, 0.0]) < 0.002


def test_distance_to_the_rim(make_sheet):
    flat = make_sheet((0.2, 0.1), 0.005, lambda x, y: 0.0 * x)
    assert rim_distance(flat, np.array([[0.0, 0.0, 0.0], [0.09, 0.0, 0.0]])) == pytest.approx([0.05, 0.01])


def test_a_known_bead_is_ground_on_however_low_it_is(casting, bead_recipe, disc, plan):
    removed = plan.fields["predicted_change_m"]
    x, y, _ = casting.vertices_m.T
    # all but 60 um of the bead is gone: too low to be found, yet known
    low = np.minimum(bead_height(x, y), 60e-6)
    noise = np.random.default_rng(8).normal(0.0, 0.01e-3, len(x))
    rescan = Surface(vertices_m=np.c_[x, y, parent_height(x, y) + low + noise], triangles=casting.triangles)
    with pytest.raises(CoverageError, match="nothing stands"):
        plan_grind(rescan, bead_recipe, disc)
    again = plan_grind(rescan, bead_recipe, disc, target_m=plan.fields["target_change_m"])
    on_bead = bead_height(x, y) > 0.4e-3
    left = (low - again.fields["predicted_change_m"])[on_bead]
    assert np.median(left) < 30e-6
    assert left.min() > -15e-6
    assert removed.max() > 10 * again.fields["predicted_change_m"].max()


def test_a_disc_stays_off_a_keep_out_the_bead_runs_into(casting, bead_recipe, disc):
    box = BoxMask(shape="box", centre_m=(0.06, 0.0, 0.0), size_m=(0.12, 0.4, 0.1))
    plan = plan_grind(casting, bead_recipe.model_copy(update={"keep_out": (box,)}), disc)
    removed = predict(casting, plan.toolpath)
    x = casting.vertices_m[:, 0]
    assert removed[x > 0.003].max() < 1e-6
    assert removed[x < -0.04].max() > 0.8 * HEIGHT_M
    assert plan.toolpath.unreached["refused_poses"]["kept_out"] > 0.2


def test_a_flank_ends_where_the_bead_once_did(make_sheet):
    def stood(x, y):
        off = np.hypot(np.maximum(np.abs(x) - 0.02, 0.0), y)
        return HEIGHT_M * np.clip(1.0 - (2.0 * off / WIDTH_M) ** 2, 0.0, None)

    # ground down to a plateau of 0.15 mm: by now a step at the foot, which a scan of 1 mm cannot show
    scan = make_sheet((0.10, 0.07), 0.001, lambda x, y: np.minimum(stood(x, y), 0.15e-3))
    x, y, _ = scan.vertices_m.T
    samples = sample_surface(scan, 0.002)
    map_m = stood(x, y)
    (bead,) = known_beads(samples, map_m[scan.tree.query(samples.points_m)[1]])
    ground = ground_of(scan, bead, bead.points_m, 0.01, 0.0007, map_m)
    u, v, _ = ground.feet.points_m.T
    true = np.minimum(stood(u, v), 0.15e-3)
    off = true == 0.0
    inside = stood(u, v) > 0.3e-3
    assert off.sum() > 500 and inside.sum() > 500
    assert np.abs(ground.height_m - true)[inside].max() < 20e-6
    assert (ground.height_m - true)[off].max() < 40e-6


def test_the_last_cycle_leaves_less_than_one_that_another_follows(casting, bead_recipe, disc, plan):
    recipe = bead_recipe.model_copy(update={"cycles_max": 3})
    x, y, _ = casting.vertices_m.T
    noise = np.random.default_rng(8).normal(0.0, 0.01e-3, len(x))
    low = np.minimum(bead_height(x, y), 150e-6)
    rescan = Surface(vertices_m=np.c_[x, y, parent_height(x, y) + low + noise], triangles=casting.triangles)
    known = plan.fields["target_change_m"]
    on_bead = bead_height(x, y) > 0.4e-3
    plans = [plan_grind(rescan, recipe, disc, target_m=known, cycle=c) for c in (2, 3)]
    left = [np.median((low - p.fields["predicted_change_m"])[on_bead]) for p in plans]
    assert left[1] < left[0] - 1e-6


def test_a_cycle_beyond_the_last_is_refused(casting, bead_recipe, disc):
    with pytest.raises(InputRefusedError, match=r"cycle 2: recipe grind_bead has 1 to 1"):
        plan_grind(casting, bead_recipe, disc, cycle=2)


@pytest.mark.parametrize(("rim_m", "done"), [(AIM_M, True), (40e-6, False)])
def test_a_narrow_rim_is_worth_a_pass_though_the_whole_is_low(make_sheet, rim_m, done):
    samples = sample_surface(make_sheet((0.1, 0.02), 0.002, lambda x, y: 0.0 * x), 0.001)
    height = np.full(len(samples), AIM_M)
    height[:2] = rim_m
    nothing = np.zeros(len(samples))
    state = BeadState(
        surface=samples,
        height_m=height,
        wanted=np.ones(len(samples), bool),
        removed_m=nothing,
        doubt_m=nothing,
        harmed_m=nothing,
        guard=nothing + 1.0,
        care=Care(force_error_n=0.0, undercut_max_m=9e-6),
    )
    assert state.cost <= state.enough
    assert state.done == done
