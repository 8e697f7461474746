"""Checks a joint trajectory with nothing of cell_motion: kinematics read from the URDF's text, true meshes, 1 kHz.

Kinematics multiply the joints' frames by scipy's rotations; collisions are those of triangle meshes as the URDF names
them, at zero margin, none replaced by its hull; the arm is followed along the trajectory's cubic Hermite spline. What
the tool did is read off the spline, not off the planner's account of it.
"""

# coal is compiled without stubs
# pyright: reportAttributeAccessIssue=false

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import coal
import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation

from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array

STEP_S = 1e-3
SPEED_WINDOW_S = 0.004
"""Tool speed is that of the chord over so long."""
FLIP_RAD, FLIP_M = np.radians(5.0), 0.002
"""A joint that turns by more than this while the tool runs so far has flipped."""


class UrdfArm:
    """Frames and collision meshes of a URDF."""

    def __init__(self, urdf_xml: str, joint_names: list[str]) -> None:
        """Read the text; meshes come from the files it names."""
        root = ElementTree.fromstring(urdf_xml)
        self.names = joint_names
        self._joints: dict[str, tuple[str, Array, str, Array, str]] = {}
        self.limits: dict[str, tuple[float, float, float]] = {}
        for joint in root.iter("joint"):
            child, parent = joint.find("child"), joint.find("parent")
            if child is None or parent is None:
                continue
            axis = joint.find("axis")
            direction = _numbers(axis.get("xyz") if axis is not None else None, (1.0, 0.0, 0.0))
            self._joints[child.attrib["link"]] = (
                parent.attrib["link"], _origin(joint), joint.attrib["type"], direction, joint.attrib["name"],
            )  # fmt: skip
            limit = joint.find("limit")
            if limit is not None:
                low, high = float(limit.get("lower", "-inf")), float(limit.get("upper", "inf"))
                self.limits[joint.attrib["name"]] = (low, high, float(limit.get("velocity", "inf")))
        self.shapes: dict[str, list[trimesh.Trimesh]] = {}
        for link in root.iter("link"):
            found = [shape for item in link.findall("collision") if (shape := _shape(item)) is not None]
            if found:
                self.shapes[link.attrib["name"]] = found

    def frames(self, link: str, q: Array) -> Array:
        """Return the frames (N, 4, 4) of a link in the URDF's root at joint positions (N, J)."""
        T = np.tile(np.eye(4), (len(q), 1, 1))
        chain = []
        while link in self._joints:
            chain.append(self._joints[link])
            link = chain[-1][0]
        for _, origin, kind, axis, name in reversed(chain):
            T = T @ origin
            if kind in ("revolute", "continuous") and name in self.names:
                turn = np.tile(np.eye(4), (len(q), 1, 1))
                turn[:, :3, :3] = Rotation.from_rotvec(q[:, self.names.index(name), None] * axis).as_matrix()
                T = T @ turn
        return T

    def moving(self, link: str) -> frozenset[str]:
        """Return the joints of the arm between the root and a link."""
        found = set()
        while link in self._joints:
            found.add(self._joints[link][4])
            link = self._joints[link][0]
        return frozenset(found & set(self.names))


def _origin(element: ElementTree.Element) -> Array:
    origin = element.find("origin")
    T = np.eye(4)
    if origin is not None:
        T[:3, 3] = _numbers(origin.get("xyz"), (0.0, 0.0, 0.0))
        T[:3, :3] = Rotation.from_euler("xyz", _numbers(origin.get("rpy"), (0.0, 0.0, 0.0))).as_matrix()
    return T


def _numbers(text: str | None, default: tuple[float, ...]) -> Array:
    return np.array([float(x) for x in text.split()] if text else default)


def _shape(item: ElementTree.Element) -> trimesh.Trimesh | None:
    geometry = item.find("geometry")
    if geometry is None or len(geometry) == 0:
        return None
    kind, values = geometry[0].tag, geometry[0].attrib
    if kind == "mesh":
        mesh = trimesh.load_mesh(Path(values["filename"].removeprefix("file://")))
        mesh.apply_scale(_numbers(values.get("scale"), (1.0, 1.0, 1.0)))
    elif kind == "box":
        mesh = trimesh.creation.box(_numbers(values["size"], ()))
    elif kind == "cylinder":
        mesh = trimesh.creation.cylinder(float(values["radius"]), float(values["length"]), sections=64)
    else:
        mesh = trimesh.creation.icosphere(3, float(values["radius"]))
    mesh.apply_transform(_origin(item))
    return mesh


@dataclass(frozen=True, kw_only=True, eq=False)
class _Body:
    name: str
    mesh: "coal.CollisionGeometry"
    centre_m: Array
    half_m: Array
    """Half sides of the box around it, about the centre."""
    radius_m: float
    joints: frozenset[str]

    @staticmethod
    def of(name: str, mesh: trimesh.Trimesh, joints: frozenset[str] = frozenset()) -> "_Body":
        """Return a body with a sphere around it."""
        model = coal.BVHModelOBBRSS()
        model.beginModel(len(mesh.faces), len(mesh.vertices))
        model.addVertices(np.ascontiguousarray(mesh.vertices, float))
        model.addTriangles(np.ascontiguousarray(mesh.faces, np.int64))
        model.endModel()
        middle = mesh.bounds.mean(axis=0)
        radius = float(np.linalg.norm(mesh.vertices - middle, axis=1).max())
        half = 0.5 * np.ptp(mesh.bounds, axis=0)
        return _Body(name=name, mesh=model, centre_m=middle, half_m=half, radius_m=radius, joints=joints)


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """A trajectory followed at 1 kHz."""

    time_s: Array
    q_rad: Array
    velocity_rad_per_s: Array
    acceleration_rad_per_s2: Array
    jerk_rad_per_s3: Array

    @staticmethod
    def of(trajectory: JointTrajectory) -> "Replay":
        """Return the Hermite spline and its derivatives."""
        t = trajectory.time_s
        spline = CubicHermiteSpline(t, trajectory.position_rad, trajectory.velocity_rad_per_s)
        at = np.arange(0.0, t[-1], STEP_S)
        return Replay(
            time_s=at, q_rad=spline(at), velocity_rad_per_s=spline(at, 1), acceleration_rad_per_s2=spline(at, 2),
            jerk_rad_per_s3=spline(at, 3),
        )  # fmt: skip


def limit_ratios(replay: Replay, arm: UrdfArm, acceleration: Array, jerk: Array) -> dict[str, float]:
    """Return the largest velocity, acceleration and jerk over the limits, and how far positions leave theirs [rad]."""
    low, high, velocity = (np.array([arm.limits[n][k] for n in arm.names]) for k in range(3))
    over = np.maximum(low - replay.q_rad, replay.q_rad - high).max()
    # where pieces of the spline meet, acceleration may jump: such a jump is jerk as well
    jumps = np.abs(np.diff(replay.acceleration_rad_per_s2, axis=0)) / STEP_S
    return {
        "position_over_rad": float(max(over, 0.0)),
        "velocity": float((np.abs(replay.velocity_rad_per_s) / velocity).max()),
        "acceleration": float((np.abs(replay.acceleration_rad_per_s2) / acceleration).max()),
        "jerk": float(max((jumps / jerk).max(), (np.abs(replay.jerk_rad_per_s3) / jerk).max())),
    }


class TrueScene:
    """Every link of the arm, the cell's boxes and the part, as triangles."""

    def __init__(
        self,
        arm: UrdfArm,
        part: Surface,
        T_root_part: Array,
        boxes: list[tuple[str, Array, Array]],
        never: set[frozenset[str]],
        contact_link: str | None,
    ) -> None:
        """Take what stands in the cell.

        Args:
            arm: the robot.
            part: in its own frame.
            T_root_part: (4, 4) that frame in the URDF's root.
            boxes: name, frame in the URDF's root, sides [m].
            never: pairs of links that are not looked at (neighbours, by the SRDF).
            contact_link: the body of the pad; None: nothing may touch the part.
        """
        self._arm, self._contact = arm, contact_link
        self._links = [
            _Body.of(name, trimesh.util.concatenate(shapes), arm.moving(name)) for name, shapes in arm.shapes.items()
        ]
        still = [(_Body.of(name, trimesh.creation.box(size)), T) for name, T, size in boxes]
        whole = trimesh.Trimesh(part.vertices_m, part.triangles, process=False)
        still.append((_Body.of("part", whole), np.asarray(T_root_part)))
        self._still = [(body, T[None]) for body, T in still]
        n = len(self._links)
        self._own = [
            (i, j) for i, j in combinations(range(n), 2)
            if self._links[i].joints != self._links[j].joints
            and frozenset((self._links[i].name, self._links[j].name)) not in never
        ]  # fmt: skip

    def meetings(
        self, q: Array, may_touch: NDArray[np.bool_], held_back_m: Array | None = None
    ) -> dict[str, NDArray[np.bool_]]:
        """Return for each pair that ever meets, "link x thing", at which joint positions (N, J) it does (N,).

        Args:
            may_touch: (N,) where the pad may touch the part.
            held_back_m: (N, 3) by how much its slide holds the pad off its nominal place, in the URDF's root.
        """
        frames = [self._arm.frames(body.name, q) for body in self._links]
        for body, T in zip(self._links, frames, strict=True):
            if body.name == self._contact and held_back_m is not None:
                T[:, :3, 3] += held_back_m
        found: dict[str, NDArray[np.bool_]] = {}
        pairs = [((self._links[i], frames[i]), (self._links[j], frames[j])) for i, j in self._own]
        pairs += [((a, T), b) for a, T in zip(self._links, frames, strict=True) if a.joints for b in self._still]
        for (a, Ta), (b, Tb) in pairs:
            near = _may_meet(a, Ta, b, Tb) & _may_meet(b, Tb, a, Ta)
            if b.name == "part" and a.name == self._contact:
                near &= ~may_touch
            meets = np.zeros(len(q), bool)
            for i in np.flatnonzero(near):
                meets[i] = _meet(a, Ta[i], b, Tb[min(i, len(Tb) - 1)])
            if meets.any():
                found[f"{a.name} x {b.name}"] = meets
        return found

    def any_free(self, q: Array) -> bool:
        """Tell whether one of the joint positions (N, J), with the pad on the part, meets nothing."""
        for k in range(0, len(q), 16):
            rows = q[k : k + 16]
            hit = np.zeros(len(rows), bool)
            for meets in self.meetings(rows, np.ones(len(rows), bool)).values():
                hit |= meets
            if not hit.all():
                return True
        return False


def _may_meet(a: _Body, Ta: Array, b: _Body, Tb: Array) -> NDArray[np.bool_]:
    """Tell when the sphere around one body reaches the box around another."""
    apart = (Ta[:, :3, :3] @ a.centre_m + Ta[:, :3, 3]) - (Tb[:, :3, :3] @ b.centre_m + Tb[:, :3, 3])
    inside = np.einsum("nji,nj->ni", np.broadcast_to(Tb[:, :3, :3], (len(apart), 3, 3)), apart)
    return np.linalg.norm(np.maximum(np.abs(inside) - b.half_m, 0.0), axis=1) <= a.radius_m


def _meet(a: _Body, Ta: Array, b: _Body, Tb: Array) -> bool:
    request, result = coal.CollisionRequest(), coal.CollisionResult()
    place_a, place_b = coal.Transform3s(Ta[:3, :3], Ta[:3, 3]), coal.Transform3s(Tb[:3, :3], Tb[:3, 3])
    return bool(coal.collide(a.mesh, place_a, b.mesh, place_b, request, result))


@dataclass(frozen=True, kw_only=True, eq=False)
class Followed:
    """How one stroke was followed."""

    position_error_m: Array
    """(N,) distance of each sample from the way of the tool centre point, shifts along the axis left out."""
    axis_error_rad: Array
    """(N,) angle between tool axis and the sample's."""
    shift_m: Array
    """(N,) shift back along the axis."""


def follow(stroke: Stroke, T_part_tool: Array, aim_m: float = 0.0) -> Followed:
    """Compare tool frames (M, 4, 4) at 1 kHz on a stroke, in the part's frame, with the stroke's samples.

    With `aim_m` positions are compared that far ahead of the tool centre point: where a gun points.
    """
    z, tcp = T_part_tool[:, :3, 2], T_part_tool[:, :3, 3]
    way, wanted = tcp + aim_m * z, stroke.position_m + aim_m * stroke.tool_axis
    at = _passed(wanted, way)
    i = np.clip(at.astype(int), 0, len(way) - 2)
    share = (at - i)[:, None]
    axis = z[i] + share * (z[i + 1] - z[i])
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    error = wanted - (way[i] + share * (way[i + 1] - way[i]))
    shift = np.sum(error * axis, axis=1)
    cosine = np.clip(np.sum(axis * stroke.tool_axis, axis=1), -1.0, 1.0)
    return Followed(
        position_error_m=np.linalg.norm(error - shift[:, None] * axis, axis=1),
        axis_error_rad=np.arccos(cosine),
        shift_m=shift,
    )


def speed_errors(stroke: Stroke, T_part_tool: Array) -> tuple[Array, Array]:
    """Return tool speed over the stroke's own, less 1, at every millisecond with the process on, and the lengths run.

    Between samples the stroke's acceleration is constant and it is switched half way, as the file's format says.

    Args:
        stroke: in the part's frame.
        T_part_tool: (M, 4, 4) tool frames at 1 kHz on it.
    """
    tcp = T_part_tool[:, :3, 3]
    half = max(round(0.5 * SPEED_WINDOW_S / STEP_S), 1)
    ahead, behind = (np.clip(np.arange(len(tcp)) + d, 0, len(tcp) - 1) for d in (half, -half))
    speed = np.linalg.norm(tcp[ahead] - tcp[behind], axis=1) / (STEP_S * np.maximum(ahead - behind, 1))
    pace = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(tcp, axis=0), axis=1))]
    passed = np.interp(_passed(stroke.position_m, tcp), np.arange(len(tcp)), pace)
    wanted = np.sqrt(np.interp(pace, passed, stroke.speed_m_per_s**2))
    sample = np.searchsorted(0.5 * (passed[1:] + passed[:-1]), pace)
    on = stroke.on[sample] & (pace >= passed[0]) & (pace <= passed[-1])
    return (speed / wanted - 1.0)[on], np.gradient(pace)[on]


def _passed(points: Array, way: Array) -> Array:
    """Return where along a way (M, 3), as a fractional index, each of the points (N, 3) in turn is nearest."""
    found, at = np.empty(len(points)), 0
    step = np.diff(way, axis=0)
    square = np.maximum(np.sum(step**2, axis=1), 1e-18)
    pace = np.r_[0.0, np.cumsum(np.sqrt(square))]
    for k, point in enumerate(points):
        gap = np.linalg.norm(points[min(k + 1, len(points) - 1)] - points[max(k - 1, 0)])
        # a ring comes back to where it starts: even the first point is looked for near by
        end = int(np.searchsorted(pace, pace[at] + 3.0 * gap + 0.005)) + 2
        piece = slice(at, min(end, len(step)))
        share = np.clip(np.sum((point - way[piece]) * step[piece], axis=1) / square[piece], 0.0, 1.0)
        distance = np.linalg.norm(way[piece] + share[:, None] * step[piece] - point, axis=1)
        best = int(np.argmin(distance))
        found[k], at = at + best + share[best], at + best
    return found


def flips(T_part_tool: Array, q_rad: Array) -> int:
    """Return how often a joint turns by more than 5 degrees while the tool runs 2 mm, on one stroke at 1 kHz."""
    pace = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(T_part_tool[:, :3, 3], axis=0), axis=1))]
    later = np.searchsorted(pace, pace + FLIP_M)
    inside = later < len(pace)
    turned = np.abs(q_rad[later[inside]] - q_rad[inside]).max(axis=1)
    over = turned > FLIP_RAD
    return int(np.sum(over & ~np.r_[False, over[:-1]]))


def kept(errors: list[tuple[Array, Array]]) -> float:
    """Return the share of the length on which speed is within 1 %."""
    error, length = (np.concatenate(x) for x in zip(*errors, strict=True))
    return float(length[np.abs(error) <= 0.01].sum() / max(length.sum(), 1e-12))


def summary(follows: list[tuple[Stroke, Followed]], freedom_rad: float) -> dict[str, Any]:
    """Return the worst errors over samples with the process on."""
    positions, axes = [], []
    for stroke, seen in follows:
        positions.append(seen.position_error_m[stroke.on])
        axes.append(seen.axis_error_rad[stroke.on])
    return {
        "position_error_m": float(np.concatenate(positions).max(initial=0.0)),
        "axis_over_rad": float(max(np.concatenate(axes).max(initial=0.0) - freedom_rad, 0.0)),
    }
