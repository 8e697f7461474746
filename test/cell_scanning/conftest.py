"""A small ray-cast camera and the shapes it looks at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, rotate
from cell_scanning.camera import Intrinsics
from cell_scanning.frames import Frame
from cell_scanning.views import looking_at

VGA = Intrinsics(
    width_px=640,
    height_px=480,
    fx_px=502.0,
    fy_px=502.0,
    cx_px=319.5,
    cy_px=239.5,
    range_m=(0.25, 1.5),
    axial_noise_at_1m_m=0.0008,
)
QVGA = Intrinsics(
    width_px=320,
    height_px=240,
    fx_px=251.0,
    fy_px=251.0,
    cx_px=159.5,
    cy_px=119.5,
    range_m=(0.25, 1.5),
    axial_noise_at_1m_m=0.0008,
)


def grid_surface(height: Callable[[Array, Array], Array], half_m: float, n: int) -> Surface:
    """A height field over a square, facing up."""
    x, y = np.meshgrid(np.linspace(-half_m, half_m, n), np.linspace(-half_m, half_m, n), indexing="ij")
    vertices = np.column_stack([x.ravel(), y.ravel(), height(x, y).ravel()])
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(vertices_m=vertices, triangles=np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))


def sphere(radius_m: float, centre_m: tuple[float, float, float], n: int = 5) -> Surface:
    """A triangulated sphere, vertices pushed out so that the mean radius is right."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=n, radius=radius_m)
    mean = float(np.average(np.linalg.norm(ball.triangles_center, axis=1), weights=ball.area_faces))
    vertices = np.asarray(ball.vertices) * radius_m / (0.5 * (mean + radius_m)) + np.array(centre_m)
    return Surface(vertices_m=vertices, triangles=np.asarray(ball.faces))


def dome(x: Array, y: Array) -> Array:
    """A dome of 0.3 m with a recess whose walls fall at up to 70 degrees, running out below z = 0."""
    r = np.hypot(x, y)
    recess = np.clip((0.055 - np.hypot(x - 0.02, y)) / 0.012, 0.0, 1.0)
    return 0.10 * (1.0 - (r / 0.15) ** 2) - 0.035 * recess**2 * (3.0 - 2.0 * recess)


def with_table(part: Surface, half_m: float = 0.6) -> Surface:
    """The part standing in a plane z = 0."""
    n = len(part.vertices_m)
    corners = half_m * np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    return Surface(
        vertices_m=np.concatenate([part.vertices_m, corners]),
        triangles=np.concatenate([part.triangles, [[n, n + 1, n + 2], [n, n + 2, n + 3]]]),
    )


@dataclass
class Studio:
    """Takes depth images of a scene."""

    scene: Surface
    camera: Intrinsics = QVGA
    noise: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self.caster = RayCaster(self.scene)
        self.rng = np.random.default_rng(self.seed)
        self.n_taken = 0

    def depth(self, T: Array) -> np.ndarray:
        """Depth image from T_part_camera, in metres."""
        u, v = self.camera.ray_slopes()
        slopes = np.stack(np.broadcast_arrays(u, v, np.ones((1, 1))), axis=-1).reshape(-1, 3).astype(float)
        z, triangle = self.caster.first_hit(np.broadcast_to(T[:3, 3], slopes.shape), rotate(T, slopes))
        z = np.where(triangle >= 0, z, 0.0)
        if self.noise:
            rays = rotate(T, slopes / np.linalg.norm(slopes, axis=1, keepdims=True))
            cos = np.abs(np.sum(self.scene.triangle_normals[triangle] * rays, axis=1))
            sigma = self.camera.axial_noise_m(z) / np.maximum(cos, 0.3)
            drop = (self.rng.random(len(z)) < 0.002) | (cos < 0.15)
            z = np.where(drop | (z == 0.0), 0.0, z + sigma * self.rng.standard_normal(len(z)))
        z = np.where((z < self.camera.range_m[0]) | (z > self.camera.range_m[1]), 0.0, z)
        return z.reshape(self.camera.height_px, self.camera.width_px).astype(np.float32)

    def frames(self, poses: Array, per_pose: int = 1) -> list[Frame]:
        """Frames from each pose."""
        taken = []
        for T in poses:
            for _ in range(per_pose):
                taken.append(Frame(depth_m=self.depth(T), T_part_camera=np.asarray(T), stamp_s=0.1 * self.n_taken))
                self.n_taken += 1
        return taken


def ring(distance_m: float, elevation_rad: float, n: int, aim_m: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Array:
    """Poses around a point."""
    turns = 2.0 * np.pi * np.arange(n) / n
    c, s = np.cos(elevation_rad), np.sin(elevation_rad)
    eyes = distance_m * np.stack([c * np.cos(turns), c * np.sin(turns), np.full(n, s)], axis=1) + np.array(aim_m)
    return np.asarray([looking_at(e, aim_m) for e in eyes])


@pytest.fixture(scope="session")
def shapes() -> type:
    """The shapes and tools above, for test modules (importlib mode has no imports between test files)."""

    class Shapes:
        vga, qvga = VGA, QVGA
        studio = Studio
        grid_surface = staticmethod(grid_surface)
        sphere = staticmethod(sphere)
        dome = staticmethod(dome)
        with_table = staticmethod(with_table)
        ring = staticmethod(ring)

    return Shapes
