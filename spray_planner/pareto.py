"""Even film against paint saved: one surface planned at several prices of overspray, over the same lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from cell_core.config import GunConfig, SprayRecipe
from cell_core.errors import ConfigurationError
from cell_core.plan import Plan, Progress, no_progress
from cell_core.surface import Surface
from cell_core.transforms import Array
from spray_planner.planner import finish, prepare, rising

PRICES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Squared CV per film volume, from where paint costs nothing to where evenness hardly counts."""
FIGURES = ("cv", "catch_fraction", "in_tolerance_area_fraction", "min_m", "max_m", "process_time_s", "solids_volume_m3")


@dataclass(frozen=True, kw_only=True, eq=False)
class PricedPlan:
    """A plan at one price."""

    price: float
    chosen: bool
    """The price is the recipe's own."""
    plan: Plan

    @property
    def row(self) -> dict[str, float]:
        """What is compared, by name."""
        own = {name: float(self.plan.figures[name]) for name in FIGURES}
        return {"overspray_price": self.price, **own, "chosen": float(self.chosen)}


def plan_prices(
    surface: Surface,
    recipe: SprayRecipe,
    gun: GunConfig,
    *,
    prices: Sequence[float] = PRICES,
    surface_path: str = "",
    surface_sha256: str = "",
    table: bool = True,
    mask: Array | None = None,
    progress: Progress = no_progress,
) -> list[PricedPlan]:
    """Return plans in order of price, the recipe's own price among them; see `plan_spray`.

    Raises:
        ConfigurationError: a price below 0, or as for `plan_spray`.
        CoverageError, InputRefusedError: as for `plan_spray`.
    """
    if min(prices, default=0.0) < 0.0:
        raise ConfigurationError(f"prices: {min(prices):g}: must be >= 0")
    every = sorted({*prices, recipe.overspray_price})
    progress = rising(progress)
    job = prepare(surface, recipe, gun, table=table, mask=mask, progress=lambda f, text: progress(0.3 * f / 0.6, text))
    source = {"path": surface_path, "sha256": surface_sha256}
    plans = []
    for k, price in enumerate(every):

        def own(fraction: float, message: str, k: int = k, price: float = price) -> None:
            progress(0.3 + 0.7 * (k + fraction) / len(every), f"price {price:g}: {message}")

        priced = recipe.model_copy(update={"overspray_price": price})
        plan = finish(job, priced, source, rising(own))
        plans.append(PricedPlan(price=price, chosen=price == recipe.overspray_price, plan=plan))
    return plans
