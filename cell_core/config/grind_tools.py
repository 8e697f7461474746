"""config/tools: sanders, wheels, belts and burrs, PROCESS.md section 1 (Removal).

Tool frame: z from the tool into the surface, x along travel, y across it; origin at the middle of the working face. The
face of a pad is flat and round; that of a wheel, belt or burr is a roller with its axle along y.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from cell_core.config.base import Fraction, Interval, NonNegative, Positive, Strict


class WearLaw(Strict):
    """k_p = preston_per_pa (floor + (1 - floor) exp(-E / energy_j)), E the friction work since the abrasive was new."""

    floor_fraction: Fraction
    """What is left of the Preston coefficient in the end."""
    energy_j: Positive
    """Friction work over which it falls."""
    energy_max_j: Positive
    """Friction work after which the abrasive is to be changed."""


class GrindToolConfig(Strict):
    """What tools of all kinds share; `GrindToolConfig(kind=..., ...)` makes the tool of that kind."""

    format: Literal["grind_spray_cell/grind_tool"]
    version: Literal[1]
    name: str
    kind: str
    motion: str
    """How the abrasive moves over the surface: orbital, disc, wheel or belt."""
    radius_m: Positive
    """Of the pad's face, or of the roller."""
    preston_per_pa: Positive
    """Of a new abrasive."""
    preston_interval_per_pa: Interval | None = None
    """95 % interval of preston_per_pa as identified; None: it is assumed."""
    wear: WearLaw | None = None
    """None: the abrasive does not wear."""
    friction: Fraction = 0.4
    """Friction force over normal force, for wear and heat."""
    rpm: Positive
    force_n: Interval
    speed_m_per_s: Interval
    acceleration_m_per_s2: Positive
    tilt_max_rad: Annotated[float, Field(ge=0.0, le=0.8)]
    spin: Literal["free", "held"] = "free"
    """free: the arm may turn the tool about its axis as it likes."""
    pressure_max_pa: Positive | None = None
    """Highest pressure the abrasive bears; None: no bound."""
    depth_per_pass_max_m: Positive | None = None
    """Deepest removal of one pass; None: no bound."""
    heat_max_j_per_m2: Positive | None = None
    """Most friction work per area of surface in one pass; None: no bound."""
    slide_stroke_m: Positive
    """Travel of the force-controlled slide, centred on the nominal tool centre point."""
    slide_stiffness_n_per_m: Positive
    force_lag_s: NonNegative = 0.0
    """Time constant with which the slide's force follows its set-point; set-points are commanded so much earlier."""
    spin_up_s: NonNegative
    spin_down_s: NonNegative

    def __new__(cls, *_: Any, **data: Any) -> "GrindToolConfig":
        """Make the tool of the kind that `data` names."""
        kind: type[Any] = cls.of_kind(data) if cls is GrindToolConfig else cls
        return super().__new__(kind)

    @classmethod
    def of_kind(cls, data: Mapping[str, Any]) -> "type[GrindToolConfig]":
        """Return the model of the kind that a tool file's content names.

        Raises:
            ValidationError: no kind or an unknown one; says which are known.
        """
        if data.get("kind") not in KINDS:
            text = f"must be one of {', '.join(KINDS)}"
            fault = PydanticCustomError("tool_file", "{text}", {"text": text}) if "kind" in data else "missing"
            raise ValidationError.from_exception_data(
                "grind tool", [InitErrorDetails(type=fault, loc=("kind",), input=data.get("kind"))]
            )
        return KINDS[data["kind"]]

    @model_validator(mode="after")
    def _interval_fits(self) -> "GrindToolConfig":
        interval = self.preston_interval_per_pa
        if interval is not None and not interval.low <= self.preston_per_pa <= interval.high:
            raise ValueError(
                f"preston_interval_per_pa: preston_per_pa {self.preston_per_pa:.4g} outside its own interval "
                f"{interval.low:.4g}..{interval.high:.4g}"
            )
        return self


class PadTool(GrindToolConfig):
    """A flat round pad: random-orbital sander or rotating disc, on a layer that yields (Winkler)."""

    kind: Literal["pad"]
    motion: Literal["orbital", "disc"]
    stiffness_pa_per_m: Positive
    """Winkler layer: pressure per compression."""
    orbit_radius_m: NonNegative


class RollerTool(GrindToolConfig):
    """What runs on its rim: the face is a cylinder about an axle along y, or a barrel."""

    width_m: Positive
    """Length of the working face along the axle."""
    spin: Literal["held"] = "held"


class WheelTool(RollerTool):
    """An elastic wheel that runs on its rim; contact by Hertz."""

    kind: Literal["wheel"]
    motion: Literal["wheel"] = "wheel"
    crown_radius_m: Positive | None = None
    """Radius of the rim across travel; None: straight."""
    effective_modulus_pa: Positive
    """E* of wheel and part together."""


class BeltTool(RollerTool):
    """A belt running over an elastic contact wheel; contact by Hertz. `rpm` is that of the contact wheel."""

    kind: Literal["belt"]
    motion: Literal["belt"] = "belt"
    crown_radius_m: Positive | None = None
    effective_modulus_pa: Positive
    belt_speed_m_per_s: Positive


class BurrTool(RollerTool):
    """A cylindrical rotary file for edges: stiff, on a compliant spindle (Winkler); its shank leaves it towards +y."""

    kind: Literal["burr"]
    motion: Literal["wheel"] = "wheel"
    stiffness_pa_per_m: Positive
    shank_radius_m: Positive = 0.001
    shank_length_m: Positive = 0.04
    """From the end of the working face to the spindle."""
    spindle_radius_m: Positive = 0.01


KINDS: dict[str, type[GrindToolConfig]] = {"pad": PadTool, "wheel": WheelTool, "belt": BeltTool, "burr": BurrTool}
