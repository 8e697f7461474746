"""The standard cell's surroundings for an arm of another reach."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from cell_core.config.loader import find_config
from cell_core.transforms import Array

FLOOR_M = -0.40
"""Floor below the base: the pedestal keeps its height."""
MOVED = ("pedestal", "table", "fixture")
"""What stands by the arm's reach; floor, walls and ceiling only give way to larger arms."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Keys of a cell file, and where its fixture is."""

    keys: dict[str, Any]
    fixture_m: Array
    """(3,) fixture in the base frame [m]."""


def surroundings(scale: float) -> Surroundings:
    """Return obstacles, fixture and work volume of the standard cell for an arm of `scale` times its arm's reach."""
    cell = yaml.safe_load(find_config("cells", "default").read_text(encoding="utf-8"))
    boxes = []
    for box in cell["obstacles"]:
        centre, size = np.array(box["centre_m"], float), np.array(box["size_m"], float)
        if box["name"] in MOVED:
            bottom, top = centre[2] - 0.5 * size[2], centre[2] + 0.5 * size[2]
            # what stands on the floor goes on standing on it; what is above the base scales with the reach
            bottom, top = (v if v < 0.0 else scale * v for v in (bottom, top))
            centre, size = centre * [scale, scale, 1.0], size * [scale, scale, 1.0]
            centre[2], size[2] = 0.5 * (bottom + top), top - bottom
        elif scale > 1.0:
            centre, size = centre * scale, size * scale
        boxes.append({"name": box["name"], "centre_m": _rounded(centre), "size_m": _rounded(size)})
    fixture = scale * np.array(cell["T_base_fixture"]["xyz_m"], float)
    volume = cell["work_volume"]
    keys = {
        "obstacles": boxes,
        "T_base_fixture": {"xyz_m": _rounded(fixture)},
        "work_volume": {
            "name": volume["name"],
            "centre_m": _rounded(scale * np.array(volume["centre_m"], float)),
            "size_m": _rounded(scale * np.array(volume["size_m"], float)),
        },
    }
    return Surroundings(keys=keys, fixture_m=fixture)


def _rounded(values: Array) -> list[float]:
    return [round(float(v), 4) for v in values]
