"""Turn a .urdf or .xacro file into one URDF text whose mesh paths are absolute."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cell_core.errors import ConfigurationError

PACKAGE = "grind_spray_cell"


def expand(path: Path, arguments: Mapping[str, str]) -> str:
    """Return the URDF text of a .urdf or .xacro file, every mesh path absolute.

    Raises:
        ConfigurationError: missing file, xacro fault, unknown package or missing mesh.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file")
    if path.suffix == ".xacro":
        import xacro

        try:
            document: Any = xacro.process_file(str(path), mappings=dict(arguments))
            text = document.toprettyxml(indent="  ")
        except Exception as error:  # xacro raises bare Exceptions of many kinds; each is a fault of the file
            raise ConfigurationError(f"{path}: xacro: {error}") from error
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: not XML: byte {error.start} is no UTF-8") from error
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigurationError(f"{path}: not XML: {error}") from error
    for mesh in root.iter("mesh"):
        mesh.set("filename", str(resolve(mesh.get("filename", ""), path)))
    return ElementTree.tostring(root, encoding="unicode")


def resolve(uri: str, beside: Path) -> Path:
    """Return the absolute path of a mesh URI: package://, file://, absolute, or relative to the file `beside`.

    A package that nobody knows may be a folder above the file under another name: what lies there is taken.
    """
    if uri.startswith("package://"):
        package, _, rest = uri.removeprefix("package://").partition("/")
        candidates = [folder / rest for folder in _package_folders(package, beside)]
        candidates += [folder / rest for folder in list(Path(beside).resolve().parents)[:2]]
    else:
        candidates = [Path(beside).parent / uri.removeprefix("file://")]
    for path in candidates:
        if path.is_file():
            return path.resolve()
    tried = ", ".join(str(p) for p in candidates) or "no folder known for that package"
    raise ConfigurationError(f"{beside}: mesh {uri!r} not found (tried {tried})")


def own_folders() -> list[Path]:
    """Return where robot_description/ may lie: the source tree or site-packages, then each ROS prefix's share."""
    return [Path(__file__).resolve().parents[1], *_shares(PACKAGE)]


def _package_folders(package: str, beside: Path) -> list[Path]:
    folders = own_folders() if package == PACKAGE else _shares(package)
    folders += [parent for parent in Path(beside).resolve().parents if parent.name == package]
    return folders + [Path(p) / package for p in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if p]


def _shares(package: str) -> list[Path]:
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(prefix) / "share" / package for prefix in prefixes if prefix]
