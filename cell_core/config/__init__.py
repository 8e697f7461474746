"""YAML configuration: strict models and one loader whose errors name file, line, key, value and bound."""

from cell_core.config.base import Interval
from cell_core.config.coats import SprayLayer
from cell_core.config.grind_tools import (
    BeltTool,
    BurrTool,
    GrindToolConfig,
    PadTool,
    RollerTool,
    WearLaw,
    WheelTool,
)
from cell_core.config.guns import GunConfig
from cell_core.config.loader import (
    config_root,
    find_config,
    load_config,
    load_grind_tools,
    load_named,
    load_one_layer,
    load_recipe,
    load_recipe_tool,
)
from cell_core.config.models import CameraConfig, CellConfig, Distortion, HandEyeConfig, JobConfig, Pose, RobotConfig
from cell_core.config.recipes import GrindRecipe, Recipe, SprayRecipe

__all__ = [
    "BeltTool",
    "BurrTool",
    "CameraConfig",
    "CellConfig",
    "Distortion",
    "GrindRecipe",
    "GrindToolConfig",
    "GunConfig",
    "HandEyeConfig",
    "Interval",
    "JobConfig",
    "PadTool",
    "Pose",
    "Recipe",
    "RobotConfig",
    "RollerTool",
    "SprayLayer",
    "SprayRecipe",
    "WearLaw",
    "WheelTool",
    "config_root",
    "find_config",
    "load_config",
    "load_grind_tools",
    "load_named",
    "load_one_layer",
    "load_recipe",
    "load_recipe_tool",
]
