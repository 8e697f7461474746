"""Strategy bead: detect, sample finely around what was found, grind down pass by pass."""

import numpy as np
from scipy.spatial import KDTree

from cell_core.config import PadTool
from cell_core.errors import CoverageError
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import tool_frames
from grinding_planner.bead import HEIGHT_MIN_M, Bead, find_beads, parent_of
from grinding_planner.bead_passes import grind_down, middle_lines
from grinding_planner.results import Removal, Served
from grinding_planner.samples import SurfaceSamples, sample_surface
from grinding_planner.seating import seat
from grinding_planner.strokes import Line, cut
from grinding_planner.task import GrindTask

LOOK_SPACING_M = 0.003
LOOK_SAMPLES_MAX = 80_000
WORK_SPACING_M = 0.002
MARGIN_RADII = 1.3
JUDGED_HEIGHT_M = HEIGHT_MIN_M


def plan_bead(task: GrindTask, tool: PadTool) -> tuple[Served, Removal]:
    """Return the strokes that take every bead off a surface, and what they leave.

    Raises:
        CoverageError: nothing stands above its surroundings, or no pose over it is firm with a free body.
    """
    surface, recipe, progress = task.surface, task.recipe, task.progress
    parent = parent_of(surface)
    look = sample_surface(surface, max(LOOK_SPACING_M, float(np.sqrt(surface.area_m2 / LOOK_SAMPLES_MAX))))
    height, _, scatter = parent.at(look.points_m, look.normals)
    beads = find_beads(look, height, scatter)
    progress(0.4, f"{len(beads)} bead(s) found")
    samples = _refined(surface, look, beads, tool.radius_m)
    height, _, scatter = parent.at(samples.points_m, samples.normals)
    caster = RayCaster(surface)
    removed, visits, target = np.zeros(len(samples)), np.zeros(len(samples)), np.zeros(len(samples))
    serviceable = np.zeros(len(samples), bool)
    strokes = []
    refused = []
    for k, bead in enumerate(beads):
        near = KDTree(look.points_m[bead.members]).query(samples.points_m)[0] < 2.0 * look.spacing_m
        wanted = np.where(near & (height > 0.0), np.minimum(height, recipe.target_depth_m), 0.0)
        lines, refusals = _firm(samples, caster, middle_lines(bead, parent, tool.radius_m), tool, recipe.force_n)
        refused.append(refusals)
        target = np.maximum(target, wanted)
        if not lines:
            continue
        centres = KDTree(np.concatenate([line.position_m for line in lines]))
        reached = near & (centres.query(samples.points_m)[0] < 0.9 * tool.radius_m)
        serviceable |= reached
        result = grind_down(
            samples,
            height - removed,
            np.where(reached, wanted - removed, 0.0).clip(min=0.0),
            lines,
            tool,
            recipe.force_n,
        )
        removed, visits = removed + result.removed_m, visits + result.visits
        strokes += result.strokes
        progress(0.4 + 0.5 * (k + 1) / len(beads), f"bead {k + 1}: {len(result.strokes)} passes")
    served = Served(
        surface=surface,
        samples=samples,
        serviceable=serviceable,
        to_vertices=samples.weights_at(surface.vertices_m, surface.vertex_normals),
        refusals={name: float(np.mean([r[name] for r in refused])) for name in refused[0]},
    )
    if not strokes:
        told = ", ".join(f"{name} {share:.0%}" for name, share in served.refusals.items() if share > 0.0)
        raise CoverageError(
            f"bead: {len(beads)} found, none that tool {tool.name} can take off at {recipe.force_n:g} N"
            + (f": of the poses over them {told}" if told else "")
            + "; where it stands firmly it takes too much off the parent: a stiffer or smaller tool is needed",
            refusals=served.refusals,
        )
    return served, Removal(
        strokes=tuple(strokes),
        removed_m=removed,
        visits=visits,
        target_m=target,
        judged=serviceable & (target > JUDGED_HEIGHT_M),
    )


def _refined(surface: Surface, look: SurfaceSamples, beads: list[Bead], radius_m: float) -> SurfaceSamples:
    # fine samples under every place the tool may stand on, the others as they are
    middle = KDTree(np.concatenate([look.points_m[bead.members] for bead in beads]))
    reach = MARGIN_RADII * radius_m
    corners = middle.query(surface.vertices_m)[0][surface.triangles].min(axis=1)
    inside = surface.select_triangles((corners < reach) | (middle.query(surface.centroids_m)[0] < reach))
    fine = sample_surface(inside, min(WORK_SPACING_M, look.spacing_m))
    distance, _ = RayCaster(inside).closest(look.points_m)
    outside = np.linalg.norm(distance - look.points_m, axis=1) > 0.5 * look.spacing_m
    return SurfaceSamples(
        points_m=np.vstack([fine.points_m, look.points_m[outside]]),
        normals=np.vstack([fine.normals, look.normals[outside]]),
        areas_m2=np.r_[fine.areas_m2, look.areas_m2[outside]],
        spacing_m=fine.spacing_m,
    )


def _firm(
    samples: SurfaceSamples, caster: RayCaster, lines: list[Line], tool: PadTool, force_n: float
) -> tuple[list[Line], dict[str, float]]:
    kept: list[Line] = []
    refusals = []
    for line in lines:
        seating = seat(samples, caster, tool_frames(line.position_m, line.tool_axis, line.travel), tool, force_n)
        refusals.append(seating.refusals)
        kept += cut(line, seating.valid, 4)
    return kept, {name: float(np.mean([r[name] for r in refusals])) for name in refusals[0]} if refusals else {}
