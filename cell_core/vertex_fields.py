"""Values per vertex of a file as it is read, carried to the surface that loading and repair made of it."""

from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from cell_core.errors import InputRefusedError
from cell_core.files import read_npz
from cell_core.surface import Surface
from cell_core.surface_io import Unit, read_vertices
from cell_core.transforms import Array


def vertex_field(path: Path, name: str) -> Array:
    """Return the array `name` of an .npz file, or the vertex property `name` of a PLY file.

    Raises:
        InputRefusedError: missing, of another kind, or without that name; says what there is.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        arrays = read_npz(path)
    elif path.suffix.lower() == ".ply":
        arrays = _ply_properties(path)
    else:
        raise InputRefusedError(f"{path}: suffix {path.suffix!r}: wanted .npz or .ply with {name} per vertex")
    if name not in arrays:
        raise InputRefusedError(f"{path}: holds {sorted(arrays)}, wanted {name}, one value per vertex")
    return np.asarray(arrays[name], float).reshape(-1)


def carried_to(surface: Surface, values: Array, surface_path: Path, unit: Unit, what: str) -> Array:
    """Return values (N,) of a file's vertices at the vertices (V,) of the surface loaded from it.

    Repair merges, drops and adds vertices: each of the surface's takes the value of the file's nearest. Values that
    are as many as the surface's own vertices are taken as they are.

    Raises:
        InputRefusedError: neither number fits; names all three.
    """
    if len(values) == len(surface.vertices_m):
        return values
    points = read_vertices(surface_path, unit)
    if len(values) != len(points):
        raise InputRefusedError(
            f"{what}: {len(values)} values, but {Path(surface_path).name} has {len(points)} vertices as read and "
            f"{len(surface.vertices_m)} after repair"
        )
    return values[KDTree(points).query(surface.vertices_m)[1]]


def _ply_properties(path: Path) -> dict[str, Array]:
    import trimesh  # half a second that readers of the project's own files need not spend

    try:
        loaded = trimesh.load(str(path), process=False)
    except Exception as error:  # trimesh's readers raise whatever their format library raises
        raise InputRefusedError(f"{path}: not readable as PLY: {type(error).__name__}: {error}") from error
    data = loaded.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    if data is None:
        return {}
    names = data.dtype.names if hasattr(data, "dtype") and data.dtype.names else list(data)
    return {name: np.asarray(data[name], float) for name in names}
