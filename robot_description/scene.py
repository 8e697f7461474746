"""The cell as triangles, for pictures, pages and simple ray casting."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description.model import Cell, RobotModel
from robot_description.urdf import Shape

if TYPE_CHECKING:
    import trimesh

SceneMesh = tuple[str, Array, NDArray[np.int64], Array]
"""Name, vertices (V, 3) [m] in the link frame, triangles (T, 3), T_base_link (4, 4)."""
LARGEST_SIDE_M = 3.0
OBSTACLE_RGB = (0.42, 0.46, 0.50)


def scene_meshes(cell: Cell, q: ArrayLike, *, largest_side_m: float = LARGEST_SIDE_M) -> list[SceneMesh]:
    """Return the visual meshes of robot and surroundings at joint positions q (6,) [rad].

    Obstacles with a side longer than `largest_side_m` (floor, walls, ceiling) are left out: they would hide the rest.
    Robot meshes are named by their link, obstacles by their name in the cell file; `scene_colours` has the same names.
    """
    import trimesh

    meshes = link_meshes(cell.robot)
    poses = {link: cell.robot.forward(np.asarray(q, float), link) for link in {m[1] for m in meshes}}
    out = [(name, vertices, triangles, poses[link]) for name, link, vertices, triangles in meshes]
    for box in cell.obstacles:
        if float(box.size_m.max()) <= largest_side_m:
            solid = trimesh.creation.box(box.size_m)
            out.append((box.name, np.array(solid.vertices), np.array(solid.faces, np.int64), box.T_base_box))
    return out


def scene_colours(cell: Cell) -> dict[str, tuple[float, float, float]]:
    """Return the colour (r, g, b in 0..1) of every name that scene_meshes may return."""
    colours = {name: shape.rgba[:3] for name, shape in _named(cell.robot)}
    return colours | {box.name: OBSTACLE_RGB for box in cell.obstacles}


def link_meshes(robot: RobotModel) -> list[tuple[str, str, Array, NDArray[np.int64]]]:
    """Return name, link, vertices (V, 3) [m] in the link frame and triangles (T, 3) of every visual shape."""
    out = []
    for name, shape in _named(robot):
        solid = shape_mesh(shape)
        out.append((name, shape.link, np.array(solid.vertices, float), np.array(solid.faces, np.int64)))
    return out


def shape_mesh(shape: Shape) -> "trimesh.Trimesh":
    """Return the triangles of a URDF shape, in its link's frame.

    Raises:
        ConfigurationError: its mesh file cannot be read.
    """
    import trimesh  # half a second that nodes which draw nothing need not spend

    if shape.kind == "box":
        solid = trimesh.creation.box(shape.size)
    elif shape.kind == "cylinder":
        solid = trimesh.creation.cylinder(radius=shape.size[0], height=shape.size[1], sections=32)
    elif shape.kind == "sphere":
        solid = trimesh.creation.icosphere(subdivisions=2, radius=shape.size[0])
    else:
        solid = read_mesh(Path(shape.mesh_path))
        solid.apply_scale(shape.size)
    solid.apply_transform(shape.T_link_shape)
    return solid


def read_mesh(path: Path) -> "trimesh.Trimesh":
    """Return a mesh file's triangles in metres: Collada files may declare another unit, others count as metres.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    import trimesh
    from trimesh.units import unit_conversion

    try:
        solid = trimesh.load_mesh(path)
    except Exception as error:  # each format's reader raises its own kinds
        raise ConfigurationError(f"{path}: mesh cannot be read: {error}") from error
    unit = solid.units if path.suffix.lower() == ".dae" else None
    if isinstance(solid, trimesh.Scene):
        solid = solid.to_mesh()
    if unit:
        solid.apply_scale(unit_conversion(unit, "meters"))
    return solid


def _named(robot: RobotModel) -> list[tuple[str, Shape]]:
    out, seen = [], dict[str, int]()
    for shape in robot.tree.visuals:
        seen[shape.link] = seen.get(shape.link, 0) + 1
        out.append((shape.link if seen[shape.link] == 1 else f"{shape.link}_{seen[shape.link]}", shape))
    return out
