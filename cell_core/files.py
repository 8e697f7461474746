"""Atomic files: write aside, fsync, rename; read with errors that name the file."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cell_core.bounded import check_archive, read_text
from cell_core.errors import InputRefusedError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file aside, then put it in place in one rename; on failure nothing is left behind."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        with aside.open("rb") as f:
            os.fsync(f.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""

    def fill(aside: Path) -> None:
        aside.write_bytes(data)

    write_atomically(path, fill)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, document: object) -> None:
    """Write JSON atomically; NaN and infinity are refused."""
    text = json.dumps(document, allow_nan=False, default=_plain)
    write_text(path, text + "\n")


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write a compressed NumPy archive atomically."""

    def fill(aside: Path) -> None:
        with aside.open("wb") as f:
            np.savez_compressed(f, allow_pickle=False, **arrays)

    write_atomically(path, fill)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read a NumPy archive without pickles.

    Raises:
        InputRefusedError: missing, truncated, not an archive of plain arrays, or one that unpacks to too much.
    """
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            return {k: archive[k] for k in archive.files}
    except InputRefusedError:
        raise
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputRefusedError(f"{path}: not a readable NumPy archive: {error}") from error
    except Exception as error:  # zipfile.BadZipFile and zlib.error share no base class
        raise InputRefusedError(f"{path}: damaged NumPy archive: {error}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputRefusedError: missing, too large or not JSON; says line and column.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputRefusedError(f"{path}: not readable as JSON: {error}") from error


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
