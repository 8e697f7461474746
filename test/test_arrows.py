"""The arrows between the packages hold, and the contracts that say so can fail."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("importlinter")

# one forbidden import per contract, and the file that would hold it
BREACHES = {
    "Imports go down": ("cell_motion", "import spray_planner"),
    "know no robot": ("cell_scanning", "import robot_description"),
    "models of its own": ("cell_simulation", "from cell_core.operator import footprint"),
    "speaks ROS": ("cell_operator", "import rclpy"),
    "Inside the core": ("cell_core/meshes", "import cell_core.operator"),
}


def lint(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def packages() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]


def test_arrows_hold():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 kept, 0 broken" in result.stdout


def test_every_package_is_under_the_contracts():
    found = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert found == set(packages())


@pytest.mark.parametrize("contract", BREACHES)
def test_a_breach_is_seen(tmp_path, contract):
    for name in packages():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    for room in ("meshes", "strokes", "operator", "optimise"):
        (tmp_path / "cell_core" / room).mkdir()
        (tmp_path / "cell_core" / room / "__init__.py").touch()
    (tmp_path / "cell_core" / "operator" / "footprint.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert lint(tmp_path).returncode == 0
    package, line = BREACHES[contract]
    (tmp_path / package / "breach.py").write_text(line + "\n")
    result = lint(tmp_path)
    assert result.returncode != 0
    assert any(contract in text and "BROKEN" in text for text in result.stdout.splitlines()), result.stdout
