"""The cell's surroundings as a Gazebo world, with a part and the arm where they are wanted.

`python -m robot_description.gazebo_world --cell default --out config/gazebo/cell.sdf` writes the world kept there;
`--arm`, `--part` and `--generation` make one that Gazebo runs without ROS (docs/simulation.md).
"""

import argparse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

import trimesh

from cell_core.errors import ConfigurationError
from cell_core.surface_io import UNIT_M, Unit, load_surface
from cell_core.transforms import Array
from robot_description.gazebo import CONTACT_TOPIC, MODEL, trajectory_urdf
from robot_description.gazebo_generation import GENERATIONS, GZ, Generation
from robot_description.loader import load_cell
from robot_description.model import Cell
from robot_description.placement import resting_pose
from robot_description.scene import OBSTACLE_RGB
from robot_description.xml_tools import add, document, pose, text_of

WORLD = "cell"
SYSTEMS = ("Physics", "UserCommands", "SceneBroadcaster", "Sensors", "Contact")
STEP_S = 0.002
MESH_SUFFIXES = (".stl", ".obj", ".dae")
"""Mesh files that every supported generation of Gazebo reads."""
RENDER_ENGINES = ("ogre2", "ogre")


def world_sdf(
    cell: Cell,
    part: tuple[Path, float, Array] | None = None,
    *,
    generation: Generation = GZ,
    render_engine: str = "ogre2",
    arm: Path | None = None,
) -> str:
    """Return an SDF world: the cell's boxes, light, and a part and an arm where they are given.

    Args:
        cell: its obstacles become boxes.
        part: mesh file, its unit [m] and its pose T_base_part (4, 4); contacts with it are told on `CONTACT_TOPIC`.
        generation: of Gazebo.
        render_engine: ogre2, or ogre where the installation has no other.
        arm: URDF file of the robot, as `trajectory_urdf` writes it; without one it is spawned.

    Raises:
        ConfigurationError: a mesh of a kind Gazebo does not read, or no such render engine.
    """
    if render_engine not in RENDER_ENGINES:
        raise ConfigurationError(f"render engine {render_engine!r}: Gazebo has {', '.join(RENDER_ENGINES)}")
    root = ElementTree.Element("sdf", version="1.9")
    world = add(root, "world", name=WORLD)
    physics = add(world, "physics", name="default", type="ignored")
    add(physics, "max_step_size", STEP_S)
    add(physics, "real_time_factor", 1.0)
    for system in SYSTEMS:
        plugin = add(world, "plugin", **generation.system(system))
        if system == "Sensors":
            add(plugin, "render_engine", render_engine)
    light = add(world, "light", name="lamps", type="directional")
    add(light, "pose", "0 0 3 0 0 0")
    add(light, "direction", "0.2 0.1 -1")
    for box in cell.obstacles:
        _static_model(world, box.name, box.T_base_box, {"box": {"size": text_of(box.size_m)}}, OBSTACLE_RGB)
    if part is not None:
        path, unit_m, T_base_part = part
        if Path(path).suffix.lower() not in MESH_SUFFIXES:
            raise ConfigurationError(f"{path}: Gazebo reads {', '.join(MESH_SUFFIXES)}; gazebo_mesh writes such a file")
        mesh = {"uri": Path(path).resolve().as_uri(), "scale": text_of([unit_m] * 3)}
        _contacts(_static_model(world, "part", T_base_part, {"mesh": mesh}, (0.75, 0.75, 0.78)))
    if arm is not None:
        include = add(world, "include")
        add(include, "uri", Path(arm).resolve().as_uri())
        add(include, "name", MODEL)
    return document(root)


def gazebo_mesh(path: Path, unit: Unit, folder: Path) -> tuple[Path, float]:
    """Return a mesh file that Gazebo reads, and its unit [m]: the part's own, or an STL in `folder`.

    Raises:
        InputRefusedError: the file is no usable mesh.
    """
    if Path(path).suffix.lower() in MESH_SUFFIXES:
        return Path(path), UNIT_M[unit]
    surface, _ = load_surface(path, unit)
    written = folder / f"{Path(path).stem}.stl"
    trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False).export(written)
    return written, 1.0


def _contacts(link: ElementTree.Element) -> None:
    sensor = add(link, "sensor", name="contacts", type="contact")
    contact = add(sensor, "contact")
    add(contact, "collision", "collision")
    add(contact, "topic", CONTACT_TOPIC)


def _static_model(
    world: ElementTree.Element, name: str, T: Array, geometry: Mapping[str, Mapping[str, str]], rgb: Iterable[float]
) -> ElementTree.Element:
    """Add a model that stands still, and return its link."""
    model = add(world, "model", name=name)
    add(model, "static", "true")
    add(model, "pose", pose(T))
    link = add(model, "link", name="link")
    for tag in ("visual", "collision"):
        shape = add(link, tag, name=tag)
        for kind, values in geometry.items():
            body = add(add(shape, "geometry"), kind)
            for key, value in values.items():
                add(body, key, value)
        if tag == "visual":
            material = add(shape, "material")
            for light in ("ambient", "diffuse"):
                add(material, light, text_of([*rgb, 1.0]))
    return link


def main() -> None:
    """Write the world of one cell."""
    parser = argparse.ArgumentParser(
        prog="python -m robot_description.gazebo_world", description="Write a cell's Gazebo world."
    )
    parser.add_argument("--cell", default="default", help="name in config/cells or a path")
    parser.add_argument("--generation", choices=list(GENERATIONS), default=GZ.name, help="of Gazebo (default: gz)")
    parser.add_argument("--render-engine", choices=RENDER_ENGINES, default=RENDER_ENGINES[0], help="default: ogre2")
    parser.add_argument("--arm", action="store_true", help="with the arm on Gazebo's own trajectory controller")
    parser.add_argument("--part", type=Path, help="mesh of a part, laid on the fixture")
    parser.add_argument("--unit", choices=get_args(Unit), default="m", help="of --part (default: m)")
    parser.add_argument("--out", type=Path, required=True, help="SDF file to write; other files go beside it")
    arguments = parser.parse_args()
    cell, generation, folder = load_cell(arguments.cell), GENERATIONS[arguments.generation], arguments.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    part = arm = None
    if arguments.part:
        T_base_part = cell.T_base_fixture @ resting_pose(load_surface(arguments.part, arguments.unit)[0])
        part = (*gazebo_mesh(arguments.part, arguments.unit, folder), T_base_part)
    if arguments.arm:
        arm = folder / f"{MODEL}.urdf"
        arm.write_text(trajectory_urdf(cell, generation), encoding="utf-8")
    engine = arguments.render_engine
    text = world_sdf(cell, part, generation=generation, render_engine=engine, arm=arm)
    arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
