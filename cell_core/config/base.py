"""What all configuration models are built of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
Vector3 = tuple[Finite, Finite, Finite]


class Strict(BaseModel):
    """Frozen, no unknown keys, no silent type conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Interval(Strict):
    """A closed interval in the unit of the key that holds it."""

    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> "Interval":
        if self.low > self.high:
            raise ValueError(f"low {self.low} exceeds high {self.high}")
        return self
