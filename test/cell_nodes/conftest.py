"""Fixtures of the node tests."""

import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
pytest.importorskip("rclpy")
pytest.importorskip("cell_interfaces")
sys.path.insert(0, str(Path(__file__).parent))

import node_kit
import supervised


@pytest.fixture
def ros() -> Iterator[node_kit.Ros]:
    """Nodes in a context and a domain of their own."""
    running = node_kit.Ros()
    yield running
    running.close()
    end = time.monotonic() + node_kit.WAIT_S
    while node_kit.shared_memory() and time.monotonic() < end:  # a thread of the nodes may still be on its way out
        time.sleep(0.1)
        gc.collect()
    assert node_kit.shared_memory() == [], "a DDS participant outlived its nodes"


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """End supervisors that a failed test left behind."""
    yield
    supervised.end_all()


@pytest.fixture
def job(tmp_path: Path):
    """A job folder with a small simulated part."""
    return node_kit.make_job(tmp_path / "job", node_kit.dome())
