import numpy as np
import pytest

from cell_simulation.actuators import Spindle


def speed(spindle: Spindle, *times_s: float) -> np.ndarray:
    return spindle.at(np.array(times_s))


def test_runs_up_and_down_like_a_first_order_lag() -> None:
    spindle = Spindle(spin_up_s=0.5, spin_down_s=1.0)
    assert np.all(speed(spindle, 0.0, 10.0) == 0.0)
    spindle.switch(1.0, True)
    assert speed(spindle, 0.9, 1.25, 1.5) == pytest.approx([0.0, 1.0 - 0.02**0.5, 0.98])
    assert speed(spindle, 3.0)[0] == 1.0
    spindle.switch(5.0, False)
    assert speed(spindle, 4.9, 5.5, 6.0) == pytest.approx([1.0, 0.02**0.5, 0.02])
    assert speed(spindle, 9.0)[0] == 0.0
    assert spindle.any_open(5.5, 5.6) and spindle.any_open(0.5, 1.5) and not spindle.any_open(8.0, 9.0)


def test_a_switch_on_the_way_goes_on_from_there() -> None:
    spindle = Spindle(spin_up_s=0.4, spin_down_s=0.4)
    spindle.switch(0.0, True)
    spindle.switch(0.1, False)
    reached = 1.0 - 0.02**0.25
    assert speed(spindle, 0.1, 0.3) == pytest.approx([reached, reached * 0.02**0.5])
    before = speed(spindle, 0.2, 0.3)
    spindle.forget_before(0.15)
    assert np.array_equal(before, speed(spindle, 0.2, 0.3))


def test_without_a_time_it_is_there_at_once() -> None:
    spindle = Spindle(spin_up_s=0.0, spin_down_s=0.0)
    spindle.switch(1.0, True)
    assert list(speed(spindle, 0.999, 1.0)) == [0.0, 1.0]
