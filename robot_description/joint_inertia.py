"""The inertia each joint of the arm has to turn, from the masses in its URDF."""

# pinocchio is a compiled module, which a type checker cannot see into
# pyright: reportAttributeAccessIssue=false

import numpy as np
import pinocchio
from numpy.typing import ArrayLike

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description.model import RobotModel


def joint_inertia_kg_m2(robot: RobotModel, q_rad: ArrayLike) -> Array:
    """Return the diagonal (J,) of the joint-space mass matrix at joint positions q (J,) [rad].

    Raises:
        ConfigurationError: nothing beyond a joint has a mass.
    """
    model = pinocchio.buildModelFromXML(robot.urdf_xml)
    q, velocity = pinocchio.neutral(model), []
    for name, value in zip(robot.joint_names, np.asarray(q_rad, float), strict=True):
        joint = model.joints[model.getJointId(name)]
        # a continuous joint is kept as cosine and sine
        q[joint.idx_q : joint.idx_q + joint.nq] = value if joint.nq == 1 else (np.cos(value), np.sin(value))
        velocity.append(joint.idx_v)
    found = np.diag(pinocchio.crba(model, model.createData(), q))[velocity]
    for name, inertia in zip(robot.joint_names, found, strict=True):
        if not inertia > 0.0:
            raise ConfigurationError(f"{name}: no link beyond it has a mass in the URDF")
    return found.copy()
