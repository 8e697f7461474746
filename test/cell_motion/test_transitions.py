"""Free moves: around what stands in the way, the same on a busy machine, and given up after so many checks."""

import time

import numpy as np
import pytest

from cell_motion.transitions import CHECKS_PER_S, Mover

START, GOAL = np.zeros(6), np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])


class Ball:
    """A checker whose arm is a point in joint space and whose obstacle is a ball around the middle of the way."""

    def __init__(self, radius: float, pause_s: float = 0.0) -> None:
        self.radius, self.pause_s, self.checks = radius, pause_s, 0

    def is_free(self, position_rad: np.ndarray) -> bool:
        self.checks += 1
        time.sleep(self.pause_s)
        return bool(np.linalg.norm(position_rad - 0.5 * GOAL) > self.radius)


class Shell(Ball):
    """The goal is walled in."""

    def is_free(self, position_rad: np.ndarray) -> bool:
        self.checks += 1
        return not 0.1 < np.linalg.norm(position_rad - GOAL) < 0.4


def _plan(checker, time_s: float) -> np.ndarray | None:
    mover = Mover(checker=checker, lower_rad=np.full(6, -2.0), upper_rad=np.full(6, 2.0))
    return mover.plan(START, GOAL, seed=3, time_s=time_s)


def test_a_move_goes_around_and_a_slower_machine_finds_the_same():
    quick, slow = Ball(0.2), Ball(0.2, pause_s=2e-5)
    path = _plan(quick, 1.0)
    assert path is not None and len(path) > 2
    np.testing.assert_array_equal(path[[0, -1]], [START, GOAL])
    again = _plan(slow, 1.0)
    np.testing.assert_array_equal(again, path)
    assert slow.checks == quick.checks


@pytest.mark.parametrize("time_s", [0.1, 0.4])
def test_what_cannot_be_reached_is_given_up_after_the_checks_allowed(time_s):
    checker = Shell(0.0)
    assert _plan(checker, time_s) is None
    assert 0.9 * CHECKS_PER_S * time_s < checker.checks < 1.3 * CHECKS_PER_S * time_s + 2000
