"""What spray plans are judged on: shells made here, so that nothing depends on a file, and the parts of ../shared/data.

Every shell is a single sheet facing the gun; `kind` says by which floor it is judged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cell_core.errors import CellError
from cell_core.surface import Surface
from cell_core.surface_io import UNIT_M, load_surface
from cell_core.transforms import Array
from cell_simulation.demo_parts import freeform_shell

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA_PARTS = (
    "noether_raw_mesh.ply",
    "crs_part_2.stl:hung:outside",
    "kr150r3100_2_link_1.stl:hung:outside",
    "42400-IDGH.stl:inch:hung:deep",
)
EDGE_M = 0.006
OPTIONS = {*UNIT_M, "hung", "outside", "deep"}

Place = Callable[[Array, Array], Sequence[Array]]
"""x, y and z (N,) of parameters u and v (N,) in 0..1; the sheet faces u x v."""


@dataclass(frozen=True, kw_only=True)
class SprayPart:
    """A part, how it stands and by which floor it is judged; or why it was not loaded."""

    name: str
    surface: Surface | CellError
    deep: bool = False
    """Deeply concave, not an open freeform shell."""
    hung: bool = False
    """It hangs free and is sprayed from all sides."""
    outside: bool = False
    """Only what sees the free sky along its normal is judged."""


def sheet(place: Place, length_m: float, width_m: float, edge_m: float = EDGE_M) -> Surface:
    """Return the sheet that `place` makes of the unit square, cells about `edge_m` wide where it is not stretched."""
    n, m = round(length_m / edge_m), round(width_m / edge_m)
    u, v = np.meshgrid(np.linspace(0.0, 1.0, n + 1), np.linspace(0.0, 1.0, m + 1), indexing="ij")
    i = np.arange(u.size).reshape(u.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    points = np.column_stack(np.broadcast_arrays(*place(u.ravel(), v.ravel())))
    return Surface(vertices_m=points, triangles=np.concatenate([np.c_[a, b, c], np.c_[a, c, d]]))


def joined(*surfaces: Surface) -> Surface:
    """Return the surfaces as one, vertices not merged."""
    shift = np.cumsum([0, *(len(s.vertices_m) for s in surfaces)])
    return Surface(
        vertices_m=np.concatenate([s.vertices_m for s in surfaces]),
        triangles=np.concatenate([s.triangles + k for s, k in zip(surfaces, shift, strict=False)]),
    )


def plate(size_m: float = 0.6, edge_m: float = EDGE_M) -> Surface:
    """Return a flat square facing up."""
    return sheet(lambda u, v: (size_m * (u - 0.5), size_m * (v - 0.5), 0.0 * u), size_m, size_m, edge_m)


def bowl(width_m: float = 0.5, depth_m: float = 0.2) -> Surface:
    """Return the inside of a spherical cap, open at the top."""
    radius = ((0.5 * width_m) ** 2 + depth_m**2) / (2.0 * depth_m)
    opening = np.arccos(1.0 - depth_m / radius)

    def place(u: Array, v: Array) -> Sequence[Array]:
        # the square mapped to the disc, its radius then laid along the sphere's meridians
        s, t = 2.0 * u - 1.0, 2.0 * v - 1.0
        x, y = s * np.sqrt(1.0 - 0.5 * t * t), t * np.sqrt(1.0 - 0.5 * s * s)
        r = np.hypot(x, y)
        ring = radius * np.sin(opening * r) / np.maximum(r, 1e-12)
        return ring * x, ring * y, radius * (1.0 - np.cos(opening * r))

    return sheet(place, 2.0 * radius * opening, 2.0 * radius * opening)


def door() -> Surface:
    """Return a panel of 0.9 x 0.6 m bent about its length, with a crease of 4 mm and a 25 mm recess for a handle."""

    def place(u: Array, v: Array) -> Sequence[Array]:
        x, y = 0.9 * (u - 0.5), 0.6 * (v - 0.5)
        crown = 0.06 - 0.35 * y * y - 0.06 * x * x
        crease = 0.004 * np.tanh((y + 0.12 + 0.05 * x) / 0.01)
        beside = np.hypot(np.maximum(np.abs(x - 0.2) - 0.07, 0.0), np.maximum(np.abs(y - 0.1) - 0.01, 0.0))
        w = np.clip((0.055 - beside) / 0.04, 0.0, 1.0)
        return x, y, crown + crease - 0.025 * w * w * (3.0 - 2.0 * w)

    return sheet(place, 0.9, 0.6)


def channel(width_m: float = 0.2, height_m: float = 0.12, length_m: float = 0.6, fillet_m: float = 0.015) -> Surface:
    """Return the inside of a U channel along x with upright walls."""
    wall, floor, arc = height_m - fillet_m, width_m - 2.0 * fillet_m, 0.5 * np.pi * fillet_m
    whole = 2.0 * (wall + arc) + floor

    def place(u: Array, v: Array) -> Sequence[Array]:
        # from the floor's middle outwards: floor, fillet, wall
        s = np.abs(v - 0.5) * whole
        angle = np.clip((s - 0.5 * floor) / fillet_m, 0.0, 0.5 * np.pi)
        y = np.minimum(s, 0.5 * floor) + fillet_m * np.sin(angle)
        z = fillet_m * (1.0 - np.cos(angle)) + np.maximum(s - 0.5 * floor - arc, 0.0)
        return length_m * (u - 0.5), np.sign(v - 0.5) * y, z

    return sheet(place, length_m, whole)


def box(size_m: float = 0.4) -> Surface:
    """Return the inside of a cube, open at the top."""
    h = 0.5 * size_m
    low = plate(size_m)

    def wall(turns: int) -> Surface:
        c, s = (1.0, 0.0, -1.0, 0.0)[turns], (0.0, 1.0, 0.0, -1.0)[turns]

        def place(u: Array, v: Array) -> Sequence[Array]:
            across = size_m * (u - 0.5)
            return c * across - s * h, s * across + c * h, size_m * v

        return sheet(place, size_m, size_m)

    return joined(low, *(wall(k) for k in range(4)))


def half_pipe(radius_m: float = 0.15, length_m: float = 0.6) -> Surface:
    """Return the inside of a half pipe along x, open at the top."""

    def place(u: Array, v: Array) -> Sequence[Array]:
        angle = np.pi * (v - 0.5)
        return length_m * (u - 0.5), radius_m * np.sin(angle), radius_m * (1.0 - np.cos(angle))

    return sheet(place, length_m, np.pi * radius_m)


def wavy(size_m: float = 0.97, triangles: int = 100_000) -> Surface:
    """Return a wavy shell of about 1 m2 with so many triangles: for plan time."""

    def place(u: Array, v: Array) -> Sequence[Array]:
        x, y = size_m * (u - 0.5), size_m * (v - 0.5)
        return x, y, 0.03 * np.sin(2.0 * np.pi * x / 0.5) * np.cos(2.0 * np.pi * y / 0.6) + 0.15 * x * y

    return sheet(place, size_m, size_m, size_m / np.sqrt(0.5 * triangles))


SHELLS: dict[str, tuple[Callable[[], Surface], bool]] = {
    "plate": (plate, False),
    "freeform": (freeform_shell, False),
    "door": (door, False),
    "wavy": (wavy, False),
    "bowl": (bowl, True),
    "channel": (channel, True),
    "box": (box, True),
    "halfpipe": (half_pipe, True),
}
"""Maker and whether it is deep, by name."""


def parts(asked: str | None) -> Iterator[SprayPart]:
    """Yield the parts asked for, or all: names of SHELLS or FILE[:unit][:hung][:outside][:deep], blanks between."""
    names = asked.split() if asked is not None else [*SHELLS, *(str(DATA / p) for p in DATA_PARTS if DATA.is_dir())]
    for text in names:
        if text in SHELLS:
            make, deep = SHELLS[text]
            yield SprayPart(name=text, surface=make(), deep=deep)
            continue
        file, *options = text.split(":")
        yield SprayPart(
            name=Path(file).stem,
            surface=_loaded(Path(file), options),
            **{k: k in options for k in ("hung", "outside", "deep")},
        )


def _loaded(file: Path, options: list[str]) -> Surface | CellError:
    unknown = set(options) - OPTIONS
    if unknown:
        return CellError(f"{file}: unknown option {', '.join(sorted(unknown))}; known: {', '.join(sorted(OPTIONS))}")
    unit_name = next((u for u in UNIT_M if u in options), "m")
    try:
        return load_surface(file, unit_name)[0]  # pyright: ignore[reportArgumentType]
    except CellError as error:
        return error
