"""What stands out of a surface beyond its noise: deviations, their standard deviations, candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.local_fit import Background, Fit, off_fit
from cell_inspection.local_rings import Rings
from cell_inspection.regions import connected_regions, with_hysteresis
from cell_inspection.smoothing import Smoother, border_vertices

CELL_M = 2.5e-3
"""Cell of the finest fits: their ring begins 5 mm from the place they judge, so that a defect of 6 mm fits inside."""
CELL_EDGES = 1.5
"""Cells are at least this many edges of the mesh wide."""
N_SCALES, SCALE_STEP = 4, 1.6
"""Each wider than the one before by the step: the widest ring begins 20 mm out."""
SMOOTHING_CELLS = (0.24, 0.42, 0.65)
"""Standard deviations that deviations may be averaged over, in cells: the best depends on how far noise is shared."""
DEFECT_CELLS = 2.4
"""Width of the smallest defect that is looked for, in cells."""
RIM_SIGMAS = 2.0
SIGMAS_MIN = 3.0
FALSE_REGIONS = 3.0
"""Regions of mere noise to be expected on a whole part."""
LEVERAGE_MAX = 0.6
"""Fits that say less than this about their centre count only where no other does."""
EDGE_COHERENCE = 0.94
"""Normals whose mean over 1.5 mm is shorter lie across an edge: faces 90 degrees apart give 0.71, 4 mm fillets 0.93."""
OPEN_SHARE_MAX = 0.25
"""Share of a region's border that may touch what could not be judged; more, and it is the fringe of a feature."""
BLIND_M = 2e-3
"""Nearer to a sharp edge or rim nothing is judged: scans round them."""
BESIDE_M = 6e-3
JUDGED_MIN = 0.01
SPANNED_SHARE = 0.9
"""Share of a region that the fits of a scale must speak about for it to be measured from that scale."""
CALM_FACTOR = 1.5
"""Cells that scatter about their fits by no more than this times the calmest quarter around tell the noise."""
NOISE_CELLS_MIN = 8
"""Wide cells that the noise around a place is taken from, at least; fewer, and the whole part's counts."""
ROUGH_FACTOR = 1.5
"""A ring holds few independent readings: what it scatters less than this much above the noise may be noise."""
MISFIT_FACTORS = 1.0, 1.6
"""Beyond, a ring is bent as its polynomial cannot be, and the polynomial errs in its middle by so much more: of the
finest rings, of wider ones, which hold more of the part's own shape."""


@dataclass(frozen=True, kw_only=True)
class DefectSettings:
    """What counts as a defect."""

    smallest_m: float = 1e-4
    """Height or depth below which nothing is listed [m]."""
    tallest_m: float = 3e-3
    """Without a CAD: what stands taller or deeper is taken for the part's own shape [m]."""
    sigmas: float = SIGMAS_MIN
    """Standard deviations of the local noise that a region must reach; raised with the area so that noise alone
    hardly ever makes one."""

    def __post_init__(self) -> None:
        if not 0.0 < self.smallest_m < self.tallest_m:
            raise InputRefusedError(
                f"defects: smallest_m {self.smallest_m:g} m must lie between 0 and tallest_m {self.tallest_m:g} m"
            )
        if not 2.0 <= self.sigmas <= 20.0:
            raise InputRefusedError(f"defects: sigmas {self.sigmas:g} outside 2..20")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """Rings of one size and their fits."""

    rings: Rings
    fit: Fit


def edge_vertices(surface: Surface, smoother: Smoother) -> NDArray[np.bool_]:
    """Return the vertices (V,) that lie across a sharp edge or on an open border."""
    mean = smoother.mean(surface.vertex_normals, 1.5e-3)
    return (np.linalg.norm(mean, axis=1) < EDGE_COHERENCE) | border_vertices(surface)


class Reading:
    """Residuals of fits turned into deviations and standard deviations."""

    def __init__(
        self,
        surface: Surface,
        smoother: Smoother,
        edge: NDArray[np.bool_],
        size_m: float,
        settings: DefectSettings,
        blind: NDArray[np.bool_] | None = None,
    ) -> None:
        self.surface, self.smoother, self.edge, self.size_m, self.settings = surface, smoother, edge, size_m, settings
        self.blind = smoother.grown(edge, BLIND_M) if blind is None else blind
        self.beside = smoother.grown(edge, BESIDE_M) if blind is None else np.zeros(len(edge), bool)
        """(V,) beside a sharp edge or rim; nowhere where a CAD knows them."""
        self.n_readings = 1.0
        """Area over the squared length that noise changes over; known once deviations are read."""
        self.wanted = settings.sigmas
        """Standard deviations that noise alone hardly ever reaches anywhere; known once deviations are read."""
        self.smoothing_m = SMOOTHING_CELLS[1] * size_m

        self.noise_spread_m: Array | None = None
        """(V,) what cells of the finest fits scatter by noise alone [m]; known once those are read."""

    def settle_smoothing(self, deviation: Array) -> None:
        """Choose the smoothing that the smallest defect stands out of the noise best with, and what is beyond noise."""
        best = 0.0
        for share in SMOOTHING_CELLS:
            sigma = share * self.size_m
            kept = _kept_by_smoothing(share / DEFECT_CELLS)
            seen = kept / max(median_known(np.abs(self.smoother.mean(deviation, sigma))), 1e-12)
            if seen > best:
                best, self.smoothing_m = seen, sigma
        smooth = self.smoother.mean(deviation, self.smoothing_m)
        a, b = self.surface.edges.T
        length = np.linalg.norm(self.surface.vertices_m[a] - self.surface.vertices_m[b], axis=1)
        slope = median_known(((smooth[a] - smooth[b]) / length) ** 2)
        area = float(self.surface.vertex_areas_m2[np.isfinite(smooth)].sum())
        self.n_readings = max(area * slope / max(median_known(smooth**2), 1e-30), 1.0)
        beyond = np.arange(self.settings.sigmas, 8.0, 0.01)
        often = np.array([self.expected_regions(float(u)) > FALSE_REGIONS for u in beyond])
        self.wanted = float(beyond[min(int(often.sum()), len(beyond) - 1)])

    def expected_regions(self, sigmas: float) -> float:
        """Return how many regions noise alone is expected to raise or sink by so many standard deviations.

        The mean number of peaks of a Gaussian field in the plane above a height (Adler).
        """
        return 2.0 * self.n_readings * (2.0 * np.pi) ** -1.5 * sigmas * float(np.exp(-0.5 * sigmas**2))

    def of(self, scale: Scale, rows: NDArray[np.int64]) -> Background:
        """Return what the fits of a scale say about the vertices `rows`, nothing where the surface is blind."""
        off = off_fit(self.surface, scale.rings, scale.fit, rows)
        wider = np.full(len(rows), scale.rings.cells.size_m > 1.01 * self.size_m)
        return replace(off, residual_m=np.where(self.blind[rows], np.nan, off.residual_m), wider=wider)

    def combined(self, scales: Sequence[Scale], left_out: NDArray[np.bool_]) -> Background:
        """Return what the finest scale says that spans each piece of what was left out."""
        out = self.of(scales[0], np.arange(len(left_out)))
        residual, spread, leverage = out.residual_m.copy(), out.spread_m.copy(), out.leverage.copy()
        wider = np.zeros(len(left_out), bool)
        labels = connected_regions(self.surface, left_out)
        n = int(labels.max()) + 1
        size = np.maximum(np.bincount(labels[left_out], minlength=n), 1)
        settled = _spanned(labels, residual, leverage, n) > SPANNED_SHARE * size
        for i, scale in enumerate(scales[1:], 2):
            rows = np.flatnonzero((left_out & ~settled[labels]) if n else np.zeros(len(labels), bool))
            rows = np.union1d(rows, np.flatnonzero(~np.isfinite(residual) & ~self.blind & ~left_out))
            if len(rows) == 0:
                break
            found = self.of(scale, rows)
            fills = np.isfinite(found.residual_m) & ~left_out[rows]
            if n:
                spanned = _spanned(labels[rows], found.residual_m, found.leverage, n) > SPANNED_SHARE * size
                now = ~settled & (spanned | (i == len(scales)))
                settled |= now
                fills |= left_out[rows] & np.isfinite(found.residual_m) & now[labels[rows]]
            at = rows[fills]
            residual[at], spread[at] = found.residual_m[fills], found.spread_m[fills]
            leverage[at], wider[at] = found.leverage[fills], True
        return Background(residual_m=residual, spread_m=spread, leverage=leverage, wider=wider)

    def noise(self, off: Background, scales: Sequence[Scale], left_out: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return the deviation (V,) and the standard deviation (V,) of its smoothed value [m].

        It is what smoothed deviations scatter in the wide ring around, so noise that neighbours share counts in full;
        where the finer surroundings scatter much more about their own fit, as on small fillets, it is that. Fits
        across what was left out err more, and the more so the farther noise is shared.
        """
        smooth = self.smoother.mean(off.residual_m, self.smoothing_m)
        counted = np.isfinite(smooth) & ~left_out
        whole = 1.4826 * median_known(np.abs(smooth[counted]))
        wide, cells = scales[-1].rings, scales[-1].rings.cells
        n = np.bincount(cells.of_vertex, counted, len(cells.points_m))
        total = np.bincount(cells.of_vertex, np.where(counted, np.nan_to_num(smooth) ** 2, 0.0), len(n))
        rms = np.where(n > 0.5 * cells.n_vertices, np.sqrt(total / np.maximum(n, 1)), np.inf)
        # the middle of the cells around that their own surroundings explain: bosses, ribs, bores are no noise
        around = np.where(wide.weight > 0.0, rms[wide.around], np.inf)
        known = counted & np.isfinite(off.spread_m)
        rough = np.bincount(cells.of_vertex, np.where(known, off.spread_m, 0.0), len(n)) / np.maximum(n, 1)
        rough = np.where(np.isfinite(around), rough[wide.around], np.inf)
        n_known = np.isfinite(rough).sum(axis=1)
        calmest = np.sort(rough, axis=1)[np.arange(len(rough)), np.maximum(n_known - 1, 0) // 4]
        around = np.sort(np.where(rough <= CALM_FACTOR * calmest[:, None], around, np.inf), axis=1)
        n_calm = np.isfinite(around).sum(axis=1)
        middle = around[np.arange(len(around)), np.maximum(n_calm - 1, 0) // 2]
        local = np.where(n_known >= NOISE_CELLS_MIN, middle, whole)
        nearest = wide.blend[cells.of_vertex, 0]
        local = np.where(nearest >= 0, local[nearest], whole)
        ratio = whole / median_known(off.spread_m[counted])
        if self.noise_spread_m is None:
            self.noise_spread_m = local / ratio
        misfit = np.sqrt(np.maximum(off.spread_m**2 - (ROUGH_FACTOR * self.noise_spread_m) ** 2, 0.0))
        # smoothing carries what fits err by to neighbours, and neighbours err alike
        misfit = np.fmax(misfit, self.smoother.mean(misfit, self.smoothing_m))
        factor = MISFIT_FACTORS[0] if off.wider is None else np.where(off.wider, MISFIT_FACTORS[1], MISFIT_FACTORS[0])
        sigma = np.hypot(local, factor * misfit)
        shared = self.shared_cells(smooth, counted, scales[0].rings)
        usual = median_known(off.leverage[counted])
        sigma = sigma * np.sqrt((1.0 + shared * off.leverage) / (1.0 + shared * usual))
        # medians of few readings are low
        return off.residual_m, sigma * max(1.0, 1.4826 * median_known(np.abs(smooth / sigma)[counted]))

    def shared_cells(self, smooth: Array, counted: NDArray[np.bool_], rings: Rings) -> float:
        """Return how many cells of the finest fits share their noise: the sum of its correlation, at least 1."""
        cells = rings.cells
        n = np.maximum(np.bincount(cells.of_vertex, counted, len(cells.points_m)), 1e-9)
        mean = np.bincount(cells.of_vertex, np.where(counted, smooth, 0.0), len(n)) / n
        known = n > 0.5
        some = slice(None, None, max(len(rings.centres) // 2000, 1))
        centres, around = rings.centres[some], rings.around[some]
        own = mean[centres]
        distance = np.linalg.norm(cells.points_m[around] - cells.points_m[centres][:, None], axis=2)
        pair = known[around] & known[centres][:, None] & (around != centres[:, None])
        step = np.where(pair, np.minimum(distance / rings.cells.size_m, 15.0), 15.0).astype(np.int64)
        product = np.bincount(step.ravel(), (own[:, None] * mean[around] * pair).ravel(), 16)[:4]
        count = np.bincount(step.ravel(), pair.ravel(), 16)[:4]
        correlation = product / np.maximum(count, 1) / max(float(np.mean(own[known[centres]] ** 2)), 1e-30)
        correlation = np.where(np.cumprod(correlation > 0.0), correlation, 0.0)
        return 1.0 + float(np.pi * ((np.arange(4) + 1.0) ** 2 - np.arange(4) ** 2) @ np.minimum(correlation, 1.0))

    def candidates(self, deviation: Array, sigma: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return where (V,) noise cannot explain what stands out, and how far that reaches; features do not count."""
        smooth = self.smoother.mean(deviation, self.smoothing_m)
        core, reach = np.zeros(len(sigma), bool), np.zeros(len(sigma), bool)
        for sign in (1.0, -1.0):
            value = np.nan_to_num(sign * smooth / sigma, nan=0.0)
            found = (value > self.wanted) & (np.nan_to_num(sign * smooth) > self.settings.smallest_m)
            mask = with_hysteresis(self.surface, found, value > RIM_SIGMAS)
            labels = connected_regions(self.surface, mask)
            fringe = open_share(self.surface, labels, calm_vertices(sign * smooth / sigma)) > OPEN_SHARE_MAX
            if len(fringe):
                tall = np.zeros(len(fringe))
                np.maximum.at(tall, labels[mask], sign * smooth[mask])
                mask = mask & ~(fringe | (tall > self.settings.tallest_m))[labels]
            core, reach = core | (found & mask), reach | mask
        return core, reach


def _kept_by_smoothing(share: float) -> float:
    # height left of a bump cos(pi r / width)^2 after a Gaussian mean of `share` widths
    r = np.linspace(0.0, 0.5, 101)
    weight = r * np.exp(-0.5 * (r / share) ** 2) / share**2
    return float(np.trapezoid(weight * np.cos(np.pi * r) ** 2, r))


def _spanned(labels: NDArray[np.int64], residual: Array, leverage: Array, n: int) -> Array:
    # per region: vertices that fits speak about with some authority
    good = (labels >= 0) & np.isfinite(residual) & (leverage < LEVERAGE_MAX)
    return np.bincount(labels[good], minlength=n).astype(float)


def refuse_blind(surface: Surface, judged: NDArray[np.bool_]) -> None:
    """Refuse a surface of which next to nothing could be judged.

    Raises:
        InputRefusedError: says how much.
    """
    share = float(surface.vertex_areas_m2[judged].sum()) / surface.area_m2
    if share < JUDGED_MIN:
        raise InputRefusedError(
            f"defects: {100 * share:.1f} % of the surface could be judged, at least {100 * JUDGED_MIN:.0f} % needed:"
            " too few vertices, or nothing but edges and rims"
        )


def calm_vertices(significance: Array) -> NDArray[np.bool_]:
    """Return what (V,) was judged and does not deviate the other way, as the surface does along a feature."""
    return np.nan_to_num(significance, nan=-np.inf) > -SIGMAS_MIN


def open_share(surface: Surface, labels: NDArray[np.int64], calm: NDArray[np.bool_]) -> Array:
    """Return the share (R,) of each region's border beyond which the surface is not as it should be."""
    n = int(labels.max()) + 1
    a, b = surface.edges.T
    a, b = np.r_[a, b], np.r_[b, a]
    across = (labels[a] >= 0) & (labels[b] != labels[a])
    total = np.bincount(labels[a[across]], minlength=n)
    lost = np.bincount(labels[a[across]], ~calm[b[across]], minlength=n)
    return lost / np.maximum(total, 1)


def median_known(values: Array) -> float:
    """Return the median of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
