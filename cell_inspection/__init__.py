"""Deviation from a reference, transfer of fields between surfaces, verdicts and what to rework."""

from cell_inspection.cad_defects import find_defects_on_cad
from cell_inspection.defect_evidence import DefectSettings
from cell_inspection.defect_measures import Defect
from cell_inspection.defects import DefectMap, find_defects
from cell_inspection.deviation import Deviation, Region, inspect
from cell_inspection.removal import removed_between, scan_noise_m
from cell_inspection.rework import rework_target
from cell_inspection.transfer import height_over, map_field
from cell_inspection.verdict import Verdict, agreement, grind_verdict, spray_verdict

__all__ = [
    "Defect",
    "DefectMap",
    "DefectSettings",
    "Deviation",
    "Region",
    "Verdict",
    "agreement",
    "find_defects",
    "find_defects_on_cad",
    "grind_verdict",
    "height_over",
    "inspect",
    "map_field",
    "removed_between",
    "rework_target",
    "scan_noise_m",
    "spray_verdict",
]
