"""What the options of several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path

UNITS = ("m", "mm", "inch")
Add = Callable[..., argparse.ArgumentParser]
"""add(name, help, parent=commands): a parser with the help and epilog that all commands share."""


def add_surface(parser: argparse.ArgumentParser) -> None:
    """Add the surface file and its unit."""
    parser.add_argument(
        "--surface", type=Path, required=True, metavar="FILE", help="STL, PLY, OBJ, GLB, DAE, OFF or STEP"
    )
    parser.add_argument("--unit", choices=UNITS, default="m", help="unit of the file (default: m)")
