"""Set up everything the project needs in one virtual environment; do nothing when it is there already.

Plain Python, standard library only: it runs before anything is installed. Where no ROS 2 distribution is sourced, the
ROS 2 wheels come in as well, and the interface packages are built on them and installed into the environment, so that
every process started from it sees them. Where a distribution is sourced, its rclpy and messages are used as they are.
"""

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST, NEWEST = (3, 11), (3, 13)
LOCKED = ROOT / "tools" / "locked.txt"
INTERFACES = ("overlay/control_msgs", "overlay/tf2_msgs", "cell_interfaces")
LIBRARIES = {"libEGL.so.1": "libegl1", "libGL.so.1": "libgl1", "libusb-1.0.so.0": "libusb-1.0-0"}
EXIT_SYSTEM = 5


def main() -> int:
    """Parse the arguments, set up, say what was done and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="environment to make (default: .venv)")
    parser.add_argument("--force", action="store_true", help="set up again even if nothing changed")
    arguments = parser.parse_args()
    venv = Path(os.path.abspath(arguments.venv))
    start = time.monotonic()
    try:
        distribution = sourced_distribution()
        with locked(venv):
            work = {
                "python": (python_key(venv, distribution), install_python),
                "ros": (interfaces_key(venv, distribution), install_interfaces),
            }
            for name, (key, install) in work.items():
                if arguments.force or not is_done(venv, name, key):
                    (venv / f".setup-{name}").unlink(missing_ok=True)
                    install(venv, distribution)
                    (venv / f".setup-{name}").write_text(key + "\n")
                    print(f"setup: {name} ready after {time.monotonic() - start:.0f} s", flush=True)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return EXIT_SYSTEM
    return 0


class SetupError(Exception):
    """Something the set-up needs is not there; the message says what to do."""


def check_python() -> None:
    """Refuse a Python the wheels do not exist for."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise SetupError(
            f"Python {platform.python_version()} at {sys.executable}; wanted {'.'.join(map(str, OLDEST))} to "
            f"{'.'.join(map(str, NEWEST))}: run make PYTHON=python3.12 or so"
        )


def check_system() -> None:
    """Look for what pip cannot bring; as root on a Debian-like system install it, otherwise name it.

    Raises:
        SetupError: something is missing; names the apt packages.
    """
    missing = missing_packages()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"setup: apt-get install {' '.join(missing)}", flush=True)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
        missing = missing_packages()
    if missing:
        raise SetupError(f"packages missing; install them once with: sudo apt-get install {' '.join(missing)}")


def missing_packages() -> list[str]:
    """Return the apt packages whose content is not found on this machine."""
    missing = []
    importlib.invalidate_caches()
    if importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        missing.append("python3-dev")
    if shutil.which("g++") is None:
        missing.append("g++")
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    return missing


def sourced_distribution() -> Path | None:
    """Return the prefix of the ROS 2 distribution whose set-up file was sourced in this shell, if there is one."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and (Path(prefix) / "share" / "rclpy" / "package.xml").is_file():
            return Path(prefix)
    return None


def is_done(venv: Path, name: str, key: str) -> bool:
    """Whether a part was set up from the very same input."""
    stamp = venv / f".setup-{name}"
    return stamp.is_file() and stamp.read_text().strip() == key


def python_key(venv: Path, distribution: Path | None) -> str:
    """Hash of what decides which wheels go in."""
    files = [ROOT / "pyproject.toml", ROOT / "setup.py", LOCKED]
    return digest(files, environment_version(venv), str(distribution))


def interfaces_key(venv: Path, distribution: Path | None) -> str:
    """Hash of what decides how the interface packages come out."""
    files = [p for folder in INTERFACES for p in sorted((ROOT / folder).rglob("*")) if p.is_file()]
    tools = ("ros-", "cmake=", "empy=", "lark=", "ninja=", "catkin-pkg=")
    held = [line for line in LOCKED.read_text().splitlines() if line.startswith(tools)]
    return digest(files, environment_version(venv), str(distribution), *held)


def digest(files: list[Path], *facts: str) -> str:
    """SHA-256 over the files' names and bytes, the place of the tree and other facts."""
    state = hashlib.sha256("\0".join([str(ROOT), *facts]).encode())
    for path in files:
        state.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return state.hexdigest()


def environment_version(venv: Path) -> str:
    """Version of the environment's Python, or of this one where there is none yet."""
    settings = venv / "pyvenv.cfg"
    lines = settings.read_text().splitlines() if settings.is_file() else []
    return next((line.split("=")[1].strip() for line in lines if line.startswith("version")), platform.python_version())


@contextlib.contextmanager
def locked(venv: Path) -> Iterator[None]:
    """Let one set-up at a time work on an environment."""
    venv.mkdir(parents=True, exist_ok=True)
    with (venv / ".setup-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install_python(venv: Path, distribution: Path | None) -> None:
    """Make the environment, unless there is one, and install the project, editable, with its pinned wheels."""
    check_system()
    python = venv / "bin" / "python"
    if not python.exists():
        check_python()
        print(f"setup: new environment {venv.name} with Python {platform.python_version()}", flush=True)
        run([sys.executable, "-m", "venv", str(venv)])
    print("setup: installing the pinned wheels, each with its hash (about 1 GB once unpacked)", flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    environment = clean_environment() | {"PYTHONWARNINGS": "ignore"}
    wanted = venv / "locked.txt"
    wanted.write_text(locked_requirements(LOCKED.read_text(), ros=distribution is None))
    run([*pip, "--require-hashes", "--requirement", str(wanted)], environment)
    run([*pip, "--editable", str(ROOT)], environment)


def locked_requirements(text: str, *, ros: bool) -> str:
    """Return the locked packages, those of ROS among them only where no distribution brings them."""
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)
    return "".join(entry for entry in entries if ros or not entry.startswith("ros-"))


def install_interfaces(venv: Path, distribution: Path | None) -> None:
    """Build the interface packages that are not there yet and install them into the environment."""
    prefix = distribution or venv
    if distribution is None:
        replace_baked_paths(venv)
    for folder in INTERFACES:
        name = Path(folder).name
        if distribution and (distribution / "share" / name / "package.xml").is_file():
            continue
        print(f"setup: building {name}", flush=True)
        build_interface_package(ROOT / folder, venv, prefix)


def replace_baked_paths(venv: Path) -> int:
    """Put this machine's Python and NumPy headers where the wheels' CMake files name those of their build machine.

    Returns:
        How many files were changed.
    """
    script = (
        "import re, sys, sysconfig, pathlib, numpy\n"
        "baked = re.compile(r'/opt/[^;\"]*?/(numpy/_core/include|include/python3\\.\\d+)')\n"
        "real = lambda m: numpy.get_include() if 'numpy' in m[1] else sysconfig.get_path('include')\n"
        "changed = 0\n"
        "for path in pathlib.Path(sys.prefix).glob('share/*/cmake/*.cmake'):\n"
        "    text = path.read_text()\n"
        "    fixed = baked.sub(real, text)\n"
        "    if fixed != text:\n"
        "        path.write_text(fixed)\n"
        "        changed += 1\n"
        "print(changed)\n"
    )
    command = [str(venv / "bin" / "python"), "-c", script]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=clean_environment()).stdout)


def build_interface_package(source: Path, venv: Path, prefix: Path) -> None:
    """Configure, build and install one package with CMake against the packages under `prefix`.

    Raises:
        SetupError: the build failed; carries the end of its output.
    """
    build = venv / "build" / source.name
    shutil.rmtree(build, ignore_errors=True)
    environment = clean_environment() if prefix == venv else dict(os.environ)
    environment["PATH"] = f"{venv / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    paths = {
        "AMENT_PREFIX_PATH": [venv, prefix],
        "CMAKE_PREFIX_PATH": [venv, prefix],
        "LD_LIBRARY_PATH": [venv / "lib"],
    }
    for name, folders in paths.items():
        environment[name] = os.pathsep.join([*map(str, folders), *filter(None, [environment.get(name)])])
    configure = ["cmake", "-S", str(source), "-B", str(build), f"-DCMAKE_INSTALL_PREFIX={venv}", "-DBUILD_TESTING=OFF"]
    configure.append(f"-DPython3_EXECUTABLE={venv / 'bin' / 'python'}")
    if shutil.which("ninja", path=environment["PATH"]):
        configure += ["-G", "Ninja"]
    for command in (configure, ["cmake", "--build", str(build), "--parallel", "--target", "install"]):
        result = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode != 0:
            tail = "\n".join(result.stdout.splitlines()[-30:])
            raise SetupError(f"{source.name}: {' '.join(command[:2])} failed:\n{tail}")
    shutil.rmtree(build)


def clean_environment() -> dict[str, str]:
    """Return this environment without what points at another Python or another ROS."""
    python = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    ros = {"AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
    return {k: v for k, v in os.environ.items() if k not in python | ros}


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command and turn its failure into an error of one line."""
    code = subprocess.run(command, env=environment).returncode
    if code != 0:
        raise SetupError(f"{' '.join(command[:4])} ... ended with exit code {code}; its output stands above")


if __name__ == "__main__":
    sys.exit(main())
