"""A scan and maybe a reference in, deviation.ply, defects and report out: what `cell inspect` runs."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.files import write_json
from cell_core.registration import UNCERTAINTY_MAX_M, Candidate, Registration
from cell_core.registration import register as registered
from cell_core.schemas import validate
from cell_core.surface import Surface
from cell_core.surface_io import write_ply
from cell_inspection.cad_defects import find_defects_on_cad
from cell_inspection.defect_evidence import DefectSettings
from cell_inspection.defect_files import write_defects
from cell_inspection.defects import DefectMap, find_defects
from cell_inspection.deviation import MAX_DISTANCE_M, Deviation, inspect

REGIONS_REPORTED = 200


def inspect_surfaces(
    scan: Surface,
    reference: Surface,
    out_dir: Path,
    *,
    register: bool = False,
    max_distance_m: float = MAX_DISTANCE_M,
    significant_m: float | None = None,
    uncertainty_max_m: float = UNCERTAINTY_MAX_M,
    defects: DefectSettings | None = None,
) -> Deviation:
    """Compare a scan with a reference; write deviation.ply, report.json and, where told, defects.json and defects.csv.

    Nothing is written on failure.

    Args:
        scan: measured surface.
        reference: nominal or earlier surface.
        out_dir: made when missing.
        register: find the scan's pose on the reference first; otherwise both must be in one frame.
        max_distance_m: vertices farther from the reference do not compare.
        significant_m: deviation that counts as a defect; None: from the scan's own scatter.
        uncertainty_max_m: bound on the standard deviation of the pose found.
        defects: what counts as a defect; None: defects are not looked for.

    Raises:
        InputRefusedError: the surfaces do not fit together, or the pose found must not be relied on. Where the
            reference's own symmetries fit as well, the deviation is the same by all of them and the report says so.
    """
    placed: Registration | None = None
    if register:
        placed = registered(scan, reference, uncertainty_max_m=uncertainty_max_m)
        if placed.doubt:
            raise InputRefusedError(f"registration: {placed.doubt}", candidates=placed.candidates)
        scan = scan.transformed(placed.T_target_source, reference.frame)
    result = inspect(scan, reference, max_distance_m=max_distance_m, significant_m=significant_m)
    figures = dict(result.figures)
    if placed is not None:
        figures |= {
            "registration_rms_m": placed.rms_m,
            "registration_overlap_fraction": placed.overlap_fraction,
            "registration_ambiguous": placed.ambiguous,
            "registration_explained_fraction": placed.explained_fraction,
            "registration_n_candidates": len(placed.candidates),
        }
        if placed.least_held is not None:
            figures |= {
                "registration_sigma_m": placed.least_held.shift_m,
                "registration_sigma_rad": placed.least_held.turn_rad,
            }
    found = None
    if defects is not None:
        held = 0.0 if placed is None or placed.least_held is None else placed.least_held.shift_m
        found = find_defects_on_cad(result.surface, result.deviation_m, defects, pose_sigma_m=held)
        figures |= {k: v for k, v in found.figures.items() if k not in figures}
    result = replace(result, figures=figures, found=found)
    document = inspection_report(result, placed)
    validate(document, "inspection_report", str(Path(out_dir) / "report.json"))
    if found is not None:
        write_defects(found, out_dir, compared_with="cad", deviation_m=result.deviation_m)
    else:
        compared = np.isfinite(result.deviation_m)
        values = {"deviation_m": np.where(compared, result.deviation_m, 0.0), "compared": compared.astype(float)}
        write_ply(Path(out_dir) / "deviation.ply", result.surface.with_fields(**values))
    write_json(Path(out_dir) / "report.json", document)
    return result


def inspect_alone(scan: Surface, out_dir: Path, defects: DefectSettings | None = None) -> DefectMap:
    """Find the defects of a scan by its own surroundings; write deviation.ply, defects.json and defects.csv.

    Raises:
        InputRefusedError: nothing of the scan could be judged; nothing is written.
    """
    found = find_defects(scan, defects)
    write_defects(found, out_dir, compared_with="surroundings")
    return found


def inspection_report(result: Deviation, placed: Registration | None = None) -> dict[str, Any]:
    """Return the report of a comparison: figures, significant regions (largest first, at most 200), registration."""
    document = {
        "format": "grind_spray_cell/inspection_report",
        "version": 1,
        "frame": result.surface.frame,
        "T_reference_scan": None if placed is None else placed.T_target_source.tolist(),
        "figures": dict(result.figures),
        "regions": [{**asdict(r), "centre_m": list(r.centre_m)} for r in result.regions[:REGIONS_REPORTED]],
        "n_regions_not_listed": max(len(result.regions) - REGIONS_REPORTED, 0),
    }
    if placed is not None:
        document["candidates"] = [_candidate(c) for c in placed.candidates]
        if placed.least_held is not None:
            document["least_held_motion"] = {
                "turn_rad": placed.least_held.twist[:3].tolist(),
                "shift_m": placed.least_held.twist[3:].tolist(),
            }
    return document


def _candidate(candidate: Candidate) -> dict[str, Any]:
    values = {f.name: getattr(candidate, f.name) for f in fields(candidate) if f.name != "T_target_source"}
    return {"T_reference_scan": candidate.T_target_source.tolist(), **values}
