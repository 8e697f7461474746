"""The benchmarks' modules are no package: they are imported from their folder, as `cell bench` runs them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
