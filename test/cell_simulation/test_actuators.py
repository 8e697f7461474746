"""Switches over time: what was, stays as it was."""

import numpy as np
import pytest

from cell_simulation.actuators import Actuator


def test_a_second_cut_at_the_same_moment_keeps_what_flowed_before():
    valve = Actuator(rise_s=0.01, fall_s=0.01)
    valve.switch(1.0, True)
    valve.cut(2.0)
    valve.cut(2.0)
    assert valve.at(np.array([1.5, 1.999, 2.0, 2.1])) == pytest.approx([1.0, 1.0, 0.0, 0.0])
