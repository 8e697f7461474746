"""What the generations of Gazebo call the same things."""

from dataclasses import dataclass

from cell_core.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Names of one generation of Gazebo and of its ROS 2 bridge to ros2_control."""

    name: str
    file_prefix: str
    """Of the files of Gazebo's systems."""
    class_prefix: str
    """Of the classes of Gazebo's systems."""
    frame_tag: str
    """SDF element for the frame a sensor's messages are in."""
    lens: bool
    """Whether a depth camera's SDF has to tell its intrinsics; images follow the field of view alone."""
    hardware_plugin: str
    """ros2_control system plugin that drives the arm in Gazebo."""
    control_file: str
    control_class: str
    """File and class of the Gazebo system that runs the controller manager."""

    def system(self, name: str, file: str = "") -> dict[str, str]:
        """Return the SDF attributes of a Gazebo system, such as SceneBroadcaster.

        Args:
            name: its class.
            file: its file's stem where that is not the class name with hyphens.
        """
        stem = file or "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
        return {"filename": f"{self.file_prefix}-{stem}-system", "name": f"{self.class_prefix}::{name}"}


GZ = Generation(
    name="gz",
    file_prefix="gz-sim",
    class_prefix="gz::sim::systems",
    frame_tag="gz_frame_id",
    # from gz-rendering 8.2 on intrinsics bend the depth: by 32 mm at 0.55 m between planes at 0.25 and 1.5 m
    lens=False,
    hardware_plugin="gz_ros2_control/GazeboSimSystem",
    control_file="gz_ros2_control-system",
    control_class="gz_ros2_control::GazeboSimROS2ControlPlugin",
)
"""Harmonic and newer."""

FORTRESS = Generation(
    name="fortress",
    file_prefix="ignition-gazebo",
    class_prefix="ignition::gazebo::systems",
    frame_tag="ignition_frame_id",
    # without intrinsics camera_info tells a default camera
    lens=True,
    hardware_plugin="ign_ros2_control/IgnitionSystem",
    control_file="ign_ros2_control-system",
    control_class="ign_ros2_control::IgnitionROS2ControlPlugin",
)
"""ignition-gazebo 6. Releases from 6.16 on also take the newer names of systems; earlier ones find nothing by them."""

GENERATIONS = {generation.name: generation for generation in (GZ, FORTRESS)}


def generation_named(name: str) -> Generation:
    """Return a generation by its name.

    Raises:
        ConfigurationError: no such generation; names those there are.
    """
    if name not in GENERATIONS:
        raise ConfigurationError(f"no generation of Gazebo is called {name!r}; known: {', '.join(GENERATIONS)}")
    return GENERATIONS[name]
