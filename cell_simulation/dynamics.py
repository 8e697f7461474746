"""The arm's rigid-body dynamics in MuJoCo under a joint servo with gravity compensation, torque and speed limits.

Joint torque: tau = g (b(q, v) + M(q) a_ref) + friction feed-forward + diag(M) (w^2 e + 2 d w e' + w^2 / T int e dt),
with b gravity and velocity terms and g the controller's own idea of the masses, which is off by a few percent. Rotor
inertias and friction are not in a URDF; both are derived from the torque limits by fixed shares, assumed.
"""

# MuJoCo's module fills itself at import, which a type checker cannot see
# pyright: reportAttributeAccessIssue=false

import mujoco
import numpy as np

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from cell_simulation.drive import SUBSTEP_S, Drive, Wanted
from cell_simulation.inertia import dynamics_urdf, effort_n_m
from robot_description import RobotModel

BANDWIDTH_HZ = 12.0
DAMPING = 0.9
INTEGRAL_S = 0.2
MODEL_ERROR = 0.03
"""Standard deviation of the relative error of the masses the controller knows, by joint; assumed."""
ROTOR_SHARE = 0.05
"""Reflected rotor inertia over torque limit / acceleration limit; assumed."""
FRICTION_SHARE = 0.02
"""Dry friction over torque limit, and viscous friction at full speed over torque limit; assumed."""
FRICTION_KNOWN = 0.7
"""Share of the friction that the controller feeds forward; assumed."""
FRICTION_SPEED_RAD_PER_S = 0.01
"""Over this reference speed the fed-forward dry friction changes its sign."""
TORQUE_RISE_S = 0.01
"""The drives build up their full torque in this time; assumed."""
SPEED_SLACK = 1.1
"""Over this multiple of a joint's largest speed its drive gives no more driving torque."""


class ArmDynamics(Drive):
    """Six joints with masses, driven by torques."""

    stands_rad, stands_rad_per_s = 2e-4, 1e-4

    def __init__(self, robot: RobotModel, position_rad: Array, *, seed: int, model_error: float = MODEL_ERROR) -> None:
        """Build the dynamics.

        Args:
            robot: its URDF tells masses, torque and position limits.
            position_rad: (J,) where it starts, at rest.
            seed: of the controller's model error.
            model_error: standard deviation of that error, relative.

        Raises:
            ConfigurationError: the URDF's masses or torque limits are missing or not physical.
        """
        super().__init__(position_rad)
        self._effort = effort_n_m(robot)
        self._rise = self._effort * (SUBSTEP_S / TORQUE_RISE_S)
        self._fastest = SPEED_SLACK * robot.velocity_rad_per_s
        draw = np.random.default_rng([seed, 31]).standard_normal(len(self._effort))
        self._known = 1.0 + model_error * np.clip(draw, -2.0, 2.0)
        self._model = _compiled(robot, self._effort)
        self._data = mujoco.MjData(self._model)
        self._body = self._model.body(robot.tree.joint[robot.joint_names[-1]].child).id
        root = next(name for name in robot.frames if name not in robot.tree.joint_above)
        self._T_base_world = robot.forward(position_rad, root)
        self._T_body_flange = robot.fixed(self._model.body(self._body).name, robot.config.flange_frame)
        self._dry, self._viscous = FRICTION_SHARE * self._effort, self._model.dof_damping.copy()
        self._T_world_body = np.eye(4)
        self._integral = np.zeros(len(self._effort))
        self._torque = np.zeros(len(self._effort))
        self._data.qpos[:] = position_rad
        mujoco.mj_forward(self._model, self._data)
        self._torque[:] = self._data.qfrc_bias

    @property
    def torque_n_m(self) -> Array:
        """(J,) what the drives give now."""
        return self._torque.copy()

    def flange(self) -> Array:
        """Return T_base_flange (4, 4) of the last kinematics computed."""
        T = self._T_world_body
        T[:3, :3] = self._data.xmat[self._body].reshape(3, 3)
        T[:3, 3] = self._data.xpos[self._body]
        return self._T_base_world @ T @ self._T_body_flange

    def follow(self, wanted: Wanted) -> None:
        """Move on by one tick: servo, dynamics and contact at every substep."""
        model, data = self._model, self._data
        inertia = np.empty((model.nv, model.nv))
        mujoco.mj_fullM(model, data, inertia)
        diagonal = np.diagonal(inertia)
        stiffness = (2.0 * np.pi * BANDWIDTH_HZ) ** 2 * diagonal
        damping = 2.0 * DAMPING * (2.0 * np.pi * BANDWIDTH_HZ) * diagonal
        drive = wanted.acceleration @ (inertia * self._known[:, None]).T
        drive += FRICTION_KNOWN * (
            self._dry * np.tanh(wanted.velocity / FRICTION_SPEED_RAD_PER_S) + self._viscous * wanted.velocity
        )
        # references are those of a substep's end, the state that of its start
        position = wanted.position + SUBSTEP_S * (0.5 * SUBSTEP_S * wanted.acceleration - wanted.velocity)
        velocity = wanted.velocity - SUBSTEP_S * wanted.acceleration
        gain = stiffness * (SUBSTEP_S / INTEGRAL_S)
        for k in range(len(drive)):
            mujoco.mj_step1(model, data)
            push = self.load(k, self.flange()) if self.load is not None else None
            error = position[k] - data.qpos
            rate = velocity[k] - data.qvel
            asked = drive[k] + self._known * data.qfrc_bias + stiffness * error + damping * rate + self._integral
            self._torque = self._limited(asked)
            # a joint at its limit winds nothing up
            self._integral += (self._torque == asked) * gain * error
            data.qfrc_applied[:] = self._torque
            if push is not None:
                self._apply(push.force_n, push.point_m)
            mujoco.mj_step2(model, data)
        self.position_rad, self.velocity_rad_per_s = data.qpos.copy(), data.qvel.copy()

    def brake(self) -> None:
        """Close the brakes; gravity holds nothing to them."""
        super().brake()
        self._data.qvel[:] = 0.0

    def _limited(self, asked: Array) -> Array:
        low = np.maximum(self._torque - self._rise, -self._effort)
        high = np.minimum(self._torque + self._rise, self._effort)
        speed = self._data.qvel
        if (np.abs(speed) > self._fastest).any():
            low = np.where(speed < -self._fastest, np.maximum(low, 0.0), low)
            high = np.where(speed > self._fastest, np.minimum(high, 0.0), high)
        return np.minimum(np.maximum(asked, low), np.maximum(high, low))

    def _apply(self, force_n: Array, point_m: Array) -> None:
        R = self._T_base_world[:3, :3]
        point = R.T @ (point_m - self._T_base_world[:3, 3])
        mujoco.mj_applyFT(
            self._model, self._data, R.T @ force_n, np.zeros(3), point, self._body, self._data.qfrc_applied
        )


def _compiled(robot: RobotModel, effort: Array) -> mujoco.MjModel:
    try:
        spec = mujoco.MjSpec.from_string(dynamics_urdf(robot))
        spec.option.timestep = SUBSTEP_S
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        model = spec.compile()
    except ValueError as error:
        raise ConfigurationError(f"{robot.config.name}: no dynamics from this URDF: {error}") from error
    names = [model.joint(i).name for i in range(model.njnt)]
    if names != list(robot.joint_names) or model.nv != len(names):
        raise ConfigurationError(f"{robot.config.name}: URDF moves {names}, the arm has {list(robot.joint_names)}")
    model.dof_armature[:] += ROTOR_SHARE * effort / robot.acceleration_rad_per_s2
    # a URDF that tells friction is believed
    untold = model.dof_frictionloss == 0.0
    model.dof_frictionloss[untold] = FRICTION_SHARE * effort[untold]
    untold = model.dof_damping == 0.0
    model.dof_damping[untold] = (FRICTION_SHARE * effort / robot.velocity_rad_per_s)[untold]
    return model
