"""What a real cell does to a planned coat: errors of registration, tool axis, flow, standoff, trigger and gun."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from cell_core.config import GunConfig
from cell_core.errors import ConfigurationError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """How large errors are: standard deviations of normal ones, largest values of evenly distributed ones."""

    position_m: float = 0.5e-3
    """Standard deviation of the strokes' place on the part, per axis."""
    axis_rad: float = np.radians(0.2)
    """Standard deviation of the tool axis about travel and about the fan."""
    flow_fraction: float = 0.02
    """Largest relative error of the flow."""
    standoff_m: float = 2e-3
    """Largest error of the standoff."""
    trigger_s: float = 0.01
    """Largest error of each switching, on or off."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (np.isfinite(value) and value >= 0.0):
                raise ConfigurationError(f"disturbances: {field.name} is {value:g}, must be finite and >= 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """N seeded specimens of all errors for S strokes."""

    shift_m: Array
    """(N, S, 3) displacement of each stroke in the part's frame."""
    tilt_rad: Array
    """(N, S, 2) turn of each stroke's tool about its travel and about its fan."""
    back_m: Array
    """(N,) displacement against the tool axis."""
    flow: Array
    """(N,) relative error of what is sprayed."""
    on_s: Array
    """(N, S) by how much each stroke switches on late."""
    off_s: Array
    """(N, S) and off."""
    numbers: Array
    """(N, K) error of each of the gun's numbers in `names`."""
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.flow)

    @staticmethod
    def of(
        disturbances: Disturbances, gun: GunConfig, n_strokes: int, n: int, *, per_stroke: bool, seed: int
    ) -> "Draws":
        """Return n draws.

        `per_stroke`: place and axis err by stroke, each on its own; else the same for all strokes of a draw, as a
        registration does. Switching always errs by stroke. The gun's numbers are even over its confidence box.
        """
        rng = np.random.default_rng([seed, int(per_stroke)])
        own = n_strokes if per_stroke else 1
        shift = disturbances.position_m * rng.standard_normal((n, own, 3))
        tilt = disturbances.axis_rad * rng.standard_normal((n, own, 2))
        back, flow = rng.uniform(-1.0, 1.0, (2, n))
        switch = disturbances.trigger_s * rng.uniform(-1.0, 1.0, (2, n, n_strokes))
        names = box_names(gun)
        low = np.array([gun.confidence[name].low - gun.numbers[name] for name in names])
        high = np.array([gun.confidence[name].high - gun.numbers[name] for name in names])
        return Draws(
            shift_m=np.broadcast_to(shift, (n, n_strokes, 3)),
            tilt_rad=np.broadcast_to(tilt, (n, n_strokes, 2)),
            back_m=disturbances.standoff_m * back,
            flow=disturbances.flow_fraction * flow,
            on_s=switch[0],
            off_s=switch[1],
            numbers=low + (high - low) * rng.random((n, len(names))),
            names=names,
        )

    def strokes(self, i: int, strokes: Sequence[Stroke]) -> list[Stroke]:
        """Return the strokes where draw i has them; what it does to flow, switching and gun is not in them."""
        return [
            moved(stroke, shift_m=shift, tilt_rad=tilt, back_m=float(self.back_m[i]))
            for stroke, shift, tilt in zip(strokes, self.shift_m[i], self.tilt_rad[i], strict=True)
        ]

    def gun(self, i: int, gun: GunConfig) -> GunConfig:
        """Return the gun of draw i."""
        return gun.with_numbers(
            {k: gun.numbers[k] + float(d) for k, d in zip(self.names, self.numbers[i], strict=True)}
        )

    @cached_property
    def late_s(self) -> Array:
        """(N, 2 S) on, then off."""
        return np.concatenate([self.on_s, self.off_s], axis=1)


def box_names(gun: GunConfig) -> tuple[str, ...]:
    """Return the numbers of a gun that its confidence box leaves open."""
    return tuple(name for name, box in gun.confidence.items() if box.low < box.high)


def moved(
    stroke: Stroke, *, shift_m: Array | float = 0.0, tilt_rad: Array | None = None, back_m: float = 0.0
) -> Stroke:
    """Return the stroke displaced by `shift_m` (3,) and back along its axis, its tool turned by small angles (2,)."""
    position = stroke.position_m + shift_m - back_m * stroke.tool_axis
    if tilt_rad is None:
        return replace(stroke, position_m=position)
    turn = tilt_rad[0] * stroke.travel + tilt_rad[1] * np.cross(stroke.tool_axis, stroke.travel)
    axis = unit(stroke.tool_axis + np.cross(turn, stroke.tool_axis))
    travel = stroke.travel + np.cross(turn, stroke.travel)
    travel = unit(travel - np.sum(travel * axis, axis=1, keepdims=True) * axis)
    return replace(stroke, position_m=position, tool_axis=axis, travel=travel)
