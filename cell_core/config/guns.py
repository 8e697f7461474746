"""config/guns: spray guns of every kind, PROCESS.md section 1. A kind is its pattern on the reference plane.

Coordinates on that plane are the tool's own: x along travel, y across it, origin on the spray axis.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from cell_core.config.base import Finite, Fraction, Interval, NonNegative, Positive, Strict

Exponent = Annotated[float, Field(ge=1.0, le=10.0)]


class StripeRecord(Strict):
    """One test stripe a gun was calibrated from."""

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    orientation: Literal["across", "along"]
    speed_m_per_s: Positive
    standoff_m: Positive
    flow_m3_per_s: Positive
    centre_m: Finite
    """Place of the spray axis on the stripe's own position scale, as fitted."""
    rms_residual_m: NonNegative


class CalibrationRecord(Strict):
    """Where a gun's numbers come from."""

    start: str
    """Name of the gun that gave kind and start values."""
    stripes: tuple[StripeRecord, ...]
    identified: tuple[str, ...]
    """Numbers the stripes gave."""
    not_identified: tuple[str, ...]
    """Numbers of the pattern taken over from the start gun."""
    rms_residual_m: NonNegative
    warnings: tuple[str, ...] = ()


class GunConfig(Strict):
    """What guns of all kinds share; `GunConfig(kind=..., ...)` makes the gun of that kind."""

    numbers_of_pattern: ClassVar[tuple[str, ...]] = ()

    format: Literal["grind_spray_cell/gun"]
    version: Literal[1]
    name: str
    kind: str
    reference_standoff_m: Positive
    flow_m3_per_s: Positive
    """Flow with the needle fully open, the most a recipe may ask for."""
    flow_min_m3_per_s: Positive | None = None
    """Least flow with a sound pattern; down to it the flow may follow the tool speed. None: the flow is fixed."""
    solids_volume_fraction: Fraction
    transfer_efficiency: Fraction
    """Share of the solids that lands where the pattern says; film tells only its product with the solids."""
    on_delay_s: NonNegative
    off_delay_s: NonNegative
    on_time_min_s: NonNegative = 0.0
    """Least time between on and off."""
    standoff_m: Interval
    speed_m_per_s: Interval
    acceleration_m_per_s2: Positive
    tilt_max_rad: Annotated[float, Field(ge=0.0, le=0.8)]
    incidence_max_rad: Annotated[float, Field(gt=0.0, le=1.5)]
    fan_spin: Literal["held", "free"] = "held"
    """held: the pattern keeps its angle to travel; free: the arm may turn the gun about its axis as it likes."""
    confidence: dict[str, Interval] = {}
    """95 % interval of each identified number, by its name as in `numbers`; off this list: assumed."""
    calibration: CalibrationRecord | None = None

    def __new__(cls, *_: Any, **data: Any) -> "GunConfig":
        """Make the gun of the kind that `data` names."""
        kind: type[Any] = cls.of_kind(data) if cls is GunConfig else cls
        return super().__new__(kind)

    @classmethod
    def of_kind(cls, data: Mapping[str, Any]) -> "type[GunConfig]":
        """Return the model of the kind that a gun file's content names.

        Raises:
            ValidationError: another format or version, or an unknown kind; says which are supported.
        """
        supported = {"format": ("grind_spray_cell/gun",), "version": (1,), "kind": tuple(KINDS)}
        for key, known in supported.items():
            if data.get(key) not in known:
                text = f"not supported: this version reads {', '.join(map(str, known))}"
                raise _line_error(key, "gun_file" if key in data else "missing", text, data.get(key))
        return KINDS[data["kind"]]

    @model_validator(mode="after")
    def _confidence_fits(self) -> "GunConfig":
        numbers = self.numbers
        for name, interval in self.confidence.items():
            if name not in numbers:
                raise ValueError(f"confidence: {name!r} is no number of this gun; there are {', '.join(numbers)}")
            if not interval.low <= numbers[name] <= interval.high:
                raise ValueError(
                    f"confidence: {name} {numbers[name]:.6g} outside its own interval "
                    f"{interval.low:.6g}..{interval.high:.6g}"
                )
        return self

    @model_validator(mode="after")
    def _only_round_patterns_spin(self) -> "GunConfig":
        if self.fan_spin == "free" and not self.round:
            raise ValueError("fan_spin: value 'free': must be 'held', the pattern is not round")
        return self

    @property
    def numbers(self) -> dict[str, float]:
        """What stripes can identify, by name: the pattern's numbers and the transfer efficiency."""
        return {name: float(getattr(self, name)) for name in (*self.numbers_of_pattern, "transfer_efficiency")}

    def with_numbers(self, changes: Mapping[str, float]) -> "GunConfig":
        """Return the gun with these of its `numbers` changed, and no intervals: they are of the old numbers.

        Raises:
            ValidationError: a number out of bounds.
        """
        return type(self)(**{**self.model_dump(), "confidence": {}, **changes})

    @property
    def symmetric(self) -> bool:
        """Whether half a turn about the spray axis changes nothing."""
        return True

    @property
    def round(self) -> bool:
        """Whether no turn about the spray axis changes anything."""
        return True

    @property
    def stroke_spin(self) -> Literal["free", "fixed", "exact"]:
        """The `freedom.spin` of its strokes."""
        if self.fan_spin == "free":
            return "free"
        return "fixed" if self.symmetric else "exact"

    def as_block(self) -> dict[str, Any]:
        """Return the tool block of a tool path: all a stranger needs to compute the film."""
        pattern = self.model_dump(mode="json", include=set(type(self).model_fields) - set(GunConfig.model_fields))
        return {
            "name": self.name,
            "kind": self.kind,
            **pattern,
            "reference_standoff_m": self.reference_standoff_m,
            "flow_m3_per_s": self.flow_m3_per_s,
            "solids_volume_fraction": self.solids_volume_fraction,
            "transfer_efficiency": self.transfer_efficiency,
            "on_delay_s": self.on_delay_s,
            "off_delay_s": self.off_delay_s,
            "on_time_min_s": self.on_time_min_s,
            "incidence_max_rad": self.incidence_max_rad,
            "speed_m_per_s": [self.speed_m_per_s.low, self.speed_m_per_s.high],
            "acceleration_m_per_s2": self.acceleration_m_per_s2,
        }


class EllipticDoubleBetaGun(GunConfig):
    """A fan: (1 - y^2/a^2)^(beta_1 - 1) [1 - x^2 / (b^2 (1 - y^2/a^2))]^(beta_2 - 1) inside its ellipse."""

    numbers_of_pattern = ("a_m", "b_m", "beta_1", "beta_2")

    kind: Literal["elliptic_double_beta"]
    a_m: Positive
    """Half width of the fan (major axis, across travel) at the reference standoff."""
    b_m: Positive
    """Half height of the fan (along travel) at the reference standoff."""
    beta_1: Exponent
    beta_2: Exponent

    @property
    def round(self) -> bool:
        """Whether axes and exponents are equal."""
        return self.a_m == self.b_m and self.beta_1 == self.beta_2


class AxisymmetricBetaGun(GunConfig):
    """A round jet: (1 - r^2/radius^2)^(beta - 1)."""

    numbers_of_pattern = ("radius_m", "beta")

    kind: Literal["axisymmetric_beta"]
    radius_m: Positive
    """Radius of the spot at the reference standoff."""
    beta: Exponent
    fan_spin: Literal["held", "free"] = "free"


class BellRingGun(GunConfig):
    """A rotary bell: a round ring, exp(-(r - ring_radius)^2 / (2 ring_width^2)), its hollow filled to a share."""

    numbers_of_pattern = ("ring_radius_m", "ring_width_m", "hollow_fill")

    kind: Literal["bell_ring"]
    ring_radius_m: Positive
    """Where the pattern is thickest, at the reference standoff."""
    ring_width_m: Positive
    """Standard deviation of the ring's section."""
    hollow_fill: Annotated[float, Field(ge=0.0, le=1.0)]
    """Inside the ring the pattern falls no lower than to this share of its most."""
    fan_spin: Literal["held", "free"] = "free"


class Gaussian(Strict):
    """One term of a sum: an elliptic Gaussian on the reference plane."""

    share: Fraction
    """Of the whole paint; the shares of a gun add up to 1."""
    offset_x_m: Finite = 0.0
    offset_y_m: Finite = 0.0
    sigma_x_m: Positive
    sigma_y_m: Positive


class GaussianSumGun(GunConfig):
    """Any pattern, tilted or lopsided, as a sum of elliptic Gaussians."""

    kind: Literal["gaussian_sum"]
    gaussians: Annotated[tuple[Gaussian, ...], Field(min_length=1, max_length=6)]

    @model_validator(mode="after")
    def _shares_add_up(self) -> "GaussianSumGun":
        total = sum(g.share for g in self.gaussians)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"gaussians: the shares add up to {total:.6g}, must be 1")
        return self

    @property
    def numbers(self) -> dict[str, float]:
        """What stripes can identify, as "gaussians.0.sigma_x_m"; the last share is what the others leave."""
        found = {
            f"gaussians.{k}.{name}": float(getattr(term, name))
            for k, term in enumerate(self.gaussians)
            for name in Gaussian.model_fields
            if name != "share" or k < len(self.gaussians) - 1
        }
        return {**found, "transfer_efficiency": self.transfer_efficiency}

    def with_numbers(self, changes: Mapping[str, float]) -> "GunConfig":
        """Return the gun with these of its `numbers` changed, and no intervals: they are of the old numbers."""
        terms = [term.model_dump() for term in self.gaussians]
        rest = {}
        for name, value in changes.items():
            place = name.split(".")
            if len(place) == 3:
                terms[int(place[1])][place[2]] = value
            else:
                rest[name] = value
        terms[-1]["share"] = 1.0 - sum(term["share"] for term in terms[:-1])
        return super().with_numbers({**rest, "gaussians": tuple(terms)})  # pyright: ignore[reportArgumentType]

    @property
    def symmetric(self) -> bool:
        """Whether every term has its mirror image on the other side of the axis."""
        terms = {(g.share, g.offset_x_m, g.offset_y_m, g.sigma_x_m, g.sigma_y_m) for g in self.gaussians}
        return terms == {(s, -x, -y, sx, sy) for s, x, y, sx, sy in terms}

    @property
    def round(self) -> bool:
        """Whether every term is round and on the axis."""
        return all(g.offset_x_m == g.offset_y_m == 0.0 and g.sigma_x_m == g.sigma_y_m for g in self.gaussians)


KINDS: dict[str, type[GunConfig]] = {
    "elliptic_double_beta": EllipticDoubleBetaGun,
    "axisymmetric_beta": AxisymmetricBetaGun,
    "gaussian_sum": GaussianSumGun,
    "bell_ring": BellRingGun,
}


def _line_error(key: str, kind: str, text: str, value: Any) -> ValidationError:
    fault = kind if kind == "missing" else PydanticCustomError("gun_file", "{text}", {"text": text})
    return ValidationError.from_exception_data("gun", [InitErrorDetails(type=fault, loc=(key,), input=value)])
