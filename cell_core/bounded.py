"""Files of strangers: how large they may be, and what they may grow to, is looked at before memory goes."""

import math
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cell_core.errors import InputRefusedError

TEXT_MAX_BYTES = 500_000_000
"""Tables, tool paths and trajectories; a path of a million samples has a quarter of that."""
YAML_MAX_BYTES = 4_000_000
YAML_MAX_NODES = 200_000
"""What a document may hold once its aliases are followed."""
ARCHIVE_MAX_BYTES = 4_000_000_000
"""What a NumPy archive may unpack to."""
SHARE_OF_MEMORY = 0.7
"""One input may ask for so much of the memory that is free."""


def bounded_size(path: Path, max_bytes: int) -> int:
    """Return a file's size.

    Raises:
        InputRefusedError: missing, no regular file (a device or a pipe may never end), or larger than the bound.
    """
    try:
        facts = Path(path).stat()
    except FileNotFoundError as error:
        raise InputRefusedError(f"{path}: no such file") from error
    except OSError as error:
        raise InputRefusedError(f"{path}: cannot be read: {error}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise InputRefusedError(f"{path}: no regular file")
    if facts.st_size > max_bytes:
        raise InputRefusedError(f"{path}: {facts.st_size} bytes, at most {max_bytes} allowed")
    return facts.st_size


def read_text(path: Path, max_bytes: int = TEXT_MAX_BYTES, encoding: str = "utf-8") -> str:
    """Return a text file's content.

    Raises:
        InputRefusedError: as `bounded_size`, or no text in that encoding.
    """
    bounded_size(path, max_bytes)
    try:
        return Path(path).read_text(encoding=encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise InputRefusedError(f"{path}: cannot be read: {error}") from error


def read_yaml(path: Path) -> Any:
    """Return a YAML document's plain data.

    Raises:
        InputRefusedError: as `read_text`, not YAML, or one that grows beyond YAML_MAX_NODES.
    """
    text = read_text(path, YAML_MAX_BYTES)
    try:
        refuse_growth(yaml.compose(text, Loader=yaml.SafeLoader), path)
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputRefusedError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def refuse_growth(node: yaml.Node | None, path: Path) -> None:
    """Refuse a YAML document whose aliases make it grow too far, or contain itself.

    Raises:
        InputRefusedError: more than YAML_MAX_NODES nodes with every alias followed.
    """
    if node is not None:
        n = _grown(node, {}, path)
        if n > YAML_MAX_NODES:
            raise InputRefusedError(f"{path}: grows to {n} values by its aliases, at most {YAML_MAX_NODES} allowed")


def _grown(node: yaml.Node, known: dict[int, int], path: Path) -> int:
    if id(node) in known:
        if known[id(node)] < 0:
            raise InputRefusedError(f"{path}:{node.start_mark.line + 1}: an alias contains itself")
        return known[id(node)]
    known[id(node)] = -1
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    known[id(node)] = 1 + sum(_grown(child, known, path) for child in children)
    return known[id(node)]


def check_archive(path: Path) -> None:
    """Refuse a NumPy archive that would unpack to more than it may, or whose arrays claim more than it holds.

    Raises:
        InputRefusedError: says how many bytes, and the bound.
    """
    bounded_size(path, ARCHIVE_MAX_BYTES)
    with zipfile.ZipFile(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
        if total > ARCHIVE_MAX_BYTES:
            raise InputRefusedError(f"{path}: unpacks to {total} bytes, at most {ARCHIVE_MAX_BYTES} allowed")
        for member in archive.infolist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(stream)
            claimed = math.prod(shape) * kind.itemsize
            if claimed > member.file_size:
                raise InputRefusedError(
                    f"{path}: {member.filename} claims {claimed} bytes of data but has {member.file_size}"
                )


def free_memory_bytes() -> float:
    """Return the memory that can be had without swapping; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return math.inf
    found = [float(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else math.inf


def refuse_memory(need_bytes: float, what: str) -> None:
    """Refuse what would take more than its share of the memory that is free.

    Raises:
        InputRefusedError: says need and bound.
    """
    bound = SHARE_OF_MEMORY * free_memory_bytes()
    if need_bytes > bound:
        raise InputRefusedError(f"{what}: needs some {need_bytes / 1e9:.1f} GB of memory, {bound / 1e9:.1f} GB allowed")
