"""Strategy edge: find the edges, ride those a tool can reach, each to the chamfer wanted."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from scipy.spatial import KDTree

from cell_core.config import BurrTool, GrindToolConfig
from cell_core.errors import CoverageError
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array
from grinding_planner.chamfer import contact_reach_m, section_area_m2
from grinding_planner.edge import Edge
from grinding_planner.edge_reach import EdgeReach, Way, room_on, skew_bend_per_m, ways_of
from grinding_planner.edge_speeds import Ride, RideSpeeds, ride_speeds
from grinding_planner.edges import find_edges
from grinding_planner.results import Removal, Served
from grinding_planner.samples import SurfaceSamples
from grinding_planner.task import GrindTask

STEP_REACHES = 0.75
STEP_MIN_M, STEP_MAX_M = 0.5e-3, 4e-3
WIDTH_TOLERANCE = 0.2


def plan_edges(task: GrindTask, tool: GrindToolConfig) -> tuple[Served, Removal]:
    """Return a stroke along every convex edge within the tool's reach, and the chamfers they leave.

    Tool frame: z along the bisector into the edge, x along travel, y across the edge. A burr's shank leaves it towards
    +y, over one of the two faces, so that the direction of travel says over which.

    Raises:
        CoverageError: no edge is found, or none that the tool can reach.
        LimitError: force and speed limits do not allow the chamfer; says which edge.
        InputRefusedError: a tool of a kind that cannot break edges.
    """
    recipe = task.recipe
    width = recipe.chamfer_width_m
    # a right-angled edge is cut half as deep as wide
    contact = contact_reach_m(tool, 0.5 * width)
    step = float(np.clip(STEP_REACHES * contact, STEP_MIN_M, STEP_MAX_M))
    found = find_edges(task.surface, recipe.edge_angle_min_rad, recipe.edge_length_min_m)
    edges = [edge.even(step) for edge in found]
    if not edges:
        raise CoverageError(
            f"edge: none turns over by more than {np.degrees(recipe.edge_angle_min_rad):.3g} degrees over "
            f"{1e3 * recipe.edge_length_min_m:g} mm"
        )
    task.progress(0.2, f"{len(edges)} edge(s) found")
    reached = [ways_of(edge, room, contact) for edge, room in zip(edges, room_on(task, tool, edges), strict=True)]
    ways = [way for reach in reached for way in reach.ways]
    refused = _refused(edges, reached)
    if not ways:
        told = ", ".join(f"{name} {1e3 * length:.4g} mm" for name, length in refused.items() if length > 0.0)
        raise CoverageError(
            f"edge: {len(edges)} found, {1e3 * sum(edge.length_m for edge in edges):.4g} mm, none within reach of "
            f"tool {tool.name}: {told}",
            refusals=refused,
        )
    task.progress(0.4, f"{len(ways)} piece(s) of edges to ride")
    speeds = ride_speeds([_ride(way, tool) for way in ways], tool, recipe)
    return _outcome(task.surface, edges, reached, speeds, width, refused, tool)


def _ride(way: Way, tool: GrindToolConfig) -> Ride:
    edge = way.edge
    middle = 1e3 * edge.position_m[len(edge) // 2]
    return Ride(
        arc_m=edge.arc_m,
        opening_rad=edge.opening_rad,
        rounding_m=edge.rounding_m,
        curvature_per_m=edge.curvature_per_m + skew_bend_per_m(tool, way.skew_rad),
        closed=edge.closed,
        before_m=way.before_m,
        behind_m=way.behind_m,
        name=f"edge at ({middle[0]:.4g}, {middle[1]:.4g}, {middle[2]:.4g}) mm",
    )


def _strokes(way: Way, speeds: RideSpeeds, tool: GrindToolConfig) -> list[Stroke]:
    # a burr's shank may lie on its side only; a pad may turn about its axis
    edge = way.edge
    spin = "exact" if isinstance(tool, BurrTool) else "free"
    return [
        Stroke(
            kind="edge",
            position_m=edge.position_m,
            tool_axis=-edge.outward,
            travel=way.travel,
            speed_m_per_s=speed,
            process_value=force,
            on=np.ones(len(edge), bool),
            freedom=Freedom(spin=spin),
        )
        for force, speed in zip(speeds.force_n, speeds.speed_m_per_s, strict=True)
    ]


def _refused(edges: Sequence[Edge], reached: Sequence[EdgeReach]) -> dict[str, float]:
    lengths: dict[str, float] = {}
    for edge, reach in zip(edges, reached, strict=True):
        for name, mask in reach.reasons.items():
            lengths[name] = lengths.get(name, 0.0) + float(_shares_m(edge) @ mask)
    return lengths


def _shares_m(edge: Edge) -> Array:
    """Return the length (N,) that belongs to each sample: half of each neighbouring step."""
    return np.convolve(np.diff(edge.arc_m), [0.5, 0.5])


def _outcome(
    surface: Surface,
    edges: Sequence[Edge],
    reached: Sequence[EdgeReach],
    speeds: Sequence[RideSpeeds],
    width_m: float,
    refused: dict[str, float],
    tool: GrindToolConfig,
) -> tuple[Served, Removal]:
    ways = [way for reach in reached for way in reach.ways]
    left = [(edge, ~reach.ridden) for edge, reach in zip(edges, reached, strict=True)]

    def stacked(of_way: Sequence[Array], of_edge: Sequence[Array]) -> Array:
        return np.concatenate([*of_way, *(values[mask] for values, (_, mask) in zip(of_edge, left, strict=True))])

    rides = [way.edge for way in ways]
    served = stacked([np.ones(len(e)) for e in rides], [np.zeros(len(e)) for e in edges]) > 0.5
    points = stacked([e.position_m for e in rides], [e.position_m for e in edges])
    share = stacked([_shares_m(e) for e in rides], [_shares_m(e) for e in edges])
    depth = [section_area_m2(width_m, e.opening_rad, e.rounding_m) / width_m for e in (*rides, *edges)]
    target = stacked(depth[: len(rides)], depth[len(rides) :])
    removed, width = np.zeros(len(points)), np.zeros(len(points))
    removed[served] = np.concatenate([s.area_m2 for s in speeds]) / width_m
    width[served] = np.concatenate([s.width_m for s in speeds])
    samples = SurfaceSamples(
        points_m=points,
        normals=stacked([e.outward for e in rides], [e.outward for e in edges]),
        areas_m2=width_m * share,
        spacing_m=float(np.median(share)),
    )
    passes = np.concatenate([np.full(len(e), float(len(s.force_n))) for e, s in zip(rides, speeds, strict=True)])
    strokes = tuple(s for way, ridden in zip(ways, speeds, strict=True) for s in _strokes(way, ridden, tool))
    near = np.abs(width[served] / width_m - 1.0) <= WIDTH_TOLERANCE
    own = share[served] / share[served].sum()
    figures = {
        "edges_found": float(len(edges)),
        "edge_length_m": float(sum(e.length_m for e in edges)),
        "edge_planned_length_m": float(sum(_shares_m(e) @ r.ridden for e, r in zip(edges, reached, strict=True))),
        **{f"edge_refused_{name}_m": length for name, length in refused.items()},
        "chamfer_width_mean_m": float(own @ width[served]),
        "chamfer_width_min_m": float(width[served].min()),
        "chamfer_width_max_m": float(width[served].max()),
        "chamfer_in_tolerance_length_fraction": min(float(own @ near), 1.0),
    }
    return (
        Served(
            surface=surface,
            samples=samples,
            serviceable=served,
            to_vertices=_to_vertices(surface, points, max(width_m, 2.0 * samples.spacing_m)),
            refusals={name: length / figures["edge_length_m"] for name, length in refused.items()},
        ),
        Removal(
            strokes=strokes,
            removed_m=removed,
            visits=np.concatenate([passes, np.zeros(len(points) - len(passes))]),
            target_m=target,
            judged=served,
            figures=figures,
        ),
    )


def _to_vertices(surface: Surface, points: Array, reach_m: float) -> scipy.sparse.csr_matrix:
    distance, nearest = KDTree(points).query(surface.vertices_m, distance_upper_bound=reach_m)
    nearest, at = np.asarray(nearest), np.flatnonzero(np.isfinite(distance))
    shape = (len(surface.vertices_m), len(points))
    return scipy.sparse.csr_matrix((np.ones(len(at)), (at, nearest[at])), shape=shape)
