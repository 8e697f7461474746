"""Film thickness on a surface: where a gun can serve it, along which strokes, how fast."""

from spray_planner.layers import LayerPlan, layers_figures, plan_layers
from spray_planner.planner import plan_spray

__all__ = ["LayerPlan", "layers_figures", "plan_layers", "plan_spray"]
