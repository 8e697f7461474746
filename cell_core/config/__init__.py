"""YAML configuration: strict models and one loader whose errors name file, line, key, value and bound."""

from cell_core.config.loader import (
    config_root,
    find_config,
    load_config,
    load_named,
    load_one_layer,
    load_recipe,
    load_recipe_tool,
)
from cell_core.config.models import (
    CameraConfig,
    CellConfig,
    GrindRecipe,
    GrindToolConfig,
    GunConfig,
    JobConfig,
    Recipe,
    RobotConfig,
    SprayLayer,
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
    "SprayLayer",
    "SprayRecipe",
    "config_root",
    "find_config",
    "load_config",
    "load_named",
    "load_one_layer",
    "load_recipe",
    "load_recipe_tool",
]
