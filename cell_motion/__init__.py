"""Motion: inverse kinematics, collision, redundancy search, timing and transitions; backends embedded and moveit.

Names are looked up on use: a process that talks to MoveIt must not load the embedded planner's libraries beside it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cell_motion.plan import MotionPlan, Served
    from cell_motion.planner import plan_process
    from cell_motion.trajectory import Collision, check_trajectory
    from cell_motion.views import plan_views

__all__ = ["Collision", "MotionPlan", "Served", "check_trajectory", "plan_process", "plan_views"]
_HOMES = {
    "Collision": "trajectory",
    "MotionPlan": "plan",
    "Served": "plan",
    "check_trajectory": "trajectory",
    "plan_process": "planner",
    "plan_views": "views",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cell_motion' has no attribute {name!r}")
    return getattr(importlib.import_module(f"cell_motion.{_HOMES[name]}"), name)
