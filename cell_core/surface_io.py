"""Load, check, repair and write surfaces. Whatever a repair changed is counted; what cannot be right is refused."""

from pathlib import Path
from typing import Literal

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.files import write_atomically
from cell_core.repair import RepairReport, repair
from cell_core.surface import Surface

Unit = Literal["m", "mm", "inch"]
UNIT_M: dict[str, float] = {"m": 1.0, "mm": 1e-3, "inch": 0.0254}
SIZE_MIN_M, SIZE_MAX_M = 0.01, 10.0
FILE_MAX_BYTES = 1_000_000_000
SUFFIXES = (".stl", ".ply", ".obj", ".glb", ".gltf", ".dae", ".off", ".step", ".stp")


def load_surface(path: Path, unit: Unit = "m", frame: str = "part") -> tuple[Surface, RepairReport]:
    """Read a mesh file in the declared unit and repair what can be repaired.

    Raises:
        InputRefusedError: missing, empty, not a mesh, NaN, fewer than 4 triangles, or a size outside
            0.01..10 m in the declared unit; the message names the file and the fact.
    """
    path = Path(path)
    if not path.is_file():
        raise InputRefusedError(f"{path}: no such file")
    size = path.stat().st_size
    if size == 0:
        raise InputRefusedError(f"{path}: empty file, 0 bytes")
    if size > FILE_MAX_BYTES:
        raise InputRefusedError(f"{path}: {size} bytes, at most {FILE_MAX_BYTES} allowed")
    if path.suffix.lower() not in SUFFIXES:
        raise InputRefusedError(f"{path}: suffix {path.suffix!r} is no mesh format; known: {', '.join(SUFFIXES)}")
    if unit not in UNIT_M:
        raise InputRefusedError(f"{path}: unit {unit!r} unknown; known: {', '.join(UNIT_M)}")
    import trimesh  # half a second that readers of the project's own files need not spend

    try:
        mesh = trimesh.load(str(path), force="mesh", process=False)
    except Exception as error:  # trimesh's readers raise whatever their format library raises
        raise InputRefusedError(f"{path}: not readable as a mesh: {type(error).__name__}: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise InputRefusedError(f"{path}: holds 0 triangles")
    vertices = np.asarray(mesh.vertices, float) * UNIT_M[unit]
    triangles = np.asarray(mesh.faces, np.int64)
    if triangles.max() >= len(vertices) or triangles.min() < 0:
        raise InputRefusedError(
            f"{path}: triangle index {triangles.max()} but only {len(vertices)} vertices: truncated?"
        )
    _refuse_ply_mismatch(path, len(vertices), len(triangles))
    index, triangles_of_used = np.unique(triangles, return_inverse=True)
    used = vertices[index]
    if not np.all(np.isfinite(used)):
        raise InputRefusedError(
            f"{path}: {int((~np.isfinite(used)).any(axis=1).sum())} vertices are not finite (NaN or infinite)"
        )
    extent = float(np.ptp(used, axis=0).max())
    if not SIZE_MIN_M <= extent <= SIZE_MAX_M:
        raise InputRefusedError(
            f"{path}: largest extent is {extent:.6g} m when read in {unit}, wanted {SIZE_MIN_M}..{SIZE_MAX_M} m: "
            "is the unit right?"
        )
    return repair(used, triangles_of_used.reshape(-1, 3), frame, str(path))


def _refuse_ply_mismatch(path: Path, n_vertices: int, n_triangles: int) -> None:
    # readers take a truncated file for a shorter one; the header says how much there should be
    if path.suffix.lower() != ".ply":
        return
    with path.open("rb") as f:
        header = f.read(4096).split(b"end_header")[0].decode("ascii", "replace")
    declared = {
        p[1]: int(p[2]) for p in (line.split() for line in header.splitlines()) if p[:1] == ["element"] and len(p) == 3
    }
    if n_vertices < declared.get("vertex", 0):
        raise InputRefusedError(f"{path}: header declares {declared['vertex']} vertices, {n_vertices} found: truncated")
    if n_triangles < declared.get("face", 0):
        raise InputRefusedError(f"{path}: header declares {declared['face']} faces, {n_triangles} found: truncated")


def write_ply(path: Path, surface: Surface) -> None:
    """Write a binary little-endian PLY with normals and every field as a float property, atomically."""
    names = [*"xyz", "nx", "ny", "nz", *surface.fields]
    table = np.empty(len(surface.vertices_m), dtype=[(n, "<f4") for n in names])
    for i, axis in enumerate("xyz"):
        table[axis] = surface.vertices_m[:, i]
        table["n" + axis] = surface.vertex_normals[:, i]
    for name, values in surface.fields.items():
        table[name] = values
    faces = np.empty(len(surface.triangles), dtype=[("n", "u1"), ("i", "<i4", 3)])
    faces["n"], faces["i"] = 3, surface.triangles
    header = ["ply", "format binary_little_endian 1.0", f"comment frame {surface.frame}, metres"]
    header += [f"element vertex {len(table)}", *(f"property float {n}" for n in names)]
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
    n_bytes = counts["vertex"] * 4 * len(names)
    if len(body) != n_bytes + counts["face"] * face_type.itemsize:
        raise InputRefusedError(
            f"{path}: {len(body)} bytes of data, wanted {n_bytes + counts['face'] * face_type.itemsize}: truncated"
        )
    table = np.frombuffer(body[:n_bytes], "<f4").reshape(-1, len(names)).astype(float)
    faces = np.frombuffer(body[n_bytes:], face_type)
    fields = {n: table[:, i] for i, n in enumerate(names) if n not in ("x", "y", "z", "nx", "ny", "nz")}
    return Surface(vertices_m=table[:, :3], triangles=faces["i"].astype(np.int64), fields=fields, frame=frame)
