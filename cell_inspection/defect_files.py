"""The files of an inspection for defects: deviation.ply, defects.json, defects.csv."""

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.files import write_bytes, write_json
from cell_core.schemas import validate
from cell_core.surface_io import write_ply
from cell_core.transforms import Array
from cell_inspection.defects import DefectMap

FORMAT = "grind_spray_cell/defects"
COLUMNS = (
    "number", "kind", "x_mm", "y_mm", "z_mm", "height_mm", "height_max_mm", "length_mm", "width_mm", "area_mm2",
    "volume_mm3", "edge_distance_mm", "significance", "confidence",
)  # fmt: skip
LOW_COLOUR, MIDDLE_COLOUR, HIGH_COLOUR = np.array([[59, 76, 192], [221, 221, 221], [180, 4, 38]], float)
UNJUDGED_COLOUR = np.array([150, 150, 150], float)


def write_defects(found: DefectMap, out_dir: Path, *, compared_with: str, deviation_m: Array | None = None) -> None:
    """Write deviation.ply, defects.json and defects.csv; the document is checked before anything is written.

    Args:
        found: what was found.
        out_dir: made when missing.
        compared_with: "surroundings" or "cad".
        deviation_m: (V,) from the CAD, form and all; None: what was found is all there is.
    """
    document = defects_document(found, compared_with)
    validate(document, "defects", str(Path(out_dir) / "defects.json"))
    judged = np.isfinite(found.deviation_m)
    whole = found.deviation_m if deviation_m is None else deviation_m
    compared = np.isfinite(whole)
    deviation = np.where(compared, whole, 0.0)
    values = {
        "deviation_m": deviation,
        "compared": compared.astype(float),
        "local_m": np.where(judged, found.deviation_m, 0.0),
        "form_m": found.form_m,
        "sigma_m": np.where(judged, found.sigma_m, 0.0),
        "significance": np.where(judged, found.significance, 0.0),
        "defect": found.label + 1.0,
        "quality": deviation,
    }
    colours = deviation_colours(deviation, compared)
    write_ply(Path(out_dir) / "deviation.ply", found.surface.with_fields(**values), colours)
    write_json(Path(out_dir) / "defects.json", document)
    write_bytes(Path(out_dir) / "defects.csv", defects_table(found).encode())


def defects_document(found: DefectMap, compared_with: str) -> dict[str, Any]:
    """Return the defects as a document, numbered from 1: sure ones by volume, faint ones by confidence."""
    rows = []
    for number, defect in enumerate(found.defects, 1):
        row = asdict(defect)
        row["centre_m"], row["normal"] = list(defect.centre_m), list(defect.normal)
        row["edge_distance_m"] = defect.edge_distance_m if np.isfinite(defect.edge_distance_m) else None
        rows.append({"number": number, **row})
    return {
        "format": FORMAT,
        "version": 1,
        "frame": found.surface.frame,
        "compared_with": compared_with,
        "figures": dict(found.figures),
        "defects": rows,
    }


def defects_table(found: DefectMap) -> str:
    """Return the defects as CSV, in mm."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, d in enumerate(found.defects, 1):
        lengths = (*d.centre_m, d.height_m, d.height_max_m, d.length_m, d.width_m)
        gap = f"{1e3 * d.edge_distance_m:.2f}" if np.isfinite(d.edge_distance_m) else ""
        writer.writerow(
            [number, d.kind, *(f"{1e3 * v:.3f}" for v in lengths), f"{1e6 * d.area_m2:.2f}"]
            + [f"{1e9 * d.volume_m3:.3f}", gap, f"{d.significance:.1f}", f"{d.confidence:.3f}"]
        )
    return text.getvalue()


def deviation_colours(deviation_m: Array, judged: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return blue over grey to red (V, 3) for deviations to the 99th percentile either way, dark where none is."""
    high = max(float(np.quantile(np.abs(deviation_m[judged]), 0.99)), 1e-6) if judged.any() else 1.0
    share = np.clip(deviation_m / high, -1.0, 1.0)[:, None]
    ends = np.where(share < 0.0, LOW_COLOUR, HIGH_COLOUR)
    mixed = MIDDLE_COLOUR + np.abs(share) * (ends - MIDDLE_COLOUR)
    return np.where(judged[:, None], mixed, UNJUDGED_COLOUR).astype(np.uint8)
