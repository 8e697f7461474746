"""ruff over everything, pyright over the pure packages."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


@pytest.mark.skipif(missing("ruff"), reason="ruff is not installed")
def test_ruff_is_clean():
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--no-cache", str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif(missing("pyright"), reason="pyright is not installed")
@pytest.mark.timeout(600)
def test_pyright_is_clean_on_the_pure_packages():
    command = [sys.executable, "-m", "pyright", "--project", str(ROOT), "--pythonpath", sys.executable]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if result.returncode not in (0, 1):
        pytest.skip(f"pyright did not run: {result.stderr.strip().splitlines()[-1:]}")
    assert result.returncode == 0, result.stdout
