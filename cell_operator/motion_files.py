"""What `cell motion` writes and says besides the plan itself: pictures, the reach map, suggestions."""

from collections.abc import Sequence
from pathlib import Path

from cell_core.config import GunConfig
from cell_core.files import write_json
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.trajectory import Unreached
from cell_core.transforms import Array
from cell_motion.clearance import clearance
from cell_motion.plan import MotionPlan
from cell_motion.reach import outcomes, suggestions
from cell_operator.figures import motion_figure, save, speed_figure
from cell_operator.files import console
from cell_operator.reach_figure import clearance_figure, reach_map
from robot_description import Cell


def write_motion(cell: Cell, planned: ToolPath, part: Surface, plan: MotionPlan, out: Path) -> None:
    """Write a plan with its figures and pictures into a folder."""
    plan.trajectory.write(out / "trajectory.json")
    if plan.toolpath is not None:
        plan.toolpath.write(out / "toolpath.json")
    write_json(out / "figures.json", plan.figures)
    motion_figure(cell.robot, plan.trajectory, out / "motion.png")
    save(speed_figure(cell.robot, plan.trajectory, plan.toolpath), out / "speed.png")
    clearance_figure(clearance(cell, plan.trajectory, part), plan.trajectory, out / "clearance.png")
    write_reach(cell, planned, part, plan.trajectory.unreached, plan, out)


def write_reach(
    cell: Cell, planned: ToolPath, part: Surface, unreached: Sequence[Unreached], plan: MotionPlan | None, out: Path
) -> None:
    """Write reach.ply and reach.png: what becomes of the tool path, sample by sample, on the part."""
    tool = cell.tool(planned.process).config
    pivot_m = tool.reference_standoff_m if isinstance(tool, GunConfig) else 0.0
    reach_map(part, planned, outcomes(planned, unreached, plan), pivot_m).write(out)


def suggest(cell: Cell, planned: ToolPath, part: Surface, T_base_part: Array, out: Path) -> None:
    """Print what would reach more of a tool path, and write it to suggestions.json."""
    now, found = suggestions(cell, planned, part, T_base_part)
    more = "" if found else "; nothing reaches more"
    console.print(f"poses reach {now:.1%} of the tool path as the part lies{more}")
    for one in found:
        console.print(f"  {one.reached_fraction:.1%}: {one.text}")
    document = {
        "reached_fraction": now,
        "suggestions": [
            {
                "kind": one.kind,
                "text": one.text,
                "reached_fraction": one.reached_fraction,
                "T_fixture_part": None if one.T_fixture_part is None else one.T_fixture_part.tolist(),
            }
            for one in found
        ],
    }
    write_json(out / "suggestions.json", document)
