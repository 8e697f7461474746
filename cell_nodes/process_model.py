"""What the planners' process models say a job left, from what was executed: poses and process values of its log."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.config import GrindToolConfig, GunConfig, PadTool, SprayRecipe
from cell_core.errors import InputRefusedError
from cell_core.executed import executed_strokes, rows_apart_m
from cell_core.jobs import JobFolder
from cell_core.remainder import executed_log, read_stop
from cell_core.resume import strokes_run
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array

FILM_SAMPLES = 30_000
SAMPLES_PER_REACH = 8.0
GRIND_SAMPLES_MAX = 60_000
BEAD_SPACING_M = (0.0007, 0.0015)
BEAD_REACH_RADII = 1.5
BEAD_SAMPLES_MAX = 60_000
TAIL_S = 0.2
"""What came out so long after a stop still belongs to it [s]."""
GAP_REACHES = 0.25
"""A log whose rows lie farther apart than this share of the tool's reach says less than the path that was commanded."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Executed:
    """What was run, and how that is known."""

    path: ToolPath
    source: str
    """"executed log" or "path as commanded", and why."""


def executed_path(job: JobFolder, T_base_part: Array, reach_m: float) -> Executed:
    """Return what the process of a cycle really ran.

    From the log of poses and process values where its rows are close enough; otherwise the tool path as commanded, as
    far as the journal says it was run.

    Args:
        reach_m: radius of the tool's contact or half the height of its fan.
    """
    plan = ToolPath.read(job.step("plan") / "toolpath.json")
    execution = job.step("execution")
    folders = sorted(execution.glob("run_*"), key=lambda p: int(p.name.rpartition("_")[2]))
    strokes: list[Stroke] = []
    gaps_m: list[float] = []
    commanded = 0
    for run in folders:
        stop_s, zero_s, stop = read_stop(run)
        log = _log_until(executed_log(execution, int(run.name.rpartition("_")[2])), stop_s, zero_s)
        gap_m = float("inf") if log is None else rows_apart_m([log])
        if log is not None and gap_m <= GAP_REACHES * reach_m:
            strokes += executed_strokes([log], T_base_part, plan.strokes[0].kind)
        else:
            trajectory = JointTrajectory.read(run / "trajectory.json")
            strokes += strokes_run(ToolPath.read(run / "toolpath.json"), trajectory, stop_s, stop=stop)
            commanded += 1
        gaps_m.append(gap_m)
    if not strokes:
        raise InputRefusedError(f"{execution}: no stroke was run")
    source = "executed log" if len(folders) == 1 else f"executed logs of {len(folders)} runs"
    if commanded:
        wide = max(gaps_m)
        why = "no log that tells it all" if wide == float("inf") else f"rows of the log lie {1e3 * wide:.0f} mm apart"
        which = "" if commanded == len(folders) == 1 else f", {commanded} of {len(folders)} runs"
        source = f"path as commanded ({why}{which})"
    # strokes are counted anew, so a change of the abrasive between them can no longer be told
    tool = {k: v for k, v in plan.tool.items() if k != "disc_changes"}
    path = ToolPath(process=plan.process, strokes=strokes, tool=tool, surface=plan.surface)
    return Executed(path=path, source=source)


def _log_until(
    log: Mapping[str, NDArray] | None, stop_s: float, zero_s: float | None
) -> dict[str, NDArray] | None:
    """Return a log's rows up to where its run counts; None where that cannot be told.

    What a killed simulator forgot stands in its log all the same.
    """
    if log is None or (stop_s != float("inf") and zero_s is None):
        return None
    rows = np.ones(len(log["time_s"]), bool) if zero_s is None else log["time_s"] - zero_s <= stop_s + TAIL_S
    return {name: values[rows] for name, values in log.items()} if rows.any() else None


def film_of(surface: Surface, strokes: tuple[Stroke, ...], recipe: SprayRecipe, gun: GunConfig) -> Array:
    """Return the film (V,) [m] that strokes leave, each at the flow it ran with."""
    from cell_core.operator.coverage import coverage_of_points
    from cell_core.operator.footprint import footprint_for
    from cell_core.raycast import RayCaster
    from cell_core.sampling import sample_surface
    from spray_planner.feasible import gun_for

    gun = gun_for(recipe, gun)
    samples = sample_surface(surface, float(np.sqrt(surface.area_m2 / FILM_SAMPLES)))
    operator = coverage_of_points(
        samples.points_m, samples.normals, strokes, footprint_for(gun), caster=RayCaster(surface)
    )
    flow = np.concatenate([stroke.process_value for stroke in strokes]) / gun.flow_m3_per_s
    film = operator.predict(flow * np.concatenate([stroke.dwell_s for stroke in strokes]))
    return samples.spread(surface, np.asarray(film, float))[0]


def removal_of(surface: Surface, path: ToolPath, tool: GrindToolConfig) -> Array | None:
    """Return the depth (V,) [m] that a path takes off; None where no model follows what it does: edges."""
    kinds = {stroke.kind for stroke in path.strokes}
    if "edge" in kinds:
        return None
    if "bead" in kinds:
        return _bead_removal(surface, path, tool) if isinstance(tool, PadTool) else None
    from grinding_planner.face import reach_m
    from grinding_planner.identification import highest_force_n
    from grinding_planner.job_pieces import JobPieces
    from grinding_planner.samples import sample_surface
    from grinding_planner.wear import preston_factor

    pieces = JobPieces.of(path, tool, ())
    reach = reach_m(tool, highest_force_n(path))
    samples = sample_surface(
        surface, max(reach / SAMPLES_PER_REACH, float(np.sqrt(surface.area_m2 / GRIND_SAMPLES_MAX)))
    )
    depth = pieces.removal(samples, tool) @ preston_factor(tool.wear, pieces.energy_j)
    return samples.weights_at(surface.vertices_m, surface.vertex_normals) @ depth


def _bead_removal(surface: Surface, path: ToolPath, tool: PadTool) -> Array:
    from grinding_planner.bead_run import run_strokes
    from grinding_planner.samples import sample_surface

    centres = KDTree(np.concatenate([stroke.position_m for stroke in path.strokes]))
    reach = BEAD_REACH_RADII * tool.radius_m
    near = centres.query(surface.vertices_m, distance_upper_bound=reach)[0] < np.inf
    out = np.zeros(len(surface.vertices_m))
    faces = near[surface.triangles].all(axis=1)
    if not faces.any():
        return out
    part = surface.select_triangles(faces)
    spacing = max(
        float(np.clip(tool.radius_m / 12.0, *BEAD_SPACING_M)), float(np.sqrt(part.area_m2 / BEAD_SAMPLES_MAX))
    )
    samples = sample_surface(part, spacing)
    removed = run_strokes(samples, np.zeros(len(samples)), path.strokes, tool)
    out[near] = samples.weights_at(surface.vertices_m[near], surface.vertex_normals[near]) @ removed
    return out
