"""What riding edges comes to: the new face sample by sample of every edge, its figures, what the plan is judged on."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.edge_lines import EdgeLines
from cell_core.statistics import weighted_quantile
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from grinding_planner.chamfer import section_area_m2
from grinding_planner.edge import Edge
from grinding_planner.edge_reach import EdgeReach
from grinding_planner.edge_speeds import RideSpeeds
from grinding_planner.results import Removal, Served
from grinding_planner.samples import SurfaceSamples
from grinding_planner.task import GrindTask


def shares_m(edge: Edge) -> Array:
    """Return the length (N,) that belongs to each sample: half of each neighbouring step [m]."""
    return np.convolve(np.diff(edge.arc_m), [0.5, 0.5])


def outcome(
    task: GrindTask,
    edges: Sequence[Edge],
    reached: Sequence[EdgeReach],
    speeds: Sequence[RideSpeeds],
    strokes: tuple[Stroke, ...],
    tool_name: str,
) -> tuple[Served, Removal]:
    """Return what these rides, in the order of the edges' ways, leave on the edges."""
    width_m = task.recipe.chamfer_width_m
    points = np.concatenate([edge.position_m for edge in edges])
    share = np.concatenate([shares_m(edge) for edge in edges])
    width, area, passes, ridden = _left_by(edges, reached, speeds, width_m, task.recipe.acceptance.tolerance_fraction)
    lines = EdgeLines(
        position_m=points,
        edge=np.repeat(np.arange(len(edges)), [len(edge) for edge in edges]),
        share_m=share,
        width_m=np.where(ridden, width, 0.0),
        tool=np.where(ridden, 0, -1),
        reason=np.where(ridden, -1, _reasons(reached)),
        tools=(tool_name,),
        reasons=tuple(reached[0].reasons),
        width_wanted_m=width_m,
        tolerance_fraction=task.recipe.acceptance.tolerance_fraction,
    )
    samples = SurfaceSamples(
        points_m=points,
        normals=np.concatenate([edge.outward for edge in edges]),
        areas_m2=width_m * share,
        spacing_m=float(np.median(share)),
    )
    served = Served(
        surface=task.surface,
        samples=samples,
        serviceable=ridden,
        to_vertices=_to_vertices(task.surface, points, max(width_m, 2.0 * samples.spacing_m)),
        refusals={name: length / float(share.sum()) for name, length in lines.refused_m.items()},
    )
    target = np.concatenate([section_area_m2(width_m, e.opening_rad, e.rounding_m) for e in edges]) / width_m
    removal = Removal(
        strokes=strokes,
        removed_m=area / width_m,
        visits=passes,
        target_m=target,
        judged=ridden,
        figures=edge_figures(lines),
        edges=lines,
    )
    return served, removal


def edge_figures(lines: EdgeLines) -> dict[str, float]:
    """Return lengths found, planned and left by reason, and how the width of the new face is spread over the length."""
    planned = lines.tool >= 0
    width, own = lines.width_m[planned], lines.share_m[planned] / lines.share_m[planned].sum()
    near = lines.share_m @ (planned & lines.in_tolerance)
    return {
        "edges_found": float(len(np.unique(lines.edge))),
        "edge_length_m": float(lines.share_m.sum()),
        "edge_planned_length_m": float(lines.share_m[planned].sum()),
        **{f"edge_refused_{name}_m": length for name, length in lines.refused_m.items()},
        "chamfer_width_mean_m": float(own @ width),
        "chamfer_width_min_m": float(width.min()),
        "chamfer_width_p05_m": weighted_quantile(width, own, 0.05),
        "chamfer_width_p95_m": weighted_quantile(width, own, 0.95),
        "chamfer_width_max_m": float(width.max()),
        "chamfer_in_tolerance_length_fraction": min(float(near / lines.share_m[planned].sum()), 1.0),
        "chamfer_in_tolerance_of_all_length_fraction": min(float(near / lines.share_m.sum()), 1.0),
    }


def _left_by(
    edges: Sequence[Edge],
    reached: Sequence[EdgeReach],
    speeds: Sequence[RideSpeeds],
    width_m: float,
    tolerance: float,
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return width, area, passes and whether it is ridden of every sample of all edges."""
    left: list[Array] = []
    ride_over: list[NDArray[np.bool_]] = []
    rides = iter(speeds)
    for edge, reach in zip(edges, reached, strict=True):
        # up to half a width from the end of an edge its face is the neighbours'
        half = 0.0 if edge.closed else min(0.5 * width_m, 0.5 * edge.length_m)
        inwards = np.clip(edge.arc_m, half, edge.length_m - half) - edge.arc_m
        width, area, passes = np.zeros((3, len(reach.ridden)))
        ridden = reach.ridden.copy()
        for way in reach.ways:
            ride = next(rides)
            own_width, own_area = ride.at(way.on_way_m + np.sign(way.on_way_m[-1] - way.on_way_m[0]) * inwards)
            # the new face goes on for a while before the first and behind the last place where the tool stands
            ridden |= np.abs(own_width / width_m - 1.0) <= tolerance
            width, area = np.maximum(width, own_width), np.maximum(area, own_area)
            passes += len(ride.force_n) * (own_width > 0.0)
        left.append(np.stack([width, area, passes]))
        ride_over.append(ridden)
    width, area, passes = np.concatenate(left, axis=1)
    return width, area, passes, np.concatenate(ride_over)


def _reasons(reached: Sequence[EdgeReach]) -> Array:
    names = list(reached[0].reasons)
    told = np.stack([np.concatenate([reach.reasons[name] for reach in reached]) for name in names])
    return np.where(told.any(axis=0), told.argmax(axis=0), -1)


def _to_vertices(surface: Surface, points: Array, reach_m: float) -> scipy.sparse.csr_matrix:
    distance, nearest = KDTree(points).query(surface.vertices_m, distance_upper_bound=reach_m)
    nearest, at = np.asarray(nearest), np.flatnonzero(np.isfinite(distance))
    shape = (len(surface.vertices_m), len(points))
    return scipy.sparse.csr_matrix((np.ones(len(at)), (at, nearest[at])), shape=shape)
