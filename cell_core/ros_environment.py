"""The environment that the cell's processes run in, and the shared memory that killed ones leave behind.

Pure: it imports no ROS. Everything is set through environment variables, so that child processes inherit it.
"""

import contextlib
import fcntl
import os
import random
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cell_core.config import config_root
from cell_core.errors import DeviceError

SHARED_MEMORY = Path("/dev/shm")
DOMAIN_IDS = range(1, 101)
"""Domains whose ports (7400 + 250 domain) lie below the range that Linux gives to outgoing connections."""
_OWNED = re.compile(r"(?:sem\.)?((?:fastdds|fastrtps)_\w+?)(?:_el|_sl|_mutex)?")


def ros_environment(domain_id: int, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return `base` (this process's environment by default) with what a node of the cell needs.

    Discovery range, middleware and its profile stay as they are where the user has set them.
    """
    environment = dict(os.environ if base is None else base)
    environment["ROS_DOMAIN_ID"] = str(domain_id)
    environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = "1"
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    environment.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(config_root() / "fastdds.xml"))
    # the interface packages lie in the Python environment; nothing else puts it on these paths beside a distribution
    for name, folder in (("LD_LIBRARY_PATH", f"{sys.prefix}/lib"), ("AMENT_PREFIX_PATH", sys.prefix)):
        known = [p for p in environment.get(name, "").split(os.pathsep) if p]
        if folder not in known:
            environment[name] = os.pathsep.join([folder, *known])
    return environment


def free_domain_id(seed: int | None = None) -> int:
    """Return a ROS domain that no process on this machine uses, looked for in random order.

    Raises:
        DeviceError: every domain is in use.
    """
    domains = list(DOMAIN_IDS)
    random.Random(seed).shuffle(domains)
    for domain in domains:
        # the first participant of a domain listens here for unicast discovery
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.bind(("", 7410 + 250 * domain))
            return domain
    raise DeviceError(f"all ROS domains from {DOMAIN_IDS[0]} to {DOMAIN_IDS[-1]} are in use on this machine")


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """What `clear_shared_memory` removed."""

    files: int
    n_bytes: int


def clear_shared_memory(folder: Path = SHARED_MEMORY) -> Cleared:
    """Remove Fast DDS files in shared memory that no living process uses; killed nodes leave them behind.

    A group of files (segment, lock, semaphore) goes only when this user owns all of it, no process has any of it
    open or mapped, and its lock is free, which also protects users in other process name spaces.
    """
    groups: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _OWNED.fullmatch(path.name)
        if match:
            groups.setdefault(match[1], []).append(path)
    used = _files_in_use(folder) if groups else set()
    files = n_bytes = 0
    for paths in groups.values():
        with contextlib.suppress(FileNotFoundError):
            if any(str(p) in used or p.stat().st_uid != os.getuid() or _is_locked(p) for p in paths):
                continue
            for path in paths:
                n_bytes += path.stat().st_size
                path.unlink()
                files += 1
    return Cleared(files=files, n_bytes=n_bytes)


def _is_locked(path: Path) -> bool:
    if not path.name.endswith(("_el", "_sl")):
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _files_in_use(folder: Path) -> set[str]:
    return {
        name
        for process in Path("/proc").glob("[0-9]*")
        for name in _open_files(process)
        if name.startswith(str(folder))
    }


def _open_files(process: Path) -> Iterator[str]:
    # processes of other users cannot be read; their files are theirs to clear
    with contextlib.suppress(OSError):
        for line in (process / "maps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6:
                yield fields[5]
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield os.readlink(link)
