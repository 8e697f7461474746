"""Plans for area and target maps: what they promise, recomputed four times denser, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest

from cell_core.errors import CoverageError, InputRefusedError, LimitError
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.transforms import transform_from_xyz_rpy
from grinding_planner.contact import nominal_speed
from grinding_planner.planner import plan_grind

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="module")
def panel(make_sheet) -> Surface:
    return make_sheet((0.42, 0.36), 0.006, lambda x, y: -0.4 * x**2 - 0.15 * y**2 + 0.1 * x * y)


@pytest.fixture(scope="module")
def area_plan(panel, area_recipe, orbital) -> Plan:
    return plan_grind(panel, area_recipe, orbital)


def dense_removal(points: np.ndarray, normals: np.ndarray, areas: np.ndarray, plan: Plan) -> np.ndarray:
    """Removal recomputed from the tool path alone: bisection for the balance, every point tested against every pose."""
    tool = plan.toolpath.tool
    speed = tool["rpm"] * 2 * np.pi / 60 * tool["orbit_radius_m"]
    removed = np.zeros(len(points))
    for stroke in plan.toolpath.strokes:
        for frame, force, dwell in zip(stroke.frames, stroke.process_value, stroke.dwell_s, strict=True):
            local = (points - frame[:3, 3]) @ frame[:3, :3]
            cosine = -normals @ frame[:3, 2]
            under = (
                (np.hypot(local[:, 0], local[:, 1]) <= tool["radius_m"]) & (cosine > 0.2) & (np.abs(local[:, 2]) < 0.03)
            )
            gap, patch = local[under, 2], areas[under] * cosine[under]
            low, high = gap.min(), gap.max() + force / (tool["stiffness_pa_per_m"] * patch.sum())
            for _ in range(60):
                middle = 0.5 * (low + high)
                short = tool["stiffness_pa_per_m"] * np.maximum(0.0, middle - gap) @ patch < force
                low, high = (middle, high) if short else (low, middle)
            pressure = tool["stiffness_pa_per_m"] * np.maximum(0.0, high - gap)
            removed[under] += tool["preston_per_pa"] * pressure * speed * dwell
    return removed


def midpoint_patches(surface: Surface, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centroids of each triangle cut into n * n equal ones, with normals and areas."""
    a, b, c = (surface.vertices_m[surface.triangles[:, k]] for k in range(3))
    points = []
    for i in range(n):
        for j in range(n - i):
            for up in (True, False) if j < n - i - 1 else (True,):
                u, v = (i + 1 / 3, j + 1 / 3) if up else (i + 2 / 3, j + 2 / 3)
                points.append(a + (b - a) * u / n + (c - a) * v / n)
    k = len(points)
    return np.concatenate(points), np.tile(surface.triangle_normals, (k, 1)), np.tile(surface.triangle_areas_m2 / k, k)


def test_area_is_uniform_and_complete(area_plan, panel, orbital):
    figures = area_plan.figures
    assert figures["in_tolerance_area_fraction"] >= 0.99
    assert figures["coverage_area_fraction"] >= 0.99
    assert figures["serviceable_area_m2"] > 0.99 * panel.area_m2
    volume = figures["removed_volume_m3"]
    ideal = volume / (orbital.preston_per_pa * 50.0 * nominal_speed(orbital))
    # evenness is paid with force, not with more removal: at the borders and where the arm cannot change speed in time
    assert ideal < figures["duration_s"] < 1.7 * ideal


def test_prediction_holds_on_patches_four_times_denser(area_plan, panel):
    # 6 mm triangles cut by two: patches of 4.5 mm2 against the planner's samples of 61 mm2
    points, normals, areas = midpoint_patches(panel, 2)
    dense = dense_removal(points, normals, areas, area_plan)
    planned = area_plan.fields["predicted_change_m"][panel.tree.query(points)[1]]
    assert areas @ dense == pytest.approx(area_plan.figures["removed_volume_m3"], rel=0.03)
    share = areas / areas.sum()
    assert share @ np.abs(dense - planned) < 0.06 * (share @ dense)
    assert share @ (np.abs(dense / 30e-6 - 1.0) <= 0.15) >= 0.93
    # edges are not burned through
    assert dense.max() < 1.5 * 30e-6


def test_strokes_are_what_a_machine_can_run(area_plan, panel, orbital):
    assert area_plan.toolpath.strokes
    for stroke in area_plan.toolpath.strokes:
        assert stroke.kind == "area"
        assert stroke.freedom.spin == "free"
        # a tilt of 0.01 rad at 50 N already costs a tenth of the area its tolerance
        assert 0.0 < stroke.freedom.tilt_rad <= min(orbital.tilt_max_rad, 0.006)
        assert stroke.speed_m_per_s.min() >= orbital.speed_m_per_s.low - 1e-9
        assert stroke.speed_m_per_s.max() <= orbital.speed_m_per_s.high + 1e-9
        change = np.abs(np.diff(stroke.speed_m_per_s**2)) / (2 * stroke.step_lengths_m)
        assert change.max() <= orbital.acceleration_m_per_s2 * (1 + 1e-6)
        assert stroke.process_value.min() >= orbital.force_n.low
        assert stroke.process_value.max() <= 50.0
        assert np.abs(np.einsum("ij,ij->i", stroke.tool_axis, stroke.travel)).max() < 1e-6
        # pad centres on the surface, or so far past a border that a quarter of the pad is still on the ground
        distance, _ = panel.tree.query(stroke.position_m)
        assert distance.max() < 0.37 * orbital.radius_m
        inside = np.all(np.abs(stroke.position_m[:, :2]) < [0.21, 0.18], axis=1)
        assert np.all(distance[inside] < 0.005)


def test_fields_and_tool_block_are_complete(area_plan, panel, orbital, tmp_path):
    n = len(panel.vertices_m)
    for name in ("predicted_change_m", "target_change_m", "visits", "serviceable"):
        assert area_plan.fields[name].shape == (n,)
        assert area_plan.fields[name].min() >= 0.0
    wanted = {"name", "kind", "radius_m", "stiffness_pa_per_m", "preston_per_pa", "motion", "rpm", "orbit_radius_m"}
    assert wanted <= set(area_plan.toolpath.tool)
    area_plan.write(tmp_path)
    assert Plan.read(tmp_path).toolpath.n_samples == area_plan.toolpath.n_samples


def test_wall_and_narrow_slot_are_not_serviceable(make_sheet, area_recipe, orbital):
    # a slot 50 mm wide and 40 mm deep with steep walls: the 125 mm pad bridges it
    def slotted(x, y):
        return -0.04 * (1.0 / (1.0 + np.exp((np.abs(x) - 0.025) / 0.0015)))

    surface = make_sheet((0.5, 0.3), 0.004, slotted)
    plan = plan_grind(surface, area_recipe, orbital)
    x = surface.vertices_m[:, 0]
    serviceable = plan.fields["serviceable"] > 0.5
    assert not serviceable[np.abs(x) < 0.015].any()
    assert serviceable[(np.abs(x) > 0.10) & (np.abs(x) < 0.2)].mean() > 0.95
    assert plan.fields["predicted_change_m"][np.abs(x) < 0.015].max() < 1e-6


def test_target_map_is_met_and_the_rest_left_alone(panel, area_recipe, orbital):
    x, y = panel.vertices_m[:, 0], panel.vertices_m[:, 1]
    target = 60e-6 * np.exp(-((x - 0.05) ** 2 + y**2) / (2 * 0.05**2))
    recipe = area_recipe.model_copy(update={"strategy": "target", "target_depth_m": 1e-3})
    plan = plan_grind(panel, recipe, orbital, target_m=target)
    left = target - plan.fields["predicted_change_m"]
    weight = panel.vertex_areas_m2
    assert np.sqrt(weight @ left**2 / (weight @ target**2)) < 0.25
    assert plan.fields["predicted_change_m"][np.hypot(x - 0.05, y) > 0.18].max() < 5e-6


def test_target_from_cad_is_what_stands_above_it(make_sheet, area_recipe, orbital):
    cad = make_sheet((0.4, 0.3), 0.02, lambda x, y: 0.0 * x)
    scan = make_sheet((0.4, 0.3), 0.006, lambda x, y: 80e-6 * (np.hypot(x, y) < 0.07) - 50e-6 * (x > 0.15))
    recipe = area_recipe.model_copy(update={"strategy": "target", "target_depth_m": 50e-6})
    plan = plan_grind(scan, recipe, orbital, cad=cad)
    target = plan.fields["target_change_m"]
    r = np.hypot(scan.vertices_m[:, 0], scan.vertices_m[:, 1])
    assert target[r < 0.05] == pytest.approx(50e-6, rel=0.02)
    assert target[r > 0.1].max() < 1e-9


def test_many_passes_where_the_slowest_feed_is_not_enough(make_sheet, area_recipe, orbital):
    plate = make_sheet((0.3, 0.25), 0.01, lambda x, y: 0.0 * x)
    deep = area_recipe.model_copy(update={"target_depth_m": 1e-3})
    plan = plan_grind(plate, deep, orbital)
    assert plan.figures["mean_m"] == pytest.approx(1e-3, rel=0.1)
    assert plan.figures["in_tolerance_area_fraction"] > 0.9


def test_passes_asked_for_share_the_depth_and_cross_each_other(make_sheet, area_recipe, orbital):
    plate = make_sheet((0.4, 0.3), 0.01, lambda x, y: 0.0 * x)
    four = area_recipe.model_copy(update={"target_depth_m": 150e-6, "n_passes": 4})
    plan = plan_grind(plate, four, orbital)
    strokes = plan.toolpath.strokes
    assert len(strokes) % 4 == 0
    once = strokes[: len(strokes) // 4]
    assert all(a is b for a, b in zip(strokes, once * 4, strict=True))
    assert plan.figures["mean_m"] == pytest.approx(150e-6, rel=0.03)

    crossed = plan_grind(plate, four.model_copy(update={"cross_hatch": True}), orbital)
    assert crossed.figures["mean_m"] == pytest.approx(150e-6, rel=0.03)
    assert crossed.figures["in_tolerance_area_fraction"] > 0.95
    half = len(crossed.toolpath.strokes) // 2
    first, again = crossed.toolpath.strokes[:half], crossed.toolpath.strokes[half:]
    assert all(a is b for a, b in zip(first, again, strict=True))

    assert min(_straight_lengths(first)) > 0.3 * max(_straight_lengths(first))


def _straight_lengths(strokes) -> tuple[float, float]:
    """Length of the strokes that run along x, and along y [m]."""
    turns = [np.abs(np.diff(s.position_m, axis=0)).sum(axis=0)[:2] for s in strokes]
    return sum(t[0] for t in turns if t[0] > 20.0 * t[1]), sum(t[1] for t in turns if t[1] > 20.0 * t[0])


def test_cross_hatch_alone_makes_two_passes(make_sheet, area_recipe, orbital):
    plate = make_sheet((0.3, 0.25), 0.01, lambda x, y: 0.0 * x)
    recipe = area_recipe.model_copy(update={"target_depth_m": 60e-6})
    assert min(_straight_lengths(plan_grind(plate, recipe, orbital).toolpath.strokes)) == 0.0
    plan = plan_grind(plate, recipe.model_copy(update={"cross_hatch": True}), orbital)
    assert min(_straight_lengths(plan.toolpath.strokes)) > 0.2
    assert plan.figures["mean_m"] == pytest.approx(60e-6, rel=0.03)


def test_plan_moves_with_the_part(panel, area_plan, area_recipe, orbital):
    T = transform_from_xyz_rpy([0.4, -0.3, 0.2], [0.0, 0.0, 1.1])
    plan = plan_grind(panel.transformed(T, "part"), area_recipe, orbital)
    assert plan.figures["serviceable_area_m2"] == pytest.approx(area_plan.figures["serviceable_area_m2"], rel=0.02)
    assert plan.figures["mean_m"] == pytest.approx(area_plan.figures["mean_m"], rel=0.02)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"force_n": 500.0}, LimitError, "500 N is outside 10..80 N"),
        ({"target_depth_m": 1e-9}, CoverageError, "less than tool"),
        ({"target_depth_m": 0.005, "force_n": 20.0}, CoverageError, "passes of tool .* at most 20 planned"),
        ({"target_depth_m": 0.001, "n_passes": 1}, CoverageError, "needs [0-9]+ passes .* at most 1 given"),
        ({"n_passes": 20, "target_depth_m": 10e-6}, CoverageError, "in 20 passes is less than tool"),
        ({"strategy": "target"}, InputRefusedError, "neither given"),
        ({"strategy": "bead"}, CoverageError, "nothing stands"),
    ],
)
def test_impossible_recipes_are_refused(panel, area_recipe, orbital, changes, error, said):
    with pytest.raises(error, match=said):
        plan_grind(panel, area_recipe.model_copy(update=changes), orbital)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (np.ones(7), "7,"),
        (None, "nothing to remove"),
        (np.nan, "finite"),
        (-1e-5, "must be >= 0"),
    ],
)
def test_unfit_target_maps_are_refused(panel, area_recipe, orbital, target, said):
    n = len(panel.vertices_m)
    given = np.zeros(n) if target is None else target if isinstance(target, np.ndarray) else np.full(n, target)
    with pytest.raises(InputRefusedError, match=said):
        plan_grind(panel, area_recipe.model_copy(update={"strategy": "target"}), orbital, target_m=given)


def test_a_part_smaller_than_the_pad_says_why(make_sheet, area_recipe, orbital):
    post = make_sheet((0.02, 0.02), 0.002, lambda x, y: 0.0 * x)
    with pytest.raises(CoverageError, match="finds no ground to stand on"):
        plan_grind(post, area_recipe, orbital)


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data absent")
def test_cad_lug_is_sanded_evenly(area_recipe, orbital):
    surface, _ = load_surface(DATA / "fanuc_DAC" / "DAC_580813_cad.stl", "m")
    figures = plan_grind(surface, area_recipe, orbital).figures
    assert figures["in_tolerance_area_fraction"] >= 0.95
    assert figures["coverage_area_fraction"] >= 0.98
    assert figures["serviceable_area_m2"] > 0.35
    # the ground is narrow: the pad hangs over, at less force
    assert figures["duration_s"] < 2.2 * figures["ideal_duration_s"]
