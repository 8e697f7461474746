"""How a layer of paint is built up: film bounds, coats, and what a recipe's layers may say for themselves."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cell_core.config.base import Fraction, NonNegative, Positive, Strict

COATS_MAX = 10
FILM_MAX_M = 0.002


class Coats(Strict):
    """What a recipe of one layer and each layer of several say about their film."""

    tolerance_fraction: Fraction | None = None
    """Deviation from the target that is in tolerance, over the target; None: acceptance.tolerance_fraction."""
    min_thickness_m: Positive | None = None
    """Least dry film anywhere the gun can serve: below it the ground shows through (hiding)."""
    max_thickness_m: Positive | None = None
    """Most dry film anywhere: above it the wet paint sags."""
    coats: Annotated[int, Field(ge=1, le=COATS_MAX)] = 1
    strategy: Literal["single", "cross", "offset"] = "single"
    """How coat follows coat. single: along the same lines; cross: turned by 90 degrees; offset: between the lines."""
    flash_off_s: NonNegative = 0.0
    """Rest between coats, for solvent to leave."""
    wait_after_s: NonNegative = 0.0
    """Rest or cure after the layer, for people to read: the next layer is another job."""
    border: bool = False
    """Whether each coat begins with bands along the borders."""
    voc_kg_per_m3: NonNegative | None = None
    """Volatile organic compounds in the paint as sprayed."""
    density_kg_per_m3: Positive | None = None
    """Of the paint as sprayed."""

    def refuse_contradictions(self, where: str, target_m: float) -> None:
        """Refuse bounds that no film can keep, and coats that no strategy makes.

        Raises:
            ValueError: names every number that takes part.
        """
        low, high = self.min_thickness_m or 0.0, self.max_thickness_m or float("inf")
        if not low <= target_m <= high:
            bound = f"min_thickness_m {low:g}" if target_m < low else f"max_thickness_m {high:g}"
            side = "below" if target_m < low else "above"
            raise ValueError(f"{where}: target_thickness_m {target_m:g} m is {side} its {bound} m")
        if self.tolerance_fraction is not None:
            band = (target_m * (1.0 - self.tolerance_fraction), target_m * (1.0 + self.tolerance_fraction))
            # bands that end at a bound are sound, whatever the last digit of a product says
            if band[0] < low * (1.0 - 1e-9) or band[1] > high * (1.0 + 1e-9):
                raise ValueError(
                    f"{where}: target_thickness_m {target_m:g} m within tolerance_fraction "
                    f"{self.tolerance_fraction:g} is {band[0]:g}..{band[1]:g} m, which leaves "
                    f"min_thickness_m..max_thickness_m {low:g}..{high:g} m"
                )
        if self.strategy != "single" and self.coats < 2:
            raise ValueError(f"{where}: strategy {self.strategy} needs coats >= 2, has coats {self.coats}")


COAT_FIELDS = tuple(Coats.model_fields)


class SprayLayer(Coats):
    """One layer of a recipe: its film, and where it differs from the recipe otherwise."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    """Names the layer's folder and job."""
    target_thickness_m: Annotated[float, Field(gt=0.0, le=FILM_MAX_M)]
    gun: str | None = None
    standoff_m: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    flow_m3_per_s: Positive | None = None
    spacing_m: Positive | None = None

    @model_validator(mode="after")
    def _sound(self) -> "SprayLayer":
        self.refuse_contradictions(f"layer {self.name}", self.target_thickness_m)
        return self
