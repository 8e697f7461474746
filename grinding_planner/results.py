"""From strokes and their prediction to a plan: fields, figures and the tool block."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from cell_core.config import GrindRecipe, GrindToolConfig, PadTool
from cell_core.edge_lines import EdgeLines
from cell_core.errors import CoverageError
from cell_core.plan import Plan
from cell_core.statistics import field_statistics, weighted_quantile
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke, ToolPath
from cell_core.transforms import Array
from grinding_planner.contact import nominal_speed
from grinding_planner.samples import SurfaceSamples
from grinding_planner.strokes import Line
from grinding_planner.turning import turn_figures
from grinding_planner.wear import Wear, wear_block, wear_figures

TILT_PRESSURE_FRACTION = 0.4
_WINKLER = "winkler: p = stiffness_pa_per_m * max(0, advance - gap); sum over the projected face = force"
_HERTZ = (
    "hertz: p = p0 sqrt(1 - (gap - least gap) / h), h half the approach; gap from the rim of radius_m about an axle "
    "along tool y, crown_radius_m across; p0 from force, h from effective_modulus_pa"
)
CONTACT = {"pad": _WINKLER, "burr": _WINKLER + "; gap from the rim of radius_m", "wheel": _HERTZ, "belt": _HERTZ}
SPEED = {
    "orbital": "v_rel = omega * orbit_radius_m",
    "disc": "v_rel = |omega x r + feed|",
    "wheel": "v_rel = omega * radius_m + feed",
    "belt": "v_rel = belt_speed_m_per_s + feed",
}
UNTOUCHED_FRACTION = 0.05
"""A point that loses less than this share of its target counts as untouched."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A surface, the samples a plan is predicted on, and which of them a tool can serve."""

    surface: Surface
    samples: SurfaceSamples
    serviceable: NDArray[np.bool_]
    """(S,) samples that some firm pose with a free body presses."""
    to_vertices: scipy.sparse.csr_matrix
    """(V, S) carries sample fields to the surface's vertices."""
    refusals: dict[str, float]
    """Share of the poses tried that were refused, by reason."""

    @property
    def serviceable_area_m2(self) -> float:
        """Area of the serviceable samples [m2]."""
        return float(self.samples.areas_m2[self.serviceable].sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Removal:
    """Strokes and what they take off the samples."""

    strokes: tuple[Stroke, ...]
    removed_m: Array
    """(S,) predicted depth [m]."""
    visits: Array
    """(S,) strokes that pass over each sample."""
    target_m: Array
    """(S,) depth wanted [m]."""
    judged: NDArray[np.bool_]
    """(S,) samples the figures are taken over."""
    figures: dict[str, float] = field(default_factory=dict)
    """What the strategy has to say besides."""
    edges: EdgeLines | None = None
    """What becomes of the edges, for strategy edge."""


def tolerable_tilt(tool: GrindToolConfig, force_n: float) -> float:
    """Return the tilt [rad] that motion may use: the tool's, or less where it would upset the pressure.

    A tilt t adds K R t to the pressure at the rim; it stays below TILT_PRESSURE_FRACTION of a full pad's.
    """
    if not isinstance(tool, PadTool):
        return tool.tilt_max_rad
    compression = force_n / (np.pi * tool.radius_m**2 * tool.stiffness_pa_per_m)
    return float(min(tool.tilt_max_rad, TILT_PRESSURE_FRACTION * compression / tool.radius_m))


def stroke_of(
    line: Line, force_n: Array, kind: Literal["area", "bead"], speed_m_per_s: ArrayLike, tool: GrindToolConfig
) -> Stroke:
    """Return the line as a stroke at the given force (N,) and speed."""
    return Stroke(
        kind=kind,
        position_m=line.position_m,
        tool_axis=line.tool_axis,
        travel=line.travel,
        speed_m_per_s=np.broadcast_to(np.asarray(speed_m_per_s, float), (len(line),)),
        process_value=force_n,
        on=np.ones(len(line), bool),
        freedom=Freedom(
            spin="free" if tool.spin == "free" else "fixed", tilt_rad=tolerable_tilt(tool, float(np.min(force_n)))
        ),
    )


def plan_of(
    served: Served,
    recipe: GrindRecipe,
    tool: GrindToolConfig,
    removal: Removal,
    wear: Wear,
    surface_path: str,
    surface_sha256: str,
    started: float,
) -> Plan:
    """Return the plan with its figures over the judged samples and its fields on the surface's vertices.

    Raises:
        CoverageError: no sample is judged.
    """
    areas, target_m, judged = served.samples.areas_m2, removal.target_m, removal.judged
    if not judged.any():
        raise CoverageError(
            "target: nothing of it lies where the pad can press", serviceable_area_m2=served.serviceable_area_m2
        )
    stats = field_statistics(
        removal.removed_m,
        target_m,
        areas,
        recipe.acceptance.tolerance_fraction,
        judged,
        recipe.acceptance.tolerance_m,
    )
    share = areas[judged] / areas[judged].sum()
    excess = removal.removed_m - target_m
    prediction = {
        "mean_m": stats.mean_m,
        "cv": stats.cv,
        "min_m": stats.min_m,
        "max_m": stats.max_m,
        "in_tolerance_area_fraction": stats.in_tolerance_area_fraction,
        "coverage_area_fraction": stats.covered_area_fraction,
        "duration_s": float(sum(s.times_s[-1] for s in removal.strokes)),
        "length_m": float(sum(s.length_m for s in removal.strokes)),
    }
    figures = {
        **prediction,
        "residual_rms_m": float(np.sqrt(share @ excess[judged] ** 2)),
        "residual_p99_m": weighted_quantile(np.abs(excess[judged]), share, 0.99),
        "over_cut_max_m": float(np.max(excess, initial=0.0)),
        "over_cut_p999_m": max(weighted_quantile(excess, areas, 0.999), 0.0),
        "left_max_m": float(np.max(-excess[judged], initial=0.0)),
        "untouched_area_fraction": float(share @ (removal.removed_m[judged] < UNTOUCHED_FRACTION * target_m[judged])),
        "removed_volume_m3": float(areas @ removal.removed_m),
        "ideal_duration_s": float(areas @ removal.removed_m)
        / (tool.preston_per_pa * recipe.force_n * nominal_speed(tool)),
        **wear_figures(wear, tool),
        "n_strokes": len(removal.strokes),
        **turn_figures(removal.strokes),
        "force_min_n": float(min(s.process_value.min() for s in removal.strokes)),
        "force_mean_n": _mean_force_n(removal.strokes),
        "force_max_n": float(max(s.process_value.max() for s in removal.strokes)),
        "serviceable_area_m2": served.serviceable_area_m2,
        "target_area_m2": stats.area_m2,
        "surface_area_m2": float(areas.sum()),
        **removal.figures,
        "plan_time_s": time.perf_counter() - started,
    }
    left = 1.0 - stats.covered_area_fraction
    path = ToolPath(
        process="grind",
        strokes=removal.strokes,
        tool={**tool_block(tool), **wear_block(wear)},
        surface={"path": surface_path, "sha256": surface_sha256},
        frame=served.surface.frame,
        prediction=prediction,
        unreached={
            "area_fraction": left,
            "reasons": {"not_covered": left},
            "not_serviceable_area_fraction": float(1.0 - served.serviceable_area_m2 / areas.sum()),
            "refused_poses": served.refusals,
        },
    )
    carry = served.to_vertices
    fields = {
        "predicted_change_m": carry @ removal.removed_m,
        "target_change_m": carry @ target_m,
        "visits": carry @ removal.visits,
        "serviceable": (carry @ served.serviceable.astype(float) >= 0.5).astype(float),
    }
    return Plan(toolpath=path, fields=fields, figures=figures, edges=removal.edges)


def _mean_force_n(strokes: tuple[Stroke, ...]) -> float:
    dwell, force = (np.concatenate([getattr(s, n) for s in strokes]) for n in ("dwell_s", "process_value"))
    return float(dwell @ force / dwell.sum())


def tool_block(tool: GrindToolConfig) -> dict[str, Any]:
    """Return what a stranger needs to recompute the removal."""
    return {
        **tool.model_dump(mode="json", exclude={"format", "version"}),
        "contact": CONTACT[tool.kind],
        "removal": "preston: dz/dt = preston_per_pa * p * v_rel",
        "relative_speed": SPEED[tool.motion],
    }
