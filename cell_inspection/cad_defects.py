"""Defects against a CAD: what is narrower than a form error, and the form error itself."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.defect_evidence import CELL_EDGES, CELL_M, DefectSettings, Reading, Scale, edge_vertices
from cell_inspection.defect_measures import Defect, measured
from cell_inspection.defects import DefectMap, mapped
from cell_inspection.local_fit import Background, fitted, off_fit, refitted
from cell_inspection.local_rings import rings_of
from cell_inspection.regions import connected_regions, with_hysteresis
from cell_inspection.smoothing import Smoother, border_vertices

FORM_CELLS = 4.0
"""Cells of the fits that form is told from defects by, in those of the finest: rings from 20 to 50 mm."""
FORM_AREA_MIN_M2 = 4e-4
FORM_SIGMAS = 3.0
AT_EDGE_M = 3e-3
"""Scans round sharp edges: deviations this near to one are measured against those of all edges."""
AS_TALL_AS_COMPARED_M = 1.0


def find_defects_on_cad(
    scan: Surface, deviation_m: Array, settings: DefectSettings | None = None, *, pose_sigma_m: float = 0.0
) -> DefectMap:
    """Return the defects of a scan whose signed deviation from a CAD is known.

    A smooth field over rings of 20 to 50 mm is form error, or what is left of the registration's; a defect is
    narrower and is measured from it. The form itself is listed where it exceeds three standard deviations of the
    registration and of the fit.

    Args:
        scan: in the CAD's frame.
        deviation_m: (V,) from the CAD [m], positive outside; NaN where nothing compares.
        settings: what counts as a defect; `tallest_m` does not bound it here.
        pose_sigma_m: standard deviation of the scan's pose where it is held least [m].

    Raises:
        InputRefusedError: nothing of the surface compares.
    """
    settings = settings or DefectSettings()
    smoother = Smoother(scan)
    edge = edge_vertices(scan, smoother)
    size = max(CELL_M, CELL_EDGES * smoother.edge_m)
    tall = replace(settings, tallest_m=AS_TALL_AS_COMPARED_M)
    reading = Reading(scan, smoother, edge, size, tall, blind=border_vertices(scan) | ~np.isfinite(deviation_m))
    rings = rings_of(scan, FORM_CELLS * size)
    scale = Scale(rings=rings, fit=fitted(rings, values_m=deviation_m))
    off = _off(scan, scale, deviation_m, reading.blind)
    reading.settle_smoothing(off.residual_m)
    near_edge = smoother.grown(edge, AT_EDGE_M)
    core = np.zeros(len(edge), bool)
    core, left_out = reading.candidates(*_at_edges(*reading.noise(off, [scale], core), near_edge))
    scale = Scale(rings=rings, fit=refitted(rings, scale.fit, smoother.grown(left_out, size)))
    off = _off(scan, scale, deviation_m, reading.blind)
    local, sigma = _at_edges(*reading.noise(off, [scale], left_out), near_edge)
    form = np.where(np.isfinite(local), deviation_m - off.residual_m, 0.0)
    found = mapped(reading, local, sigma, core, form, settings=reading.settings)
    form_sigma = np.hypot(pose_sigma_m, off.spread_m * np.sqrt(off.leverage))
    wide = _form_errors(scan, form, np.maximum(form_sigma, 1e-9), settings)
    figures = {**found.figures, "n_form_errors": len(wide), "pose_sigma_m": pose_sigma_m}
    defects = (*found.defects, *wide)
    return replace(
        found,
        defects=defects,
        figures={**figures, "n_defects": len(defects), "n_sure": sum(d.sure for d in defects)},
    )


def _off(scan: Surface, scale: Scale, deviation_m: Array, blind: NDArray[np.bool_]) -> Background:
    # where no ring speaks, the deviation itself counts
    off = off_fit(scan, scale.rings, scale.fit, np.arange(len(deviation_m)), deviation_m)
    alone = ~np.isfinite(off.residual_m) & np.isfinite(deviation_m)
    spread = float(np.nanmedian(off.spread_m)) if np.isfinite(off.spread_m).any() else 0.0
    return Background(
        residual_m=np.where(blind, np.nan, np.where(alone, deviation_m, off.residual_m)),
        spread_m=np.where(alone, spread, off.spread_m),
        leverage=np.where(alone, 1.0, off.leverage),
    )


def _at_edges(local: Array, sigma: Array, near_edge: NDArray[np.bool_]) -> tuple[Array, Array]:
    known = near_edge & np.isfinite(local)
    if known.sum() < 10:
        return local, sigma
    usual = float(np.median(local[known]))
    scatter = 1.4826 * float(np.median(np.abs(local[known] - usual)))
    return (
        np.where(near_edge, local - usual, local),
        np.where(near_edge, np.maximum(sigma, scatter), sigma),
    )


def _form_errors(scan: Surface, form: Array, sigma: Array, settings: DefectSettings) -> list[Defect]:
    found = []
    areas = scan.vertex_areas_m2
    for sign in (1.0, -1.0):
        value = np.nan_to_num(sign * form)
        core = (value > settings.smallest_m) & (value > FORM_SIGMAS * sigma)
        labels = connected_regions(scan, with_hysteresis(scan, core, value > 0.5 * settings.smallest_m))
        for k in range(int(labels.max()) + 1):
            members = np.flatnonzero(labels == k)
            if areas[members].sum() >= FORM_AREA_MIN_M2:
                one = measured(scan, members, form, form, sigma, sign, None, 1.0)
                found.append(replace(one, kind="form error", height_m=one.height_max_m))
    return sorted(found, key=lambda d: -abs(d.volume_m3))
