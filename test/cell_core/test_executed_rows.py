"""Rows of an executed process are on disk while it runs, and come back as they were up to the last whole one."""

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.executed_rows import append_rows, read_rows
from cell_core.files import write_npz
from cell_core.remainder import executed_log

JOINTS = 7


def _log(n: int, first_s: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {
        "time_s": first_s + 0.004 * np.arange(n),
        "position_rad": rng.normal(size=(n, JOINTS)),
        "T_base_tcp": rng.normal(size=(n, 4, 4)),
        "on": rng.random(n) > 0.5,
        "process_value": rng.random(n),
        "spindle_power_w": rng.random(n),
    }


def test_rows_come_back_in_order_and_bit_for_bit(tmp_path):
    first, second = _log(5), _log(8, 1.0)
    append_rows(tmp_path / "executed_0.rows", first)
    append_rows(tmp_path / "executed_0.rows", second)
    read = executed_log(tmp_path, 0)
    assert read is not None and set(read) == set(first)
    for name in first:
        both = np.concatenate([first[name], second[name]])
        np.testing.assert_array_equal(read[name], both, err_msg=name)
        assert read[name].dtype == both.dtype


def test_a_torn_row_is_left_out(tmp_path):
    path = tmp_path / "executed_0.rows"
    append_rows(path, _log(6))
    whole = path.read_bytes()
    for cut in (1, 8, 100):
        path.write_bytes(whole[:-cut])
        assert len(read_rows(path)["time_s"]) == 5


BAD = [
    b"", b"\n", b"{}\n", b"[1]\n", b"\xff" * 400,
    b'{"format": "x", "version": 1, "joints": 6}\n',
    b'{"format": "grind_spray_cell/rows", "version": 1, "joints": 0}\n',
]  # fmt: skip


@pytest.mark.parametrize("content", BAD)
def test_what_is_no_such_file_is_refused(tmp_path, content):
    path = tmp_path / "executed_0.rows"
    path.write_bytes(content)
    with pytest.raises(InputRefusedError, match=r"executed_0\.rows"):
        read_rows(path)
    assert executed_log(tmp_path, 0) is None


def test_the_whole_log_counts_before_the_rows(tmp_path):
    append_rows(tmp_path / "executed_2.rows", _log(3))
    write_npz(tmp_path / "executed_2.npz", **_log(9))
    read = executed_log(tmp_path, 2)
    assert read is not None and len(read["time_s"]) == 9
