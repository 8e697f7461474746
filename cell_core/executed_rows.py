"""What a run executed, row by row on disk while it runs, so that it outlives the power."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cell_core.bounded import ARCHIVE_MAX_BYTES, bounded_size
from cell_core.errors import InputRefusedError
from cell_core.transforms import Array

HEADER_MAX_BYTES = 256


def append_rows(path: Path, log: Mapping[str, NDArray]) -> None:
    """Append rows to a file, which are on disk when this returns.

    Args:
        path: made with its header where it is missing: one line of JSON, then rows of little-endian float64.
        log: time_s (N,), position_rad (N, J), T_base_tcp (N, 4, 4), on (N,), process_value (N,), spindle_power_w (N,).
    """
    n = len(log["time_s"])
    columns = [np.asarray(log[name], "<f8").reshape(n, -1) for name in _widths(0)]
    with Path(path).open("ab") as file:
        if file.tell() == 0:
            joints = columns[1].shape[1]
            file.write(json.dumps({"format": "grind_spray_cell/rows", "version": 1, "joints": joints}).encode() + b"\n")
        file.write(np.concatenate(columns, axis=1).tobytes())
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> dict[str, NDArray]:
    """Return the whole rows of such a file, as `append_rows` takes them; a torn last one is left out.

    Raises:
        InputRefusedError: missing, too large, or no such file.
    """
    bounded_size(path, ARCHIVE_MAX_BYTES)
    data = Path(path).read_bytes()
    head, found, _ = data[:HEADER_MAX_BYTES].partition(b"\n")
    try:
        header = json.loads(head) if found else {}
        widths = _widths(int(header["joints"]))
        if header["format"] != "grind_spray_cell/rows" or header["version"] != 1 or widths["position_rad"] < 1:
            raise KeyError("format")
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputRefusedError(f"{path}: no rows of an executed process: header {head[:60]!r}") from error
    width = sum(widths.values())
    body = data[len(head) + 1 :]
    rows = np.frombuffer(body[: len(body) // (8 * width) * 8 * width], "<f8").reshape(-1, width).astype(np.float64)
    parts = dict(zip(widths, np.split(rows, np.cumsum([*widths.values()])[:-1], axis=1), strict=True))
    flat = {name: part[:, 0] for name, part in parts.items() if name not in ("position_rad", "T_base_tcp")}
    poses: Array = parts["T_base_tcp"].reshape(-1, 4, 4)
    return {**flat, "position_rad": parts["position_rad"], "T_base_tcp": poses, "on": flat["on"] > 0.5}


def _widths(joints: int) -> dict[str, int]:
    """Columns of each array, in the order they stand in a row."""
    return {
        "time_s": 1, "position_rad": joints, "T_base_tcp": 16, "on": 1, "process_value": 1, "spindle_power_w": 1,
    }  # fmt: skip
