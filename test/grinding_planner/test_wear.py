"""Wear along a job: the law's closed forms, speeds that make up for it, changes of the abrasive, and limits kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.config import PadTool, WearLaw
from cell_core.errors import LimitError
from cell_core.plan import Plan
from cell_core.toolpath import Stroke
from grinding_planner.planner import plan_grind
from grinding_planner.wear import compensated, effective_work, energy_after, preston_along, preston_factor
from grinding_planner.wear_plan import replan_rest

LAW = WearLaw(floor_fraction=0.4, energy_j=900.0, energy_max_j=2500.0)


def straight(n: int, length_m: float, speed: float, force_n: float = 50.0) -> Stroke:
    x = np.linspace(0.0, length_m, n)
    return Stroke(
        kind="area",
        position_m=np.c_[x, np.zeros((n, 2))],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, speed),
        process_value=np.full(n, force_n),
        on=np.ones(n, bool),
    )


@pytest.fixture
def worn_pad(orbital) -> PadTool:
    return orbital.model_copy(update={"wear": LAW})


def executed(strokes, tool, energy_j, changes=()) -> tuple[np.ndarray, float]:
    """k_p times dwell of every sample, by an explicit march of the wear's differential equation in thousandths."""
    speed, energy, out = tool.rpm * 2.0 * np.pi / 60.0 * tool.orbit_radius_m, energy_j, []
    law = tool.wear
    for k, stroke in enumerate(strokes):
        energy = 0.0 if k in changes else energy
        for dwell, force in zip(stroke.dwell_s, stroke.process_value, strict=True):
            done = 0.0
            for _ in range(10):
                worn = law.floor_fraction + (1.0 - law.floor_fraction) * np.exp(-energy / law.energy_j)
                done += tool.preston_per_pa * worn * dwell / 10
                energy += tool.friction * force * speed * dwell / 10
            out.append(done)
    return np.array(out), energy


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 1.0), st.floats(1.0, 1e5), st.floats(0.0, 1e6))
def test_energy_is_the_inverse_of_effective_work(floor: float, scale_j: float, energy_j: float) -> None:
    law = WearLaw(floor_fraction=floor, energy_j=scale_j, energy_max_j=1e9)
    assert energy_after(law, effective_work(law, energy_j)) == pytest.approx(energy_j, rel=1e-9, abs=1e-9)
    # the closed form against a fine trapezium sum of the law itself
    at = np.linspace(0.0, min(energy_j, 20.0 * scale_j), 20_001)
    worn = preston_factor(law, at)
    summed = np.sum(0.5 * (worn[1:] + worn[:-1]) * np.diff(at))
    assert effective_work(law, at[-1]) == pytest.approx(summed, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("start_j", [0.0, 700.0])
def test_compensated_strokes_remove_what_was_planned(worn_pad: PadTool, start_j: float) -> None:
    strokes = [straight(80, 0.4, v) for v in (0.1, 0.05, 0.12)]
    planned = 0.9e-9
    wear = compensated(strokes, worn_pad, start_j, planned_preston_per_pa=planned)
    done, energy = executed(wear.strokes, worn_pad, start_j)
    wanted = planned * np.concatenate([s.dwell_s for s in strokes])
    assert done == pytest.approx(wanted, rel=2e-3)
    assert wear.energy_end_j == pytest.approx(energy, rel=1e-3)
    assert wear.work_j == pytest.approx(energy - start_j, rel=1e-3)
    assert wear.disc_changes == ()
    # it did wear: without the change of speed the last sample would get clearly less
    assert done[-1] / wear.strokes[-1].dwell_s[-1] < 0.85 * planned


def test_an_abrasive_is_changed_before_the_stroke_it_would_not_last(worn_pad: PadTool) -> None:
    strokes = [straight(400, 0.4, 0.02) for _ in range(4)]
    wear = compensated(strokes, worn_pad, 300.0, planned_preston_per_pa=worn_pad.preston_per_pa)
    assert wear.disc_changes
    done, energy = executed(wear.strokes, worn_pad, 300.0, wear.disc_changes)
    assert done == pytest.approx(worn_pad.preston_per_pa * np.concatenate([s.dwell_s for s in strokes]), rel=2e-3)
    assert wear.energy_end_j == pytest.approx(energy, rel=1e-3)
    assert wear.energy_j.max() <= LAW.energy_max_j
    # one stroke more on the old abrasive would have passed its life
    k = wear.disc_changes[0]
    before = compensated(strokes[:k], worn_pad, 300.0, planned_preston_per_pa=worn_pad.preston_per_pa)
    longer = worn_pad.model_copy(update={"wear": LAW.model_copy(update={"energy_max_j": 1e9})})
    after = compensated(strokes[: k + 1], longer, 300.0, planned_preston_per_pa=worn_pad.preston_per_pa)
    assert before.energy_end_j <= LAW.energy_max_j < after.energy_end_j


def test_a_worn_out_abrasive_is_changed_at_once(worn_pad: PadTool) -> None:
    wear = compensated([straight(40, 0.4, 0.1)], worn_pad, 2600.0, planned_preston_per_pa=1e-9)
    assert wear.disc_changes == (0,)
    assert wear.factor[0] > 0.98


def test_a_stroke_no_abrasive_lasts_for_is_refused(worn_pad: PadTool) -> None:
    with pytest.raises(LimitError, match=r"stroke 1: takes .* J of friction work, an abrasive .* lasts 2500 J"):
        compensated([straight(40, 0.4, 0.1), straight(40, 0.4, 0.001)], worn_pad, 0.0, planned_preston_per_pa=1e-9)


def test_without_a_law_nothing_changes_but_work_is_told(orbital: PadTool) -> None:
    strokes = [straight(40, 0.4, 0.1)]
    wear = compensated(strokes, orbital, 40.0, planned_preston_per_pa=orbital.preston_per_pa)
    assert np.array_equal(wear.strokes[0].speed_m_per_s, strokes[0].speed_m_per_s)
    speed = orbital.rpm * 2.0 * np.pi / 60.0 * orbital.orbit_radius_m
    assert wear.energy_end_j == pytest.approx(40.0 + orbital.friction * 50.0 * speed * 4.0)


@pytest.fixture(scope="module")
def panel(make_sheet):
    return make_sheet((0.34, 0.3), 0.01, lambda x, y: -0.3 * x**2)


@pytest.fixture(scope="module")
def plain(panel, area_recipe, orbital) -> Plan:
    return plan_grind(panel, area_recipe, orbital)


def test_a_plan_with_wear_promises_the_same_and_takes_longer(panel, area_recipe, orbital, plain: Plan) -> None:
    law = WearLaw(floor_fraction=0.4, energy_j=800.0, energy_max_j=5000.0)
    tool = orbital.model_copy(update={"wear": law})
    plan = plan_grind(panel, area_recipe, tool)
    assert plan.fields["predicted_change_m"] == pytest.approx(plain.fields["predicted_change_m"], rel=0.02, abs=2e-7)
    wear = preston_along(plan.toolpath.strokes, tool)
    assert wear.factor[-1] < 0.8
    longer = plan.figures["duration_s"] / plain.figures["duration_s"]
    assert 1.1 < longer < 1.0 / wear.factor[-1]
    assert plan.figures["disc_energy_j"] == pytest.approx(wear.energy_end_j)
    assert plan.figures["disc_life_used_fraction"] == pytest.approx(wear.energy_end_j / 5000.0)
    assert plan.toolpath.tool["disc_energy_j"] == 0.0 and plan.toolpath.tool["disc_changes"] == []


def test_a_used_abrasive_is_planned_for_within_the_tools_limits(panel, area_recipe, orbital, plain: Plan) -> None:
    slow = min(s.speed_m_per_s.min() for s in plain.toolpath.strokes)
    fast = max(s.speed_m_per_s.max() for s in plain.toolpath.strokes)
    # so close about the speeds of a new abrasive that a worn one breaks them unless planned for
    law = WearLaw(floor_fraction=0.3, energy_j=800.0, energy_max_j=5000.0)
    bounds = orbital.speed_m_per_s.model_copy(update={"low": 0.8 * slow, "high": fast})
    tool = orbital.model_copy(update={"wear": law, "speed_m_per_s": bounds})
    plan = plan_grind(panel, area_recipe, tool, disc_energy_j=600.0)
    speeds = np.concatenate([s.speed_m_per_s for s in plan.toolpath.strokes])
    assert speeds.min() >= 0.8 * slow * (1.0 - 1e-9) and speeds.max() <= fast * (1.0 + 1e-9)
    for stroke in plan.toolpath.strokes:
        rise = np.abs(np.diff(stroke.speed_m_per_s**2))
        assert np.all(rise <= 2.0 * tool.acceleration_m_per_s2 * stroke.step_lengths_m * (1.0 + 1e-6))
    done, _ = executed(plan.toolpath.strokes, tool, 600.0, plan.figures["disc_changes"])
    again = np.sum(done * np.concatenate([s.process_value for s in plan.toolpath.strokes]))
    wanted = plan.figures["removed_volume_m3"] / (tool.rpm * 2.0 * np.pi / 60.0 * tool.orbit_radius_m)
    assert again == pytest.approx(wanted, rel=0.05)


def test_the_rest_of_a_job_makes_up_for_a_changed_coefficient(orbital: PadTool) -> None:
    strokes = [straight(81, 0.4, 0.1) for _ in range(4)]
    rest = replan_rest(strokes, orbital, 0.375, 0.5)
    # half of the second stroke and the two after it, half as fast
    assert [len(stroke) for stroke in rest] == [41, 81, 81]
    assert rest[0].position_m[0] == pytest.approx(strokes[1].position_m[40])
    assert sum(s.dwell_s.sum() for s in rest) == pytest.approx(2.0 * 0.625 * 16.0, rel=1e-9)
    assert replan_rest(strokes, orbital, 1.0, 0.5) == ()
    assert len(replan_rest(strokes, orbital, 0.0, 1.0)) == 4
    # no slower than the tool can go
    slow = replan_rest(strokes, orbital, 0.5, 0.01)
    assert min(s.speed_m_per_s.min() for s in slow) == pytest.approx(orbital.speed_m_per_s.low)
