"""Scans with a known pose to register: parts, how the embedded depth camera sees them on a table, random placings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import Delaunay
from scipy.spatial.transform import Rotation

from cell_core.config import CameraConfig
from cell_core.config.base import Interval
from cell_core.config.recipes import ScanSettings
from cell_core.surface import Surface
from cell_core.surface_io import Unit, load_surface
from cell_core.transforms import Array, apply, transform_from_xyz_rpy
from cell_scanning.frames import Frame
from cell_scanning.fusion import fuse
from cell_scanning.views import looking_at
from cell_simulation.camera import DepthCamera
from cell_simulation.true_part import TruePart

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NOISE_M = 0.13e-3 / 0.6745
"""Standard deviation of depth: "industrial", 0.13 mm median at 0.45 m, taken for whatever distance shows the part."""
STEP_RATIO = 1.06
"""Neighbouring pixels whose depths differ by more do not belong to one face."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A CAD and the motions that lay it on itself."""

    name: str
    surface: Surface
    turns: tuple[Array, ...] = (np.eye(4),)
    """Symmetry motions (4, 4), the identity among them."""
    axis: Array | None = None
    """(3,) direction through the origin about which any turn is a symmetry, or None."""
    mirrored: bool = False
    """Its mirror image is another part, to be refused."""


def surface_of(*meshes: trimesh.Trimesh) -> Surface:
    """Return meshes as one surface."""
    shift = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Surface(
        vertices_m=np.concatenate([m.vertices for m in meshes]),
        triangles=np.concatenate([m.faces + k for m, k in zip(meshes, shift, strict=False)]),
    )


def _box(size: Sequence[float], at: Sequence[float]) -> trimesh.Trimesh:
    return trimesh.creation.box(size, trimesh.transformations.translation_matrix(at))


def _cylinder(radius: float, height: float, at: Sequence[float]) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(
        radius, height, sections=96, transform=trimesh.transformations.translation_matrix(at)
    )


def drilled_plate(marked: bool, half_m: float = 0.1, thickness_m: float = 0.02) -> Surface:
    """Return a square plate with four holes; marked: a fifth, smaller one beside one of them."""
    holes = [(x, y, 0.015) for x in (-0.06, 0.06) for y in (-0.06, 0.06)] + [(0.06, 0.02, 0.008)] * marked
    side = np.linspace(-half_m, half_m, 21)[:-1]
    loops = [np.concatenate([np.c_[side, 0 * side - half_m], np.c_[0 * side + half_m, side],
                             np.c_[-side, 0 * side + half_m], np.c_[0 * side - half_m, -side]])]  # fmt: skip
    turn = -np.linspace(0.0, 2.0 * np.pi, 49)[:-1]
    loops += [np.c_[x + r * np.cos(turn), y + r * np.sin(turn)] for x, y, r in holes]
    points = np.concatenate(loops)
    triangles = Delaunay(points).simplices
    a, b, c = (points[triangles[:, i]] for i in range(3))
    turned = np.cross(b - a, c - a) < 0.0
    triangles = np.where(turned[:, None], triangles[:, ::-1], triangles)
    # a triangle whose corners lie on one hole's rim fills that hole
    loop_of = np.repeat(np.arange(len(loops)), [len(loop) for loop in loops])[triangles]
    solid = (loop_of.min(axis=1) != loop_of.max(axis=1)) | (loop_of[:, 0] == 0)
    top, n = triangles[solid], len(points)
    faces, first = [top, top[:, ::-1] + n], 0
    for loop in loops:
        i = first + np.arange(len(loop))
        j = np.roll(i, -1)
        faces += [np.c_[i, i + n, j], np.c_[j, i + n, j + n]]
        first += len(loop)
    both = [np.c_[points, np.full(n, z)] for z in (0.5 * thickness_m, -0.5 * thickness_m)]
    return Surface(vertices_m=np.concatenate(both), triangles=np.concatenate(faces))


def turns_about(*vectors_rad: Sequence[float]) -> tuple[Array, ...]:
    """Return the group of rotations about the origin that these rotation vectors generate."""
    found = [np.eye(3)]
    made = [Rotation.from_rotvec(v).as_matrix() for v in vectors_rad]
    for R in found:
        for S in made:
            if not any(np.allclose(S @ R, other, atol=1e-6) for other in found):
                found.append(S @ R)
    out = np.tile(np.eye(4), (len(found), 1, 1))
    out[:, :3, :3] = found
    return tuple(out)


def bracket() -> Surface:
    """Return an L of two unequal plates with a boss off the middle: handed, without symmetry."""
    return surface_of(
        _box([0.30, 0.16, 0.02], [0, 0, 0.01]), _box([0.02, 0.16, 0.12], [-0.14, 0, 0.08]),
        _cylinder(0.03, 0.06, [0.07, 0.03, 0.05]),
    )  # fmt: skip


def parts() -> list[Part]:
    """Return the parts: real ones where shared data has them, and symmetric ones made here."""
    out = []
    files: tuple[tuple[str, str, Unit], ...] = (
        ("dac lug", "fanuc_DAC/DAC_580813_cad.stl", "m"),
        ("milled block", "featuretype.STL", "inch"),
        ("fork link", "z1_Link01.obj", "m"),
        ("pipework", "42400-IDGH.stl", "inch"),
        ("curved panel", "crs_part_2.stl", "m"),
        ("bent sheet", "puzzle_piece_detailed.ply", "m"),
    )
    for name, file, unit in files:
        if (DATA / file).exists():
            surface = load_surface(DATA / file, unit)[0]
            centre = surface.bounds_m.mean(axis=0)
            moved = Surface(vertices_m=surface.vertices_m - centre, triangles=surface.triangles)
            out.append(Part(name=name, surface=moved, mirrored=name == "pipework"))
    shaft = surface_of(_cylinder(0.03, 0.1, [0, 0, -0.05]), _cylinder(0.045, 0.06, [0, 0, 0.03]))
    plain, marked = drilled_plate(False), drilled_plate(True)
    out += [
        Part(name="bracket", surface=bracket(), mirrored=True),
        Part(name="box", surface=surface_of(_box([0.2, 0.14, 0.08], [0, 0, 0])),
             turns=turns_about([np.pi, 0, 0], [0, np.pi, 0])),
        Part(name="stepped shaft", surface=shaft, axis=np.array([0.0, 0.0, 1.0])),
        Part(name="drilled plate", surface=plain, turns=turns_about([0, 0, 0.5 * np.pi], [np.pi, 0, 0])),
        Part(name="marked plate", surface=marked),
    ]  # fmt: skip
    return out


def made_part(seed: int) -> Part:
    """Return a plate with blocks and cylinders standing on it and holes through it, of random sizes and places."""
    rng = np.random.default_rng([seed, 11])
    length = rng.uniform(0.12, 0.3)
    width, height = length * rng.uniform(0.4, 0.8), length * rng.uniform(0.06, 0.15)
    solid = trimesh.creation.box([length, width, height])
    for _ in range(rng.integers(2, 5)):
        at = [*(rng.uniform(-0.4, 0.4, 2) * [length, width]), 0.0]
        tall = rng.uniform(0.08, 0.35) * length + height
        at[2] = 0.5 * (tall - height)
        if rng.random() < 0.5:
            piece = _cylinder(rng.uniform(0.08, 0.2) * width, tall, at)
        else:
            piece = _box([rng.uniform(0.1, 0.35) * length, rng.uniform(0.1, 0.35) * width, tall], at)
        solid = trimesh.boolean.union([solid, piece], engine="manifold")
    for _ in range(rng.integers(0, 3)):
        at = [*(rng.uniform(-0.35, 0.35, 2) * [length, width]), 0.0]
        hole = _cylinder(rng.uniform(0.05, 0.12) * width, 4.0 * length, at)
        solid = trimesh.boolean.difference([solid, hole], engine="manifold")
    centred = np.asarray(solid.vertices) - solid.bounds.mean(axis=0)
    return Part(
        name=f"made {seed}", surface=Surface(vertices_m=centred, triangles=np.asarray(solid.faces)), mirrored=True
    )


def pose_error(part: Part, T: Array) -> tuple[float, float]:
    """Return how far a pose of the CAD in its own frame is off by the nearest of its symmetries.

    RMS over its vertices [m] and angle [rad].
    """
    best = (np.inf, np.inf)
    for turn in part.turns:
        E = np.asarray(turn) @ T
        if part.axis is not None:
            # the turn about the axis that brings it closest to the identity: the twist of its rotation
            x, y, z, w = Rotation.from_matrix(E[:3, :3]).as_quat()
            twist = 2.0 * np.arctan2(np.array([x, y, z]) @ part.axis, w)
            back = np.eye(4)
            back[:3, :3] = Rotation.from_rotvec(-twist * part.axis).as_matrix()
            E = back @ E
        moved = apply(E, part.surface.vertices_m) - part.surface.vertices_m
        error = float(np.sqrt(np.mean(np.sum(moved**2, axis=1))))
        angle = float(Rotation.from_matrix(E[:3, :3]).magnitude())
        best = min(best, (error, angle))
    return best


def mirrored(surface: Surface) -> Surface:
    """Return the mirror image, outward normals kept outward."""
    return Surface(vertices_m=surface.vertices_m * [-1.0, 1.0, 1.0], triangles=surface.triangles[:, ::-1])


def random_pose(rng: np.random.Generator, offset_m: float = 1.0) -> Array:
    """Return any rotation, and a shift within a cube."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(rng.standard_normal(4)).as_matrix()
    T[:3, 3] = rng.uniform(-offset_m, offset_m, 3)
    return T


KINDS = ("around", "one side + table", "one view + table")


def scan_of(part: Part, kind: str, seed: int) -> tuple[Surface, Array]:
    """Return a scan as the camera sees the part lying on a table, and the part's pose in it (4, 4)."""
    rng = np.random.default_rng([seed, 5])
    T, size_m = _lying(part.surface, rng)
    placed = part.surface.transformed(T, "table")
    centre = placed.bounds_m.mean(axis=0)
    table = transform_from_xyz_rpy([centre[0], centre[1], -0.05], [0.0, 0.0, 0.0])
    boxes = [(table, np.array([3.0 * size_m, 3.0 * size_m, 0.1]))]
    if kind != "around":
        boxes += _clutter(placed, size_m, rng)
    distance_m = 1.25 * size_m
    config = CameraConfig(
        format="grind_spray_cell/camera", version=1, name="judge", width_px=640, height_px=480, fx_px=502.0,
        fy_px=502.0, cx_px=319.5, cy_px=239.5, range_m=Interval(low=0.05, high=10.0), rate_hz=10.0,
        incidence_max_rad=1.15, axial_noise_at_1m_m=NOISE_M / distance_m**2, lateral_noise_px=0.3,
        dropout_fraction=0.002,
    )  # fmt: skip
    camera = DepthCamera(config, TruePart(placed, edge_max_m=10.0), boxes, seed=seed)
    start = rng.uniform(0.0, 2.0 * np.pi)
    turns = {"around": np.arange(7) * 2.0 * np.pi / 7.0, "one side + table": np.array([-0.6, 0.0, 0.6])}
    frames = []
    for i, turn in enumerate(turns.get(kind, np.zeros(1))):
        height = (0.9, 0.6)[i % 2] if kind != "one view + table" else rng.uniform(0.6, 1.2)
        way = np.array([np.cos(start + turn) * np.cos(height), np.sin(start + turn) * np.cos(height), np.sin(height)])
        pose = looking_at(centre + distance_m * way, centre)
        frames.append(Frame(depth_m=camera.render(pose, float(i)).depth_m, T_part_camera=pose, stamp_s=float(i)))
    if kind == "one view + table":
        scan = mesh_of_image(frames[0].depth_m, frames[0].T_part_camera, config)
        return cut(scan, centre, 0.8 * size_m), T
    half = np.array([0.75 * size_m] * 3)
    crop = np.stack([centre - half, centre + half])
    # the floor of the crop box is cut away above it: around, the table goes, otherwise it stays
    crop[0, 2] = -0.002 if kind == "around" else -0.02
    pitch_m = distance_m / config.fx_px
    fused = fuse(frames, config, ScanSettings(voxel_m=float(np.clip(1.4 * pitch_m, 5e-4, 4e-3))), crop=crop,
                 floor_clearance_m=0.004 if kind == "around" else 0.0, refine=False)  # fmt: skip
    return Surface(vertices_m=fused.surface.vertices_m, triangles=fused.surface.triangles), T


def mesh_of_image(depth_m: NDArray[np.float32], T: Array, config: CameraConfig) -> Surface:
    """Return the pixels of one image joined to triangles where depth is continuous."""
    h, w = depth_m.shape
    v, u = np.mgrid[:h, :w]
    z = depth_m.astype(float)
    points = np.stack([(u - config.cx_px) / config.fx_px * z, (v - config.cy_px) / config.fy_px * z, z], axis=-1)
    index = np.arange(h * w).reshape(h, w)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    triangles = np.concatenate([np.c_[a, d, b], np.c_[b, d, c]])
    near = z.ravel()[triangles]
    kept = (near.min(axis=1) > 0.0) & (near.max(axis=1) < STEP_RATIO ** (1.0 / 4.0) * near.min(axis=1))
    surface = Surface(vertices_m=apply(T, points.reshape(-1, 3)), triangles=triangles)
    return surface.select_triangles(kept)


def cut(surface: Surface, centre: Array, reach_m: float) -> Surface:
    """Return what lies within a distance of a point."""
    return surface.select_triangles(np.linalg.norm(surface.centroids_m - centre, axis=1) < reach_m)


def _lying(surface: Surface, rng: np.random.Generator) -> tuple[Array, float]:
    # at rest on the table z = 0: on a face of its hull that lies below its middle
    hull = trimesh.convex.convex_hull(surface.vertices_m)
    normals, middle = np.asarray(hull.face_normals), np.asarray(hull.vertices).mean(axis=0)
    height = np.einsum("ij,ij->i", normals, np.asarray(hull.triangles_center) - middle)
    falling = normals @ normals.T
    reach = np.where(falling > 1e-6, height / np.maximum(falling, 1e-6), np.inf)
    below = falling[np.arange(len(normals)), reach.argmin(axis=1)] > 0.9999
    chance = np.where(below, hull.area_faces, 0.0)
    down = normals[rng.choice(len(normals), p=chance / chance.sum())]
    upright = np.eye(4)
    upright[:3, :3] = Rotation.align_vectors([[0.0, 0.0, -1.0]], [down])[0].as_matrix()
    T = transform_from_xyz_rpy([0, 0, 0], [0, 0, rng.uniform(0.0, 2.0 * np.pi)]) @ upright
    T[2, 3] -= apply(T, surface.vertices_m)[:, 2].min()
    return T, float(np.linalg.norm(np.ptp(surface.bounds_m, axis=0)))


def _clutter(placed: Surface, size_m: float, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    # boxes beside the part, clear of its bounding circle's square
    low, high = placed.bounds_m
    boxes = []
    for side in rng.permutation(4)[:3]:
        size = size_m * rng.uniform(0.1, 0.3, 3)
        along, sign = side // 2, 1.0 if side % 2 else -1.0
        at = 0.5 * (low + high)
        at[1 - along] += rng.uniform(-0.4, 0.4) * (high - low)[1 - along]
        at[along] += sign * (0.5 * (high - low)[along] + 0.55 * np.hypot(size[0], size[1]))
        boxes.append((transform_from_xyz_rpy([at[0], at[1], 0.5 * size[2]], [0, 0, rng.uniform(0, np.pi)]), size))
    return boxes
