"""Find the closed-form (OPW) parameters of an arm in its URDF's axes, or say what about it is not of that form."""

import numpy as np

from cell_core.config.models import OpwConfig
from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, inverse
from robot_description.urdf import MOVABLE, Joint, UrdfTree

PARALLEL = 1e-6
"""Largest sine between axes that count as parallel, and cosine of those that count as square."""
MEETING_M = 1e-6
"""Axes that pass one another within this distance meet."""
Z = np.array([0.0, 0.0, 1.0])


def joint_axes(tree: UrdfTree, base: str, flange: str) -> tuple[tuple[Joint, ...], Array, Array, Array]:
    """Return an arm's axes with all its joints at zero.

    Returns:
        The moving joints from base to flange; their directions (J, 3) and a point on each (J, 3) [m], and the flange
        (4, 4), in the base frame.

    Raises:
        ConfigurationError: the flange does not hang on the base.
    """
    chain = list(reversed(tree.to_root(flange)))
    T_base_root = np.eye(4)
    for joint in reversed(tree.to_root(base)):
        T_base_root = T_base_root @ joint.T_parent_joint
    T = inverse(T_base_root)
    joints, directions, points = [], [], []
    for joint in chain:
        T = T @ joint.T_parent_joint
        if joint.kind in MOVABLE:
            joints.append(joint)
            directions.append(T[:3, :3] @ joint.axis)
            points.append(T[:3, 3])
    return tuple(joints), np.array(directions).reshape(-1, 3), np.array(points).reshape(-1, 3), T


def fit_opw(tree: UrdfTree, base: str, flange: str) -> OpwConfig:
    """Return the OPW parameters of an arm, read off its axes at zero.

    Source of the model: Brandstoetter, Angerer, Hofbaur 2014. Angles are its own where every joint of the model is at
    zero: the arm points straight up, axes are z, y, y, z, y, z.

    Raises:
        ConfigurationError: the arm is not of this kind; says which axes are not as they would have to be.
    """
    joints, h, p, T_flange = joint_axes(tree, base, flange)
    if len(joints) != 6 or any(joint.kind == "prismatic" for joint in joints):
        kinds = ", ".join(f"{joint.name} ({joint.kind})" for joint in joints)
        raise ConfigurationError(f"arm {tree.name!r}: wanted six turning joints between base and flange, found {kinds}")
    _check_directions(joints, h, T_flange)
    off_m = float(np.hypot(*p[0][:2]))
    if off_m > MEETING_M:
        raise ConfigurationError(f"axis 1 ({joints[0].name}) passes the base's z axis by {1e3 * off_m:.3f} mm")
    wrist = _wrist(joints, h, p)
    turn_1 = _first_turn(h[1], p[1])
    to_plane = _about_z(-turn_1)
    lengths, turn_2, lean, signs = _arm(h[:4] @ to_plane.T, p[1:3] @ to_plane.T, to_plane @ wrist)
    to_forearm = _about_y(-lean) @ to_plane
    turns, wrist_signs = _hand(to_forearm @ h[4], to_forearm @ h[5], to_forearm @ T_flange[:3, :3])
    out = float(T_flange[:3, 2] @ (T_flange[:3, 3] - wrist))
    offsets = [-turn for turn in (turn_1, turn_2, _wrapped(lean - turn_2), *turns)]
    return OpwConfig.model_validate(
        {
            **{key: _tidy(float(value)) for key, value in (lengths | {"c4_m": out}).items()},
            "offsets_rad": tuple(_tidy(offset) for offset in offsets),
            "sign_corrections": tuple(int(sign) for sign in (*signs, *wrist_signs)),
        }
    )


def _first_turn(axis_2: Array, point_2_m: Array) -> float:
    """Return joint 1's angle at zero: axis 2 is +y or -y of the turned frame, and stands before the base."""
    turn = float(np.arctan2(-axis_2[0], axis_2[1]))
    before_m = (_about_z(-turn) @ point_2_m)[0]
    return _wrapped(turn if before_m > -MEETING_M else turn + np.pi)


def _arm(h: Array, p: Array, wrist: Array) -> tuple[dict[str, float], float, float, list[float]]:
    """Return lengths, joint 2's angle, the forearm's lean and signs 1 to 4.

    Args:
        h: (4, 3) first axes in the arm's plane (x, z), axis 2 along y.
        p: (2, 3) points on axes 2 and 3 [m].
        wrist: (3,) where the last axes meet [m].
    """
    upper, elbow = p[1] - p[0], wrist - p[1]
    forearm = h[3] if h[3] @ elbow >= 0.0 else -h[3]
    across = np.array([forearm[2], 0.0, -forearm[0]])
    lengths = {
        "a1_m": p[0][0],
        "a2_m": elbow @ across,
        "b_m": wrist[1],
        "c1_m": p[0][2],
        "c2_m": np.hypot(upper[0], upper[2]),
        "c3_m": elbow @ forearm,
    }
    signs = [float(np.sign(v)) for v in (h[0][2], h[1][1], h[2][1], forearm @ h[3])]
    return lengths, float(np.arctan2(upper[0], upper[2])), float(np.arctan2(forearm[0], forearm[2])), signs


def _hand(axis_5: Array, axis_6: Array, R: Array) -> tuple[list[float], list[float]]:
    """Return the angles of joints 4 to 6 and signs 5 and 6 from axes and flange rotation in the forearm's frame."""
    turn_4 = float(np.arctan2(-axis_5[0], axis_5[1]))
    if abs(turn_4) > 0.5 * np.pi + 1e-9:
        turn_4 = _wrapped(turn_4 + np.pi)
    back = _about_z(-turn_4)
    axis_5, axis_6, R = back @ axis_5, back @ axis_6, back @ R
    turn_5 = float(np.arctan2(R[0, 2], R[2, 2]))
    left = _about_y(-turn_5) @ R
    turn_6 = float(np.arctan2(left[1, 0], left[0, 0]))
    return [turn_4, turn_5, turn_6], [float(np.sign(axis_5[1])), float(np.sign(axis_6 @ R[:, 2]))]


def _check_directions(joints: tuple[Joint, ...], h: Array, T_flange: Array) -> None:
    names = [f"{i + 1} ({joint.name})" for i, joint in enumerate(joints)]
    parallel = [("axis " + names[0], h[0], "the base's z", Z), (f"axis {names[1]}", h[1], f"axis {names[2]}", h[2])]
    parallel.append((f"axis {names[5]}", h[5], "the flange's z", T_flange[:3, 2]))
    for a, x, b, y in parallel:
        sine = float(np.linalg.norm(np.cross(x, y)))
        if sine > PARALLEL:
            angle = np.degrees(np.arcsin(min(sine, 1.0)))
            raise ConfigurationError(f"{a} is not parallel to {b}: {angle:.4f} degrees apart at zero")
    for i, j in ((0, 1), (2, 3), (3, 4), (4, 5)):
        cosine = abs(float(h[i] @ h[j]))
        if cosine > PARALLEL:
            angle = np.degrees(np.arccos(min(cosine, 1.0)))
            raise ConfigurationError(f"axes {names[i]} and {names[j]} enclose {angle:.4f} degrees at zero, wanted 90")


def _wrist(joints: tuple[Joint, ...], h: Array, p: Array) -> Array:
    """Return the point (3,) nearest to the last three axes, in which they meet."""
    across = np.eye(3) - h[3:, :, None] * h[3:, None, :]
    centre = np.linalg.solve(across.sum(axis=0), (across @ p[3:, :, None]).sum(axis=0)[:, 0])
    apart_m = np.linalg.norm((across @ (centre - p[3:])[:, :, None])[:, :, 0], axis=1)
    if apart_m.max() > MEETING_M:
        raise ConfigurationError(
            f"axes 4 to 6 ({', '.join(joint.name for joint in joints[3:])}) do not meet in one point: "
            f"{1e3 * apart_m.max():.3f} mm off it"
        )
    return centre


def _about_z(angle_rad: float) -> Array:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _about_y(angle_rad: float) -> Array:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _wrapped(angle_rad: float) -> float:
    return float((angle_rad + np.pi) % (2.0 * np.pi) - np.pi)


def _tidy(value: float) -> float:
    """Round off what is left of arithmetic: URDF files give at most twelve digits."""
    return round(float(value), 12) + 0.0
