"""What of a fused mesh was really measured: cut, cleaned, supported by frames, smoothed, and its figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_scanning.camera import Intrinsics
from cell_scanning.depth_filter import FilteredDepth
from cell_scanning.holes import Hole
from cell_scanning.mesh_cleaning import merged_slivers, vertex_components, without_crumbs
from cell_scanning.support import measure_support
from cell_scanning.surface_smoothing import smoothed_surface, smoothing_reach_m

CRUMB_VOXELS = 10.0
"""Components smaller than a square of this many voxels are crumbs."""
CRUMB_SHARE = 0.01
"""So are components smaller than this share of the largest."""
PINHOLE_VOXELS = 8.0
"""Loops shorter than this many voxels are counted apart."""


def measured_part(
    surface: Surface,
    depths: Sequence[FilteredDepth],
    poses: Sequence[Array],
    camera: Intrinsics,
    voxel_m: float,
    weight_min: int,
    crop: Array | None,
) -> tuple[Surface, dict[str, float]]:
    """Return what frames measured of a mesh within the crop box, with the fields of `ScanResult`, and figures.

    Raises:
        InputRefusedError: nothing is left.
    """
    if crop is not None:
        inside = np.all((surface.vertices_m >= crop[0]) & (surface.vertices_m <= crop[1]), axis=1)
        if not inside[surface.triangles].all(axis=1).any():
            raise InputRefusedError("scan: no surface in the crop box: 0 triangles; nothing was measured there")
        surface = surface.select_triangles(inside[surface.triangles].all(axis=1))
    vertices_m, triangles = merged_slivers(surface.vertices_m, surface.triangles, 0.2 * voxel_m)
    if len(triangles) == 0:
        raise InputRefusedError("scan: no surface in the crop box: 0 triangles; nothing was measured there")
    surface = Surface(vertices_m=vertices_m, triangles=triangles)
    noise_m = 5.0 * float(camera.axial_noise_m(np.median(np.concatenate([d.depth_m[d.depth_m > 0.0] for d in depths]))))
    support = measure_support(
        surface.vertices_m, surface.vertex_normals, depths, poses, camera, max(2.0 * voxel_m, noise_m)
    )
    surface = surface.with_fields(
        confidence=support.confidence,
        view_count=support.view_count,
        frame_count=support.frame_count,
        residual_m=support.residual_m,
    )
    measured = (support.frame_count >= weight_min)[surface.triangles].sum(axis=1) >= 2
    if not measured.any():
        raise InputRefusedError(f"scan: no vertex was measured by {weight_min} frames")
    kept = surface.select_triangles(measured)
    unsupported_m2 = surface.area_m2 - kept.area_m2
    surface, n_crumbs, crumb_m2 = without_crumbs(kept, (CRUMB_VOXELS * voxel_m) ** 2, CRUMB_SHARE)
    return smoothed_surface(surface, voxel_m), {
        "n_crumbs": n_crumbs,
        "crumb_area_m2": crumb_m2,
        "unsupported_area_m2": unsupported_m2,
        "smoothing_reach_m": smoothing_reach_m(surface, voxel_m),
    }


def surface_figures(surface: Surface, holes: Sequence[Hole], voxel_m: float) -> dict[str, Any]:
    """Return the numbers of a surface for a report; keys carry units."""
    open_holes = [h for h in holes if h.kind == "hole"]
    return {
        "n_vertices": len(surface.vertices_m),
        "n_triangles": len(surface.triangles),
        "area_m2": surface.area_m2,
        "size_m": np.ptp(surface.bounds_m, axis=0).tolist(),
        "n_components": int(vertex_components(surface).max()) + 1,
        "n_holes": sum(h.length_m > PINHOLE_VOXELS * voxel_m for h in open_holes),
        "n_pinholes": sum(h.length_m <= PINHOLE_VOXELS * voxel_m for h in open_holes),
        "hole_area_m2": sum(h.area_m2 for h in open_holes),
        "boundary_length_m": sum(h.length_m for h in holes),
        "residual_rms_m": float(np.sqrt(np.mean(surface.fields["residual_m"] ** 2))),
    }
