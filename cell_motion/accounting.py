"""Which samples of a planned tool path no run serves, and why."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cell_core.toolpath import ToolPath
from cell_core.trajectory import Unreached
from cell_motion.figures import on_lengths_m
from cell_motion.run import Run
from cell_motion.strokes import Ladder, Leg


def unreached_of(leg: Leg, reason: str) -> list[Unreached]:
    """Return all samples of a leg as unreached."""
    first, last = leg.samples
    return [
        Unreached(stroke=leg.ladder.stroke, sample=i, reason=reason)  # pyright: ignore[reportArgumentType]
        for i in range(first, last + 1)
    ]


def with_gaps(
    toolpath: ToolPath, runs: Sequence[Run], unreached: list[Unreached], ladders: dict[int, Ladder]
) -> tuple[Unreached, ...]:
    """Return every planned sample that no step serves, once, with the best known reason."""
    served = {(run.leg.ladder.stroke, i) for run in runs for i in range(run.leg.samples[0], run.leg.samples[1] + 1)}
    known = {(u.stroke, u.sample): u.reason for u in unreached}
    out = []
    for k, stroke in enumerate(toolpath.strokes):
        for i in range(len(stroke)):
            if (k, i) in served:
                continue
            reason = known.get((k, i)) or _ladder_reason(ladders.get(k), i)
            out.append(Unreached(stroke=k, sample=i, reason=reason))  # pyright: ignore[reportArgumentType]
    return tuple(out)


def _ladder_reason(ladder: Ladder | None, sample: int) -> str:
    """Return why the rung nearest to a sample has no node; a rung with nodes was left out to avoid a flip."""
    if ladder is None:
        return "time"
    near = np.argsort(np.abs(ladder.sample - sample), kind="stable")[:2]
    return next((ladder.reasons[k] for k in near if ladder.reasons[k]), "flip")


def unreached_block(toolpath: ToolPath, unreached: tuple[Unreached, ...]) -> dict[str, Any]:
    """Return the tool path's unreached block, with the share of process-on length that motion could not reach."""
    block = dict(toolpath.unreached)
    total = sum(float(on_lengths_m(s).sum()) for s in toolpath.strokes)
    reasons: dict[str, float] = {}
    lengths = [on_lengths_m(s) for s in toolpath.strokes]
    for u in unreached:
        reasons[u.reason] = reasons.get(u.reason, 0.0) + float(lengths[u.stroke][u.sample]) / max(total, 1e-12)
    block["motion_length_fraction"] = sum(reasons.values())
    block["motion_reasons"] = reasons
    return block
