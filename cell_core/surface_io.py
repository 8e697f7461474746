"""Load, check, repair and write surfaces. Whatever a repair changed is counted; what cannot be right is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cell_core.bounded import bounded_size, refuse_memory
from cell_core.errors import InputRefusedError
from cell_core.files import write_atomically
from cell_core.meshes.point_cloud import read_points, surface_from_points
from cell_core.meshes.repair import Orient, RepairReport, repair
from cell_core.surface import Surface
from cell_core.transforms import Array

Unit = Literal["m", "mm", "inch"]
UNIT_M: dict[str, float] = {"m": 1.0, "mm": 1e-3, "inch": 0.0254}
SIZE_MIN_M, SIZE_MAX_M = 0.01, 10.0
FILE_MAX_BYTES = 1_000_000_000
BYTES_PER_TRIANGLE = 1_200.0
"""Reading and repairing take so much memory (measured on 0.2 and 1.6 million triangles)."""
LIKELY_MIN_M, LIKELY_MAX_M = 0.03, 3.0
"""Parts a cell sees: where only another unit gives such a size, the report asks."""
STEP_SUFFIXES = (".step", ".stp")
CLOUD_SUFFIXES = (".xyz", ".pcd")
COLOURS = ["red", "green", "blue"]
SUFFIXES = (".stl", ".ply", ".obj", ".glb", ".gltf", ".dae", ".off", *STEP_SUFFIXES, *CLOUD_SUFFIXES)


def load_surface(
    path: Path, unit: Unit = "m", frame: str = "part", *, orient: Orient = "visibility"
) -> tuple[Surface, RepairReport]:
    """Read a mesh or point-cloud file in the declared unit and repair what can be repaired.

    Scenes (GLB, glTF, DAE, STEP) become one surface, each body at its node's place. A STEP file states its own unit
    and is read in that; the declared one scales all other formats. Point clouds (XYZ, PCD, PLY without faces) are
    reconstructed. `orient`: see `repair`.

    Raises:
        InputRefusedError: missing, empty, not a mesh, NaN, fewer than 4 triangles, too few points, or a size outside
            0.01..10 m in the declared unit; the message names the file and the fact, and a unit that would fit.
    """
    path = Path(path)
    _refuse_file(path, unit)
    suffix = path.suffix.lower()
    scale = 1.0 if suffix in STEP_SUFFIXES else UNIT_M[unit]
    if suffix in CLOUD_SUFFIXES or (suffix == ".ply" and not _ply_counts(path).get("face")):
        points, normals = read_points(path)
        if suffix == ".ply":
            _refuse_ply_mismatch(path, len(points), 0)
        hint = _refuse_points(path, points * scale, unit)
        surface = surface_from_points(points * scale, normals, str(path))
        vertices, triangles = surface.vertices_m, surface.triangles
    else:
        vertices, triangles = _read_mesh(path)
        index, of_used = np.unique(triangles, return_inverse=True)
        vertices, triangles = vertices[index] * scale, of_used.reshape(-1, 3)
        hint = _refuse_points(path, vertices, unit)
    surface, report = repair(vertices, triangles, frame, str(path), orient=orient)
    return surface, replace(report, unit_hint=hint)


def read_vertices(path: Path, unit: Unit = "m") -> Array:
    """Return the vertices (N, 3) of a surface file in its own order, before any repair [m].

    Raises:
        InputRefusedError: as for `load_surface`.
    """
    path = Path(path)
    _refuse_file(path, unit)
    suffix = path.suffix.lower()
    is_cloud = suffix in CLOUD_SUFFIXES or (suffix == ".ply" and not _ply_counts(path).get("face"))
    vertices = read_points(path)[0] if is_cloud else _read_mesh(path)[0]
    return vertices * (1.0 if suffix in STEP_SUFFIXES else UNIT_M[unit])


def _refuse_file(path: Path, unit: str) -> None:
    if not path.is_file():
        raise InputRefusedError(f"{path}: no such file")
    size = bounded_size(path, FILE_MAX_BYTES)
    if size == 0:
        raise InputRefusedError(f"{path}: empty file, 0 bytes")
    if path.suffix.lower() not in SUFFIXES:
        raise InputRefusedError(f"{path}: suffix {path.suffix!r} is no mesh format; known: {', '.join(SUFFIXES)}")
    if unit not in UNIT_M:
        raise InputRefusedError(f"{path}: unit {unit!r} unknown; known: {', '.join(UNIT_M)}")


def _read_mesh(path: Path) -> tuple[Array, NDArray[np.int64]]:
    import trimesh  # half a second that readers of the project's own files need not spend

    if path.suffix.lower() == ".stl":
        _refuse_short_stl(path)
    if path.suffix.lower() == ".ply":
        _refuse_memory(path, _ply_counts(path).get("face", 0))
    try:
        # to_mesh puts every body of a scene where its node says
        mesh = trimesh.load_scene(str(path), process=False).to_mesh()
    except Exception as error:  # trimesh's readers raise whatever their format library raises
        raise InputRefusedError(f"{path}: not readable as a mesh: {type(error).__name__}: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise InputRefusedError(f"{path}: holds 0 triangles")
    _refuse_memory(path, len(mesh.faces))
    vertices, triangles = np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64)
    if triangles.max() >= len(vertices) or triangles.min() < 0:
        raise InputRefusedError(
            f"{path}: triangle index {triangles.max()} but only {len(vertices)} vertices: truncated?"
        )
    if path.suffix.lower() == ".ply":
        _refuse_ply_mismatch(path, len(vertices), len(triangles))
    return vertices, triangles


def _refuse_points(path: Path, points_m: Array, unit: Unit) -> str:
    # returns a hint where the size is possible but another unit more likely
    bad = ~np.isfinite(points_m).all(axis=1)
    if bad.any():
        raise InputRefusedError(f"{path}: {int(bad.sum())} vertices are not finite (NaN or infinite)")
    extent = float(np.ptp(points_m, axis=0).max())
    states_unit = path.suffix.lower() in STEP_SUFFIXES
    others = [] if states_unit else [
        f"in {name} it would be {extent / UNIT_M[unit] * factor:.3g} m"
        for name, factor in UNIT_M.items()
        if name != unit and LIKELY_MIN_M <= extent / UNIT_M[unit] * factor <= LIKELY_MAX_M
    ]
    read_in = "the unit it states" if states_unit else unit
    if not SIZE_MIN_M <= extent <= SIZE_MAX_M:
        raise InputRefusedError(
            f"{path}: largest extent is {extent:.6g} m when read in {read_in}, wanted {SIZE_MIN_M}..{SIZE_MAX_M} m: "
            f"is the unit right?{' ' if others else ''}{', '.join(others)}"
        )
    if LIKELY_MIN_M <= extent <= LIKELY_MAX_M or not others:
        return ""
    return f"largest extent is {extent:.3g} m when read in {read_in}; {', '.join(others)}"


def _refuse_memory(path: Path, n_triangles: int) -> None:
    refuse_memory(n_triangles * BYTES_PER_TRIANGLE, f"{path}: a mesh of {n_triangles} triangles")


def _refuse_short_stl(path: Path) -> None:
    # a binary STL's size follows from its count; text starts with "solid" and has no NUL
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(512)
    if head[:5].lower() == b"solid" and b"\0" not in head:
        return
    if size < 84:
        raise InputRefusedError(f"{path}: not readable as a mesh: {size} bytes, a binary STL has at least 84"
        )
    n = int.from_bytes(head[80:84], "little")
    if size < 84 + 50 * n:
        raise InputRefusedError(
            f"{path}: not readable as a mesh: declares {n} triangles, {84 + 50 * n} bytes, but has {size}: truncated"
        )
    _refuse_memory(path, n)


def _ply_counts(path: Path) -> dict[str, int]:
    with path.open("rb") as f:
        header = f.read(4096).split(b"end_header")[0].decode("ascii", "replace")
    rows = (line.split() for line in header.splitlines())
    return {p[1]: int(p[2]) for p in rows if p[:1] == ["element"] and len(p) == 3 and p[2].isdigit()}


def _refuse_ply_mismatch(path: Path, n_vertices: int, n_triangles: int) -> None:
    # readers take a truncated file for a shorter one; the header says how much there should be
    declared = _ply_counts(path)
    if n_vertices < declared.get("vertex", 0):
        raise InputRefusedError(f"{path}: header declares {declared['vertex']} vertices, {n_vertices} found: truncated")
    if n_triangles < declared.get("face", 0):
        raise InputRefusedError(f"{path}: header declares {declared['face']} faces, {n_triangles} found: truncated")


def write_ply(path: Path, surface: Surface, colours: NDArray[np.uint8] | None = None) -> None:
    """Write a binary little-endian PLY with normals, every field as a float property and colours (V, 3), atomically."""
    names = [*"xyz", "nx", "ny", "nz", *surface.fields]
    channels = [] if colours is None else COLOURS
    table = np.empty(len(surface.vertices_m), dtype=[(n, "<f4") for n in names] + [(n, "u1") for n in channels])
    for i, channel in enumerate(channels):
        table[channel] = np.asarray(colours)[:, i]
    for i, axis in enumerate("xyz"):
        table[axis] = surface.vertices_m[:, i]
        table["n" + axis] = surface.vertex_normals[:, i]
    for name, values in surface.fields.items():
        table[name] = values
    faces = np.empty(len(surface.triangles), dtype=[("n", "u1"), ("i", "<i4", 3)])
    faces["n"], faces["i"] = 3, surface.triangles
    header = ["ply", "format binary_little_endian 1.0", f"comment frame {surface.frame}, metres"]
    header += [f"element vertex {len(table)}", *(f"property float {n}" for n in names)]
    header += [f"property uchar {n}" for n in channels]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]

    def fill(aside: Path) -> None:
        with aside.open("wb") as f:
            f.write("\n".join(header).encode("ascii"))
            f.write(table.tobytes())
            f.write(faces.tobytes())

    write_atomically(path, fill)


def read_ply(path: Path, frame: str = "part") -> Surface:
    """Read a PLY that `write_ply` wrote, fields included, as it is.

    Raises:
        InputRefusedError: missing, truncated or another layout.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputRefusedError(f"{path}: cannot be read: {error}") from error
    head, mark, body = data.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    counts = {p[1]: int(p[2]) for p in map(str.split, lines) if p[:1] == ["element"]}
    names = [p[2] for p in map(str.split, lines) if p[:2] == ["property", "float"]]
    if (
        not mark
        or "format binary_little_endian 1.0" not in lines
        or {"vertex", "face"} - counts.keys()
        or names[:3] != [*"xyz"]
    ):
        raise InputRefusedError(f"{path}: not a surface file of this project; load it with load_surface")
    face_type = np.dtype([("n", "u1"), ("i", "<i4", 3)])
    channels = [p[2] for p in map(str.split, lines) if p[:2] == ["property", "uchar"] and p[2] in COLOURS]
    vertex_type = np.dtype([(n, "<f4") for n in names] + [(n, "u1") for n in channels])
    n_bytes = counts["vertex"] * vertex_type.itemsize
    if len(body) != n_bytes + counts["face"] * face_type.itemsize:
        raise InputRefusedError(
            f"{path}: {len(body)} bytes of data, wanted {n_bytes + counts['face'] * face_type.itemsize}: truncated"
        )
    stored = np.frombuffer(body[:n_bytes], vertex_type)
    table = np.stack([stored[n] for n in names], axis=1).astype(float)
    faces = np.frombuffer(body[n_bytes:], face_type)
    fields = {n: table[:, i] for i, n in enumerate(names) if n not in ("x", "y", "z", "nx", "ny", "nz")}
    return Surface(vertices_m=table[:, :3], triangles=faces["i"].astype(np.int64), fields=fields, frame=frame)
