"""What pyproject.toml cannot say in a way that every setuptools and colcon take; and the ROS package share."""

from pathlib import Path

from setuptools import setup

NAME = "grind_spray_cell"
ROOT = Path(__file__).resolve().parent


def share(*folders: str) -> list[tuple[str, list[str]]]:
    """Lay whole folders under share/grind_spray_cell, structure kept."""
    files: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and (path.suffix not in (".py", ".pyc") or path.name.endswith(".launch.py")):
                relative = path.relative_to(ROOT)
                files.setdefault(f"share/{NAME}/{relative.parent.as_posix()}", []).append(relative.as_posix())
    return list(files.items())


setup(
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",  # colcon reads literals; from pyproject.toml it would be an object
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *share("launch", "config", "robot_description"),
    ],
)
