"""Small defects of a scanned surface: found on evidence, against its own surroundings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.defect_evidence import (
    CELL_EDGES,
    CELL_M,
    N_SCALES,
    OPEN_SHARE_MAX,
    RIM_SIGMAS,
    SCALE_STEP,
    DefectSettings,
    Reading,
    Scale,
    calm_vertices,
    edge_vertices,
    median_known,
    open_share,
    refuse_blind,
)
from cell_inspection.defect_measures import Defect, measured
from cell_inspection.local_fit import fitted, refitted
from cell_inspection.local_rings import rings_of
from cell_inspection.regions import connected_regions, with_hysteresis
from cell_inspection.smoothing import Smoother

AREA_MIN_M2, VERTICES_MIN = 3e-6, 4
FRINGE_SHARE, FRINGE_ELONGATION = 0.8, 3.0
"""Without a CAD: a strip so long for its width, of which so much runs beside an edge or rim, is that edge's fringe."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DefectMap:
    """Where a surface departs from what it should be, and the defects that make up for it."""

    surface: Surface
    deviation_m: Array
    """(V,) off the expected surface [m], positive: raised; NaN where nothing could be judged."""
    significance: Array
    """(V,) smoothed deviation in standard deviations of the local noise; NaN where nothing could be judged."""
    sigma_m: Array
    """(V,) that noise [m]."""
    form_m: Array
    """(V,) part of the deviation from a CAD that is wider than a defect [m]; 0 without a CAD."""
    label: NDArray[np.int64]
    """(V,) number of the defect in the list, -1: none."""
    defects: tuple[Defect, ...]
    """The sure ones, largest volume first, then the faint ones, likeliest first; form errors last."""
    figures: Mapping[str, Any]
    """Area-weighted numbers; keys carry units."""


def find_defects(surface: Surface, settings: DefectSettings | None = None) -> DefectMap:
    """Return the defects of a surface by what its surroundings say it should be, without a CAD.

    At several scales each place is compared with a robust fit to the ring around it. What stands out by three standard
    deviations is left out, the fits are made again without it, and each candidate is measured from the finest that
    still spans it. Places beside edges, fillets and creases, where the surroundings contradict one another, are not
    judged, and a candidate whose border is mostly such places is a feature of the part.

    Raises:
        InputRefusedError: nothing of the surface could be judged.
    """
    settings = settings or DefectSettings()
    smoother = Smoother(surface)
    edge = edge_vertices(surface, smoother)
    size = max(CELL_M, CELL_EDGES * smoother.edge_m)
    scales = []
    for k in range(N_SCALES):
        rings = rings_of(surface, size * SCALE_STEP**k)
        scales.append(Scale(rings=rings, fit=fitted(rings)))
    reading = Reading(surface, smoother, edge, size, settings)
    refuse_blind(surface, ~reading.blind)
    everywhere = np.arange(len(edge))
    core = np.zeros(len(edge), bool)
    left_out = core.copy()
    offs = [reading.of(scale, everywhere) for scale in scales]
    reading.settle_smoothing(offs[0].residual_m)
    for off in offs:
        found, mask = reading.candidates(*reading.noise(off, scales, core))
        core |= found
        left_out |= mask
    left_out = smoother.grown(left_out, 0.8 * size)
    scales = [Scale(rings=s.rings, fit=refitted(s.rings, s.fit, left_out)) for s in scales]
    deviation, sigma = reading.noise(reading.combined(scales, left_out), scales, left_out)
    return mapped(reading, deviation, sigma, core, np.zeros(len(edge)), settings)


def mapped(
    reading: Reading, deviation: Array, sigma: Array, early: NDArray[np.bool_], form_m: Array, settings: DefectSettings
) -> DefectMap:
    """Return the regions of a deviation (V,) that noise of `sigma` (V,) does not explain, measured.

    Where `early` (V,) a core was already found by fits that leave nothing out, three standard deviations do.
    """
    surface, smoother = reading.surface, reading.smoother
    judged = np.isfinite(deviation)
    areas = surface.vertex_areas_m2
    refuse_blind(surface, judged)
    smooth = smoother.mean(deviation, reading.smoothing_m)
    z = smooth / sigma
    edge_tree = KDTree(surface.vertices_m[reading.edge]) if reading.edge.any() else None
    label = np.full(len(z), -1, np.int64)
    found: list[Defect] = []
    places: list[NDArray[np.int64]] = []
    for sign in (1.0, -1.0):
        value = np.nan_to_num(sign * z, nan=0.0)
        height = np.nan_to_num(sign * smooth, nan=0.0)
        core = (value > np.where(early, settings.sigmas, reading.wanted)) & (height > settings.smallest_m)
        regions = connected_regions(surface, with_hysteresis(surface, core, value > RIM_SIGMAS))
        shares = open_share(surface, regions, calm_vertices(sign * z))
        order = np.argsort(regions, kind="stable")
        starts = np.searchsorted(regions[order], np.arange(len(shares) + 1))
        for k, share in enumerate(shares):
            members = order[starts[k] : starts[k + 1]]
            peak = float(height[members].max())
            small = len(members) < VERTICES_MIN or areas[members].sum() < AREA_MIN_M2
            if small or share > OPEN_SHARE_MAX or peak > settings.tallest_m:
                continue
            confidence = np.exp(-reading.expected_regions(float(value[members].max()))) * (1.0 - float(share))
            one = measured(surface, members, deviation, smooth, sigma, sign, edge_tree, float(confidence))
            along_edge = reading.beside[members].mean() > FRINGE_SHARE
            if along_edge and one.length_m > FRINGE_ELONGATION * one.width_m:
                continue
            found.append(one)
            places.append(members)
    # the sure ones by what they hold, then the faint ones by how sure they are
    order = sorted(range(len(found)), key=lambda i: (not found[i].sure, *_rank(found[i])))
    for number, i in enumerate(order):
        label[places[i]] = number
    defects = tuple(found[i] for i in order)
    flagged = float(areas[label >= 0].sum())
    figures = {
        "judged_area_fraction": float(areas[judged].sum() / surface.area_m2),
        "n_defects": len(defects),
        "n_sure": sum(d.sure for d in defects),
        "defect_area_m2": flagged,
        "defect_area_fraction": flagged / float(areas[judged].sum()),
        "noise_sigma_m": median_known(sigma),
        "significance_min": reading.wanted,
    }
    return DefectMap(
        surface=surface,
        deviation_m=deviation,
        significance=z,
        sigma_m=sigma,
        form_m=form_m,
        label=label,
        defects=defects,
        figures=figures,
    )


def _rank(defect: Defect) -> tuple[float, float]:
    return (0.0 if defect.sure else -defect.confidence, -abs(defect.volume_m3))
