"""Regions of space whose surface is not to be painted, as a recipe names them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cell_core.config.base import NonNegative, Positive, Strict, Vector3


class _Region(Strict):
    soft_edge_m: NonNegative = 0.0
    """Over this distance inside the region's border the film may run out evenly; 0: it ends at the border."""


class BoxMask(_Region):
    """A box along the axes of the part's frame."""

    shape: Literal["box"]
    centre_m: Vector3
    size_m: tuple[Positive, Positive, Positive]


class SphereMask(_Region):
    """A ball in the part's frame."""

    shape: Literal["sphere"]
    centre_m: Vector3
    radius_m: Positive


class CylinderMask(_Region):
    """A cylinder in the part's frame, between two points of its axis."""

    shape: Literal["cylinder"]
    from_m: Vector3
    to_m: Vector3
    radius_m: Positive

    @model_validator(mode="after")
    def _long(self) -> "CylinderMask":
        if self.from_m == self.to_m:
            raise ValueError(f"from_m and to_m are the same point {list(self.from_m)} m: the cylinder has no axis")
        return self


MaskRegion = Annotated[BoxMask | SphereMask | CylinderMask, Field(discriminator="shape")]
