"""Events follow the on flags and set-points of a stroke."""

from dataclasses import replace

import numpy as np
import pytest
from motion_paths import stroke_over

from cell_core.config import GrindToolConfig, GunConfig, load_named
from cell_core.toolpath import Stroke
from cell_motion.events import Passage, grind_events, spray_events

SWITCHES = ("on", "off")


def _stroke(on: list[bool], value: list[float]) -> Stroke:
    n = len(on)
    points = np.stack([0.01 * np.arange(n), np.zeros(n), np.zeros(n)], axis=1)
    stroke = stroke_over(points, np.tile([0.0, 0.0, 1.0], (n, 1)), speed_m_per_s=0.1, value=1.0)
    return replace(stroke, on=np.array(on), process_value=np.array(value, float))


def _passage(stroke: Stroke, start_s: float) -> Passage:
    return Passage(stroke=stroke, sample_times_s=start_s + stroke.times_s, clear_s=start_s + stroke.times_s[-1] + 0.3)


def test_every_interval_gets_its_own_switches_half_way_between_samples() -> None:
    gun = load_named(GunConfig, "guns", "hvlp_240")
    stroke = _stroke([False, True, True, False, False, True], [1e-6, 2e-6, 2e-6, 2e-6, 2e-6, 3e-6])
    events = spray_events([_passage(stroke, 5.0)], gun)
    assert [e.name for e in events] == ["set_flow_m3_per_s", "on", "off"] * 2
    switches = [e.time_s for e in events if e.name in ("on", "off")]
    np.testing.assert_allclose(switches, np.array([5.05, 5.25, 5.45, 5.50]) - 0.03)
    assert [e.value for e in events if e.name == "set_flow_m3_per_s"] == [2e-6, 3e-6]


def test_changing_values_are_set_on_the_way() -> None:
    gun = load_named(GunConfig, "guns", "hvlp_240")
    stroke = _stroke([True] * 5, [1e-6, 1e-6, 1.2e-6, 1.201e-6, 1.5e-6])
    events = spray_events([_passage(stroke, 1.0)], gun)
    sets = [(round(e.time_s, 6), e.value) for e in events if e.name == "set_flow_m3_per_s"]
    assert sets == [(0.95, 1e-6), (1.15, 1.2e-6), (1.35, 1.5e-6)]


def test_on_and_off_lead_by_their_own_delays() -> None:
    gun = load_named(GunConfig, "guns", "hvlp_240").model_copy(update={"on_delay_s": 0.08, "off_delay_s": 0.02})
    stroke = _stroke([False, True, True, False, False, False, True, False], [2e-6] * 8)
    switches = [(e.name, round(e.time_s, 6)) for e in spray_events([_passage(stroke, 5.0)], gun) if e.name in SWITCHES]
    assert switches == [("on", 4.97), ("off", 5.23), ("on", 5.47), ("off", 5.63)]


@pytest.mark.parametrize("delays_s", [(0.2, 0.02), (0.02, 0.2), (0.15, 0.05)])
def test_a_gap_too_short_for_the_delays_stays_open(delays_s: tuple[float, float]) -> None:
    update = dict(zip(("on_delay_s", "off_delay_s"), delays_s, strict=True))
    gun = load_named(GunConfig, "guns", "hvlp_240").model_copy(update=update)
    stroke = _stroke([True, True, False, True, True], [1e-6, 1e-6, 1e-6, 3e-6, 3e-6])
    events = spray_events([_passage(stroke, 5.0)], gun)
    switches = [e.name for e in events if e.name in SWITCHES]
    # a gap of 0.1 s: "on" led by 0.1 s more than "off" would come first, and the "off" after it would win
    bridged = delays_s[0] - delays_s[1] >= 0.1 - 1e-9
    assert switches == (["on", "off"] if bridged else ["on", "off", "on", "off"])
    assert [e.value for e in events if e.name == "set_flow_m3_per_s"] == [1e-6, 3e-6]


def test_the_spindle_keeps_turning_between_close_strokes_only() -> None:
    tool = load_named(GrindToolConfig, "tools", "orbital_125")
    stroke = _stroke([True] * 11, [50.0] * 11)
    near = grind_events([_passage(stroke, 2.0), _passage(stroke, 4.0)], tool)
    assert [e.name for e in near] == ["on", "set_force_n", "set_force_n", "set_force_n", "set_force_n", "off"]
    far = grind_events([_passage(stroke, 2.0), _passage(stroke, 9.0)], tool)
    assert [e.name for e in far].count("on") == 2
    assert far[0].time_s == pytest.approx(2.0 - tool.force_lag_s - tool.spin_up_s)
    assert [e.value for e in far if e.name == "set_force_n"] == [50.0, 0.0, 50.0, 0.0]


@pytest.mark.parametrize("lag_s", [0.0, 0.02, 0.08])
def test_a_short_stroke_gets_its_whole_impulse_from_a_slide_that_lags(lag_s: float) -> None:
    tool = load_named(GrindToolConfig, "tools", "orbital_125").model_copy(update={"force_lag_s": lag_s})
    stroke = _stroke([True] * 3, [40.0] * 3)  # 0.2 s
    events = grind_events([_passage(stroke, 2.0)], tool)
    step_s, force_n, wanted_n, impulse = 1e-4, 0.0, 0.0, 0.0
    pending = [e for e in events if e.name == "set_force_n"]
    for time_s in np.arange(1.5, 2.5, step_s):
        while pending and pending[0].time_s <= time_s:
            wanted_n = pending.pop(0).value
        force_n += (wanted_n - force_n) * (1.0 if lag_s == 0.0 else -np.expm1(-step_s / lag_s))
        impulse += step_s * force_n * (wanted_n > 0.0)  # let go, the slide lifts at once
    assert impulse == pytest.approx(40.0 * 0.2, rel=0.03)


def test_a_force_led_by_the_lag_never_comes_before_the_lift_that_precedes_it() -> None:
    tool = load_named(GrindToolConfig, "tools", "orbital_125").model_copy(update={"force_lag_s": 0.15})
    events = grind_events([_passage(_stroke([True, True, False, True, True], [40.0] * 5), 2.0)], tool)
    assert [e.value for e in events if e.name == "set_force_n"] == [40.0, 0.0, 40.0, 0.0]


def test_a_stroke_without_process_makes_no_events() -> None:
    stroke = _stroke([False] * 4, [50.0] * 4)
    assert grind_events([_passage(stroke, 1.0)], load_named(GrindToolConfig, "tools", "orbital_125")) == []
    assert spray_events([_passage(stroke, 1.0)], load_named(GunConfig, "guns", "hvlp_240")) == []
