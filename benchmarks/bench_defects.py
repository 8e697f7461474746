"""Defects of freeform parts: recall, false area, measures and classes, with and without a CAD, against known truth.

Parts, defects and noise are made by defect_parts.py: ten parts (saddle, dome, blade, bumper with recess and crease,
tube with fillet and flange, plate with ribs and bores, fender with arch and swage line, casting with bosses and rib,
propeller blade, lobed vase), edges of 1 mm, five shapes (bump, dent, ridge, groove, pit) in
four sizes from 0.3 x 6 mm up, clear of features by 5 mm. Noise along the normal, RMS: `fused` 30 um white and 30 um
shared over 2 mm, `shared` 30 um white and 45 um shared over 3 mm. `frames`: what the embedded depth camera sees from 16
views with industrial noise, fused by the project's own fusion.

A defect is found when a fifth of its area above half its height is flagged by one of its sign. False area is flagged
area farther than 2 mm from any defect, over the part's area. Precision is flagged area within, over all flagged.
The same parts without any defect tell false area again. Seconds are CPU.

    cell bench defects                 SCENES scenes of each part, some 30 defects each, of seeds from FIRST on
    QUICK=1 cell bench defects         one scene of each
    FRAMES=0 cell bench defects        without the simulated camera
"""

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from defect_parts import PARTS, SHAPES, SIZES, DefectivePart, Placed, noisy, part, with_defects
from posed_scans import NOISE_M
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree

from cell_core.config import CameraConfig
from cell_core.config.base import Interval
from cell_core.config.recipes import ScanSettings
from cell_core.errors import CellError
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.transforms import Array
from cell_inspection.cad_defects import find_defects_on_cad
from cell_inspection.defects import DefectMap, find_defects
from cell_inspection.deviation import inspect
from cell_scanning.frames import Frame
from cell_scanning.fusion import fuse
from cell_scanning.views import looking_at
from cell_simulation.camera import DepthCamera
from cell_simulation.true_part import TruePart

NOISES = {"fused": (30e-6, 30e-6, 2e-3), "shared": (30e-6, 45e-6, 3e-3)}
N_DEFECTS = 30
NEAR_M = 2e-3
FOUND_SHARE = 0.2
STEEP = 0.08
RANGE_M = 0.45
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = ("noether_raw_mesh.ply", "puzzle_piece.ply", "fanuc_DAC/DAC_580813_scan.ply")


@dataclass(kw_only=True)
class Tally:
    """What adds up over scenes."""

    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    found: Counter[tuple[str, int]] = field(default_factory=Counter)
    classes: Counter[tuple[str, str]] = field(default_factory=Counter)
    false_m2: float = 0.0
    flagged_m2: float = 0.0
    area_m2: float = 0.0
    n_false: int = 0
    height_errors: list[float] = field(default_factory=list)
    width_errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    triangles: list[int] = field(default_factory=list)


def expected(shape: str, height_m: float, width_m: float) -> str:
    """Return the class that a shape of these measures has by definition."""
    if shape in ("bump", "ridge"):
        return "bead"
    return "pore" if shape in ("pit", "dent") and height_m / width_m >= STEEP else "dent"


def score(tally: Tally, scan: Surface, made: DefectivePart, found: DefectMap) -> None:
    """Add one scene: truth is carried from the made part's vertices to the nearest of the scan's."""
    areas = scan.vertex_areas_m2
    nearest = KDTree(made.true.vertices_m).query(scan.vertices_m)[1]
    flagged = found.label >= 0
    near = np.zeros(len(areas), bool)
    total = np.zeros(len(made.true.vertices_m))
    for one in made.placed:
        _score_one(tally, one, one.offset_m[nearest], areas, found)
        total += np.abs(one.offset_m)
    if made.placed:
        near = KDTree(made.true.vertices_m[total > 0.0]).query(scan.vertices_m)[0] < NEAR_M
    tally.false_m2 += float(areas[flagged & ~near].sum())
    tally.flagged_m2 += float(areas[flagged].sum())
    tally.area_m2 += float(areas.sum())
    tally.n_false += sum(
        not near[found.label == k].any() for k in range(len(found.defects)) if (found.label == k).any()
    )
    tally.triangles.append(len(scan.triangles))


def _score_one(tally: Tally, one: Placed, offset: Array, areas: Array, found: DefectMap) -> None:
    size = SIZES.index((one.height_m, one.width_m))
    tally.asked[one.shape, size] += 1
    strong = np.abs(offset) > 0.5 * one.height_m
    labels = found.label[strong]
    if not (labels >= 0).any():
        return
    held = np.bincount(labels[labels >= 0], areas[strong][labels >= 0], len(found.defects))
    best = int(np.argmax(held))
    defect = found.defects[best]
    sign = float(np.sign(offset[strong][0]))
    if held[best] < FOUND_SHARE * areas[strong].sum() or np.sign(defect.height_m) != sign:
        return
    tally.found[one.shape, size] += 1
    tally.classes[expected(one.shape, one.height_m, one.width_m), defect.kind] += 1
    tally.height_errors.append(defect.height_m * sign / one.height_m - 1.0)
    tally.width_errors.append(defect.width_m / one.width_m - 1.0)


def frames_of(surface: Surface, seed: int, n_views: int = 16) -> Surface:
    """Return what 16 simulated depth images of a part, fused at 1 mm, make of it."""
    centre = surface.bounds_m.mean(axis=0)
    config = CameraConfig(
        format="grind_spray_cell/camera", version=1, name="judge", width_px=640, height_px=480, fx_px=502.0,
        fy_px=502.0, cx_px=319.5, cy_px=239.5, range_m=Interval(low=0.05, high=10.0), rate_hz=10.0,
        incidence_max_rad=1.15, axial_noise_at_1m_m=NOISE_M / RANGE_M**2, lateral_noise_px=0.3, dropout_fraction=0.002,
    )  # fmt: skip
    camera = DepthCamera(config, TruePart(surface, edge_max_m=10.0), [], seed=seed)
    frames = []
    for i in range(n_views):
        turn, height = 6.0 * np.pi * i / n_views, (1.5, 1.1, 0.8)[i % 3]
        way = np.array([np.cos(turn) * np.cos(height), np.sin(turn) * np.cos(height), np.sin(height)])
        pose = looking_at(centre + RANGE_M * way, centre)
        frames.append(Frame(depth_m=camera.render(pose, float(i)).depth_m, T_part_camera=pose, stamp_s=float(i)))
    crop = surface.bounds_m + np.array([[-0.02] * 3, [0.02] * 3])
    fused = fuse(frames, config, ScanSettings(voxel_m=1e-3), crop=crop, floor_clearance_m=0.0, refine=False).surface
    return Surface(vertices_m=fused.vertices_m, triangles=fused.triangles)


def look(tally: Tally, scan: Surface, made: DefectivePart, cad: bool) -> None:
    """Find the defects of one scene and add them up."""
    fresh = Surface(vertices_m=scan.vertices_m, triangles=scan.triangles)
    started = time.process_time()
    if cad:
        found = find_defects_on_cad(fresh, inspect(fresh, made.nominal).deviation_m)
    else:
        found = find_defects(fresh)
    tally.seconds.append(time.process_time() - started)
    score(tally, fresh, made, found)


def recall_table(title: str, tallies: dict[str, Tally]) -> Table:
    """Return recall by size, false area, precision and measures, a row per run."""
    table = Table("run", *(f"{1e3 * h:g} x {1e3 * w:g}" for h, w in SIZES), "recall", "false area %", "n false",
                  "precision %", "height err %", "width err %", "CPU s / 200k", title=title)  # fmt: skip
    for name, t in tallies.items():
        by_size = [(sum(t.found[s, k] for s in SHAPES), sum(t.asked[s, k] for s in SHAPES)) for k in range(len(SIZES))]
        n, of = sum(a for a, _ in by_size), sum(b for _, b in by_size)
        speed = np.median(np.array(t.seconds) / np.array(t.triangles) * 2e5) if t.seconds else np.nan
        errors = [f"{100 * np.median(np.abs(e)):.0f}" if e else "-" for e in (t.height_errors, t.width_errors)]
        table.add_row(
            *(name, *(f"{a}/{b}" for a, b in by_size), f"{100 * n / of:.1f} %" if of else "-"),
            *(f"{100 * t.false_m2 / t.area_m2:.2f}", str(t.n_false)),
            f"{100 * (1.0 - t.false_m2 / t.flagged_m2):.1f}" if t.flagged_m2 else "-",
            *(*errors, f"{speed:.2f}"),
        )
    return table


def shape_table(tally: Tally) -> Table:
    """Return recall by shape and size, and the classes given."""
    table = Table("shape", *(f"{1e3 * h:g} x {1e3 * w:g}" for h, w in SIZES), title="recall by shape, no CAD, fused")
    for shape in SHAPES:
        table.add_row(shape, *(f"{tally.found[shape, k]}/{tally.asked[shape, k]}" for k in range(len(SIZES))))
    return table


def class_table(tally: Tally) -> Table:
    """Return the confusion of classes over what was found."""
    kinds = sorted({k for _, k in tally.classes})
    table = Table("class", *kinds, title="classes given, no CAD, fused")
    for truth in sorted({t for t, _ in tally.classes}):
        table.add_row(truth, *(str(tally.classes[truth, k]) for k in kinds))
    return table


def real_scans(console: Console) -> None:
    """Report what is flagged on the shared scans, which nobody has marked."""
    table = Table("scan", "triangles", "judged %", "defects", "confident", "flagged %", "CPU s", title="real, no CAD")
    for name in REAL:
        if not (DATA / name).is_file():
            table.add_row(name, "absent", *[""] * 5)
            continue
        try:
            surface = load_surface(DATA / name)[0]
            started = time.process_time()
            found = find_defects(surface)
            seconds = time.process_time() - started
        except CellError as error:
            table.add_row(name, str(error), *[""] * 5)
            continue
        f = found.figures
        table.add_row(
            *(name, str(len(surface.triangles)), f"{100 * f['judged_area_fraction']:.1f}", str(f["n_defects"])),
            str(sum(d.confidence > 0.95 for d in found.defects)),
            *(f"{100 * f['defect_area_fraction']:.2f}", f"{seconds:.1f}"),
        )
    console.print(table)


def main() -> int:
    """Make, look, score."""
    n_scenes = 1 if os.environ.get("QUICK") else int(os.environ.get("SCENES", "8"))
    first = int(os.environ.get("FIRST", "1"))
    console = Console(width=170)
    runs: dict[str, Tally] = {}
    by_part: dict[str, Tally] = {}
    clean: dict[str, Tally] = {}
    for name in PARTS:
        for seed in range(first, first + n_scenes):
            made = with_defects(name, seed, N_DEFECTS)
            for noise, (white, shared, over) in NOISES.items():
                scan = noisy(made.true, seed, white, shared, over)
                look(runs.setdefault(f"no CAD, {noise}", Tally()), scan, made, False)
                look(runs.setdefault(f"CAD, {noise}", Tally()), scan, made, True)
                if noise == "fused":
                    look(by_part.setdefault(name, Tally()), scan, made, False)
        bare = part(name, 100 + first)
        for noise, (white, shared, over) in NOISES.items():
            without = DefectivePart(name=name, nominal=bare, true=bare, placed=())
            scan = noisy(bare, 100 + first, white, shared, over)
            look(clean.setdefault(f"no CAD, {noise}", Tally()), scan, without, False)
            look(clean.setdefault(f"CAD, {noise}", Tally()), scan, without, True)
    if os.environ.get("FRAMES", "1") != "0":
        for name in ("saddle", "dome", "bumper"):
            for seed in range(first, first + min(n_scenes, 3)):
                made = with_defects(name, seed, N_DEFECTS)
                scan = frames_of(made.true, seed)
                look(runs.setdefault("no CAD, frames", Tally()), scan, made, False)
                look(runs.setdefault("CAD, frames", Tally()), scan, made, True)
    console.print(recall_table("all parts", runs))
    console.print(recall_table("no CAD, fused, by part", by_part))
    console.print(recall_table("parts without defects", clean))
    console.print(shape_table(runs["no CAD, fused"]))
    console.print(class_table(runs["no CAD, fused"]))
    real_scans(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
