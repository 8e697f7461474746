"""What the files of a cell and of a job may say. Units are in the key names; bounds stand beside each field."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cell_core.config.base import Finite, Interval, NonNegative, Positive, Strict, Vector3


class Pose(Strict):
    """A pose of one frame in another: translation and URDF roll, pitch, yaw."""

    xyz_m: Vector3
    rpy_rad: Vector3 = (0.0, 0.0, 0.0)


class HandEyeConfig(Strict):
    """Where a camera sits on the flange, calibrated (`cell calibrate camera`)."""

    T_flange_optical: Pose
    """Optical frame in the robot's flange frame."""
    standard_error_m: tuple[NonNegative, NonNegative, NonNegative]
    """Of the position, along the axes of the optical frame."""
    standard_error_rad: tuple[NonNegative, NonNegative, NonNegative]
    """Of the orientation, about the same axes."""
    covariance: tuple[tuple[Finite, ...], ...] = ()
    """(6, 6) of x, y, z, rx, ry, rz [m, rad] along and about them."""
    source: str = ""
    """What it was calibrated from."""


class Distortion(Strict):
    """How the lens bends the image: the model and coefficients of sensor_msgs/CameraInfo."""

    model: Literal["plumb_bob", "rational_polynomial", "equidistant"]
    coefficients: tuple[Finite, ...]

    @model_validator(mode="after")
    def _counted(self) -> "Distortion":
        counts = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}[self.model]
        if len(self.coefficients) not in counts:
            known = " or ".join(str(n) for n in counts)
            raise ValueError(f"{self.model} has {known} coefficients, {len(self.coefficients)} given")
        if any(self.coefficients[12:]):
            raise ValueError(
                f"a tilted sensor, coefficients {self.coefficients[12:]}, is not known; rectify images first"
            )
        return self


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
    specular_cone_rad: Annotated[float, Field(ge=0.0, le=0.8)] = 0.0
    """Reflective parts: no reading where ray and surface normal enclose less than this (light beside the camera)."""
    distortion: Distortion | None = None
    """None: images come rectified."""
    time_offset_s: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    """An image shows what was there this long after its stamp."""
    depth_offset_m: Annotated[float, Field(ge=-0.1, le=0.1)] = 0.0
    depth_slope: Annotated[float, Field(ge=-0.1, le=0.1)] = 0.0
    """True depth is reading + depth_offset_m + depth_slope * reading."""
    hand_eye: HandEyeConfig | None = None
    """None: the camera sits where the URDF says."""


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
    opw: OpwConfig | None = None
    """None: read off the URDF where the arm is of this kind; other arms are solved by decomposition or numerically."""
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
    part_moved_max_m: Positive | None = 0.001
    """How far the part may have moved since its scan; one view before every process tells. None: it is not looked."""
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
    """Mesh of the part's shape [m]; a relative path starts at the job folder."""
    cad_pose: Pose | None = None
    """Where the CAD stands, in the fixture frame; None: found by what the scan's first views show."""
    part_box_m: tuple[Vector3, Vector3] | None = None
    """Low and high corner, in the fixture frame, of a box that holds the whole part, where no CAD is known."""
    layer: str | None = None
    """Which layer of a recipe of layers this job sprays; between layers a person changes the paint."""
    simulated_part: "SimulatedPart | None" = None
    """The physical part of the embedded simulator; planners never read it."""

    @model_validator(mode="after")
    def _what_is_known(self) -> Self:
        if self.cad_pose is not None and self.cad is None:
            raise ValueError("cad_pose is given without cad: it tells where the CAD stands")
        if self.part_box_m is not None and any(lo >= hi for lo, hi in zip(*self.part_box_m, strict=True)):
            raise ValueError(f"part_box_m {self.part_box_m}: each low coordinate must lie below the high one")
        return self


class SimulatedPart(Strict):
    """A mesh standing in for the physical part."""

    path: str
    unit: Literal["m", "mm", "inch"] = "m"
    pose: Pose | None = None
    """Part frame (the mesh file's own) in the fixture frame; None: centred on the fixture, resting on it."""


JobConfig.model_rebuild()
