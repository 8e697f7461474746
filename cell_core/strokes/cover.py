"""Pass over all of a part that a round tool can reach, as evenly as strokes can: patches, layouts, gaps, overlaps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import CoverageError, InputRefusedError
from cell_core.plan import Progress, no_progress
from cell_core.sampling import SurfaceSamples
from cell_core.strokes.access import RoundTool
from cell_core.strokes.cover_gaps import length_of, lines_for_gaps, settled, trimmed
from cell_core.strokes.ground import Ground, find_ground, passes_over
from cell_core.strokes.mesh_choice import LayoutFigures, Score, candidates, choose_layout
from cell_core.strokes.mesh_layout import MeshLayoutRequest, Seed, prepare, strokes_on_mesh
from cell_core.strokes.mesh_lines import MeshLine
from cell_core.strokes.mesh_patches import MeshPatch, split_mesh
from cell_core.strokes.working_patch import WorkingPatch
from cell_core.surface import Surface
from cell_core.toolpath import Stroke

SPACING_RADII = 1.9
"""Strokes this far apart leave no gap on what is flat, and little overlap."""
TINY_FACES = 0.5
"""Patches of less than this many faces of the tool get single lines at once."""
SMALL_FACES = 8.0
"""On patches of fewer faces of the tool than this, layouts are carried through to the end before one is chosen."""
FINALISTS = 2
UNCOVERED_PRICE = 12.0
STROKE_PRICE = 0.005


@dataclass(frozen=True, kw_only=True, eq=False)
class Cover:
    """Lines over a part and what they pass over."""

    ground: Ground
    lines: tuple[MeshLine, ...]
    patch_of_line: NDArray[np.int64]
    """(L,) patch each line belongs to; -1: closes a gap."""
    patches: tuple[MeshPatch, ...]
    spacing_m: float
    """Asked for between neighbouring lines of a patch [m]."""
    passes: NDArray[np.int64]
    """(P,) lines that touch each of the ground's samples."""
    table: tuple[dict[str, Any], ...]
    """Every layout tried, a row each."""

    @property
    def strokes(self) -> list[Stroke]:
        """The lines as strokes of the contact point, at the speed and process value of a layout nobody optimised."""
        return strokes_on_mesh(self.lines, _request(self.ground, self.spacing_m, seed=Seed(kind="all_borders")))

    @property
    def length_m(self) -> float:
        """Length of all lines [m]."""
        return sum(length_of(line) for line in self.lines)

    @property
    def unreached(self) -> dict[str, Any]:
        """Shares of the part's area that no line touches, by reason."""
        closed = max(1.0 - self.ground.serviceable_area_m2 / self.ground.area_m2, 0.0)
        missed = (1.0 - closed) * (1.0 - self.covered_area_fraction)
        reasons = {"no room for the tool": closed, "left between strokes": missed}
        return {"area_fraction": closed + missed, "reasons": {k: v for k, v in reasons.items() if v > 0.0}}

    @property
    def figures(self) -> dict[str, Any]:
        """Figures for reports."""
        return {
            "surface_area_m2": self.ground.area_m2,
            "serviceable_area_m2": self.ground.serviceable_area_m2,
            "coverage_area_fraction": self.covered_area_fraction,
            "mean_visits": self.mean_visits,
            "n_patches": len(self.patches),
            "n_strokes": len(self.lines),
            "length_m": self.length_m,
            "spacing_m": self.spacing_m,
        }

    @property
    def covered_area_fraction(self) -> float:
        """Share of the serviceable area touched by some line."""
        areas = self.ground.samples.areas_m2
        return float(areas[self.passes > 0].sum() / areas.sum())

    @property
    def mean_visits(self) -> float:
        """Lines that touch a serviceable point, on average over the area."""
        return float(np.average(self.passes, weights=self.ground.samples.areas_m2))


def cover_part(
    part: Surface, tool: RoundTool, *, spacing_m: float | None = None, progress: Progress = no_progress
) -> Cover:
    """Return lines that pass over all a round tool can reach, few of it twice.

    Each patch gets the best of several layouts; what they miss gets lines of its own; then ends and whole lines that
    only repeat what others do are taken away.

    Args:
        spacing_m: between neighbouring lines along the surface; None: 1.9 radii.

    Raises:
        CoverageError: the tool can stand nowhere, or no line fits.
    """
    spacing_m = spacing_m or SPACING_RADII * tool.radius_m
    progress(0.0, "where the tool can stand")
    ground = find_ground(part, tool)
    patches = split_mesh(
        ground.mesh, ground.seat, scale_m=0.5 * tool.radius_m, area_min_m2=0.3 * tool.radius_m**2
    )
    lines: list[MeshLine] = []
    owner: list[int] = []
    table: list[dict[str, Any]] = []
    for k, patch in enumerate(patches):
        progress(0.1 + 0.7 * k / len(patches), f"layouts for patch {k + 1} of {len(patches)}")
        best, rows = _best_layout(ground, patch, spacing_m)
        table += [{"patch": k, **row} for row in rows]
        lines += best
        owner += [k] * len(best)
    progress(0.8, "closing gaps")
    extra = lines_for_gaps(ground, ground.samples, lines, np.flatnonzero(ground.seat))
    lines, owner = [settled(ground, line) for line in [*lines, *extra]], [*owner, *[-1] * len(extra)]
    progress(0.95, "taking away what only repeats")
    lines, kept = trimmed(ground.samples, lines, tool)
    if not lines:
        raise CoverageError(f"no line fits the {ground.serviceable_area_m2:.5f} m2 that the tool can reach")
    return Cover(
        ground=ground, lines=tuple(lines), patch_of_line=np.array(owner)[kept], patches=tuple(patches),
        spacing_m=spacing_m, passes=passes_over(ground.samples, lines, tool), table=tuple(table),
    )


def _request(ground: Ground, spacing_m: float, **changes: Any) -> MeshLayoutRequest:
    r = ground.tool.radius_m
    base = {
        "spacing_m": spacing_m, "reach_m": 0.97 * r, "step_m": 0.25 * r, "normal_radius_m": 0.6 * r,
        "smooth_shift_m": 0.01 * r, "gap_m": 0.0, "ring_min_m": 0.3 * r,
    }
    return MeshLayoutRequest(**{**base, **changes})


def _best_layout(
    ground: Ground, patch: MeshPatch, spacing_m: float
) -> tuple[list[MeshLine], list[dict[str, Any]]]:
    """Return the layout that covers most with least repetition and fewest lines, and a row for each one tried."""
    core = patch.triangles[patch.core]
    samples = ground.samples_near(core)
    if len(samples) == 0:
        return [], []
    rows: list[dict[str, Any]] = []
    found: list[tuple[float, Sequence[MeshLine]]] = []

    def tried(name: str, inset_m: float | None, lines: Sequence[MeshLine], spacing_within: float) -> float:
        row = _scored(samples, lines, ground.tool, spacing_within)
        rows.append({"seed": name, "inset_m": inset_m, **row})
        found.append((row["score"], lines))
        return row["score"]

    def score(
        work: WorkingPatch, lines: Sequence[MeshLine], request: MeshLayoutRequest, figures: LayoutFigures
    ) -> float:
        return tried(str(request.seed), request.inset_m, lines, figures.spacing_within)

    face_m2 = np.pi * ground.tool.radius_m**2
    if patch.core_area_m2 > TINY_FACES * face_m2:
        _try_layouts(patch, _request(ground, spacing_m, seed=Seed(kind="all_borders"), inset_m=0.5 * spacing_m), score)
    found.sort(key=lambda f: f[0])
    if found and patch.core_area_m2 > SMALL_FACES * face_m2:
        return list(found[0][1]), rows
    # on a small patch what closes gaps decides: finalists and single lines alone are carried to the end
    finals = [lines for _, lines in found[:FINALISTS]] + [[]]
    found.clear()
    for lines in finals:
        whole = [*lines, *lines_for_gaps(ground, samples, lines, core)]
        tried("with gaps closed" if lines else "single lines", None, trimmed(samples, whole, ground.tool)[0], 1.0)
    return list(min(found, key=lambda f: f[0])[1]), rows


def _try_layouts(patch: MeshPatch, base: MeshLayoutRequest, score: Score) -> None:
    """Score every raster layout, and the best one with lines close to the borders too: along walls that is needed."""
    try:
        work = prepare(patch.surface, base)
        requests = [r for r in candidates(work, base) if r.link == "raster"]
        best, _ = choose_layout(patch.surface, requests, score, radius_m=base.reach_m or 0.0, prepared=work)
        closer = replace(best.request, inset_m=0.1 * base.spacing_m)
        choose_layout(patch.surface, [closer], score, radius_m=base.reach_m or 0.0, prepared=work)
    except InputRefusedError:  # too small to mesh or to hold a stroke: single lines will serve it
        return


def _scored(
    samples: SurfaceSamples, lines: Sequence[MeshLine], tool: RoundTool, spacing_within: float
) -> dict[str, Any]:
    passes = passes_over(samples, lines, tool)
    covered = float(samples.areas_m2[passes > 0].sum() / samples.areas_m2.sum())
    visits = float(np.average(passes, weights=samples.areas_m2)) / max(covered, 1e-9)
    return {
        "n_strokes": len(lines),
        "covered": covered,
        "mean_visits": visits,
        "spacing_within": spacing_within,
        "length_m": sum(length_of(line) for line in lines),
        "score": UNCOVERED_PRICE * (1.0 - covered) + visits - spacing_within + STROKE_PRICE * len(lines),
    }
