"""The closed-form (OPW) model of the arm, for checking it against the URDF."""

import numpy as np
from py_opw_kinematics import KinematicModel, Robot

from cell_core.config.models import OpwConfig
from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description.model import RobotModel


def opw_model(opw: OpwConfig) -> KinematicModel:
    """Return the parameters as py_opw_kinematics takes them.

    Raises:
        ConfigurationError: a sign that is none.
    """
    bad = [s for s in opw.sign_corrections if s not in (-1, 1)]
    if bad:
        raise ConfigurationError(f"opw: sign_corrections: value {bad[0]}: must be 1 or -1")
    s1, s2, s3, s4, s5, s6 = (s < 0 for s in opw.sign_corrections)
    return KinematicModel(
        a1=opw.a1_m,
        a2=opw.a2_m,
        b=opw.b_m,
        c1=opw.c1_m,
        c2=opw.c2_m,
        c3=opw.c3_m,
        c4=opw.c4_m,
        offsets=opw.offsets_rad,
        flip_axes=(s1, s2, s3, s4, s5, s6),
    )


def opw_forward(opw: OpwConfig, q_rad: Array) -> Array:
    """Return flange poses (N, 4, 4) of the OPW model at joint positions (N, 6) [rad].

    Source: Brandstoetter, Angerer, Hofbaur, "An analytical solution of the inverse kinematics problem of industrial
    serial manipulators with an ortho-parallel basis and a spherical wrist", 2014; computed by py_opw_kinematics.
    """
    poses = Robot(opw_model(opw), degrees=False).batch_forward(np.ascontiguousarray(np.atleast_2d(q_rad), float))
    return np.asarray(poses.as_matrix(), float).reshape(-1, 4, 4)


def opw_deviation(robot: RobotModel, rng: np.random.Generator, count: int = 64) -> tuple[float, float]:
    """Return the largest differences between OPW and URDF flange poses at random positions: [m], [1]."""
    low = np.maximum(robot.lower_rad, -np.pi)
    high = np.minimum(robot.upper_rad, np.pi)
    q_rad = rng.uniform(low, high, (count, len(low)))
    if robot.config.opw is None:
        raise ConfigurationError(f"robot {robot.config.name}: has no OPW parameters to check")
    difference = np.abs(opw_forward(robot.config.opw, q_rad) - robot.forward(q_rad, robot.config.flange_frame))
    return float(difference[:, :3, 3].max()), float(difference[:, :3, :3].max())
