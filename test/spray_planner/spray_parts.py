"""A gun, a recipe and parts for the tests of coats and layers."""

from typing import Any

import numpy as np

from cell_core.config import GunConfig, Interval, SprayRecipe
from cell_core.surface import Surface

GUN = GunConfig(
    format="grind_spray_cell/gun", version=1, name="test", kind="elliptic_double_beta", a_m=0.125, b_m=0.035,
    beta_1=2.0, beta_2=2.0, reference_standoff_m=0.2, flow_m3_per_s=5e-6, solids_volume_fraction=0.45,
    transfer_efficiency=0.65, on_delay_s=0.03, off_delay_s=0.03, standoff_m=Interval(low=0.12, high=0.3),
    speed_m_per_s=Interval(low=0.08, high=1.0), acceleration_m_per_s2=2.0, tilt_max_rad=0.35, incidence_max_rad=1.047,
)  # fmt: skip


def recipe(**changes: Any) -> SprayRecipe:
    """Return a recipe of one layer of 50 um, validated with these changes."""
    base: dict[str, Any] = {
        "format": "grind_spray_cell/recipe", "version": 1, "process": "spray", "name": "test", "gun": "test",
        "target_thickness_m": 50e-6, "standoff_m": 0.2, "flow_m3_per_s": 2.5e-6, "refine": False,
    }  # fmt: skip
    base.update(changes)
    return SprayRecipe.model_validate({k: v for k, v in base.items() if v is not None})


def dome(x_m: float = 0.5, y_m: float = 0.6, n: int = 31) -> Surface:
    """Return a flat dome over a rectangle, open below."""
    x, y = np.meshgrid(np.linspace(-0.5 * x_m, 0.5 * x_m, n), np.linspace(-0.5 * y_m, 0.5 * y_m, n), indexing="ij")
    vertices = np.stack([x, y, 0.2 - 0.6 * x**2 - 0.3 * y**2], axis=-1).reshape(-1, 3)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])
