"""What one tool cannot reach of the edges goes to the others that hang ready, one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.config import GrindRecipe, GrindToolConfig
from cell_core.edge_lines import EdgeLines
from cell_core.errors import CoverageError, LimitError
from cell_core.plan import Plan
from cell_core.surface import Surface
from grinding_planner.edge import Edge
from grinding_planner.edge_outcome import edge_figures
from grinding_planner.planner import plan_grind

WORTH_M = 1e-3
"""A tool that works no more than this of the edges is not changed to."""
SUMS = ("duration_s", "length_m", "n_strokes")


def with_further_tools(
    plan: Plan,
    edges: Sequence[Edge],
    surface: Surface,
    recipes: Sequence[tuple[GrindRecipe, GrindToolConfig]],
    **keywords: Any,
) -> Plan:
    """Return the plan with a further tool path for each tool that works what those before it had to leave.

    Args:
        edges: what `plan` was made for.
        recipes: tools to try, each with the recipe as it suits it.
        keywords: of plan_grind.
    """
    for recipe, tool in recipes:
        assert plan.edges is not None
        pieces = _left(edges, plan.edges.tool < 0)
        if not pieces:
            break
        try:
            more = plan_grind(surface, recipe, tool, edges=[piece for piece, _ in pieces], **keywords)
        except (CoverageError, LimitError):
            continue
        if more.figures["edge_planned_length_m"] > WORTH_M:
            plan = _joined(plan, more, np.concatenate([samples for _, samples in pieces]))
    return plan


def _left(edges: Sequence[Edge], left: NDArray[np.bool_]) -> list[tuple[Edge, NDArray[np.int64]]]:
    """Return the pieces of edges that no tool works, each with the numbers of its samples."""
    pieces: list[tuple[Edge, NDArray[np.int64]]] = []
    first = 0
    for edge in edges:
        own = left[first : first + len(edge)]
        samples = np.arange(first, first + len(edge))
        first += len(edge)
        if own.all():
            pieces.append((edge, samples))
            continue
        if edge.closed:
            start = int(np.argmin(own))
            turned = np.r_[start : len(edge) - 1, 0 : start + 1]
            edge, own, samples = edge.rolled(start), own[turned], samples[turned]
        bounds = np.flatnonzero(np.diff(own.astype(np.int8), prepend=0, append=0))
        for a, b in zip(bounds[::2], bounds[1::2], strict=True):
            if b - a >= 2:
                pieces.append((edge.at(edge.arc_m[a:b]), samples[a:b]))
    return pieces


def _joined(plan: Plan, more: Plan, samples: NDArray[np.int64]) -> Plan:
    assert plan.edges is not None
    assert more.edges is not None
    lines = _merged(plan.edges, more.edges, samples)
    own = {"tool": more.toolpath.tool["name"], "worked_m": more.figures["edge_planned_length_m"]}
    told = {name: more.figures[name] for name in SUMS}
    return replace(
        plan,
        edges=lines,
        further=(*plan.further, more.toolpath),
        fields={name: np.maximum(values, more.fields[name]) for name, values in plan.fields.items()},
        figures={
            **plan.figures,
            **edge_figures(lines),
            **{name: plan.figures[name] + more.figures[name] for name in SUMS},
            "further_tools": [*plan.figures.get("further_tools", ()), {**own, **told}],
        },
    )


def _merged(all_: EdgeLines, some: EdgeLines, samples: NDArray[np.int64]) -> EdgeLines:
    assert all_.reasons == some.reasons
    width, tool, reason = all_.width_m.copy(), all_.tool.copy(), all_.reason.copy()
    width[samples] = np.maximum(width[samples], some.width_m)
    tool[samples] = np.where(some.tool >= 0, len(all_.tools), tool[samples])
    reason[samples] = some.reason
    return replace(all_, width_m=width, tool=tool, reason=reason, tools=(*all_.tools, *some.tools))
