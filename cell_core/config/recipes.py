"""config/recipes: what a part is to get."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cell_core.config.base import Fraction, NonNegative, Positive, Strict
from cell_core.config.coats import COAT_FIELDS, FILM_MAX_M, Coats, SprayLayer
from cell_core.config.masks import MaskRegion
from cell_core.errors import ConfigurationError


class ScanSettings(Strict):
    """How the part is scanned."""

    voxel_m: Annotated[float, Field(ge=0.0005, le=0.01)] = 0.002
    measured_area_fraction_min: Fraction = 0.97
    """Next best views are taken until this much of the measurable surface is seen, or views_max is reached."""
    views_max: Annotated[int, Field(ge=1, le=60)] = 20
    frames_per_view: Annotated[int, Field(ge=1, le=10)] = 2


class SprayAcceptance(Strict):
    """When a sprayed part passes; area-weighted over what the gun could serve."""

    cv_max: Positive = 0.12
    tolerance_fraction: Fraction = 0.30
    in_tolerance_area_fraction_min: Fraction = 0.90
    covered_area_fraction_min: Fraction = 0.98
    """Covered: at least half the target."""


class GrindAcceptance(Strict):
    """When a ground part passes; area-weighted over what the pad could serve."""

    tolerance_fraction: Fraction = 0.35
    tolerance_m: NonNegative = 0.0
    """A difference below this is in tolerance however small the target: the feet of a bead, the noise of a scan."""
    undercut_max_m: Positive | None = None
    """Largest removal (P99.9 of area) where nothing was to be removed; None: not judged."""
    in_tolerance_area_fraction_min: Fraction = 0.90
    covered_area_fraction_min: Fraction = 0.98
    """Covered: at least half the target removed."""


class SprayRecipe(Coats):
    """config/recipes: a coating of one layer, or of several that are each planned and run as a job of their own."""

    format: Literal["grind_spray_cell/recipe"]
    version: Literal[1]
    process: Literal["spray"]
    name: str
    gun: str
    layers: tuple[SprayLayer, ...] = ()
    """From the ground up. With layers the film's own keys stand in each of them; what a layer leaves out, such as gun
    or standoff, is the recipe's. Empty: the recipe is one layer."""
    target_thickness_m: Annotated[float, Field(gt=0.0, le=FILM_MAX_M, validate_default=True)] = 0.0
    """Dry film. With layers it is the sum of theirs, and may not be given."""
    standoff_m: Annotated[float, Field(gt=0.0, le=1.0)]
    flow_m3_per_s: Positive | None = None
    """Below the gun's own flow, tool speeds fall with it and the arm keeps them over sharper forms; None: the gun's."""
    spacing_m: Positive | None = None
    """None: from the fan's ripple-free spacing."""
    overtravel_m: NonNegative = 0.06
    overspray_price: Annotated[float, Field(ge=0.0, le=0.1)] = 1e-3
    """What paint costs: the squared CV that may be given up to spray one film volume less; 0: evenness alone counts."""
    masks: tuple[MaskRegion, ...] = ()
    """Where nothing is to be painted, besides what a mask per vertex says."""
    refine: bool = True
    """Whether stroke spacing, standoff and tilt are refined together with the speeds, pose by pose."""
    robust: bool = False
    """Whether lines are laid close enough to bear the errors of a real cell and of the gun's calibration, and the plan
    tells what a thousand draws of them leave. A gun with a confidence block has its lines laid so in any case."""
    scan: ScanSettings = ScanSettings()
    acceptance: SprayAcceptance = SprayAcceptance()
    cycles_max: Annotated[int, Field(ge=1, le=5)] = 1

    @field_validator("layers")
    @classmethod
    def _sound_layers(cls, layers: tuple[SprayLayer, ...], info: ValidationInfo) -> tuple[SprayLayer, ...]:
        if not layers:
            raise ValueError("0 layers, at least 1 needed; leave the key out for a recipe of one layer")
        names = [layer.name for layer in layers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names must differ, {', '.join(twice)} stands more than once in {', '.join(names)}")
        return layers

    @field_validator("target_thickness_m", mode="before")
    @classmethod
    def _whole_film(cls, value: object, info: ValidationInfo) -> object:
        layers = info.data.get("layers")
        if layers is None:
            return 1e-6  # the layers are refused already: say no more
        given = value != 0.0
        if layers and given:
            films = ", ".join(f"{layer.name} {layer.target_thickness_m:g} m" for layer in layers)
            raise ValueError(f"given beside layers ({films}); a recipe has either one target or layers")
        if not layers and not given:
            raise PydanticCustomError("missing", "Field required")
        if not layers:
            return value
        whole = sum(layer.target_thickness_m for layer in layers)
        if whole > FILM_MAX_M:
            raise ValueError(f"layers add up to {whole:g} m, at most {FILM_MAX_M:g} m")
        return whole

    @model_validator(mode="after")
    def _one_place(self) -> "SprayRecipe":
        beside = [name for name in COAT_FIELDS if name in self.model_fields_set] if self.layers else []
        if beside:
            raise ValueError(f"{', '.join(beside)} given beside layers; each layer has its own")
        if not self.layers:
            self.refuse_contradictions("recipe", self.target_thickness_m)
        return self

    @property
    def film_tolerance_fraction(self) -> float:
        """Deviation from the target that is in tolerance, over the target."""
        own = self.tolerance_fraction
        return self.acceptance.tolerance_fraction if own is None else own

    def layer(self, name: str) -> "SprayRecipe":
        """Return one layer as a recipe of its own, named after both.

        Raises:
            ConfigurationError: no layer of that name.
        """
        found = next((layer for layer in self.layers if layer.name == name), None)
        if found is None:
            known = ", ".join(layer.name for layer in self.layers) or "none: it is a recipe of one layer"
            raise ConfigurationError(f"recipe {self.name}: no layer {name!r}; its layers: {known}")
        own = {k: v for k, v in found if k != "name" and v is not None}
        acceptance = self.acceptance
        if found.tolerance_fraction is not None:
            acceptance = acceptance.model_copy(update={"tolerance_fraction": found.tolerance_fraction})
        changes = {**own, "layers": (), "name": f"{self.name}-{name}", "acceptance": acceptance}
        return self.model_copy(update=changes)


class GrindRecipe(Strict):
    """config/recipes: removal of material."""

    format: Literal["grind_spray_cell/recipe"]
    version: Literal[1]
    process: Literal["grind"]
    name: str
    tool: str
    """Name in config/tools, or "auto": the planner chooses among `tools`."""
    tools: tuple[str, ...] = ()
    """Tools that hang ready, for tool: auto."""
    strategy: Literal["area", "target", "bead", "edge", "spot"]
    """area: target_depth_m everywhere; target: a given map or scan minus CAD; bead: what stands proud; edge: sharp
    edges broken to chamfer_width_m; spot: target_depth_m in `spots` alone."""
    target_depth_m: Annotated[float, Field(gt=0.0, le=0.005)] = 30e-6
    """Depth for area and spot; for bead and target the largest depth ever asked for."""
    force_n: Positive
    spacing_m: Positive | None = None
    """None: from the pad's radius."""
    n_passes: Annotated[int, Field(ge=1, le=20)] | None = None
    """Passes over the whole that share the depth; None: as few as the tool's limits allow."""
    cross_hatch: bool = False
    """Whether every other pass runs across the one before."""
    spots: tuple[MaskRegion, ...] = ()
    """Where strategy spot grinds; over a region's soft_edge_m inside its border the depth runs out evenly."""
    keep_out: tuple[MaskRegion, ...] = ()
    """What the tool must not touch."""
    keep_edges: bool = False
    """Whether the pad stays off the part's sharp edges and rims, so that they keep their form."""
    wall_min_m: Positive | None = None
    """Where a CAD or the surface itself gives thickness: what must remain of it; None: not guarded."""
    chamfer_width_m: Annotated[float, Field(ge=5e-5, le=5e-3)] = 0.5e-3
    """Width of the face that strategy edge leaves."""
    edge_angle_min_rad: Annotated[float, Field(ge=0.1, le=2.6)] = 0.5236
    """Edges whose faces turn by less are left alone."""
    edge_length_min_m: NonNegative = 0.005
    """So are shorter ones."""
    scan: ScanSettings = ScanSettings()
    acceptance: GrindAcceptance = GrindAcceptance()
    cycles_max: Annotated[int, Field(ge=1, le=5)] = 1

    @model_validator(mode="after")
    def _goes_together(self) -> "GrindRecipe":
        if (self.tool == "auto") != bool(self.tools):
            raise ValueError(
                "tool: auto needs the list `tools` to choose from"
                if self.tool == "auto"
                else f"tools: given beside tool {self.tool!r}; they are for tool: auto"
            )
        if (self.strategy == "spot") != bool(self.spots):
            raise ValueError(
                "strategy spot needs at least one region in `spots`"
                if self.strategy == "spot"
                else f"spots: given beside strategy {self.strategy}; they are for strategy spot"
            )
        return self


Recipe = SprayRecipe | GrindRecipe
