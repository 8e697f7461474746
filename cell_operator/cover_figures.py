"""Pictures of geometric covers: patches and strokes, and how often each place is passed over."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, ListedColormap

from cell_core.strokes.cover import Cover
from cell_core.transforms import Array
from cell_operator.figures import save, viewing_direction
from cell_operator.render import render_meshes, view_of

CLOSED_COLOR = np.array([0.42, 0.42, 0.42])
VISIT_COLORS = ("#c0392b", "#dcefd7", "#a8d5a2", "#f2c84b", "#e08b3c", "#8e44ad")
LIFT_M = 0.0015


def cover_figure(cover: Cover, path: Path) -> None:
    """Write patches with their strokes from two sides, passes on the part, and shares of area by passes to one PNG."""
    figure, axes = plt.subplots(2, 2, figsize=(17, 11.5))
    main = viewing_direction(cover.ground.mesh)
    patches = _patch_colors(cover)
    _draw(axes[0, 0], cover, patches, main, lines=True)
    axes[0, 0].set_title("patches and strokes; grey: the tool cannot stand there")
    _draw(axes[0, 1], cover, patches, -main, lines=True)
    axes[0, 1].set_title("from the other side")
    _draw(axes[1, 0], cover, _visit_colors(cover), main, lines=False)
    axes[1, 0].set_title("passes: red none, green 1 and 2, yellow 3, more above; grey: out of reach")
    _visit_bars(axes[1, 1], cover)
    save(figure, path)


def _draw(axes: Axes, cover: Cover, colors: Array, looking: Array, *, lines: bool) -> None:
    mesh = cover.ground.mesh
    corners = mesh.vertices_m[mesh.triangles].reshape(-1, 3)
    view = view_of(mesh.vertices_m, looking.tolist(), 900, 600)
    own = (corners, np.arange(len(corners)).reshape(-1, 3), np.repeat(colors, 3, axis=0))
    picture = render_meshes([own], view)
    axes.imshow(picture.rgb)
    axes.set_axis_off()
    for line in cover.lines if lines else ():
        pixels, seen = picture.visible(line.surface_m + LIFT_M * line.normal, 2.0 * LIFT_M)
        pieces = np.stack([pixels[:-1], pixels[1:]], axis=1)[seen[:-1] & seen[1:]]
        axes.add_collection(LineCollection(list(pieces), colors="#1c2833", linewidths=0.9))
    axes.set_xlim(0, view.width_px)
    axes.set_ylim(view.height_px, 0)


def _patch_colors(cover: Cover) -> Array:
    colors = np.tile(CLOSED_COLOR, (len(cover.ground.mesh.triangles), 1))
    palette = matplotlib.colormaps["tab20"](np.arange(20))[:, :3]
    for k, patch in enumerate(cover.patches):
        colors[patch.triangles[patch.core]] = 0.45 * palette[k % 20] + 0.55
    return colors


def _visit_colors(cover: Cover) -> Array:
    ground = cover.ground
    distance, nearest = ground.samples.tree.query(ground.mesh.centroids_m)
    facing = np.einsum("ij,ij->i", ground.samples.normals[nearest], ground.mesh.triangle_normals) > 0.0
    colormap = ListedColormap(VISIT_COLORS)
    norm = BoundaryNorm(np.arange(len(VISIT_COLORS) + 1) - 0.5, len(VISIT_COLORS))
    colors = colormap(norm(np.minimum(cover.passes[nearest], len(VISIT_COLORS) - 1)))[:, :3]
    reached = facing & (distance < 0.5 * ground.tool.radius_m)
    return np.where(reached[:, None], colors, CLOSED_COLOR)


def _visit_bars(axes: Axes, cover: Cover) -> None:
    areas = cover.ground.samples.areas_m2
    passes = np.minimum(cover.passes, len(VISIT_COLORS) - 1)
    shares = 100.0 * np.bincount(passes, areas, len(VISIT_COLORS)) / areas.sum()
    axes.bar(np.arange(len(shares)), shares, color=VISIT_COLORS, edgecolor="0.3")
    for k, share in enumerate(shares):
        axes.text(k, share + 0.8, f"{share:.2f}", ha="center")
    axes.set_xticks(np.arange(len(shares)), [*map(str, range(len(shares) - 1)), f"{len(shares) - 1} or more"])
    axes.set_xlabel("passes over a place")
    axes.set_ylabel("share of the serviceable area [%]")
    axes.set_title(
        f"covered {100 * cover.covered_area_fraction:.2f} %, mean visits {cover.mean_visits:.2f}, "
        f"{len(cover.lines)} strokes, {cover.length_m:.2f} m, spacing {1e3 * cover.spacing_m:.1f} mm"
    )
