"""Thickness profiles of test stripes: CSV files with position and thickness, and how each stripe was sprayed."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, cast

import numpy as np

from cell_core.arrays import frozen_array
from cell_core.bounded import read_text
from cell_core.errors import InputRefusedError
from cell_core.files import sha256
from cell_core.transforms import Array

Orientation = Literal["across", "along"]

MAX_BYTES = 20_000_000
POINTS_MIN = 8
# per quantity: what its column or header key may be called, with the factor to SI
_UNITS: dict[str, dict[str, float]] = {
    "position": {"_mm": 1e-3, "_m": 1.0},
    "thickness": {"_um": 1e-6, "_m": 1.0},
    "speed": {"_m_per_s": 1.0, "_mm_per_s": 1e-3},
    "standoff": {"_m": 1.0, "_mm": 1e-3},
    "flow": {"_m3_per_s": 1.0, "_cm3_per_min": 1e-6 / 60.0, "_ml_per_min": 1e-6 / 60.0},
    "noise": {"_um": 1e-6, "_m": 1.0},
}
# a value outside these is a wrong unit, not a gun [SI]
_BOUNDS = {"speed": (1e-3, 10.0), "standoff": (0.01, 2.0), "flow": (1e-9, 1e-3), "noise": (0.0, 1e-3)}
_WORDS = ("orientation", "centred", "stripe")


@dataclass(frozen=True, kw_only=True, eq=False)
class Stripe:
    """One pass over a flat plate, measured square to the pass, far from its ends."""

    name: str
    """File, and the stripe's own name where the file holds several."""
    sha256: str
    """Of the file."""
    position_m: Array
    """(N,) ascending; along tool y of a stripe across, along tool x of one along [m]."""
    thickness_m: Array
    """(N,) dry film [m]."""
    speed_m_per_s: float
    standoff_m: float
    flow_m3_per_s: float
    orientation: Orientation | None = None
    """across: the fan lay across the travel; along: the gun was turned by a quarter, the fan lay along it."""
    centred: bool = False
    """Position 0 lies under the spray axis."""
    noise_m: float | None = None
    """Known standard deviation of the measurement [m]; None: taken from the residual."""

    def __post_init__(self) -> None:
        n = len(self.position_m)
        if n < POINTS_MIN:
            raise InputRefusedError(f"{self.name}: {n} points, at least {POINTS_MIN} needed")
        try:
            position = frozen_array(self.position_m, (n,), "position_m")
            thickness = frozen_array(self.thickness_m, (n,), "thickness_m")
        except ValueError as error:
            raise InputRefusedError(f"{self.name}: {error}") from error
        for name, (low, high) in _BOUNDS.items():
            key = name + next(iter(k for k, factor in _UNITS[name].items() if factor == 1.0))
            value = getattr(self, key)
            if value is not None and not (low <= value <= high):
                raise InputRefusedError(f"{self.name}: {key} is {value:.6g}, must be within {low:g}..{high:g}")
        order = np.argsort(position, kind="stable")
        object.__setattr__(self, "position_m", frozen_array(position[order], (n,), "position_m"))
        object.__setattr__(self, "thickness_m", frozen_array(thickness[order], (n,), "thickness_m"))
        self._refuse_no_stripe()

    @property
    def scatter_m(self) -> float:
        """Noise from point to point, told from second differences, robust to the stripe itself [m]."""
        bend = np.diff(self.thickness_m, 2)
        return float(np.median(np.abs(bend)) / 0.6745 / np.sqrt(6.0))

    @property
    def peak_m(self) -> float:
        """Largest thickness, of means over three points [m]."""
        return float(np.convolve(self.thickness_m, np.full(3, 1.0 / 3.0), "valid").max())

    def _refuse_no_stripe(self) -> None:
        noise, peak = self.scatter_m, self.peak_m
        if not peak > max(5.0 * noise, 1e-7):
            raise InputRefusedError(
                f"{self.name}: no stripe: thickest {1e6 * peak:.3g} um, scatter between points {1e6 * noise:.3g} um"
            )
        least = int(np.argmin(self.thickness_m))
        if self.thickness_m[least] < -max(6.0 * noise, 0.02 * peak):
            raise InputRefusedError(
                f"{self.name}: thickness {1e6 * self.thickness_m[least]:.3g} um at "
                f"{1e3 * self.position_m[least]:.6g} mm, must be >= 0 but for noise (scatter {1e6 * noise:.3g} um)"
            )
        inside = int((self.thickness_m > 0.15 * peak).sum())
        if inside < POINTS_MIN:
            span = float(np.ptp(self.position_m[self.thickness_m > 0.15 * peak]))
            raise InputRefusedError(
                f"{self.name}: {inside} points inside the stripe, at least {POINTS_MIN} needed: "
                f"measure every {1e3 * span / (2 * POINTS_MIN):.2g} mm or closer"
            )
        # the mean of the outermost three, less what noise may lift it by
        for where, end in (("start", slice(None, 3)), ("end", slice(-3, None))):
            left = float(self.thickness_m[end].mean()) - 3.0 * noise / np.sqrt(3.0)
            if left > 0.08 * peak:
                raise InputRefusedError(
                    f"{self.name}: the profile is cut off at its {where}: {1e6 * left:.3g} um at "
                    f"{1e3 * float(self.position_m[end].mean()):.4g} mm, {left / peak:.0%} of the peak; "
                    "measure on to where the film ends"
                )


def read_stripes(paths: Sequence[Path]) -> list[Stripe]:
    """Read the stripes of CSV files; docs/calibration.md says what may stand in them.

    Raises:
        InputRefusedError: not such a file, or a stripe that cannot be used; says file, line, value and bound.
    """
    return [stripe for path in paths for stripe in _read_file(Path(path))]


def _read_file(path: Path) -> list[Stripe]:
    lines = read_text(path, MAX_BYTES, "utf-8-sig").splitlines()
    header: dict[str, str] = {}
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("#"):
            key, colon, value = text.lstrip("# ").partition(":")
            if colon and _known(key.strip()):
                header[key.strip()] = value.strip()
        elif text:
            rows.append((number, next(csv.reader([text], delimiter=";" if ";" in text else ","))))
    if not rows:
        raise InputRefusedError(f"{path}: no row of column names, wanted position_mm,thickness_um")
    names = [cell.strip() for cell in rows[0][1]]
    for name in names:
        if not _known(name):
            raise InputRefusedError(f"{path}:{rows[0][0]}: unknown column {name!r}; known: {', '.join(_all_names())}")
    table = [_row(path, number, names, cells) for number, cells in rows[1:]]
    settings = [tuple((k, v) for k, v in row.items() if not k.startswith(("position", "thickness"))) for row in table]
    groups = [list(group) for _, group in groupby(range(len(table)), key=lambda i: settings[i])]
    if not groups:
        raise InputRefusedError(f"{path}: no rows under the column names")
    digest = sha256(path)
    return [
        _stripe(path, digest, {**header, **dict(settings[group[0]])}, [table[i] for i in group], k, len(groups))
        for k, group in enumerate(groups)
    ]


def _row(path: Path, number: int, names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(names):
        raise InputRefusedError(f"{path}:{number}: {len(cells)} cells, wanted {len(names)}: {', '.join(names)}")
    return {name: cell.strip() for name, cell in zip(names, cells, strict=True)}


def _stripe(
    path: Path, digest: str, said: Mapping[str, str], rows: Sequence[Mapping[str, str]], index: int, count: int
) -> Stripe:
    name = str(path) if count == 1 else f"{path} stripe {said.get('stripe', index + 1)}"
    orientation = said.get("orientation")
    if orientation not in (None, "across", "along"):
        raise InputRefusedError(f"{name}: orientation is {orientation!r}, must be across or along")
    centred = said.get("centred", "no").lower()
    if centred not in ("yes", "no", "true", "false"):
        raise InputRefusedError(f"{name}: centred is {centred!r}, must be yes or no")
    return Stripe(
        name=name,
        sha256=digest,
        position_m=np.array([_quantity(name, row, "position") for row in rows], float),
        thickness_m=np.array([_quantity(name, row, "thickness") for row in rows], float),
        speed_m_per_s=_quantity(name, said, "speed"),
        standoff_m=_quantity(name, said, "standoff"),
        flow_m3_per_s=_quantity(name, said, "flow"),
        orientation=cast(Orientation | None, orientation),
        centred=centred in ("yes", "true"),
        noise_m=_quantity(name, said, "noise") if any(k.startswith("noise") for k in said) else None,
    )


def _quantity(name: str, said: Mapping[str, str], what: str) -> float:
    """Return a quantity in SI from whichever of its units the file uses."""
    for suffix, factor in _UNITS[what].items():
        text = said.get(what + suffix)
        if text is not None:
            try:
                value = factor * float(text)
            except ValueError as error:
                raise InputRefusedError(f"{name}: {what + suffix} is {text!r}, wanted a number") from error
            if not np.isfinite(value):
                raise InputRefusedError(f"{name}: {what + suffix} is {text}, wanted a finite number")
            return value
    keys = [what + suffix for suffix in _UNITS[what]]
    raise InputRefusedError(f"{name}: {' or '.join(keys)} is missing: as a column or in a line '# {keys[0]}: ...'")


def _all_names() -> list[str]:
    return [*(what + suffix for what, units in _UNITS.items() for suffix in units), *_WORDS]


def _known(name: str) -> bool:
    return name in _all_names()
