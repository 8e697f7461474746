"""Inverse kinematics of a bare arm, base to flange: closed form where there is one, numbers where there is none."""

from typing import Any, Protocol

import numpy as np
import py_opw_kinematics
from scipy.spatial import KDTree

from cell_core.config.models import OpwConfig
from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, inverse
from cell_motion.chain import Chain
from robot_description.model import RobotModel
from robot_description.opw import opw_model

EXTENSION_M = 0.2
AGREEMENT_M = 1e-5
_NO_JACOBIAN = [(10.0, 11.0)] * 6
"""Limits that nothing meets: the OPW solver then skips its singular values, which cost six times the solution."""
BRANCHES_MAX = 16
"""An arm of six turning joints has at most so many (Primrose 1986; Raghavan and Roth 1990)."""
TABLE = 60_000
"""Positions from which the numerical solver starts."""
NEAREST = 48
"""Starts per pose."""
ITERATIONS = 12
SOLVED = 1e-9
"""Largest error of a numerical solution [m, rad]."""
SAME_RAD = 1e-4


class Solver(Protocol):
    """Inverse kinematics of one arm."""

    def branches(self, T_base_flange: Array) -> tuple[Array, Array]:
        """Return joint positions (N, B, 6) [rad], NaN where there is no branch, and their regularity (N, B).

        Regularity tells how far from a singularity a branch is, 0 on it, about 1 in the arm's best positions.
        """
        ...

    def forward(self, position_rad: Array) -> Array:
        """Return T_base_flange (N, 4, 4) at joint positions (N, 6), by the solver's own model."""
        ...


class OpwSolver:
    """Ortho-parallel basis and spherical wrist, by py_opw_kinematics; eight branches.

    Regularity is the smaller of |sin(joint 5)| and the wrist centre's distance from full reach over EXTENSION_M.
    """

    def __init__(self, robot: RobotModel, opw: OpwConfig) -> None:
        self._opw = py_opw_kinematics._internal.Robot(opw_model(opw), False)
        self._T_opw_flange = self._tip_offset(robot)
        self._T_flange_opw = inverse(self._T_opw_flange)

    def branches(self, T_base_flange: Array) -> tuple[Array, Array]:
        """See Solver."""
        poses = np.ascontiguousarray(T_base_flange @ self._T_flange_opw)
        joints, _, extension, _, wrist = self._opw.reach(poses.reshape(-1, 16), _NO_JACOBIAN, None, 1)
        return np.asarray(joints), np.minimum(np.asarray(wrist), np.asarray(extension)[:, None] / EXTENSION_M)

    def forward(self, position_rad: Array) -> Array:
        """See Solver."""
        position = np.ascontiguousarray(position_rad, float)
        return np.asarray(self._opw.batch_forward(position)).reshape(-1, 4, 4) @ self._T_opw_flange

    def _tip_offset(self, robot: RobotModel) -> Array:
        """Return the constant T_opw_flange; a flange frame turned against the OPW convention is thus allowed."""
        position = np.random.default_rng(0).uniform(-1.0, 1.0, (16, 6))
        tips = np.asarray(self._opw.batch_forward(position)).reshape(-1, 4, 4)
        difference = inverse(tips) @ robot.forward(position, robot.config.flange_frame)
        error = float(np.abs(difference - difference[0]).max())
        if error > AGREEMENT_M:
            raise ConfigurationError(
                f"robot {robot.config.name}: opw parameters differ from the URDF by {error:.3g} m or rad over 16 "
                f"poses, bound {AGREEMENT_M:g}",
                difference=error,
            )
        return difference[0]


class DecompositionSolver:
    """Arms with three parallel or otherwise well placed axes, by EAIK's subproblem decomposition (Ostermeier 2025)."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._eaik = eaik_of(chain)

    @staticmethod
    def serves(chain: Chain) -> bool:
        """Whether EAIK has a decomposition for the arm."""
        return bool(eaik_of(chain).has_known_decomposition())

    def branches(self, T_base_flange: Array) -> tuple[Array, Array]:
        """See Solver."""
        joints = np.full((len(T_base_flange), BRANCHES_MAX, 6), np.nan)
        if len(joints):
            found = self._eaik.calculate_IK_batched(list(np.ascontiguousarray(T_base_flange)), 1)
            for row, answer in zip(joints, found, strict=True):
                exact = answer.Q[~np.asarray(answer.is_LS, bool)]
                row[: len(exact)] = exact
        joints = _trimmed(joints)
        return joints, self._chain.regularity(joints)

    def forward(self, position_rad: Array) -> Array:
        """See Solver."""
        return self._chain.forward(position_rad)


class NumericalSolver:
    """Any arm of six turning joints: Newton's method from the nearest of many known positions.

    It may miss a branch, and is slower than closed forms by two orders of magnitude.
    """

    def __init__(self, robot: RobotModel, chain: Chain) -> None:
        self._chain = chain
        low, high = np.maximum(robot.lower_rad, -np.pi), np.minimum(robot.upper_rad, np.pi)
        self._table = np.random.default_rng(0).uniform(low, high, (TABLE, len(low)))
        poses = chain.forward(self._table)
        self._length_m = float(np.linalg.norm(poses[:, :3, 3], axis=1).mean())
        self._tree = KDTree(self._features(poses))

    def branches(self, T_base_flange: Array) -> tuple[Array, Array]:
        """See Solver."""
        n = len(T_base_flange)
        if n == 0:
            return np.full((0, 1, 6), np.nan), np.full((0, 1), np.nan)
        _, near = self._tree.query(self._features(T_base_flange), NEAREST)
        joints = self._table[near].reshape(-1, 6)
        wanted = np.repeat(T_base_flange, NEAREST, axis=0)
        solved = self._newton(joints, wanted).reshape(n, NEAREST, 6)
        joints = _trimmed(_distinct(solved))
        return joints, self._chain.regularity(joints)

    def forward(self, position_rad: Array) -> Array:
        """See Solver."""
        return self._chain.forward(position_rad)

    def _features(self, T: Array) -> Array:
        return np.concatenate([T[:, :3, 3] / self._length_m, 0.5 * T[:, :3, :3].reshape(-1, 9)], axis=1)

    def _newton(self, joints: Array, wanted: Array) -> Array:
        """Return solutions (M, 6) from starts (M, 6) for poses (M, 4, 4); NaN where none was found."""
        joints = joints.copy()
        left = np.arange(len(joints))
        done = np.zeros(len(joints), bool)
        for _ in range(ITERATIONS):
            error, jacobian = self._chain.error(joints[left], wanted[left])
            size = np.abs(error).max(axis=1)
            done[left] = size < SOLVED
            keep = (size >= SOLVED) & np.isfinite(size)
            left, error, jacobian = left[keep], error[keep], jacobian[keep]
            if len(left) == 0:
                break
            square = np.swapaxes(jacobian, 1, 2) @ jacobian
            damped = square + (1e-6 * np.minimum(size[keep], 1.0))[:, None, None] * np.eye(6)
            step = np.linalg.solve(damped, np.swapaxes(jacobian, 1, 2) @ error[:, :, None])[:, :, 0]
            longest = np.abs(step).max(axis=1, keepdims=True)
            joints[left] += step * np.minimum(0.5 / np.maximum(longest, 1e-12), 1.0)
        joints[~done] = np.nan
        return (joints + np.pi) % (2.0 * np.pi) - np.pi


def solver_for(robot: RobotModel) -> Solver:
    """Return the quickest solver that serves an arm: OPW, decomposition, numbers."""
    if robot.config.opw is not None:
        return OpwSolver(robot, robot.config.opw)
    chain = Chain.of(robot)
    return DecompositionSolver(chain) if DecompositionSolver.serves(chain) else NumericalSolver(robot, chain)


def eaik_of(chain: Chain) -> Any:
    """Return EAIK's robot of a chain."""
    from eaik.pybindings.EAIK import Robot  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    tip = chain.T_flange_zero
    offsets = np.vstack([chain.point_m[0], np.diff(chain.point_m, axis=0), tip[:3, 3] - chain.point_m[-1]])
    return Robot(chain.axis.T.copy(), offsets.T.copy(), tip[:3, :3].copy(), [], True)


def _distinct(joints: Array) -> Array:
    """Keep the first of solutions (N, K, 6) that are the same; NaN in the place of the others."""
    kept = np.full((len(joints), BRANCHES_MAX, 6), np.nan)
    count = np.zeros(len(joints), int)
    for k in range(joints.shape[1]):
        apart = np.abs(joints[:, k, None] - kept)
        apart = np.minimum(apart, 2.0 * np.pi - apart).max(axis=2)
        known = (apart < SAME_RAD).any(axis=1)
        new = np.flatnonzero(~known & np.isfinite(joints[:, k]).all(axis=1) & (count < BRANCHES_MAX))
        kept[new, count[new]] = joints[new, k]
        count[new] += 1
    return kept


def _trimmed(joints: Array) -> Array:
    """Drop the branches that no pose has; one column stays at least."""
    used = np.isfinite(joints[:, :, 0]).any(axis=0)
    return joints[:, : max(int(used.sum()), 1)]
