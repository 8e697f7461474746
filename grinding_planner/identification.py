"""What a job really removed against what it was to remove: the Preston coefficient and its wear, with intervals.

Measured: depth at vertices, scan before less scan after. Computed: what every piece of the job, in the order it was
run, takes off there with a new abrasive. The coefficient along the job is fitted by least squares weighted by area,
outliers weighing less (Huber); one level per stretch between sudden changes, which the spindle's power tells, times
the wear law along the friction work. Neighbouring residuals are alike (registration, scan, contact), so intervals come
from residuals summed over cells of a tool's width: the scan's noise alone would make them far too narrow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from cell_core.config import GrindToolConfig, Interval
from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from grinding_planner.contact import nominal_speed
from grinding_planner.face import reach_m
from grinding_planner.identification_checks import (
    LOOSE_SHARE_MAX,
    Ground,
    refuse_little,
    refuse_loose,
    refuse_misfit,
    refuse_shifted,
    refuse_unchanged,
)
from grinding_planner.job_pieces import JobPieces
from grinding_planner.process_signal import Change, FrictionAlong, ProcessSignal, friction_along
from grinding_planner.samples import sample_surface
from grinding_planner.wear import preston_factor
from grinding_planner.wear_fit import Evidence, LawFit, bending, fit_law, fit_levels, fit_pieces, variance_of

CONFIDENCE = 0.95
SAMPLES_PER_REACH = 8.0
SAMPLES_MAX = 60_000
CELL_REACHES = 2.0
N_BENDS = 5
MODEL_DOUBT = 0.005
"""Of what is computed, one standard deviation: sampled contact against finer ones. No interval is narrower."""
STRAY_ERRORS, STRAY_SHARE = 4.0, 0.15
"""Pieces that stand off the fit by so many standard errors and by so much of it are worth a warning."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Identification:
    """A tool as it has proved to be, and how well that is known."""

    tool: GrindToolConfig
    """Its preston_per_pa and wear are those of the abrasive in use: at disc_energy_j they give preston_now_per_pa."""
    new_preston_per_pa: float
    """Of a new abrasive, as long as nothing changes at once."""
    preston_now_per_pa: float
    preston_now_interval: Interval
    disc_energy_j: float
    """Friction work of the abrasive in use, at the tool file's friction [J]."""
    levels: tuple[float, ...]
    """Preston coefficient of a new abrasive over the file's: at the start, and after each sudden change."""
    level_half_widths: tuple[float, ...]
    """Of their 95 % intervals."""
    changes: tuple[Change, ...]
    change_strokes: tuple[int, ...]
    """Stroke during which each change happened."""
    identified: tuple[str, ...]
    not_identified: dict[str, str]
    """Numbers kept from the file, and why."""
    friction: FrictionAlong | None
    work_j: Array
    """(B,) friction work since the job began, at the middle of its pieces [J]."""
    planned_factor: Array
    """(B,) Preston coefficient over the file's, of each piece: by the file's own wear law."""
    factor: Array
    """(B,) as fitted."""
    piece_factor: Array
    """(B,) with each piece on its own, only bound to its neighbours."""
    piece_error: Array
    """(B,) its standard error."""
    measured_m: Array
    """(V,) as given; NaN where nothing was measured."""
    planned_m: Array
    """(V,) removal with the tool as in the file."""
    fitted_m: Array
    """(V,) removal with what was identified."""
    touched: NDArray[np.bool_]
    """(V,) vertices that told the coefficient."""
    noise_m: float
    """Robust standard deviation of measured less fitted where the tool passed."""
    warnings: tuple[str, ...]


def identify(
    before: Surface,
    removed_m: Array,
    path: ToolPath,
    tool: GrindToolConfig,
    *,
    signal: ProcessSignal | None = None,
) -> Identification:
    """Return the tool identified from what a job removed at each vertex (V,) of the surface scanned before it [m].

    Args:
        removed_m: positive where material went; NaN where nothing was measured. Both scans in the frame of `path`.
        path: as run; its tool block says the abrasive's friction work at the start and where it was changed.
        tool: the file the job was planned with: contact, friction, and what is known of the wear.
        signal: the job's log, for sudden changes.

    Raises:
        InputRefusedError: too little was touched or measured, the scans are not aligned, nothing was removed, what
            was removed does not follow the path, or the coefficient stays too uncertain.
    """
    measured = np.asarray(removed_m, float)
    if measured.shape != (len(before.vertices_m),):
        raise InputRefusedError(f"measured: {measured.shape} depths, the surface has {len(before.vertices_m)} vertices")
    deep = next((stroke.kind for stroke in path.strokes if stroke.kind in ("bead", "edge")), None)
    if deep is not None:
        raise InputRefusedError(
            f"tool path: strokes over a {deep} change the contact as they go; identify on an area or a map"
        )
    changed = path.tool.get("disc_changes", ())
    friction = None if signal is None else friction_along(signal, path.strokes, nominal_speed(tool), changed)
    changes = () if friction is None else friction.changes
    pieces = JobPieces.of(path, tool, [change.share for change in changes])
    reach = reach_m(tool, highest_force_n(path))
    finest = np.sqrt(before.area_m2 / SAMPLES_MAX)
    samples = sample_surface(before, max(reach / SAMPLES_PER_REACH, finest))
    depth = samples.weights_at(before.vertices_m, before.vertex_normals) @ pieces.removal(samples, tool)
    known = preston_factor(tool.wear, pieces.energy_j)
    ground = Ground.of(before, measured, depth @ known)
    refuse_little(ground, reach)
    refuse_unchanged(ground)
    warnings = [*refuse_shifted(ground), *(friction.warnings if friction is not None else ())]
    cell_m = CELL_REACHES * reach
    evidence = _evidence(before, measured, depth, cell_m).robust(bending(known, pieces.level, N_BENDS))
    fit = _fit(evidence, pieces, tool, known)
    fitted = depth @ fit.factor
    apart = pieces.disc * (len(changes) + 1) + pieces.level
    piece_factor, piece_error = fit_pieces(evidence, fit.factor, apart, fit.variance_m2)
    # the pieces on their own: a coefficient that changes along the job is no misfit
    refuse_misfit(ground, depth @ piece_factor, _cells(before, ground.touched, reach))
    warnings += _strayed(piece_factor, piece_error, fit.factor)
    refuse_loose(fit.now, fit.now_half_width, "the Preston coefficient now")
    warnings += [
        f"between sudden changes, level {k + 1} of {len(fit.levels)} is known to +/- {100.0 * half / level:.0f} % only"
        for k, (level, half) in enumerate(zip(fit.levels, fit.half_widths, strict=True))
        if half > LOOSE_SHARE_MAX * level
    ]
    left = (measured - fitted)[ground.touched]
    identified, kept = _names(tool, fit.law)
    k0, last = tool.preston_per_pa, int(pieces.level[-1])
    return Identification(
        tool=_as_found(tool, fit.law, k0 * float(fit.levels[last]), k0 * float(fit.half_widths[last])),
        new_preston_per_pa=k0 * float(fit.levels[0]),
        preston_now_per_pa=k0 * fit.now,
        preston_now_interval=Interval(
            low=k0 * (fit.now - fit.now_half_width), high=k0 * (fit.now + fit.now_half_width)
        ),
        disc_energy_j=pieces.energy_end_j,
        levels=tuple(float(level) for level in fit.levels),
        level_half_widths=tuple(float(half) for half in fit.half_widths),
        changes=changes,
        change_strokes=tuple(pieces.stroke_at(change.share) for change in changes),
        identified=identified,
        not_identified=kept,
        friction=friction,
        work_j=pieces.work_j,
        planned_factor=known,
        factor=fit.factor,
        piece_factor=piece_factor,
        piece_error=piece_error,
        measured_m=measured,
        planned_m=ground.planned_m,
        fitted_m=fitted,
        touched=ground.touched,
        noise_m=1.4826 * float(np.median(np.abs(left - np.median(left)))),
        warnings=tuple(warnings),
    )


def highest_force_n(path: ToolPath) -> float:
    """Return the highest force of a path [N]."""
    return float(max(stroke.process_value.max() for stroke in path.strokes))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    factor: Array
    levels: Array
    half_widths: Array
    now: float
    now_half_width: float
    law: LawFit | None
    variance_m2: float


def _fit(evidence: Evidence, pieces: JobPieces, tool: GrindToolConfig, known: Array) -> _Fit:
    # levels on the file's wear law, or on a law of the job's own where it tells one
    basis = known[:, None] * np.eye(int(pieces.level.max()) + 1)[pieces.level]
    plain = fit_levels(evidence, basis)
    # of a fit that bends as it likes: a fall of the coefficient is no noise
    variance = variance_of(evidence, bending(known, pieces.level, N_BENDS))
    law = fit_law(evidence, pieces.level, pieces.energy_j, tool.wear, variance)
    last, n = int(pieces.level[-1]), basis.shape[1]
    if law is None:
        worn = float(preston_factor(tool.wear, pieces.energy_end_j))
        factor, levels, covariance = basis @ plain.value, plain.value, plain.covariance
        now, error = worn * float(levels[last]), worn * float(np.sqrt(covariance[last, last]))
    else:
        factor, levels, covariance = law.factor, law.levels, law.covariance
        now, error = law.now(last, pieces.energy_end_j)
    quantile = float(t.ppf(0.5 + 0.5 * CONFIDENCE, max(plain.n_cells - n, 1)))
    return _Fit(
        factor=factor,
        levels=levels,
        half_widths=quantile * np.hypot(np.sqrt(np.diag(covariance)[:n]), MODEL_DOUBT * levels),
        now=now,
        now_half_width=quantile * float(np.hypot(error, MODEL_DOUBT * now)),
        law=law,
        variance_m2=variance,
    )


def _strayed(piece_factor: Array, piece_error: Array, factor: Array) -> list[str]:
    away = np.abs(piece_factor - factor)
    strayed = (away > STRAY_ERRORS * piece_error) & (away > STRAY_SHARE * factor)
    if not strayed.any():
        return []
    low, high = float(piece_factor.min()), float(piece_factor.max())
    return [
        f"the coefficient changed along the job, from {high:.2f} to {low:.2f} times the file's at the extremes, as no "
        "level and law here explains: what is said of now may be wrong; a log of force and spindle power tells more"
    ]


def _evidence(before: Surface, measured: Array, depth: Array, cell_m: float) -> Evidence:
    told = np.isfinite(measured) & (before.vertex_areas_m2 > 0.0) & (depth.sum(axis=1) > 0.0)
    weights = before.vertex_areas_m2[told]
    return Evidence(
        depth_m=depth[told],
        measured_m=measured[told],
        weights=weights * len(weights) / weights.sum(),
        cell=_cells(before, told, cell_m),
    )


def _cells(before: Surface, chosen: NDArray[np.bool_], cell_m: float) -> NDArray[np.int64]:
    place = np.floor((before.vertices_m[chosen] - before.bounds_m[0]) / cell_m).astype(np.int64)
    return np.unique(place, axis=0, return_inverse=True)[1].reshape(-1)


def _names(tool: GrindToolConfig, law: LawFit | None) -> tuple[tuple[str, ...], dict[str, str]]:
    names, kept = ["preston_per_pa"], {}
    told = (law is not None and law.energy_identified, law is not None and law.floor_identified)
    for name, is_told in zip(("wear.energy_j", "wear.floor_fraction"), told, strict=True):
        if is_told:
            names.append(name)
        elif tool.wear is not None:
            kept[name] = "the job leaves more than half of the doubt about it: it spans too little of the wear"
        else:
            kept[name] = "no fall of the coefficient along the job stands out of the noise"
    return tuple(names), kept


def _as_found(tool: GrindToolConfig, law: LawFit | None, preston: float, half_width: float) -> GrindToolConfig:
    changes = {
        "preston_per_pa": float(f"{preston:.6g}"),
        "preston_interval_per_pa": Interval(
            low=float(f"{max(preston - half_width, 0.0):.6g}"), high=float(f"{preston + half_width:.6g}")
        ),
    }
    if law is not None:
        rounded = {k: float(f"{v:.4g}") for k, v in law.law.model_dump().items()}
        changes["wear"] = law.law.model_copy(update=rounded)
    return tool.model_copy(update=changes)
