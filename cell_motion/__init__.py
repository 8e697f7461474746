"""Motion: inverse kinematics, collision, redundancy search, timing and transitions; backends embedded and moveit."""

from cell_motion.plan import MotionPlan, Served
from cell_motion.planner import plan_process
from cell_motion.trajectory import Collision, check_trajectory
from cell_motion.views import plan_views

__all__ = ["Collision", "MotionPlan", "Served", "check_trajectory", "plan_process", "plan_views"]
