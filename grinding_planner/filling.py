"""Add short strokes where the lines laid leave too little: round the seats whose pressing would help most."""

import numpy as np

from cell_core.config import GrindToolConfig
from cell_core.transforms import Array
from grinding_planner.contact import removal_rates
from grinding_planner.face import reach_m
from grinding_planner.ground import Ground
from grinding_planner.strokes import Line, Sheet, line_through

LINES_PER_ROUND = 24
HALF_LENGTH_RADII = 0.6
HELP_MIN = 0.12
"""A seat helps by what it takes where too little goes, less what it takes where enough goes, over all it takes."""


def helping_lines(
    ground: Ground, tool: GrindToolConfig, removed_m: Array, goal_m: Array, weights: Array, step_m: float
) -> list[Line]:
    """Return short lines through the valid seats that best reduce the squared error.

    At most LINES_PER_ROUND, apart from each other; each runs along the neighbouring seats that help as well.
    """
    seats = ground.seats
    valid = np.flatnonzero(seats.valid)
    rates = removal_rates(seats.pairs, seats.contact, tool).tocsc()[:, valid]
    scale = max(float(goal_m.max()), 1e-12)
    short = np.clip((goal_m - removed_m) / scale, -1.0, 1.0)
    pull = rates.T @ (weights * short)
    help_ = pull / np.maximum(rates.T @ weights, 1e-30)
    points, axes = seats.frames[valid, :3, 3], seats.frames[valid, :3, 2]
    open_ = help_ > HELP_MIN
    lines: list[Line] = []
    while open_.any() and len(lines) < LINES_PER_ROUND:
        best = int(np.argmax(np.where(open_, pull, -np.inf)))
        distance = np.linalg.norm(points - points[best], axis=1)
        open_ &= distance > 0.4 * reach_m(tool)
        near = np.flatnonzero((distance < 1.5 * reach_m(tool)) & (axes @ axes[best] > 0.7))
        if len(near) < 3:
            continue
        sheet = Sheet(points[near], axes[near], ground.seat_spacing_m)
        flat = (points[near] - points[best]) @ sheet.basis[:2].T
        weight = np.maximum(help_[near], 0.0) * (np.linalg.norm(flat, axis=1) < reach_m(tool))
        along = np.linalg.eigh((flat * weight[:, None]).T @ flat + 1e-15 * np.eye(2))[1][:, 1]
        centre = (points[best] - sheet.origin_m) @ sheet.basis[:2].T
        n = int(np.ceil(HALF_LENGTH_RADII * reach_m(tool) / step_m))
        uv = centre + np.arange(-n, n + 1)[:, None] * step_m * along
        uv = uv[sheet.near(uv)]
        if len(uv) >= 3 and np.allclose(np.diff(uv, axis=0), step_m * along):
            line = line_through(*sheet.lift(uv))
            if line is not None:
                lines.append(line)
    return lines
