"""Strategy bead: detect, model the ground around what was found, grind it down pass by pass."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.config import PadTool
from cell_core.errors import CoverageError
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, tool_frames
from grinding_planner.bead import Bead, find_beads, known_beads, rim_distance
from grinding_planner.bead_ground import BeadGround, ground_of
from grinding_planner.bead_lines import lines_over
from grinding_planner.bead_parent import parent_of
from grinding_planner.bead_passes import BeadRemoval, grind_down
from grinding_planner.bead_state import AIM_M, Care
from grinding_planner.results import Removal, Served
from grinding_planner.samples import SurfaceSamples, sample_surface
from grinding_planner.seating import seat
from grinding_planner.strokes import Line, cut
from grinding_planner.task import GrindTask
from grinding_planner.wanted import guarded

LOOK_SPACING_M = 0.002
LOOK_SAMPLES_MAX = 80_000
SAMPLES_PER_RADIUS, WORK_SPACING_M = (12.0, 24.0), (0.00025, 0.0015)
"""Samples of the ground stand such a part of the disc's radius apart within these bounds: where a bead is found, and
where it is known. What is left of a known one is no higher than what the end of a leant disc's contact loses more on
one side of a coarse sample than in its mean."""
MARGIN_RADII = 1.3
KNOWN_LEFT_MIN_M = 20e-6
"""Less than this above the parent, where a bead is known to have stood, is not worth another pass."""
KNOWN_AREA_MIN_M2 = 3e-6
SURE_SIGMAS = 2.5
DOUBT_SHARE = 0.7
FORCE_ERROR_N = 1.5
UNDERCUT_MAX_M, UNDERCUT_SHARES = 15e-6, (0.6, 0.4, 1.0 / 3.0)
"""What a recipe allows unless it says so itself, and the share of it that the plan may use up: in the last cycle, the
last but one, earlier."""
CAUTIONS = (0.2, 1.0, 1.0)
"""So much of what is in doubt is left standing: in the last cycle, the last but one, earlier."""
ONLY_CAUTION = 0.3
"""In a first cycle that is the last: nobody has looked yet at what is under the bead."""


def plan_bead(task: GrindTask, tool: PadTool) -> tuple[Served, Removal]:
    """Return the strokes that take every bead off a surface, and what they leave.

    With `task.wanted_m` beads are not looked for: they are where it is above 0 (an earlier plan's target), however low
    they are by now.

    Raises:
        CoverageError: nothing stands above its surroundings, or no pose over it is firm with a free body.
    """
    surface, recipe, progress = task.surface, task.recipe, task.progress
    look = sample_surface(surface, max(LOOK_SPACING_M, float(np.sqrt(surface.area_m2 / LOOK_SAMPLES_MAX))))
    beads, refused_told = _beads(task, look)
    progress(0.2, f"{len(beads)} bead(s) found" + (f"; refused: {refused_told}" if refused_told else ""))
    spacing = float(np.clip(tool.radius_m / SAMPLES_PER_RADIUS[int(task.wanted_m is not None)], *WORK_SPACING_M))
    reach = MARGIN_RADII * tool.radius_m
    standing = np.concatenate([bead.points_m for bead in beads])
    caster = RayCaster(surface)
    caution, undercut_share = _care(task)
    care = Care(
        force_error_n=caution * FORCE_ERROR_N,
        undercut_max_m=undercut_share * (recipe.acceptance.undercut_max_m or UNDERCUT_MAX_M),
    )
    done: list[tuple[BeadGround, BeadRemoval, Array]] = []
    refused: list[dict[str, float]] = []
    too_hollow: CoverageError | None = None
    for k, bead in enumerate(beads):
        ground = ground_of(surface, bead, standing, reach, spacing, task.wanted_m)
        wanted = ground.bead & (ground.height_m > max(AIM_M, 0.0))
        if task.wanted_m is not None and not _worth_it(ground):
            continue
        try:
            lines = lines_over(ground, bead, tool)
        except CoverageError as error:
            too_hollow = error
            continue
        forbidden = guarded(task, ground.surface, ground.height_m).forbidden
        lines, refusals = _firm(ground.surface, forbidden, caster, lines, tool, recipe.force_n)
        refused.append(refusals)
        if not lines:
            continue
        height = np.minimum(ground.height_m, recipe.target_depth_m)
        removal = grind_down(
            ground.surface,
            height,
            caution * DOUBT_SHARE * ground.doubt_m,
            wanted,
            lines,
            tool,
            recipe.force_n,
            care,
        )
        centres = KDTree(np.concatenate([line.position_m for line in lines]))
        reached = wanted & (centres.query(ground.feet.points_m)[0] < tool.radius_m + bead.spacing_m)
        done.append((ground, removal, reached))
        progress(0.2 + 0.7 * (k + 1) / len(beads), f"bead {k + 1}: {len(removal.strokes)} passes")
    strokes: list[Stroke] = [stroke for _, removal, _ in done for stroke in removal.strokes]
    reasons = {name: float(np.mean([r[name] for r in refused])) for name in refused[0]} if refused else {}
    if not strokes:
        if task.wanted_m is not None and not refused and too_hollow is None:
            raise CoverageError(
                f"bead: nothing stands {KNOWN_LEFT_MIN_M * 1e6:g} um above its surroundings "
                f"where {len(beads)} bead(s) stood"
            )
        if too_hollow is not None and not refused:
            raise too_hollow
        told = ", ".join(f"{name} {share:.0%}" for name, share in reasons.items() if share > 0.0)
        raise CoverageError(
            f"bead: {len(beads)} found, none that tool {tool.name} can take off at {recipe.force_n:g} N"
            + (f": of the poses over them {told}" if told else "")
            + "; where it stands firmly it takes too much off the parent: a stiffer or smaller tool is needed",
            refusals=reasons,
        )
    return _together(surface, look, done, reasons)


def _care(task: GrindTask) -> tuple[float, float]:
    """Return which shares of what is in doubt stay standing and of the undercut allowed may be used up."""
    left = min(task.recipe.cycles_max, len(CAUTIONS)) - 1
    if task.wanted_m is not None:
        return CAUTIONS[left], UNDERCUT_SHARES[left]
    return CAUTIONS[-1] if left > 0 else ONLY_CAUTION, UNDERCUT_SHARES[-1]


def _beads(task: GrindTask, look: SurfaceSamples) -> tuple[list[Bead], str]:
    surface = task.surface
    if task.wanted_m is not None:
        return known_beads(look, task.wanted_m[surface.tree.query(look.points_m)[1]]), ""
    height, _, scatter = parent_of(surface).at(look.points_m, look.normals)
    found = find_beads(look, height, scatter, rim_distance(surface, look.points_m))
    return list(found.beads), found.told


def _worth_it(ground: BeadGround) -> bool:
    high = ground.bead & (ground.height_m > max(KNOWN_LEFT_MIN_M, AIM_M + SURE_SIGMAS * ground.sigma_m))
    return bool(ground.feet.areas_m2[high].sum() > KNOWN_AREA_MIN_M2)


def _together(
    surface: Surface, look: SurfaceSamples, done: list[tuple[BeadGround, BeadRemoval, Array]], reasons: dict[str, float]
) -> tuple[Served, Removal]:
    """Return what was planned bead by bead on one set of samples: the rest of the part as it was looked at."""
    parts, values = [], []
    taken = np.zeros(len(look), bool)
    for ground, removal, reached in done:
        feet = ground.feet
        # ground near two beads belongs to the first
        own = np.ones(len(feet), bool)
        for other, *_ in done[: len(parts)]:
            own &= KDTree(other.feet.points_m).query(feet.points_m)[0] > feet.spacing_m
        target = np.where(reached, np.maximum(ground.height_m, 0.0), 0.0)
        parts.append(ground.surface.subset(own))
        values.append(np.c_[removal.removed_m, removal.visits, target, reached][own])
        taken |= KDTree(ground.surface.points_m).query(look.points_m)[0] < look.spacing_m
    parts.append(look.subset(~taken))
    values.append(np.zeros((int((~taken).sum()), 4)))
    samples = SurfaceSamples(
        points_m=np.concatenate([p.points_m for p in parts]),
        normals=np.concatenate([p.normals for p in parts]),
        areas_m2=np.concatenate([p.areas_m2 for p in parts]),
        spacing_m=parts[0].spacing_m,
    )
    removed, visits, target, reached = np.concatenate(values).T
    served = Served(
        surface=surface,
        samples=samples,
        serviceable=reached > 0.0,
        to_vertices=samples.weights_at(surface.vertices_m, surface.vertex_normals),
        refusals=reasons,
    )
    return served, Removal(
        strokes=tuple(stroke for _, removal, _ in done for stroke in removal.strokes),
        removed_m=removed,
        visits=visits,
        target_m=target,
        judged=(reached > 0.0) & (target > 2.0 * AIM_M),
    )


def _firm(
    samples: SurfaceSamples,
    forbidden: NDArray[np.bool_],
    caster: RayCaster,
    lines: list[Line],
    tool: PadTool,
    force_n: float,
) -> tuple[list[Line], dict[str, float]]:
    kept: list[Line] = []
    refusals = []
    for line in lines:
        seating = seat(samples, caster, tool_frames(line.position_m, line.tool_axis, line.travel), tool, force_n)
        # what lies under the disc is pressed once the bead is gone
        over = np.bincount(seating.pairs.pose, forbidden[seating.pairs.point], len(line)) > 0
        refusals.append({**seating.refusals, "kept_out": float(np.mean(over))})
        kept += cut(line, seating.valid & ~over, 4)
    return kept, {name: float(np.mean([r[name] for r in refusals])) for name in refusals[0]} if refusals else {}
