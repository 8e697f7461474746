"""Parts of different kind for the bench of views, made here: each stands on z = 0 about the origin, closed."""

from collections.abc import Callable, Sequence

import numpy as np
import trimesh

from cell_core.surface import Surface
from cell_core.transforms import transform_from_xyz_rpy
from cell_simulation.demo_parts import freeform_shell


def _box(size: Sequence[float], at: Sequence[float], yaw: float = 0.0) -> trimesh.Trimesh:
    return trimesh.creation.box(size, transform_from_xyz_rpy(at, [0.0, 0.0, yaw]))


def _cylinder(radius: float, height: float, at: Sequence[float], roll: float = 0.0) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(
        radius, height, sections=72, transform=transform_from_xyz_rpy(at, [roll, 0.0, 0.0])
    )


def _without(solids: Sequence[trimesh.Trimesh], *holes: trimesh.Trimesh) -> trimesh.Trimesh:
    body = solids[0] if len(solids) == 1 else trimesh.boolean.union(solids)
    return trimesh.boolean.difference([body, *holes]) if holes else body


def closed_box() -> trimesh.Trimesh:
    """Return a box of 0.30 x 0.20 x 0.16 m with a smaller one on top, turned."""
    return _without([_box([0.30, 0.20, 0.12], [0, 0, 0.06], 0.3), _box([0.10, 0.08, 0.08], [0.05, 0.02, 0.14], 0.8)])


def flange() -> trimesh.Trimesh:
    """Return a pipe's flange lying on its face: six bores, a neck and a bore of 60 mm through all."""
    turns = np.arange(6) * np.pi / 3.0
    bores = [_cylinder(0.009, 0.2, [0.1 * np.cos(a), 0.1 * np.sin(a), 0.0]) for a in turns]
    return _without([_cylinder(0.13, 0.03, [0, 0, 0.015]), _cylinder(0.055, 0.11, [0, 0, 0.065])],
                    _cylinder(0.03, 0.4, [0, 0, 0.1]), *bores)  # fmt: skip


def pocket() -> trimesh.Trimesh:
    """Return a block with a pocket 80 mm deep and 90 mm wide, and a rib in it."""
    hollow = _without([_box([0.16, 0.09, 0.2], [0, 0, 0.13])], _box([0.008, 0.05, 0.1], [0.03, -0.02, 0.04]))
    return _without([_box([0.26, 0.18, 0.12], [0, 0, 0.06])], hollow)


def standing_plate() -> trimesh.Trimesh:
    """Return a plate 6 mm thick that stands on a foot, with a window."""
    return _without([_box([0.32, 0.006, 0.22], [0, 0, 0.11], 0.5), _box([0.12, 0.10, 0.012], [0, 0, 0.006], 0.5)],
                    _box([0.07, 0.05, 0.06], [0.06, 0.033, 0.14], 0.5))  # fmt: skip


def shell() -> trimesh.Trimesh:
    """Return the demonstration's freeform shell, 0.55 x 0.42 m."""
    part = freeform_shell()
    return trimesh.Trimesh(part.vertices_m, part.triangles, process=False)


def bracket() -> trimesh.Trimesh:
    """Return an angle with a gusset, a boss and a bore across the wall."""
    return _without(
        [_box([0.26, 0.15, 0.018], [0, 0, 0.009]), _box([0.018, 0.15, 0.16], [-0.121, 0, 0.08]),
         _box([0.10, 0.012, 0.09], [-0.07, 0.0, 0.05]), _cylinder(0.028, 0.07, [0.07, 0.02, 0.045])],
        trimesh.creation.cylinder(0.02, 0.1, sections=48, transform=transform_from_xyz_rpy(
            [-0.12, 0.035, 0.11], [0.0, 0.5 * np.pi, 0.0])),
    )  # fmt: skip


def elbow() -> trimesh.Trimesh:
    """Return a bent rod of 70 mm on a round foot: curved all over, undercut below."""
    ring = trimesh.creation.torus(0.16, 0.035, 96, 48, transform=transform_from_xyz_rpy(
        [-0.08, 0.0, 0.03], [0.5 * np.pi, 0.0, 0.0]))  # fmt: skip
    quarter = trimesh.boolean.intersection([ring, _box([0.3, 0.2, 0.3], [0.07, 0.0, 0.18])])
    return _without([quarter, _cylinder(0.06, 0.02, [0.08, 0, 0.01]), _cylinder(0.035, 0.03, [0.08, 0, 0.022])])


PARTS: dict[str, Callable[[], trimesh.Trimesh]] = {
    "box": closed_box, "flange": flange, "pocket": pocket, "plate": standing_plate, "shell": shell,
    "bracket": bracket, "elbow": elbow,
}  # fmt: skip


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    """Return the mesh as a surface that stands on z = 0."""
    vertices = np.asarray(mesh.vertices, float).copy()
    vertices[:, 2] -= vertices[:, 2].min()
    return Surface(vertices_m=vertices, triangles=np.asarray(mesh.faces, np.int64))
