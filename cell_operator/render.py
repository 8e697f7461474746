"""Pictures of surfaces, strokes and whole cells by ray casting: no window, no graphics driver."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import open3d as o3d
from numpy.typing import ArrayLike, NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array, apply, unit

BACKGROUND = np.array([1.0, 1.0, 1.0])
PLAIN = np.array([0.66, 0.70, 0.75])
NO_DATA = np.array([0.80, 0.80, 0.80])


@dataclass(frozen=True, kw_only=True)
class View:
    """A pinhole view on a scene."""

    eye_m: Array
    target_m: Array
    up: Array
    width_px: int = 720
    height_px: int = 480
    vertical_fov_rad: float = 0.6

    @property
    def axes(self) -> tuple[Array, Array, Array]:
        """Unit vectors right, down, forward."""
        forward = unit(self.target_m - self.eye_m)
        right = unit(np.cross(forward, self.up))
        return right, np.cross(forward, right), forward

    @property
    def focal_px(self) -> float:
        """Focal length [px]."""
        return 0.5 * self.height_px / np.tan(0.5 * self.vertical_fov_rad)

    def rays(self, factor: int) -> NDArray[np.float32]:
        """Rays (H, W, 6) of an image `factor` times finer; directions have unit depth, so hit distance is depth [m]."""
        right, down, forward = self.axes
        w, h, f = self.width_px * factor, self.height_px * factor, self.focal_px * factor
        u = (np.arange(w) + 0.5 - w / 2) / f
        v = (np.arange(h) + 0.5 - h / 2) / f
        direction = forward + u[None, :, None] * right + v[:, None, None] * down
        return np.concatenate([np.broadcast_to(self.eye_m, direction.shape), direction], axis=2).astype(np.float32)

    def project(self, points_m: Array) -> tuple[Array, Array]:
        """Return pixel positions (N, 2) and depth (N,) [m] of points (N, 3)."""
        right, down, forward = self.axes
        d = np.asarray(points_m, float) - self.eye_m
        depth = d @ forward
        safe = np.maximum(depth, 1e-9)
        x = self.focal_px * (d @ right) / safe + self.width_px / 2
        y = self.focal_px * (d @ down) / safe + self.height_px / 2
        return np.stack([x, y], axis=1), depth


def view_of(points_m: Array, looking: ArrayLike, width_px: int = 720, height_px: int = 480) -> View:
    """Return a view in the direction `looking` (3,), from the eye to the part, that shows all points (N, 3)."""
    direction = unit(looking)
    up = np.array([0.0, 0.0, 1.0]) if abs(direction[2]) < 0.95 else np.array([0.0, 1.0, 0.0])
    centre = 0.5 * (points_m.min(axis=0) + points_m.max(axis=0))
    distance = 3.0 * np.linalg.norm(np.ptp(points_m, axis=0)) + 1e-3
    for _ in range(3):
        view = View(eye_m=centre - distance * direction, target_m=centre, up=up, width_px=width_px, height_px=height_px)
        pixels, _depth = view.project(points_m)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        right, down, _ = view.axes
        middle = 0.5 * (low + high) - [width_px / 2, height_px / 2]
        centre = centre + distance / view.focal_px * (middle[0] * right + middle[1] * down)
        distance *= 1.08 * max((high - low) / [width_px, height_px])
    return View(eye_m=centre - distance * direction, target_m=centre, up=up, width_px=width_px, height_px=height_px)


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """An RGB image (H, W, 3) in 0..1 with its depth (H, W) [m], infinite where nothing was hit."""

    rgb: Array
    depth_m: Array
    view: View

    def visible(self, points_m: Array, slack_m: float) -> tuple[Array, NDArray[np.bool_]]:
        """Return pixel positions (N, 2) of points and which of them nothing hides."""
        pixels, depth = self.view.project(points_m)
        column = np.clip(pixels[:, 0].astype(int), 0, self.view.width_px - 1)
        row = np.clip(pixels[:, 1].astype(int), 0, self.view.height_px - 1)
        return pixels, depth <= self.depth_m[row, column] + slack_m


def render_surface(
    surface: Surface,
    view: View,
    values: Array | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    colormap: str = "viridis",
    valid: NDArray[np.bool_] | None = None,
) -> Picture:
    """Draw a surface, plain or coloured by per-vertex values (V,); vertices not `valid` are drawn grey."""
    if values is None:
        colors = np.broadcast_to(PLAIN, surface.vertices_m.shape)
    else:
        share = np.clip((np.asarray(values) - low) / max(high - low, 1e-30), 0.0, 1.0)
        colors = matplotlib.colormaps[colormap](share)[:, :3]
        if valid is not None:
            colors = np.where(valid[:, None], colors, NO_DATA)
    return render_meshes([(surface.vertices_m, surface.triangles, colors)], view)


def render_meshes(meshes: Sequence[tuple[Array, NDArray, Array]], view: View, factor: int = 2) -> Picture:
    """Draw meshes given as (vertices (V, 3) [m], triangles (T, 3), colours (V, 3) or (3,)) in one frame."""
    vertices = np.concatenate([m[0] for m in meshes])
    offsets = np.cumsum([0, *(len(m[0]) for m in meshes[:-1])])
    triangles = np.concatenate([m[1] + o for m, o in zip(meshes, offsets, strict=True)])
    colors = np.concatenate([np.broadcast_to(m[2], m[0].shape) for m in meshes])
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(triangles.astype(np.uint32)))
    rays = view.rays(factor)
    hit = scene.cast_rays(o3d.core.Tensor(rays))
    depth = hit["t_hit"].numpy()
    mask = np.isfinite(depth)
    corner = triangles[hit["primitive_ids"].numpy()[mask]]
    uv = hit["primitive_uvs"].numpy()[mask]
    weights = np.stack([1.0 - uv.sum(axis=1), uv[:, 0], uv[:, 1]], axis=1)
    base = np.einsum("nk,nkc->nc", weights, colors[corner])
    normal = unit(hit["primitive_normals"].numpy()[mask])
    towards = -unit(rays[..., 3:][mask])
    facing = np.abs(np.sum(normal * towards, axis=1))
    overhead = 0.5 + 0.5 * normal[:, 2] * np.sign(np.sum(normal * towards, axis=1))
    image = np.broadcast_to(BACKGROUND, (*depth.shape, 3)).copy()
    image[mask] = base * (0.35 + 0.45 * facing + 0.20 * overhead)[:, None]
    h, w = view.height_px, view.width_px
    rgb = image.reshape(h, factor, w, factor, 3).mean(axis=(1, 3))
    return Picture(rgb=rgb, depth_m=depth.reshape(h, factor, w, factor).min(axis=(1, 3)), view=view)


def posed(vertices_m: Array, T: Array) -> Array:
    """Move mesh vertices by a 4x4 transform."""
    return apply(T, vertices_m)
