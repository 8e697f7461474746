"""How far apart strokes may be when neither gun nor cell is known exactly: the widest ripple-free spacing that holds.

Speeds can do next to nothing against errors of place and fan: what one pass lacks its neighbour has to give, and that
is decided by how many passes overlap. So the choice is among the gun's ripple-free spacings, by the CV of an endless
flat raster over seeded draws.
"""

from dataclasses import dataclass

import numpy as np

from cell_core.config import GunConfig
from cell_core.operator.footprint import footprint_for
from cell_core.statistics import weighted_quantile
from cell_core.transforms import Array
from spray_planner.disturbances import Disturbances, Draws

CV_MOST = 0.0175
"""P95 of the CV that a flat raster may have: the rest of 4 % is left to the part's form and borders."""
ORDERS = (2, 3, 4)
DRAWS = 200
PASSES = 16
"""Neighbouring passes whose middle is looked at; the fan must not reach past them."""
PLACES = 200
STRIPE_PLACES = 257
"""Across a pass, between which its profile is taken as straight."""


@dataclass(frozen=True, kw_only=True)
class RobustSpacing:
    """A spacing, and what a flat raster does at it."""

    spacing_m: float
    order: int
    """Of the ripple-free spacings, widest first."""
    p95_cv: float
    """95 % of the draws leave no larger CV."""


def robust_spacing(
    gun: GunConfig, standoff_m: float, *, disturbances: Disturbances | None = None, cv_most: float = CV_MOST
) -> RobustSpacing:
    """Return the widest of the gun's ripple-free spacings whose P95 of CV is at most `cv_most`, or the best of them."""
    errors = disturbances or Disturbances()
    scale = standoff_m / gun.reference_standoff_m
    tried = []
    for order in ORDERS:
        spacing = footprint_for(gun).spacing_m(order) * scale
        found = RobustSpacing(spacing_m=spacing, order=order, p95_cv=flat_p95_cv(gun, standoff_m, spacing, errors))
        if found.p95_cv <= cv_most:
            return found
        tried.append(found)
    return min(tried, key=lambda one: one.p95_cv)


def flat_p95_cv(gun: GunConfig, standoff_m: float, spacing_m: float, errors: Disturbances) -> float:
    """Return the P95 of the CV of an endless flat raster over draws of errors by stroke and of the gun's box."""
    draws = Draws.of(errors, gun, PASSES, DRAWS, per_stroke=True, seed=0)
    line = spacing_m * (np.arange(PASSES) - 0.5 * (PASSES - 1))
    # turned about on every other line
    way = np.where(np.arange(PASSES) % 2, -1.0, 1.0)
    y = spacing_m * np.linspace(-1.0, 1.0, PLACES, endpoint=False)
    cv = np.empty(DRAWS)
    table = _stripe(gun)
    for i in range(DRAWS):
        height = standoff_m + draws.back_m[i]
        aside = draws.shift_m[i, :, 1] + height * draws.tilt_rad[i, :, 0]
        place = way * (y[:, None] - line - aside) * (gun.reference_standoff_m / height)
        film = np.interp(place, *(_stripe(draws.gun(i, gun)) if draws.names else table)).sum(axis=1)
        cv[i] = film.std() / film.mean()
    return weighted_quantile(cv, np.ones(DRAWS), 0.95)


def _stripe(gun: GunConfig) -> tuple[Array, Array]:
    """Return places (N,) across a pass at the reference standoff, past both its ends, and what it lays there."""
    footprint = footprint_for(gun)
    reach = max(abs(e.centre_y_m) + e.half_y_m for e in footprint.supports)
    y = np.linspace(-1.01 * reach, 1.01 * reach, STRIPE_PLACES)
    return y, footprint.stripe_across(y)
