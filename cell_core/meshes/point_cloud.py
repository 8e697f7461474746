"""A surface through a cloud of points: normals where there are none, Poisson reconstruction, cut back to the points."""

from pathlib import Path

import numpy as np
import open3d as o3d
from scipy.spatial import KDTree

from cell_core.bounded import refuse_memory
from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

POINTS_MIN = 500
NEIGHBOURS = 16
CELL_PER_SPACING = 1.5
DEPTHS = (5, 10)
TRIM_PER_SPACING = 2.5
"""Reconstructed surface further from every point than this is made up: it goes."""
RESOLUTION_MIN = 10.0
"""A cloud must be at least this many spacings wide."""


def read_points(path: Path) -> tuple[Array, Array | None]:
    """Read points (N, 3) and, where the file has them, normals (N, 3) from XYZ, PCD or a PLY without faces.

    Raises:
        InputRefusedError: not readable, or no points in it.
    """
    if path.suffix.lower() == ".xyz":
        try:
            table = np.loadtxt(path, ndmin=2, comments=("#", "//"))
        except ValueError as error:
            raise InputRefusedError(f"{path}: not readable as points: {error}") from error
        if table.shape[1] < 3:
            raise InputRefusedError(f"{path}: {table.shape[1]} column(s), at least x y z wanted")
        # six columns may be colours: normals are those of length one
        six = table[:, 3:6]
        has_normals = six.shape[1] == 3 and np.allclose(np.linalg.norm(six, axis=1), 1.0, atol=0.02)
        return table[:, :3], six if has_normals else None
    if path.suffix.lower() == ".pcd":
        refuse_short_pcd(path)
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        cloud = o3d.io.read_point_cloud(path, remove_nan_points=False)
    points = np.asarray(cloud.points)
    if len(points) == 0:
        raise InputRefusedError(f"{path}: not readable as a mesh or as points: 0 points in it")
    return points, np.asarray(cloud.normals) if cloud.has_normals() else None


def refuse_short_pcd(path: Path) -> None:
    """Refuse a PCD whose header promises more points than the file can hold: the reader would believe it.

    Raises:
        InputRefusedError: no such header, or how many points are declared and how many bytes there are.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head, mark, body = file.read(8192).partition(b"DATA ")
    rows = {row[0]: row[1:] for row in map(str.split, head.decode("ascii", "replace").splitlines()) if row}
    try:
        n = int(rows["POINTS"][0])
        counts = [int(c) for c in rows.get("COUNT", ["1"] * len(rows["SIZE"]))]
        stride = sum(int(s) * c for s, c in zip(rows["SIZE"], counts, strict=True))
        kind = body.split(b"\n", 1)[0].strip()
        packed = body.split(b"\n", 1)[1][:8]
    except (KeyError, ValueError, IndexError) as error:
        raise InputRefusedError(f"{path}: not readable as a mesh or as points: no PCD header") from error
    held = size - len(head) - len(mark) - len(kind) - 1
    if kind == b"binary_compressed":
        small, large = int.from_bytes(packed[:4], "little"), int.from_bytes(packed[4:], "little")
        short = len(packed) < 8 or small > held - 8 or large < n * stride
        refuse_memory(2.0 * large, f"{path}: {n} points")
    else:
        short = held < n * (stride if kind == b"binary" else 2 * len(counts))
    if n < 0 or short:
        raise InputRefusedError(f"{path}: header declares {n} points, {held} bytes of data follow: truncated")


def surface_from_points(points_m: Array, normals: Array | None, where: str) -> Surface:
    """Return the surface the points were taken from, as fine as they lie.

    Cells of a screened Poisson reconstruction are 1.5 spacings wide; what lies further than 2.5 spacings from every
    point is cut off. Without normals they come from the 16 nearest points, turned alike along a spanning tree.

    Raises:
        InputRefusedError: fewer than 500 points, or a cloud less than 10 spacings wide.

    Source: Kazhdan & Hoppe 2013; Hoppe et al. 1992 (orientation).
    """
    points_m, index = np.unique(points_m, axis=0, return_index=True)
    if len(points_m) < POINTS_MIN:
        raise InputRefusedError(f"{where}: {len(points_m)} points, at least {POINTS_MIN} needed for a surface")
    tree = KDTree(points_m)
    # a curve or scattered points have no sheet of neighbours: mean of six tells the spacing of a sheet
    spacing = float(np.median(tree.query(points_m, k=7)[0][:, 1:].mean(axis=1)))
    extent = float(np.ptp(points_m, axis=0).max())
    if extent < RESOLUTION_MIN * spacing:
        raise InputRefusedError(
            f"{where}: points {1e3 * spacing:.2f} mm apart on a part of {1e3 * extent:.1f} mm: too sparse for a surface"
        )
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points_m))
    if normals is None:
        cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(NEIGHBOURS))
        cloud.orient_normals_consistent_tangent_plane(NEIGHBOURS)
    else:
        cloud.normals = o3d.utility.Vector3dVector(unit(normals[index]))
    depth = int(np.clip(np.ceil(np.log2(1.1 * extent / (CELL_PER_SPACING * spacing))), *DEPTHS))
    mesh, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=1)
    vertices, triangles = np.asarray(mesh.vertices), np.asarray(mesh.triangles).astype(np.int64)
    near = tree.query(vertices, distance_upper_bound=TRIM_PER_SPACING * spacing)[0] < np.inf
    kept = near[triangles].all(axis=1)
    if not kept.any():
        raise InputRefusedError(f"{where}: no surface through {len(points_m)} points: too sparse or scattered")
    return Surface(vertices_m=vertices, triangles=triangles).select_triangles(kept)
