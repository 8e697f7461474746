"""Film thickness on a surface: where a gun can serve it, along which strokes, how fast."""

from spray_planner.layers import LayerPlan, layers_figures, plan_layers
from spray_planner.pareto import PRICES, PricedPlan, plan_prices
from spray_planner.planner import plan_spray

__all__ = ["PRICES", "LayerPlan", "PricedPlan", "layers_figures", "plan_layers", "plan_prices", "plan_spray"]
