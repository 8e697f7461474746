"""Check a machine for what the cell needs; every finding says what to do."""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

# import name -> distribution
NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "open3d": "open3d-cpu",
    "trimesh": "trimesh",
    "pinocchio": "pin",
    "coal": "coal",
    "ompl": "ompl",
    "py_opw_kinematics": "py-opw-kinematics",
    "pydantic": "pydantic",
    "jsonschema": "jsonschema",
    "matplotlib": "matplotlib",
    "mcap": "mcap",
    "rclpy": "ros-rclpy",
    "cell_interfaces": "",
    "control_msgs": "",
    "tf2_msgs": "",
}
OPTIONAL = {
    "moveit": "MoveIt backend (moveit_py of a ROS distribution)",
    "launch_ros": "ros2 launch (of a ROS distribution)",
    "rosbag2_py": "ros2 bag (of a ROS distribution); recordings are MCAP and need it only to be replayed",
}
ROUND_TRIP = """
import rclpy, time
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("doctor")
got = []
node.create_subscription(String, "doctor", got.append, 1)
out = node.create_publisher(String, "doctor", 1)
end = time.monotonic() + 10
while not got and time.monotonic() < end:
    out.publish(String(data="x"))
    rclpy.spin_once(node, timeout_sec=0.1)
rclpy.shutdown()
raise SystemExit(0 if got else 1)
"""


def run_doctor(console: Console, *, quick: bool) -> int:
    """Print what was found; return 0 when the cell can run here, else 5."""
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [("python", _python), ("libraries", _libraries)]
    checks += [(f"import {name}", lambda n=name, d=dist: _import(n, d)) for name, dist in NEEDED.items()]
    checks += [("/dev/shm", _shared_memory), ("disk", _disk)]
    if not quick:
        checks.append(("ROS round trip", _round_trip))
    table = Table(show_header=False, box=None)
    healthy = True
    for name, check in checks:
        ok, text = check()
        healthy &= ok
        table.add_row("[green]ok[/]" if ok else "[bold red]no[/]", name, text)
    for name, what in OPTIONAL.items():
        there = importlib.util.find_spec(name) is not None
        table.add_row("[green]ok[/]" if there else "[dim]--[/]", name, what if there else f"not here, optional: {what}")
    console.print(table)
    console.print(
        "[bold green]the cell can run here[/]"
        if healthy
        else "[bold red]the cell cannot run here: see the lines marked no[/]"
    )
    return 0 if healthy else 5


def _python() -> tuple[bool, str]:
    found = ".".join(map(str, sys.version_info[:3]))
    return (3, 11) <= sys.version_info[:2] <= (3, 13), f"{found}; 3.11 to 3.13 are supported"


def _libraries() -> tuple[bool, str]:
    import ctypes.util

    missing = [lib for lib in ("EGL", "GL", "usb-1.0") if ctypes.util.find_library(lib) is None]
    if missing:
        return False, f"missing {', '.join(missing)}: apt-get install libegl1 libgl1 libusb-1.0-0"
    return True, "libEGL, libGL, libusb-1.0 (Open3D)"


def _import(name: str, distribution: str) -> tuple[bool, str]:
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever an import raises, the doctor's work is to say it
        return False, f"{type(error).__name__}: {error}; run make"
    try:
        return True, version(distribution) if distribution else "built"
    except PackageNotFoundError:
        return True, "of a ROS distribution"


def _shared_memory() -> tuple[bool, str]:
    path = Path("/dev/shm")
    if not path.is_dir():
        return False, "not there: Fast DDS needs it for images"
    free = shutil.disk_usage(path).free
    return free > 256e6, f"{free / 1e6:.0f} MB free, 256 needed"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return free > 2e9, f"{free / 1e9:.1f} GB free here, 2 needed"


def _round_trip() -> tuple[bool, str]:
    environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": "101"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", ROUND_TRIP], env=environment, capture_output=True, text=True, timeout=40
        )
    except subprocess.TimeoutExpired:
        return False, "a message to oneself took over 40 s"
    if done.returncode == 0:
        return True, "a message arrived over DDS"
    return False, (done.stderr.strip().splitlines() or ["no message arrived"])[-1]
