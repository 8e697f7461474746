"""What each YAML file may say. Units are in the key names; bounds stand beside each field."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cell_core.config.base import Finite, Fraction, Interval, NonNegative, Positive, Strict, Vector3
from cell_core.config.coats import COAT_FIELDS, FILM_MAX_M, Coats, SprayLayer
from cell_core.config.guns import GunConfig as GunConfig
from cell_core.config.masks import MaskRegion
from cell_core.errors import ConfigurationError


class Pose(Strict):
    """A pose of one frame in another: translation and URDF roll, pitch, yaw."""

    xyz_m: Vector3
    rpy_rad: Vector3 = (0.0, 0.0, 0.0)


class GrindToolConfig(Strict):
    """config/tools: a sander or grinder, PROCESS.md section 1."""

    format: Literal["grind_spray_cell/grind_tool"]
    version: Literal[1]
    name: str
    kind: Literal["pad"]
    radius_m: Positive
    stiffness_pa_per_m: Positive
    """Winkler layer: pressure per compression."""
    preston_per_pa: Positive
    motion: Literal["orbital", "disc"]
    rpm: Positive
    orbit_radius_m: NonNegative
    force_n: Interval
    speed_m_per_s: Interval
    acceleration_m_per_s2: Positive
    tilt_max_rad: Annotated[float, Field(ge=0.0, le=0.8)]
    slide_stroke_m: Positive
    """Travel of the force-controlled slide, centred on the nominal tool centre point."""
    slide_stiffness_n_per_m: Positive
    spin_up_s: NonNegative
    spin_down_s: NonNegative


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
    strategy: Literal["area", "target", "bead"]
    """area: target_depth_m everywhere; target: a given map or scan minus CAD; bead: what stands proud."""
    target_depth_m: Annotated[float, Field(gt=0.0, le=0.005)] = 30e-6
    """Depth for area; for bead and target the largest depth ever asked for."""
    force_n: Positive
    spacing_m: Positive | None = None
    """None: from the pad's radius."""
    scan: ScanSettings = ScanSettings()
    acceptance: GrindAcceptance = GrindAcceptance()
    cycles_max: Annotated[int, Field(ge=1, le=5)] = 1


Recipe = SprayRecipe | GrindRecipe


class CameraConfig(Strict):
    """config/cameras: a depth camera, pinhole, z forward, x right, y down; pixel centres at integers."""

    format: Literal["grind_spray_cell/camera"]
    version: Literal[1]
    name: str
    width_px: Annotated[int, Field(ge=16, le=4096)]
    height_px: Annotated[int, Field(ge=16, le=4096)]
    fx_px: Positive
    fy_px: Positive
    cx_px: Positive
    cy_px: Positive
    range_m: Interval
    rate_hz: Positive
    incidence_max_rad: Annotated[float, Field(gt=0.0, le=1.5)]
    axial_noise_at_1m_m: NonNegative
    """Standard deviation along the ray at 1 m; grows with the square of range."""
    lateral_noise_px: NonNegative
    dropout_fraction: Annotated[float, Field(ge=0.0, lt=1.0)]


class OpwConfig(Strict):
    """Parameters of an ortho-parallel arm with spherical wrist (Brandstoetter, Angerer, Hofbaur 2014) [m, rad]."""

    a1_m: Finite
    a2_m: Finite
    b_m: Finite
    c1_m: Finite
    c2_m: Finite
    c3_m: Finite
    c4_m: Finite
    offsets_rad: tuple[Finite, Finite, Finite, Finite, Finite, Finite]
    sign_corrections: tuple[int, int, int, int, int, int]


class JointLimits(Strict):
    """Limits of one joint."""

    velocity_rad_per_s: Positive
    acceleration_rad_per_s2: Positive
    jerk_rad_per_s3: Positive


class RobotConfig(Strict):
    """config/robots: an arm; positions limits come from its URDF."""

    format: Literal["grind_spray_cell/robot"]
    version: Literal[1]
    name: str
    urdf: str
    """URDF or xacro file, relative to this file or to robot_description/."""
    srdf: str | None = None
    """SRDF file, found like the URDF; None: adjacent links only are exempt from self-collision."""
    xacro_args: dict[str, str] = {}
    base_frame: str
    flange_frame: str
    joint_names: tuple[str, str, str, str, str, str]
    joint_limits: dict[str, JointLimits]
    opw: OpwConfig
    home_rad: tuple[Finite, Finite, Finite, Finite, Finite, Finite]


class BoxConfig(Strict):
    """An axis-aligned box in the frame of the key that holds it: centre and size."""

    name: str
    centre_m: Vector3
    size_m: tuple[Positive, Positive, Positive]


class MountedTool(Strict):
    """A gun or grinding tool on the tool plate."""

    process: Literal["spray", "grind"]
    config: str
    """Name in config/guns or config/tools."""
    tcp_frame: str
    """URDF link whose z is the tool axis and whose origin is the tool centre point."""


class MountedCamera(Strict):
    """The scanning camera."""

    config: str
    optical_frame: str
    """URDF link of the camera's optical frame (z forward, x right, y down)."""


class CellConfig(Strict):
    """config/cells: one robot, its tools, camera and surroundings; boxes are in the robot's base frame."""

    format: Literal["grind_spray_cell/cell"]
    version: Literal[1]
    name: str
    robot: str
    tools: tuple[MountedTool, ...]
    camera: MountedCamera
    obstacles: tuple[BoxConfig, ...]
    """Table, fixture, walls: everything fixed that is no part."""
    T_base_fixture: Pose
    """Where a part stands: origin at the centre of the fixture's top, z up."""
    work_volume: BoxConfig
    """In the fixture frame: the scan looks nowhere else, and before it is scanned all of it counts as an obstacle."""
    collision_margin_m: Positive
    part_margin_m: NonNegative
    controller_period_s: Positive


class JobConfig(Strict):
    """job.yaml: what to do to which part, in which cell."""

    format: Literal["grind_spray_cell/job"]
    version: Literal[1]
    process: Literal["spray", "grind"]
    recipe: str
    cell: str
    approve: Literal["auto", "ask"] = "ask"
    seed: Annotated[int, Field(ge=0)] = 0
    cad: str | None = None
    layer: str | None = None
    """Which layer of a recipe of layers this job sprays; between layers a person changes the paint."""
    simulated_part: "SimulatedPart | None" = None
    """The physical part of the embedded simulator; planners never read it."""


class SimulatedPart(Strict):
    """A mesh standing in for the physical part."""

    path: str
    unit: Literal["m", "mm", "inch"] = "m"
    pose: Pose | None = None
    """Part frame (the mesh file's own) in the fixture frame; None: centred on the fixture, resting on it."""


JobConfig.model_rebuild()
