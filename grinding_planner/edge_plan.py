"""Strategy edge: find the edges, ride those a tool can reach, each to the chamfer wanted."""

from collections.abc import Sequence

import numpy as np

from cell_core.config import BurrTool, GrindRecipe, GrindToolConfig
from cell_core.errors import CoverageError, LimitError
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke
from grinding_planner.chamfer import contact_reach_m
from grinding_planner.edge import Edge
from grinding_planner.edge_outcome import outcome, shares_m
from grinding_planner.edge_reach import Way, room_on, skew_bend_per_m, ways_of
from grinding_planner.edge_speeds import Ride, RideSpeeds, ride_speeds
from grinding_planner.edges import find_edges
from grinding_planner.results import Removal, Served
from grinding_planner.task import GrindTask

STEP_REACHES = 0.75
STEP_MIN_M, STEP_MAX_M = 0.5e-3, 4e-3


def depth_of_cut_m(recipe: GrindRecipe) -> float:
    """Return how deep a right-angled edge is cut: half as deep as wide [m]."""
    return 0.5 * recipe.chamfer_width_m


def edges_of(surface: Surface, recipe: GrindRecipe, tools: Sequence[GrindToolConfig]) -> list[Edge]:
    """Return the edges that the recipe means, sampled as the finest of the tools needs it.

    Raises:
        CoverageError: there is none.
        InputRefusedError: a tool of a kind that cannot break edges.
    """
    step = STEP_REACHES * min(contact_reach_m(tool, depth_of_cut_m(recipe)) for tool in tools)
    step = float(np.clip(step, STEP_MIN_M, STEP_MAX_M))
    found = find_edges(surface, recipe.edge_angle_min_rad, recipe.edge_length_min_m)
    if not found:
        raise CoverageError(
            f"edge: none turns over by more than {np.degrees(recipe.edge_angle_min_rad):.3g} degrees over "
            f"{1e3 * recipe.edge_length_min_m:g} mm"
        )
    return [edge.even(step) for edge in found]


def plan_edges(task: GrindTask, tool: GrindToolConfig) -> tuple[Served, Removal]:
    """Return a stroke along every convex edge within the tool's reach, and the chamfers they leave.

    Tool frame: z along the bisector into the edge, x along travel, y across the edge. A burr's shank leaves it towards
    +y, over one of the two faces, so that the direction of travel says over which.

    Raises:
        CoverageError: no edge is found, or none that the tool can reach.
        LimitError: on no edge do force and speed limits allow the chamfer, or one takes too many passes.
        InputRefusedError: a tool of a kind that cannot break edges.
    """
    recipe = task.recipe
    contact = contact_reach_m(tool, depth_of_cut_m(recipe))
    edges = edges_of(task.surface, recipe, [tool]) if task.edges is None else task.edges
    task.progress(0.2, f"{len(edges)} edge(s) found")
    reached = [
        ways_of(edge, room, contact) for edge, room in zip(edges, room_on(task, tool, edges, contact), strict=True)
    ]
    ways = [way for reach in reached for way in reach.ways]
    if not ways:
        refused = {
            name: sum(float(shares_m(edge) @ reach.reasons[name]) for edge, reach in zip(edges, reached, strict=True))
            for name in reached[0].reasons
        }
        told = ", ".join(f"{name} {1e3 * length:.4g} mm" for name, length in refused.items() if length > 0.0)
        raise (LimitError if refused["force_too_high"] > 0.0 else CoverageError)(
            f"edge: {len(edges)} found, {1e3 * sum(edge.length_m for edge in edges):.4g} mm, none within reach of "
            f"tool {tool.name}: {told}",
            refusals=refused,
        )
    task.progress(0.4, f"{len(ways)} piece(s) of edges to ride")
    speeds = ride_speeds([_ride(way, tool) for way in ways], tool, recipe)
    strokes = [stroke for way, ridden in zip(ways, speeds, strict=True) for stroke in _strokes(way, ridden, tool)]
    return outcome(task, edges, reached, speeds, tuple(strokes), tool.name)


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
