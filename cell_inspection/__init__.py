"""Deviation from a reference, transfer of fields between surfaces, verdicts and what to rework."""

from cell_inspection.deviation import Deviation, Region, inspect
from cell_inspection.removal import removed_between, scan_noise_m
from cell_inspection.rework import rework_target
from cell_inspection.transfer import map_field
from cell_inspection.verdict import Verdict, agreement, grind_verdict, spray_verdict

__all__ = [
    "Deviation",
    "Region",
    "Verdict",
    "agreement",
    "grind_verdict",
    "inspect",
    "map_field",
    "removed_between",
    "rework_target",
    "scan_noise_m",
    "spray_verdict",
]
