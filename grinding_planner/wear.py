"""How an abrasive wears along a job, and strokes whose speeds make up for it.

Law: k_p(E) = k_0 w(E), w(E) = floor + (1 - floor) exp(-E / E_0), E the friction work since the abrasive was new,
E = int mu F v_rel dt, with the mean v_rel of the whole face at rest. What a path removes depends on k_p times dwell
alone: a plan made for a constant k_p stays true with the same work int w dE, at speeds lower by w. That integral has
a closed form, so no rounds are needed: E follows from the work the plan would do with an abrasive that does not wear.
PROCESS.md section 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cell_core.config import GrindToolConfig
from cell_core.config.grind_tools import WearLaw
from cell_core.errors import LimitError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from grinding_planner.contact import nominal_speed


@dataclass(frozen=True, kw_only=True, eq=False)
class Wear:
    """Strokes in the order they are run, and the abrasive's state along them."""

    strokes: tuple[Stroke, ...]
    energy_j: Array
    """(N,) friction work of the abrasive in use at each sample of all strokes [J]."""
    factor: Array
    """(N,) Preston coefficient there over that of a new abrasive."""
    disc_changes: tuple[int, ...]
    """Strokes before which a new abrasive is put on."""
    energy_start_j: float
    energy_end_j: float
    """Of the abrasive in use when the last stroke ends [J]."""
    work_j: float
    """Friction work of the job, over all its abrasives [J]."""


def preston_factor(law: WearLaw | None, energy_j: Array | float) -> Array:
    """Return k_p over that of a new abrasive after friction work energy_j; 1 for an abrasive that does not wear."""
    energy = np.asarray(energy_j, float)
    if law is None:
        return np.ones_like(energy)
    return law.floor_fraction + (1.0 - law.floor_fraction) * np.exp(-energy / law.energy_j)


def effective_work(law: WearLaw | None, energy_j: Array | float) -> Array:
    """Return int_0^E w dE [J]: the work of an abrasive that stayed new and removed as much."""
    energy = np.asarray(energy_j, float)
    if law is None:
        return energy
    return law.floor_fraction * energy + (1.0 - law.floor_fraction) * law.energy_j * -np.expm1(-energy / law.energy_j)


def energy_after(law: WearLaw | None, effective_j: Array | float) -> Array:
    """Return E with int_0^E w dE = effective_j: Newton's method from below, monotone as the integral is concave."""
    wanted = np.asarray(effective_j, float)
    energy = wanted
    for _ in range(60):
        step = (wanted - effective_work(law, energy)) / preston_factor(law, energy)
        energy = energy + step
        if np.all(np.abs(step) <= 1e-12 * np.maximum(wanted, 1e-9)):
            break
    return energy


def friction_work(strokes: Sequence[Stroke], tool: GrindToolConfig) -> Array:
    """Return the friction work at each sample of all strokes (N,) [J]."""
    force_time = np.concatenate([stroke.process_value * stroke.dwell_s for stroke in strokes])
    return tool.friction * nominal_speed(tool) * force_time


def preston_along(
    strokes: Sequence[Stroke], tool: GrindToolConfig, disc_energy_j: float = 0.0, disc_changes: Sequence[int] = ()
) -> Wear:
    """Return the abrasive's state along strokes as they are."""
    starts = _starts(strokes)
    work = friction_work(strokes, tool)
    middle, end = np.zeros(len(work)), disc_energy_j
    for first, last in _discs(disc_changes, len(strokes)):
        at = 0.0 if first in disc_changes else disc_energy_j
        own = slice(starts[first], starts[last])
        total = at + np.cumsum(work[own])
        middle[own] = total - 0.5 * work[own]
        end = float(total[-1])
    return Wear(
        strokes=tuple(strokes),
        energy_j=middle,
        factor=preston_factor(tool.wear, middle),
        disc_changes=tuple(disc_changes),
        energy_start_j=disc_energy_j,
        energy_end_j=end,
        work_j=float(work.sum()),
    )


def compensated(
    strokes: Sequence[Stroke], tool: GrindToolConfig, disc_energy_j: float, *, planned_preston_per_pa: float
) -> Wear:
    """Return strokes planned for a constant Preston coefficient at speeds that remove the same as the abrasive wears.

    A stroke at whose end the abrasive would have done more work than it lasts is run with a new one.

    Raises:
        LimitError: a stroke takes more work than an abrasive lasts.
    """
    share = planned_preston_per_pa / tool.preston_per_pa
    law, work, starts = tool.wear, share * friction_work(strokes, tool), _starts(strokes)
    speeds, changes = [], []
    at = float(effective_work(law, disc_energy_j))
    for k, stroke in enumerate(strokes):
        own = work[starts[k] : starts[k + 1]]
        if law is not None and at > 0.0 and energy_after(law, at + own.sum()) > law.energy_max_j:
            changes.append(k)
            at = 0.0
            if energy_after(law, own.sum()) > law.energy_max_j:
                raise LimitError(
                    f"stroke {k}: takes {float(energy_after(law, own.sum())):.4g} J of friction work, "
                    f"an abrasive of tool {tool.name} lasts {law.energy_max_j:g} J",
                    stroke=k,
                )
        factor = preston_factor(law, energy_after(law, at + np.cumsum(own) - 0.5 * own)) / share
        speeds.append(stroke.speed_m_per_s * factor)
        at += float(own.sum())
    slowed = [replace(s, speed_m_per_s=v) for s, v in zip(strokes, speeds, strict=True)] if law else strokes
    return preston_along(slowed, tool, disc_energy_j, changes)


def wear_figures(wear: Wear, tool: GrindToolConfig) -> dict[str, object]:
    """Return what a plan says of its abrasives."""
    figures: dict[str, object] = {
        "friction_work_j": wear.work_j,
        "disc_energy_start_j": wear.energy_start_j,
        "disc_energy_j": wear.energy_end_j,
        "disc_changes": list(wear.disc_changes),
        "preston_end_per_pa": tool.preston_per_pa * float(preston_factor(tool.wear, wear.energy_end_j)),
    }
    if tool.wear is not None:
        figures["disc_life_used_fraction"] = wear.work_j / tool.wear.energy_max_j
        figures["disc_life_left_fraction"] = max(0.0, 1.0 - wear.energy_end_j / tool.wear.energy_max_j)
    return figures


def wear_block(wear: Wear) -> dict[str, object]:
    """Return what a stranger needs, besides the tool's own numbers, to follow the wear along the tool path."""
    return {
        "disc_energy_j": wear.energy_start_j,
        "disc_changes": list(wear.disc_changes),
        "wear_law": "k_p = preston_per_pa * (floor_fraction + (1 - floor_fraction) * exp(-E / energy_j)); E: from "
        "disc_energy_j, 0 at each of the strokes disc_changes, grows by friction * force * mean v_rel of the face * dt",
    }


def _starts(strokes: Sequence[Stroke]) -> Array:
    return np.cumsum([0, *(len(stroke) for stroke in strokes)])


def _discs(changes: Sequence[int], n_strokes: int) -> list[tuple[int, int]]:
    # first and one past the last stroke of every abrasive
    edges = sorted({0, *changes, n_strokes})
    return list(pairwise(edges))
