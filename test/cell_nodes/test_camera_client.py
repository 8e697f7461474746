"""A late joint state is forgiven where the arm stood still around the image, and only there."""

from types import SimpleNamespace

import pytest

from cell_nodes.camera_client import CameraClient


def state(stamp_s, position=0.5, velocity=0.0):
    stamp = SimpleNamespace(sec=int(stamp_s), nanosec=round(1e9 * (stamp_s % 1.0)))
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp), name=["joint_1"], position=[position], velocity=[velocity]
    )


@pytest.mark.parametrize(
    "before, after, still",
    [
        (state(1.0), state(1.6), True),
        (state(1.0), state(1.6, position=0.501), False),
        (state(1.0), state(1.6, velocity=0.1), False),
        (state(0.5), state(1.6), False),
    ],
)
def test_only_an_arm_at_rest_in_one_place_bridges_a_gap(before, after, still):
    client = CameraClient.__new__(CameraClient)
    client._states = [before, after]
    assert client._stood_still(1.3) is still


def test_an_image_before_the_first_state_is_not_bridged():
    client = CameraClient.__new__(CameraClient)
    client._states = [state(1.5)]
    assert not client._stood_still(1.3)
