"""Environment of child processes; shared memory of dead and of living processes."""

import os
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cell_core.config import config_root
from cell_core.ros_environment import SHARED_MEMORY, clear_shared_memory, free_domain_id, ros_environment

PARTICIPANT = """
import sys, rclpy
rclpy.init()
node = rclpy.create_node("holder")
print("ready", flush=True)
sys.stdin.read()
"""


def test_environment_is_complete_and_keeps_the_users_choices():
    environment = ros_environment(7, base={"PATH": "/bin"})
    assert environment["ROS_DOMAIN_ID"] == "7"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"
    assert Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()
    assert environment["LD_LIBRARY_PATH"].split(os.pathsep)[0] == f"{sys.prefix}/lib"
    kept = {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    again = ros_environment(8, base={**environment, **kept})
    assert again.items() >= kept.items()
    assert again["ROS_DOMAIN_ID"] == "8"
    assert again["LD_LIBRARY_PATH"] == environment["LD_LIBRARY_PATH"], "a second pass must not grow the path"


def test_profile_has_a_64_mb_segment_and_loopback_only():
    root = ElementTree.parse(config_root() / "fastdds.xml").getroot()
    space = {"d": "http://www.eprosima.com"}
    assert [e.text for e in root.iterfind(".//d:segment_size", space)] == [str(64 * 2**20)]
    assert [e.text for e in root.iterfind(".//d:interfaceWhiteList/d:address", space)] == ["127.0.0.1"]
    assert [e.text for e in root.iterfind(".//d:useBuiltinTransports", space)] == ["false"]


def test_a_domain_in_use_is_not_handed_out():
    first = free_domain_id(seed=3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7410 + 250 * first))
        assert free_domain_id(seed=3) != first
    assert 1 <= first <= 100


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="no /dev/shm on this system")
def test_files_of_the_dead_go_and_those_of_the_living_stay():
    pytest.importorskip("rclpy")

    def start() -> tuple[subprocess.Popen, set[Path]]:
        before = set(SHARED_MEMORY.iterdir())
        process = subprocess.Popen(
            [sys.executable, "-c", PARTICIPANT],
            env=ros_environment(free_domain_id()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        return process, {p for p in set(SHARED_MEMORY.iterdir()) - before if str(p) in maps}

    living, files_of_living = start()
    dead, files_of_dead = start()
    try:
        dead.send_signal(signal.SIGKILL)
        dead.wait(10)
        assert files_of_dead and files_of_living
        assert all(p.exists() for p in files_of_dead), "the middleware cleans up by itself now: drop our own clean-up"
        cleared = clear_shared_memory()
        assert cleared.files >= len(files_of_dead)
        assert cleared.n_bytes > 60_000_000
        assert not any(p.exists() for p in files_of_dead)
        assert all(p.exists() for p in files_of_living)
    finally:
        living.kill()
        living.communicate(timeout=10)
        clear_shared_memory()
