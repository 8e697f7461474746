"""Film thickness on a surface: where a gun can serve it, along which strokes, how fast."""

from spray_planner.planner import plan_spray

__all__ = ["plan_spray"]
