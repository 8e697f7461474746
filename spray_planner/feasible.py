"""Whether a gun can lay a recipe's film at all: standoff, flow, distance of lines and the speed they ask for."""

import numpy as np

from cell_core.config import GunConfig, SprayRecipe
from cell_core.errors import ConfigurationError
from cell_core.operator.footprint import GunFootprint, footprint_for
from spray_planner.ripple import offset_spacing_m, stripe_of
from spray_planner.robust_spacing import robust_spacing


def gun_for(recipe: SprayRecipe, gun: GunConfig) -> GunConfig:
    """Return the gun at the recipe's flow.

    Raises:
        ConfigurationError: flow or standoff outside what the gun allows.
    """
    flow = recipe.flow_m3_per_s or gun.flow_m3_per_s
    if flow > gun.flow_m3_per_s:
        raise ConfigurationError(
            f"recipe {recipe.name}: flow_m3_per_s {flow:.3g} exceeds {gun.flow_m3_per_s:.3g} of gun {gun.name}"
        )
    if not gun.standoff_m.low <= recipe.standoff_m <= gun.standoff_m.high:
        raise ConfigurationError(
            f"recipe {recipe.name}: standoff_m {recipe.standoff_m} m outside "
            f"{gun.standoff_m.low}..{gun.standoff_m.high} m of gun {gun.name}"
        )
    return gun.model_copy(update={"flow_m3_per_s": flow})


def line_spacing_m(recipe: SprayRecipe, gun: GunConfig, footprint: GunFootprint) -> float:
    """Return the distance between neighbouring lines of one coat [m]."""
    if recipe.spacing_m is not None:
        return recipe.spacing_m
    scale = recipe.standoff_m / gun.reference_standoff_m
    if recipe.strategy != "offset":
        if recipe.robust or gun.confidence:
            return robust_spacing(gun, recipe.standoff_m).spacing_m
        return footprint.spacing_m() * scale
    # with all coats' lines in one pattern, the pattern's distance and the whole target make the speed
    per_speed = recipe.coats * footprint.volume_rate_m3_per_s / recipe.target_thickness_m
    stripe = stripe_of(footprint, recipe.standoff_m, footprint.half_width_m * scale, footprint.half_height_m * scale)
    return offset_spacing_m(
        *stripe, recipe.coats, per_speed / gun.speed_m_per_s.high, per_speed / gun.speed_m_per_s.low
    )


def refuse_infeasible(recipe: SprayRecipe, gun: GunConfig) -> None:
    """Refuse a recipe of one layer that its gun cannot lay on any part.

    Raises:
        ConfigurationError: standoff, flow or speed outside the gun's limits.
    """
    gun = gun_for(recipe, gun)
    footprint = footprint_for(gun)
    refuse_speeds(recipe, gun, footprint, line_spacing_m(recipe, gun, footprint))


def refuse_speeds(recipe: SprayRecipe, gun: GunConfig, footprint: GunFootprint, spacing_m: float) -> None:
    """Refuse a film that no speed of the gun lays on a plane.

    Raises:
        ConfigurationError: names target, coats, spacing, the speed needed, the gun's limits, and what would help.
    """
    low, high = gun.speed_m_per_s.low, gun.speed_m_per_s.high
    speed = recipe.coats * footprint.volume_rate_m3_per_s / (recipe.target_thickness_m * spacing_m)
    if low <= speed <= high:
        return
    per_coat = recipe.target_thickness_m / recipe.coats
    coats = f" in {recipe.coats} coats of {per_coat:.3g} m" if recipe.coats > 1 else ""
    if speed < low:
        more = int(np.ceil(recipe.coats * low / speed))
        flow = _digits(gun.flow_m3_per_s * low / speed, up=True)
        advice = f"coats: {more} or more, or a flow_m3_per_s of at least {flow}"
    else:
        fewer = int(recipe.coats * high / speed)
        less = f"a flow_m3_per_s of at most {_digits(gun.flow_m3_per_s * high / speed, up=False)}"
        advice = f"coats: {fewer} or less, or {less}" if fewer >= 1 else f"{less}, or a thicker film"
    raise ConfigurationError(
        f"recipe {recipe.name}: target_thickness_m {recipe.target_thickness_m} m{coats} at {spacing_m:.4f} m spacing "
        f"needs {speed:.4f} m/s, gun {gun.name} allows {low}..{high} m/s; what would help: {advice}"
    )


def _digits(value: float, *, up: bool) -> str:
    """Return a bound with three digits, rounded to its safe side."""
    unit = 10.0 ** (np.floor(np.log10(value)) - 2)
    return f"{(np.ceil if up else np.floor)(value / unit) * unit:.3g}"
