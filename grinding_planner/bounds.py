"""What a tool's own limits allow: force from pressure, depth of one pass from abrasive and heat.

Friction work per area follows from the depth alone, whatever force and feed: with Preston's law both are integrals of
p v_rel dt, so q = mu depth / k_p. A bound on heat is a bound on the depth of a pass.
"""

import numpy as np

from cell_core.config import BeltTool, BurrTool, GrindRecipe, GrindToolConfig, PadTool, RollerTool, WheelTool
from cell_core.errors import LimitError
from grinding_planner.roller import contact_half_sizes_m


def flat_pressure_pa(tool: GrindToolConfig, force_n: float) -> float:
    """Return the highest pressure on flat ground [Pa]."""
    if isinstance(tool, PadTool):
        return force_n / (np.pi * tool.radius_m**2)
    if not isinstance(tool, RollerTool):
        raise TypeError(f"tool {tool.name}: kind {tool.kind} has no contact law")
    along, across = contact_half_sizes_m(tool, force_n)
    if isinstance(tool, BurrTool):
        return tool.stiffness_pa_per_m * along**2 / (2.0 * tool.radius_m)
    if isinstance(tool, WheelTool | BeltTool) and tool.crown_radius_m is not None:
        return 1.5 * force_n / (np.pi * along * across)
    return 2.0 * force_n / (np.pi * along * tool.width_m)


def check_force(recipe: GrindRecipe, tool: GrindToolConfig) -> None:
    """Refuse a force outside the tool's range, or one that presses flat ground harder than the abrasive bears.

    Raises:
        LimitError: says value, bound and what would do.
    """
    where = f"recipe {recipe.name}: force_n {recipe.force_n:g} N"
    if not tool.force_n.low <= recipe.force_n <= tool.force_n.high:
        raise LimitError(
            f"{where} is outside {tool.force_n.low:g}..{tool.force_n.high:g} N of tool {tool.name}",
            value=recipe.force_n,
            low=tool.force_n.low,
            high=tool.force_n.high,
        )
    pressure = flat_pressure_pa(tool, recipe.force_n)
    if tool.pressure_max_pa is not None and pressure > tool.pressure_max_pa:
        most = force_for_pressure_n(tool, tool.pressure_max_pa, recipe.force_n)
        raise LimitError(
            f"{where} presses flat ground with {pressure:.4g} Pa, tool {tool.name} bears "
            f"{tool.pressure_max_pa:.4g} Pa: at most {most:.3g} N",
            value=recipe.force_n,
            low=tool.force_n.low,
            high=most,
        )


def force_for_pressure_n(tool: GrindToolConfig, pressure_pa: float, below_n: float) -> float:
    """Return the force, at most `below_n`, whose highest pressure on flat ground is this [N]."""
    low, high = 0.0, below_n
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if flat_pressure_pa(tool, middle) < pressure_pa else (low, middle)
    return 0.5 * (low + high)


def depth_per_pass_max_m(tool: GrindToolConfig) -> float:
    """Return the deepest removal of one pass by the abrasive's bound and by heat [m]; infinite without bounds."""
    bounds = [np.inf]
    if tool.depth_per_pass_max_m is not None:
        bounds.append(tool.depth_per_pass_max_m)
    if tool.heat_max_j_per_m2 is not None:
        bounds.append(tool.heat_max_j_per_m2 * tool.preston_per_pa / tool.friction)
    return float(min(bounds))


def heat_j_per_m2(tool: GrindToolConfig, depth_m: float) -> float:
    """Return the friction work per area that goes with a depth of removal [J/m2]."""
    return tool.friction * depth_m / tool.preston_per_pa
