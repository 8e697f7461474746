"""Collision scene: the arm with its tools, the cell's boxes, and the part as a mesh that is not hollow."""

# pinocchio and coal are compiled without stubs
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import coal
import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from cell_core.config import GrindToolConfig, GunConfig
from cell_core.errors import ConfigurationError
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, transform_from_xyz_rpy
from cell_motion.solid import Filling, filling
from robot_description.hulls import hulls
from robot_description.model import BoxModel, Cell
from robot_description.semantics import disabled_pairs

Obstacle = Literal["self", "cell", "part"]
PART = "part"
SUPPORT_M = 0.005
"""A box whose top is so near to the part's lowest point carries it."""


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Distances below which a pair counts as colliding [m]."""

    self_m: float = 0.0
    cell_m: float = 0.0
    part_m: float = 0.0


class Scene:
    """Geometry and collision pairs; `checker` gives views of it with margins of their own."""

    def __init__(
        self,
        cell: Cell,
        *,
        part: Surface | None = None,
        T_base_part: Array | None = None,
        boxes: Sequence[BoxModel] = (),
        unseen_is_solid: bool = True,
    ) -> None:
        """Build the scene.

        Args:
            cell: robot and fixed obstacles.
            part: the part, in its own frame; needs T_base_part.
            T_base_part: (4, 4) part frame in the base frame.
            boxes: further obstacles, counted as part (an unscanned work volume).
            unseen_is_solid: fill also what an open scan hides from above; without it only closed space is filled.
        """
        self._model, self._geometry = _load(cell)
        self._links = [self._model.frames[g.parentFrame].name for g in self._geometry.geometryObjects]
        T_root_base = self._model_base(cell)
        self._supports: frozenset[str] = frozenset()
        n_robot = len(self._links)
        for box in cell.obstacles:
            self._add(box.name, coal.Box(*map(float, box.size_m)), T_root_base @ box.T_base_box)
        n_cell = self._geometry.ngeoms
        for box in boxes:
            self._add(f"{PART}:{box.name}", coal.Box(*map(float, box.size_m)), T_root_base @ box.T_base_box)
        if part is not None:
            if T_base_part is None:
                raise ValueError("a part needs T_base_part")
            T_root_part = T_root_base @ np.asarray(T_base_part, float)
            self._supports = _supports(cell.obstacles, part, np.asarray(T_base_part, float))
            self._add(PART, _mesh(part), T_root_part)
            up = T_root_part[:3, :3].T @ np.array([0.0, 0.0, 1.0]) if unseen_is_solid else None
            self._add_filling(filling(part, up=up), T_root_part)
        self._kinds = self._add_pairs(cell, n_robot, n_cell)

    def _model_base(self, cell: Cell) -> Array:
        frame = self._model.frames[self._model.getFrameId(cell.robot.config.base_frame)]
        return np.array(frame.placement.homogeneous)

    def _add(self, name: str, shape: "coal.CollisionGeometry", T_root_shape: Array) -> None:
        placement = pin.SE3(np.ascontiguousarray(T_root_shape))
        self._geometry.addGeometryObject(pin.GeometryObject(name, 0, placement, shape))
        self._links.append(name)

    def _add_filling(self, inside: Filling, T_root_part: Array) -> None:
        if len(inside.index) == 0:
            return
        centres = np.ascontiguousarray((inside.index + 0.5) * inside.voxel_m)
        T_part_grid = transform_from_xyz_rpy(inside.origin_m, (0.0, 0.0, 0.0))
        self._add(f"{PART}:inside", coal.makeOctree(centres, inside.voxel_m), T_root_part @ T_part_grid)

    def _add_pairs(self, cell: Cell, n_robot: int, n_cell: int) -> list[Obstacle]:
        never = disabled_pairs(cell.robot.srdf_xml)
        objects = self._geometry.geometryObjects
        kinds: list[Obstacle] = []
        for i in range(n_robot):
            for j in range(i + 1, self._geometry.ngeoms):
                together = objects[i].parentJoint == objects[j].parentJoint
                if together or frozenset((self._links[i], self._links[j])) in never:
                    continue
                self._geometry.addCollisionPair(pin.CollisionPair(i, j))
                kinds.append("self" if j < n_robot else "cell" if j < n_cell else "part")
        return kinds

    def checker(self, margins: Margins, contact: str | None = None, contact_margin_m: float | None = None) -> "Checker":
        """Return a checker with these margins.

        Args:
            contact: a link that may touch the part, or come as near to it as `contact_margin_m` where that is given.
                What the part lies on it may come near to as well, without touching: a plate is thinner than margins.
        """
        data = pin.GeometryData(self._geometry)
        value = {"self": margins.self_m, "cell": margins.cell_m, "part": margins.part_m}
        for k, kind in enumerate(self._kinds):
            margin = value[kind]
            pair = self._geometry.collisionPairs[k]
            touches = self._links[pair.first] == contact
            if touches and kind == "cell" and self._links[pair.second] in self._supports:
                margin = 0.0
            if touches and kind == "part":
                if contact_margin_m is None:
                    data.deactivateCollisionPair(k)
                    continue
                margin = contact_margin_m
            data.collisionRequests[k].security_margin = float(margin)
        return Checker(self._model, self._geometry, data, self._links, self._kinds)


class Checker:
    """Collision queries at given margins. Not for use from two threads at once."""

    def __init__(
        self,
        model: pin.Model,
        geometry: pin.GeometryModel,
        data: pin.GeometryData,
        links: list[str],
        kinds: list[Obstacle],
    ) -> None:
        self._model = model
        self._data = model.createData()
        self._geometry = geometry
        self._geometry_data = data
        self._links = links
        self._kinds = kinds
        self._active = np.array(data.activeCollisionPairs, bool)
        self._broadphase = pin.BroadPhaseManager_SSaPCollisionManager(model, geometry, data)
        self.n_checks = 0

    def is_free(self, position_rad: Array) -> bool:
        """Tell whether joint position (6,) keeps all margins."""
        self.n_checks += 1
        return not pin.computeCollisions(self._model, self._data, self._broadphase, position_rad, True)

    def free(self, position_rad: Array) -> NDArray[np.bool_]:
        """Tell for joint positions (N, 6) which keep all margins."""
        self.n_checks += len(position_rad)
        model, data, broadphase, collide = self._model, self._data, self._broadphase, pin.computeCollisions
        rows = np.ascontiguousarray(position_rad, float)
        return np.fromiter((not collide(model, data, broadphase, q, True) for q in rows), bool, len(rows))

    def hits(self, position_rad: Array) -> list[tuple[Obstacle, str, str]]:
        """Return every pair in collision at joint position (6,): kind, robot link, and the other link or obstacle."""
        position = np.asarray(position_rad, float)
        pin.computeCollisions(self._model, self._data, self._geometry, self._geometry_data, position, False)
        results = self._geometry_data.collisionResults
        found = []
        for k in np.flatnonzero(self._active):
            if results[int(k)].isCollision():
                pair = self._geometry.collisionPairs[int(k)]
                found.append((self._kinds[k], self._links[pair.first], self._links[pair.second]))
        return found


def _load(cell: Cell) -> tuple[pin.Model, pin.GeometryModel]:
    model, geometry, _ = hulls(cell.robot)
    names = list(cell.robot.joint_names)
    if model.nq != len(names) or list(model.names)[1:] != names:
        raise ConfigurationError(
            f"robot {cell.robot.config.name}: URDF moves {list(model.names)[1:]} with {model.nq} coordinates, "
            f"wanted {names}"
        )
    return model, geometry


def _supports(boxes: Sequence[BoxModel], part: Surface, T_base_part: Array) -> frozenset[str]:
    """Return the names of the boxes that a part lies on."""
    points = apply(T_base_part, part.vertices_m)
    low, high = points.min(axis=0), points.max(axis=0)
    corners = np.array(list(product((-0.5, 0.5), repeat=3)))
    found = []
    for box in boxes:
        at = apply(box.T_base_box, corners * np.asarray(box.size_m, float))
        beside = (at.min(axis=0) > high)[:2].any() or (at.max(axis=0) < low)[:2].any()
        if abs(at[:, 2].max() - low[2]) <= SUPPORT_M and not beside:
            found.append(box.name)
    return frozenset(found)


def _mesh(surface: Surface) -> "coal.BVHModelOBBRSS":
    mesh = coal.BVHModelOBBRSS()
    mesh.beginModel(len(surface.triangles), len(surface.vertices_m))
    mesh.addVertices(np.ascontiguousarray(surface.vertices_m))
    mesh.addTriangles(np.ascontiguousarray(surface.triangles))
    mesh.endModel()
    return mesh


def slide_back_m(tool: GunConfig | GrindToolConfig) -> float:
    """Return how far ground may push a tool back on its slide [m]: half its stroke; 0 for a gun."""
    return 0.0 if isinstance(tool, GunConfig) else 0.5 * tool.slide_stroke_m


def contact_link(cell: Cell, process: str) -> str | None:
    """Return the link that touches the part when grinding: the first solid one above the tool centre point."""
    if process != "grind":
        return None
    tree = cell.robot.tree
    solid = {shape.link for shape in tree.collisions}
    link = cell.tool(process).tcp_frame
    while link not in solid and link in tree.joint_above:
        link = tree.joint_above[link].parent
    return link
