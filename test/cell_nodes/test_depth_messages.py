"""Depth images of both encodings of REP 118, with padded rows and either byte order; others are refused."""

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image

from cell_core.errors import InputRefusedError
from cell_nodes.messages import depth_from, depth_message


def test_metres_come_back_and_nan_is_none():
    depth = np.array([[0.5, np.nan], [0.0, 1.25]], np.float32)
    assert depth_from(depth_message(depth, 1.0, "eye")) == pytest.approx(np.array([[0.5, 0.0], [0.0, 1.25]]))


@pytest.mark.parametrize("big", [0, 1])
def test_millimetres_with_padded_rows_and_either_byte_order(big):
    raw = np.array([[500, 0, 7], [1250, 65535, 7]], ">u2" if big else "<u2")
    message = Image(height=2, width=2, encoding="16UC1", is_bigendian=big, step=6)
    message.data = array.array("B", raw.tobytes())
    assert depth_from(message) == pytest.approx(np.array([[0.5, 0.0], [1.25, 65.535]]))


def test_other_encodings_and_lengths_are_refused():
    data = array.array("B", bytes(12))
    for encoding, step in (("rgb8", 6), ("16UC1", 3), ("32FC1", 8)):
        with pytest.raises(InputRefusedError, match="wanted 32FC1 or 16UC1"):
            depth_from(Image(height=2, width=2, encoding=encoding, step=step, data=data))
