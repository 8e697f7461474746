"""One inspection: what the process left, by measurement, process model and truth; the verdict, and what to do next."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.config import GrindRecipe, GrindToolConfig, Recipe, SprayRecipe, load_named
from cell_core.errors import InputRefusedError
from cell_core.files import read_json, read_npz, write_json, write_npz
from cell_core.jobs import JobFolder
from cell_core.surface import Surface
from cell_core.surface_io import read_ply
from cell_core.transforms import Array
from cell_inspection import agreement, grind_verdict, height_over, map_field, spray_verdict
from cell_inspection.judgement import Judgement, Stop, judge_film, judge_removal, still_wanted, stop_after
from cell_inspection.measured import MeasuredRemoval, measure_removal
from cell_nodes.identified import Identified, identified
from cell_nodes.process_model import Executed, executed_path, film_of, removal_of
from cell_nodes.rework_inputs import TOOL, write_rework
from robot_description import Cell

MAP_DISTANCE_M = 0.005
TOUCHED_M = 1e-6
"""Less than this, a process model says, and the ground counts as untouched."""
SMOOTH_REACHES = 0.25
"""Sweeps leave nothing finer than this share of the tool's contact; depths are averaged over it."""
SWEEPS = ("area", "target", "spot")


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What a cycle's inspection starts from; fields are on the vertices of the job's first scan."""

    job: JobFolder
    recipe: Recipe
    tool: Any
    """Gun or grinding tool the cycle was planned with."""
    scan: Surface
    target_m: Array
    mask: NDArray[np.bool_]
    """(V,) what is judged: wanted, and within reach of the tool."""
    before: dict[str, Any] = field(default_factory=dict)
    """fields.npz of the cycle before."""
    T_scan_looked: Array = field(default_factory=lambda: np.eye(4))
    """Lays the scan that this cycle was planned on over the first."""

    @staticmethod
    def read(job: JobFolder, recipe: Recipe, tool: Any) -> "Given":
        """Read what the steps before left.

        Raises:
            InputRefusedError: the plan's fields do not belong to the scan.
        """
        scan = read_ply(job.path / "scan" / "surface.ply")
        fields = read_npz(job.in_cycle(1).step("plan") / "fields.npz")
        target, serviceable = fields["target_change_m"], fields["serviceable"] > 0.5
        if len(target) != len(scan.vertices_m):
            raise InputRefusedError(
                f"plan/fields.npz: {len(target)} values, the scan has {len(scan.vertices_m)} vertices"
            )
        given: dict[str, Any] = {}
        if job.cycle > 1:
            last = job.in_cycle(job.cycle - 1).step("inspection")
            given["before"] = read_npz(last / "fields.npz")
            pose = read_json(last / "verdict.json").get("T_scan_rescan")
            if pose is not None:
                given["T_scan_looked"] = np.array(pose)
            rework_tool = job.rework / TOOL if job.rework is not None else None
            if rework_tool is not None and rework_tool.is_file():
                tool = load_named(GrindToolConfig, "tools", str(rework_tool))
        mask = serviceable & (target > 0.0)
        return Given(job=job, recipe=recipe, tool=tool, scan=scan, target_m=target, mask=mask, **given)


def inspect_cycle(given: Given, cell: Cell, truth_path: Path | None) -> tuple[bool, dict[str, Any]]:
    """Judge a cycle; write verdict.json, fields.npz and, where another one follows, rework/; return verdict, figures.

    Args:
        given: what the cycle started from.
        cell: for the pose of the part.
        truth_path: the simulated part with its change_m; None on a real cell.
    """
    job, recipe, scan = given.job, given.recipe, given.scan
    folder = job.step("inspection")
    executed = executed_path(job, cell.T_base_fixture, _reach_m(given.tool))
    own, source = _own_change(given, executed)
    model = given.before.get("model_m", np.zeros(len(own))) + own
    measured, why_not = None, ""
    if isinstance(recipe, GrindRecipe):
        measured, why_not = _measured(given, model)
        judgement = judge_removal(recipe, scan, given.target_m, given.mask, model, measured, why_not)
    else:
        judgement = judge_film(recipe, scan, given.target_m, given.mask, model)
    truth = None if truth_path is None else _truth(given, truth_path, judgement, model)
    # nobody measures a film here; in simulation its truth is the gauge
    by_truth = truth is not None and isinstance(recipe, SprayRecipe)
    accepted = bool(truth["passed"]) if truth is not None and by_truth else bool(judgement.verdict.passed)
    found = _identified(given, executed, measured)
    gone = judgement.change_m
    if found is not None and found.gone_m is not None:
        gone = given.before.get("gone_m", np.zeros(len(own))) + found.gone_m
    wanted = still_wanted(recipe, scan, gone, given.target_m, given.mask)
    cycles_max = recipe.cycles_max if getattr(recipe, "strategy", "") != "edge" else 1
    stop = stop_after(accepted, judgement, wanted, cycle=job.cycle, cycles_max=cycles_max)
    if stop is None and not write_rework(given.job, recipe, given.tool, scan, wanted, measured, found):
        stop = Stop(reason="nothing_missing", text="nothing that the last scan shows is missing")
    fields = {"change_m": judgement.change_m, "target_m": given.target_m, "mask": given.mask, "model_m": model}
    fields |= {"gone_m": gone, "by_measurement": judgement.by_measurement, "wanted_m": wanted}
    if measured is not None:
        fields |= {"measured_m": measured.removed_m, "raw_m": measured.raw_m, "sigma_m": measured.sigma_m}
    if truth is not None:
        fields["true_m"] = truth.pop("true_m")
    write_npz(folder / "fields.npz", **fields)
    verdict = judgement.verdict
    reasons = list(truth["reasons"]) if truth is not None and by_truth else list(verdict.reasons)
    figures = {**(truth["figures"] if truth is not None and by_truth else verdict.figures), **judgement.figures}
    document: dict[str, Any] = {
        "passed": accepted,
        "reasons": reasons,
        "figures": figures,
        "process": recipe.process,
        "cycle": job.cycle,
        "by": "simulated truth" if by_truth else judgement.by,
        "basis": "film by the simulator's truth; the process model steers the rework" if by_truth else judgement.text,
        "model": source,
        "stop": None if stop is None else {"reason": stop.reason, "text": stop.text},
        "truth": None if truth is None else {"path": job.label("execution") + "/truth.ply", **truth},
        "identified": None if found is None else found.document,
    }
    if measured is not None:
        document["T_scan_rescan"] = measured.fit.T_before_after.tolist()
    write_json(folder / "verdict.json", document)
    shown = {k: v for k, v in (truth or {}).get("figures", {}).items() if k.startswith(("agreement", "measurement"))}
    if truth is not None and not by_truth:
        shown |= {f"true_{k}": truth["figures"][k] for k in TRUE_SHOWN if k in truth["figures"]}
        shown["true_passed"] = float(truth["passed"])
    return accepted, {**figures, **shown}


TRUE_SHOWN = ("mean_m", "in_tolerance_area_fraction", "covered_area_fraction", "undercut_p999_m")


def _reach_m(tool: Any) -> float:
    if isinstance(tool, GrindToolConfig):
        from grinding_planner.face import reach_m

        return reach_m(tool)
    from cell_core.operator.footprint import footprint_for

    return float(footprint_for(tool).half_height_m)


def _own_change(given: Given, executed: Executed) -> tuple[Array, str]:
    """Return what the process model says this cycle changed at the first scan's vertices (V,), and its source."""
    job, recipe = given.job, given.recipe
    if isinstance(recipe, SprayRecipe):
        return film_of(given.scan, tuple(executed.path.strokes), recipe, given.tool), executed.source
    looked = given.scan if job.cycle == 1 else read_ply(job.looked_at / "surface.ply")
    change, source = removal_of(looked, executed.path, given.tool), executed.source
    if change is None:
        change, source = read_npz(job.step("plan") / "fields.npz")["predicted_change_m"], "plan"
    if job.cycle == 1:
        return change, source
    laid = looked.transformed(given.T_scan_looked, given.scan.frame)
    return np.nan_to_num(map_field(laid, change, given.scan, MAP_DISTANCE_M)), source


def _measured(given: Given, model_m: Array) -> tuple[MeasuredRemoval | None, str]:
    after = read_ply(given.job.step("rescan") / "surface.ply")
    worked = (model_m > TOUCHED_M) | (given.target_m > 0.0)
    sweeps = isinstance(given.recipe, GrindRecipe) and given.recipe.strategy in SWEEPS
    try:
        return measure_removal(
            given.scan, after, worked, model_m, smooth_m=SMOOTH_REACHES * _reach_m(given.tool) if sweeps else 0.0
        ), ""
    except InputRefusedError as error:
        return None, str(error)


def _truth(given: Given, path: Path, judgement: Judgement, model_m: Array) -> dict[str, Any]:
    """Return the truth's own verdict, how far model and measurement are from it, and the true change (V,).

    A bead is to come down to a surface, not by a depth: where it is wanted its verdict counts from where the first scan
    saw the part, so that what the scan added to it, as at its feet, is not missed.
    """
    part = read_ply(path)
    true = map_field(part, part.fields["change_m"], given.scan, MAP_DISTANCE_M)
    areas, mask = given.scan.vertex_areas_m2, given.mask
    verdict_of: Any = spray_verdict if isinstance(given.recipe, SprayRecipe) else grind_verdict
    to_surface = isinstance(given.recipe, GrindRecipe) and given.recipe.strategy == "bead"
    down = np.where(mask, true + height_over(given.scan, part, MAP_DISTANCE_M), true) if to_surface else true
    verdict = verdict_of(given.recipe, down, given.target_m, mask, areas, positions_m=given.scan.vertices_m)
    figures = {**verdict.figures, **agreement(model_m, true, given.target_m, mask, areas)}
    told = mask & judgement.by_measurement & np.isfinite(true)
    if areas[told].sum() > 0.0:
        error, weight = (judgement.change_m - true)[told], areas[told] / areas[told].sum()
        figures["measurement_error_rms_m"] = float(np.sqrt(weight @ error**2))
        figures["measurement_error_mean_m"] = float(weight @ error)
    return {"passed": bool(verdict.passed), "reasons": list(verdict.reasons), "figures": figures, "true_m": true}


def _identified(given: Given, executed: Executed, measured: MeasuredRemoval | None) -> Identified | None:
    recipe = given.recipe
    if not isinstance(recipe, GrindRecipe) or recipe.strategy not in SWEEPS or measured is None:
        return None
    # this cycle's own share: the later scan less the one it was planned on
    removed = measured.raw_m - given.before.get("raw_m", np.zeros(len(measured.raw_m)))
    path = executed.path.transformed(given.T_scan_looked, given.scan.frame)
    return identified(given.scan, removed, path, given.tool, given.job.label("inspection"))
