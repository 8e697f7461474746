"""Parts and tool paths for the tests of motion: a dome-shaped shell and rasters over it."""

import numpy as np

from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Process, Stroke, ToolPath
from cell_core.transforms import Array, unit


def dome(x_m: float = 0.4, y_m: float = 0.6, height_m: float = 0.15, n: int = 60) -> Surface:
    """Return a paraboloid shell, open below, centred on z, its rim at about z = 0.02."""
    x, y = np.meshgrid(np.linspace(-0.5 * x_m, 0.5 * x_m, n), np.linspace(-0.5 * y_m, 0.5 * y_m, n), indexing="ij")
    z = dome_height(x, y, x_m, y_m, height_m)
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Surface(vertices_m=np.stack([x, y, z], -1).reshape(-1, 3), triangles=triangles)


def dome_height(x: Array, y: Array, x_m: float = 0.4, y_m: float = 0.6, height_m: float = 0.15) -> Array:
    """Return the dome's z [m]."""
    return 0.02 + height_m * (1.0 - 2.0 * (x / x_m) ** 2 - 2.0 * (y / y_m) ** 2)


def dome_normal(x: Array, y: Array, x_m: float = 0.4, y_m: float = 0.6, height_m: float = 0.15) -> Array:
    """Return the dome's outward unit normals (..., 3)."""
    return unit(np.stack([4.0 * height_m * x / x_m**2, 4.0 * height_m * y / y_m**2, np.ones_like(x)], axis=-1))


def stroke_over(
    points_m: Array,
    normals: Array,
    *,
    speed_m_per_s: float | Array,
    value: float,
    standoff_m: float = 0.0,
    freedom: Freedom | None = None,
    off_ends: int = 0,
) -> Stroke:
    """Return a stroke along surface points (N, 3), its tool axis against the normals (N, 3)."""
    position = points_m + standoff_m * normals
    travel = np.gradient(position, axis=0)
    travel = unit(travel - np.sum(travel * normals, axis=1, keepdims=True) * normals)
    on = np.ones(len(position), bool)
    on[:off_ends] = on[len(on) - off_ends :] = False
    return Stroke(
        kind="area",
        position_m=position,
        tool_axis=-normals,
        travel=travel,
        speed_m_per_s=np.broadcast_to(speed_m_per_s, len(position)),
        process_value=np.full(len(position), value),
        on=on,
        freedom=freedom or Freedom(),
    )


def dome_strokes(
    process: Process, n_strokes: int, *, step_m: float = 0.01, x_m: float = 0.34, y_m: float = 0.52
) -> list[Stroke]:
    """Return alternating strokes along y over the dome, as a planner would lay them."""
    strokes = []
    y = np.linspace(-0.5 * y_m, 0.5 * y_m, int(y_m / step_m) + 1)
    for k, x0 in enumerate(np.linspace(-0.5 * x_m, 0.5 * x_m, n_strokes)):
        x = np.full_like(y, x0)
        points = np.stack([x, y, dome_height(x, y)], axis=1)
        if process == "spray":
            stroke = stroke_over(
                points,
                dome_normal(x, y),
                speed_m_per_s=0.3,
                value=5e-6,
                standoff_m=0.2,
                off_ends=3,
                freedom=Freedom(spin="fixed", tilt_rad=0.35),
            )
        else:
            stroke = stroke_over(
                points, dome_normal(x, y), speed_m_per_s=0.08, value=50.0, freedom=Freedom(tilt_rad=0.0)
            )
        strokes.append(stroke.reversed() if k % 2 else stroke)
    return strokes


def toolpath(process: Process, strokes: list[Stroke]) -> ToolPath:
    """Return a tool path around strokes."""
    return ToolPath(
        process=process, strokes=strokes, tool={"name": "test", "kind": "test"}, surface={"path": "", "sha256": ""}
    )
