"""Arms of many kinds as URDF text, from their makers' published dimensions or drawn at random."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from cell_core.config.models import OpwConfig

LENGTH = st.floats(0.05, 1.5)
OFFSET = st.sampled_from([0.0, np.pi / 2, -np.pi / 2, np.pi, 0.7])
SIDE = 0.5 * np.pi
# Universal Robots, "DH parameters for calculations of kinematics and dynamics": alpha, a, d of each joint
UR10E = (
    (SIDE, 0.0, 0.1807),
    (0.0, -0.6127, 0.0),
    (0.0, -0.57155, 0.0),
    (SIDE, 0.0, 0.17415),
    (-SIDE, 0.0, 0.11985),
    (0.0, 0.0, 0.11655),
)
# made up: no three axes meet, none are parallel, so that nothing has a closed form
ODD = (
    (SIDE, 0.15, 0.40),
    (0.12, 0.70, 0.05),
    (SIDE - 0.1, 0.10, 0.03),
    (-SIDE, 0.05, 0.70),
    (SIDE, 0.04, 0.02),
    (0.0, 0.0, 0.12),
)


@st.composite
def opw_arms(draw: st.DrawFn) -> OpwConfig:
    """Draw the parameters of an OPW arm."""
    lengths = (LENGTH, st.floats(-0.3, 0.3), st.floats(-0.2, 0.2), LENGTH, LENGTH, LENGTH, LENGTH)
    keys = ("a1_m", "a2_m", "b_m", "c1_m", "c2_m", "c3_m", "c4_m")
    values = {key: draw(length) for key, length in zip(keys, lengths, strict=True)}
    values["offsets_rad"] = tuple(draw(OFFSET) for _ in range(6))
    values["sign_corrections"] = tuple(draw(st.sampled_from([-1, 1])) for _ in range(6))
    return OpwConfig.model_validate(values)


def opw_urdf(opw: OpwConfig) -> str:
    """Return the URDF of the arm with these OPW parameters, built joint by joint from their definition."""
    axes = "zyyzyz"
    elbow = (opw.a2_m, opw.b_m, 0)
    places = ((0, 0, opw.c1_m), (opw.a1_m, 0, 0), (0, 0, opw.c2_m), elbow, (0, 0, opw.c3_m), (0, 0, opw.c4_m))
    parts = ["<link name='l0'/>"]
    for i, (axis, place) in enumerate(zip(axes, places, strict=True)):
        turn = -opw.offsets_rad[i]
        rpy = f"0 0 {turn!r}" if axis == "z" else f"0 {turn!r} 0"
        sign = opw.sign_corrections[i]
        vector = f"0 0 {sign}" if axis == "z" else f"0 {sign} 0"
        xyz = " ".join(repr(float(v)) for v in place)
        parts.append(
            f"<link name='l{i + 1}'/><joint name='a{i + 1}' type='revolute'>"
            f"<parent link='l{i}'/><child link='l{i + 1}'/><origin xyz='{xyz}' rpy='{rpy}'/>"
            f"<axis xyz='{vector}'/><limit lower='-3' upper='3' velocity='1' effort='1'/></joint>"
        )
    return f"<robot name='any'>{''.join(parts)}</robot>"


def dh_urdf(name: str, rows: Sequence[tuple[float, float, float]], *, turn_rad: float = 2.0 * np.pi) -> str:
    """Return the URDF of an arm from rows (alpha, a, d) of standard Denavit-Hartenberg parameters, as thin rods.

    Joint k turns about z of the frame before it; links are cylinders along the longer of a and d.
    """
    parts = ["<link name='base_link'/>"]
    before = (0.0, 0.0, 0.0)
    for k, (alpha, a, d) in enumerate(rows, start=1):
        origin = f"<origin xyz='{before[1]} 0 {before[2]}' rpy='{before[0]} 0 0'/>"
        # kept clear of the joints, so that neighbours but one do not touch
        length, turn = max(abs(a), abs(d), 0.02), SIDE if abs(a) > abs(d) else 0.0
        rod = f"<cylinder radius='0.02' length='{0.6 * length}'/>"
        at = f"<origin xyz='{0.5 * a} 0 {0.5 * d}' rpy='0 {turn} 0'/>"
        shapes = "".join(f"<{tag}>{at}<geometry>{rod}</geometry></{tag}>" for tag in ("visual", "collision"))
        parts.append(
            f"<link name='l{k}'>{shapes}</link><joint name='a{k}' type='revolute'>"
            f"<parent link='{'base_link' if k == 1 else f'l{k - 1}'}'/><child link='l{k}'/>{origin}"
            f"<axis xyz='0 0 1'/><limit lower='{-turn_rad}' upper='{turn_rad}' velocity='2.5' effort='1'/></joint>"
        )
        before = (alpha, a, d)
    parts.append(
        f"<link name='tool0'/><joint name='flange' type='fixed'><parent link='l{len(rows)}'/><child link='tool0'/>"
        f"<origin xyz='{before[1]} 0 {before[2]}' rpy='{before[0]} 0 0'/></joint>"
    )
    return f"<robot name='{name}'>{''.join(parts)}</robot>"
