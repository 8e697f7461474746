"""YAML configuration: strict models and one loader whose errors name file, line, key, value and bound."""

from cell_core.config.loader import config_root, find_config, load_config, load_named, load_recipe, load_recipe_tool
from cell_core.config.models import (
    CameraConfig,
    CellConfig,
    GrindRecipe,
    GrindToolConfig,
    GunConfig,
    JobConfig,
    Recipe,
    RobotConfig,
    SprayRecipe,
)

__all__ = [
    "CameraConfig",
    "CellConfig",
    "GrindRecipe",
    "GrindToolConfig",
    "GunConfig",
    "JobConfig",
    "Recipe",
    "RobotConfig",
    "SprayRecipe",
    "config_root",
    "find_config",
    "load_config",
    "load_named",
    "load_recipe",
    "load_recipe_tool",
]
