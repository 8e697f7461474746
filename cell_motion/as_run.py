"""Runs as strokes of the tool path that is really run: process values after the speed, waits where they belong."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cell_core.toolpath import ToolPath
from cell_core.transforms import inverse
from cell_motion.compensation import compensated
from cell_motion.desk import Desk
from cell_motion.order import batches
from cell_motion.run import Run

KINK_SHARE = 0.97
"""Rounded kinks of the speed law, down to this share of the speed, are no slowdown."""


def as_run(desk: Desk, runs: Sequence[Run]) -> tuple[list[Run], float]:
    """Return the runs with flow or force after the speed, waits where they belong, and the largest excess left over."""
    done, excess = [], 0.0
    for run in _with_waits(desk, runs):
        asked = run.course.path.stroke
        wanted, speed = asked.speed_m_per_s * run.stretch, run.stroke.speed_m_per_s
        asked = replace(asked, speed_m_per_s=np.where(speed > KINK_SHARE * wanted, speed, wanted))
        stroke, left = compensated(run.stroke, asked, desk.tool.config)
        done.append(replace(run, stroke=stroke))
        excess = max(excess, left)
    return done, excess


def path_of(desk: Desk, runs: Sequence[Run]) -> ToolPath:
    """Return the tool path that runs make, in the frame of the part."""
    T_part_base = inverse(desk.T_base_part)
    return replace(desk.toolpath, strokes=[run.stroke.transformed(T_part_base) for run in runs])


def _with_waits(desk: Desk, runs: Sequence[Run]) -> list[Run]:
    """Let the first run of each batch wait as long as the batch has to, and no other."""
    batch = batches(desk.toolpath.strokes)
    waits: dict[int, float] = {}
    for k, stroke in zip(batch, desk.toolpath.strokes, strict=True):
        waits.setdefault(k, stroke.wait_before_s)
    # what is taken out is over; a second leg of a stroke does not wait again
    return [
        replace(run, stroke=replace(run.stroke, wait_before_s=waits.pop(batch[run.leg.ladder.stroke], 0.0)))
        for run in runs
    ]
