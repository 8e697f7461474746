"""Free moves between strokes and views: a straight joint move where it is clear, else RRTConnect, shortened."""

# OMPL's stubs know neither the indices of states nor the kinds of paths
# pyright: reportIndexIssue=false, reportAttributeAccessIssue=false

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ompl import base as ompl_base
from ompl import geometric as ompl_geometric
from ompl import util as ompl_util

from cell_core.transforms import Array
from cell_motion.collision import Checker

REACH_M = (2.3, 2.3, 1.6, 0.6, 0.5, 0.5)
"""Upper bounds of how far a turn of each joint moves the farthest point behind it [m/rad], for this size of arm."""
CHECKS_PER_S = 20_000
"""Time is counted in collision checks, so that the same query has the same answer on a busy machine [1/s]."""
SHORTEN_S = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Mover:
    """Finds collision-free joint polylines at the checker's margins."""

    checker: Checker
    lower_rad: Array
    upper_rad: Array
    step_m: float = 0.01
    """Largest motion of any point of the arm between two checks: no more than twice the least margin, so that nothing
    is met in between."""

    def is_clear(self, start_rad: Array, end_rad: Array) -> bool:
        """Tell whether the straight joint move is free, ends included; coarse points first, so that hits show early."""
        fractions = _coarse_first(self.checks_between(start_rad, end_rad))
        points = start_rad + fractions[:, None] * (end_rad - start_rad)
        return all(self.checker.is_free(q) for q in points)

    def checks_between(self, start_rad: Array, end_rad: Array) -> int:
        """Return how many steps of the straight joint move have to be looked at."""
        return max(int(np.ceil(np.abs(end_rad - start_rad) @ np.array(REACH_M) / self.step_m)), 1)

    def is_clear_path(self, path_rad: Array) -> bool:
        """Tell whether all straight moves between joint positions (K, 6) are free."""
        return all(self.is_clear(a, b) for a, b in pairwise(path_rad))

    def plan(self, start_rad: Array, goal_rad: Array, *, seed: int, time_s: float) -> Array | None:
        """Return joint waypoints (K, 6) from start to goal, or None where none was found in time.

        Args:
            time_s: of CHECKS_PER_S collision checks each.
        """
        if self.is_clear(start_rad, goal_rad):
            return np.stack([start_rad, goal_rad])
        if not (self.checker.is_free(start_rad) and self.checker.is_free(goal_rad)):
            return None
        path = self._rrt_connect(start_rad, goal_rad, seed, time_s)
        return None if path is None else self._shortened(path, np.random.default_rng(seed))

    def _rrt_connect(self, start_rad: Array, goal_rad: Array, seed: int, time_s: float) -> Array | None:
        ompl_util.setLogLevel(ompl_util.LOG_NONE)
        ompl_util.RNG.setSeed(seed + 1)  # warns that it is late, yet makes each query repeatable
        n = len(start_rad)
        # whole-turn joints need no more room than half a turn beyond both ends
        low = np.maximum(self.lower_rad, np.minimum(start_rad, goal_rad) - np.pi)
        high = np.minimum(self.upper_rad, np.maximum(start_rad, goal_rad) + np.pi)
        space = ompl_base.RealVectorStateSpace(n)
        bounds = ompl_base.RealVectorBounds(n)
        for i in range(n):
            bounds.setLow(i, float(low[i]))
            bounds.setHigh(i, float(high[i]))
        space.setBounds(bounds)
        information = ompl_base.SpaceInformation(space)
        position = np.empty(n)
        checks = 0

        def is_valid(state: "ompl_base.State") -> bool:
            nonlocal checks
            checks += 1
            for i in range(n):
                position[i] = state[i]
            return self.checker.is_free(position)

        information.setStateValidityChecker(is_valid)
        reach = float(np.linalg.norm(np.array(REACH_M)))
        information.setStateValidityCheckingResolution(2.0 * self.step_m / (reach * space.getMaximumExtent()))
        information.setup()
        problem = ompl_base.ProblemDefinition(information)
        ends = [information.allocState(), information.allocState()]
        for state, values in zip(ends, (start_rad, goal_rad), strict=True):
            for i in range(n):
                state[i] = float(values[i])
        problem.setStartAndGoalStates(ends[0], ends[1])
        planner = ompl_geometric.RRTConnect(information)
        planner.setRange(1.0)
        planner.setProblemDefinition(problem)
        planner.setup()
        planner.solve(ompl_base.PlannerTerminationCondition(lambda: checks > CHECKS_PER_S * time_s))
        if not problem.hasExactSolution():
            return None
        path = problem.getSolutionPath()
        states = (path.getState(k) for k in range(path.getStateCount()))
        found = np.array([[s[i] for i in range(n)] for s in states])
        # OMPL's resolution is a fraction of the space; ours bounds the motion of the arm
        return found if self.is_clear_path(found) else None

    def _shortened(self, path_rad: Array, rng: np.random.Generator, rounds: int = 40) -> Array:
        """Cut corners between random points of the path where that is free; then drop needless waypoints."""
        path, left = path_rad, CHECKS_PER_S * SHORTEN_S
        for _ in range(rounds):
            if len(path) < 3 or left < 0.0:
                break
            length = np.abs(np.diff(path, axis=0)).max(axis=1)
            at = np.r_[0.0, np.cumsum(length)]
            a, b = np.sort(rng.uniform(0.0, at[-1], 2))
            i, j = (int(np.clip(np.searchsorted(at, x, side="right") - 1, 0, len(length) - 1)) for x in (a, b))
            if i == j:
                continue
            start = path[i] + (a - at[i]) / length[i] * (path[i + 1] - path[i])
            end = path[j] + (b - at[j]) / length[j] * (path[j + 1] - path[j])
            left -= self.checks_between(start, end)
            if self.is_clear(start, end):
                path = np.concatenate([path[: i + 1], [start, end], path[j + 1 :]])
        k = 0
        while k + 2 < len(path):
            if self.is_clear(path[k], path[k + 2]):
                path = np.delete(path, k + 1, axis=0)
            else:
                k += 1
        return path


def close_by(path_rad: Array, step_m: float) -> Array:
    """Return joint positions (M, 6) along a path (N, 6) between which no point of the arm moves farther than a step."""
    moved = moved_m(path_rad)
    at = np.linspace(0.0, moved[-1], int(np.ceil(moved[-1] / step_m)) + 1)
    return np.stack([np.interp(at, moved, path_rad[:, j]) for j in range(path_rad.shape[1])], axis=1)


def moved_m(path_rad: Array) -> Array:
    """Return how far, at most, any point of the arm has gone along a path (N, 6) at each of its positions [m]."""
    return np.r_[0.0, np.cumsum(np.abs(np.diff(path_rad, axis=0)) @ np.array(REACH_M))]


def _coarse_first(n: int) -> Array:
    """Return 0, 1/n, ..., 1 in an order that halves the largest gap first."""
    index = np.arange(n + 1)
    bits = max(int(n).bit_length(), 1)
    reverse = np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in index])
    return index[np.argsort(reverse)] / n
