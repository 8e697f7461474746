"""Switching of the gun: nothing shorter than the valve can do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spray_parts import GUN, dome, recipe

from cell_core.toolpath import Stroke
from spray_planner import plan_spray
from spray_planner.triggers import n_triggers, on_stretches, run_up_lack_m, shortest_on_s, sound_triggers


def stroke(on: list[bool], speed_m_per_s: float = 0.2, step_m: float = 0.01) -> Stroke:
    n = len(on)
    return Stroke(
        kind="area",
        position_m=np.c_[step_m * np.arange(n), np.zeros(n), np.full(n, 0.2)],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, speed_m_per_s),
        process_value=np.full(n, 5e-6),
        on=np.array(on),
    )


class _Valve:
    """A gun with a least time open."""

    on_delay_s, off_delay_s, on_time_min_s = 0.06, 0.03, 0.25


@given(on=st.lists(st.booleans(), min_size=3, max_size=60))
def test_no_stretch_and_no_gap_is_too_short(on: list[bool]) -> None:
    before = stroke(on)
    (after,) = sound_triggers([before], _Valve())  # pyright: ignore[reportArgumentType]
    t = np.r_[0.0, 0.5 * (after.times_s[1:] + after.times_s[:-1]), after.times_s[-1]]
    stretches = on_stretches(after)
    for a, b in stretches:
        assert t[b] - t[a] >= 0.25 - 1e-9
    if t[-1] >= 0.25 and before.on.any():
        assert stretches
    (again,) = sound_triggers([after], _Valve())  # pyright: ignore[reportArgumentType]
    for (_, a), (b, _) in zip(on_stretches(again)[:-1], on_stretches(again)[1:], strict=True):
        assert t[b] - t[a] >= 0.09 - 1e-9


def test_triggers_are_counted() -> None:
    on = [False, True, True, False, True, False, False]
    strokes = [stroke(on), stroke([False] * 4), stroke([True] * 4)]
    assert n_triggers(strokes) == 3
    # one sample of 10 mm at 0.2 m/s
    assert shortest_on_s(strokes) == pytest.approx(0.05)


def test_the_run_up_from_rest_is_compared_with_the_overtravel() -> None:
    # 0.2 m/s at 0.5 m/s2 takes 40 mm
    assert run_up_lack_m([stroke([False] * 4 + [True] * 5 + [False] * 4)], 0.5) == pytest.approx(0.0)
    assert run_up_lack_m([stroke([False] * 4 + [True] * 5 + [False])], 0.5) == pytest.approx(0.03)


def test_plans_open_the_gun_for_long_enough() -> None:
    class Slow(type(GUN)):
        """The gun with the field that newer files have."""

        on_time_min_s: float = 0.0

    fields = GUN.model_dump()
    fields["standoff_m"], fields["speed_m_per_s"] = GUN.standoff_m, GUN.speed_m_per_s
    gun = Slow(**fields, on_time_min_s=1.5)
    surface = dome(0.4, 0.14)
    free = plan_spray(surface, recipe(flow_m3_per_s=5e-6), GUN, table=False).figures
    plan = plan_spray(surface, recipe(flow_m3_per_s=5e-6), gun, table=False)
    assert free["shortest_on_s"] < 1.5 <= plan.figures["shortest_on_s"] + 0.05
    for s in plan.toolpath.strokes:
        v = s.speed_m_per_s
        assert np.all(np.abs(np.diff(v**2)) <= 2.0 * gun.acceleration_m_per_s2 * s.step_lengths_m * (1 + 1e-6))
