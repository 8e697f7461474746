"""YAML configuration: strict models and one loader whose errors name file, line, key, value and bound."""

from cell_core.config.loader import config_root, load_config, load_named, load_recipe
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
    "load_config",
    "load_named",
    "load_recipe",
]
