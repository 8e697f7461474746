"""What one cycle leaves to the next: a target on the scan it plans on, a recipe, and the tool as it has become."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cell_core.config import GrindRecipe, Recipe
from cell_core.files import read_json, read_npz, write_json, write_npz, write_text
from cell_core.jobs import JobFolder
from cell_core.surface import Surface
from cell_core.surface_io import read_ply
from cell_core.transforms import Array
from cell_inspection import map_field
from cell_inspection.measured import MeasuredRemoval
from cell_nodes.identified import Identified

RECIPE, TARGET, TOOL, NOTES = "recipe.yaml", "target.npz", "tool.yaml", "rework.json"
CARRY_M = 0.005
WANTED_MIN_M = 1e-7


def write_rework(
    job: JobFolder,
    recipe: Recipe,
    tool: Any,
    scan: Surface,
    wanted_m: Array,
    measured: MeasuredRemoval | None,
    found: Identified | None,
) -> bool:
    """Write inspection/rework/ for the cycle after this one; return False where nothing is left to want on its scan.

    Args:
        job: in the cycle that was inspected.
        recipe: of the job.
        tool: the cycle's.
        scan: the job's first.
        wanted_m: (V,) change still wanted at its vertices.
        measured: lays the next cycle's scan over the first; None: they stand as they are.
        found: what the cycle told of its tool.
    """
    following = job.in_cycle(job.cycle + 1)
    folder = following.rework
    assert folder is not None
    shutil.rmtree(folder, ignore_errors=True)
    target = _on(following.looked_at / "surface.ply", job, scan, wanted_m, measured)
    if target.max(initial=0.0) <= WANTED_MIN_M:
        return False
    notes: dict[str, Any] = {"of_cycle": following.cycle, "wanted_max_m": float(target.max())}
    changes: dict[str, Any] = {"cycles_max": max(recipe.cycles_max - job.cycle, 1)}
    if isinstance(recipe, GrindRecipe):
        if recipe.strategy != "bead":
            changes |= {"strategy": "target", "spots": (), "target_depth_m": float(target.max())}
        if found is not None and found.tool_text is not None:
            write_text(folder / TOOL, found.tool_text)
            changes["tool"] = TOOL
        elif job.rework is not None and (job.rework / TOOL).is_file():
            shutil.copyfile(job.rework / TOOL, _made(folder) / TOOL)
            changes["tool"] = TOOL
        notes["disc_energy_j"] = _energy_j(job, found)
    write_npz(folder / TARGET, target_m=target)
    write_text(folder / RECIPE, recipe_text(recipe.model_copy(update=changes), following.cycle))
    write_json(folder / NOTES, notes)
    return True


def recipe_text(recipe: Recipe, cycle: int) -> str:
    """Return the YAML of a recipe for one cycle."""
    data = json.loads(recipe.model_dump_json(exclude_defaults=True, exclude_none=True))
    head = f"# What is still missing: cycle {cycle} of {recipe.name}. The target lies beside this file.\n"
    return head + yaml.safe_dump(data, sort_keys=False, width=120)


def read_target(recipe: Path) -> Array | None:
    """Return the target (V,) [m] beside a cycle's recipe; None where the recipe is no such one."""
    beside = recipe.parent / TARGET
    return read_npz(beside)["target_m"] if recipe.name == RECIPE and beside.is_file() else None


def read_energy_j(recipe: Path) -> float:
    """Return the friction work that the abrasive has done before a cycle [J], from beside its recipe."""
    beside = recipe.parent / NOTES
    return float(read_json(beside).get("disc_energy_j", 0.0)) if beside.is_file() else 0.0


def _on(surface: Path, job: JobFolder, scan: Surface, wanted_m: Array, measured: MeasuredRemoval | None) -> Array:
    if surface == job.path / "scan" / "surface.ply":
        return wanted_m
    after = read_ply(surface)
    laid = after if measured is None else after.transformed(measured.fit.T_before_after, scan.frame)
    return np.clip(np.nan_to_num(map_field(scan, wanted_m, laid, CARRY_M)), 0.0, None)


def _energy_j(job: JobFolder, found: Identified | None) -> float:
    if found is not None and found.disc_energy_j is not None:
        return found.disc_energy_j
    return float(read_json(job.step("plan") / "figures.json").get("disc_energy_j", 0.0))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
