"""Registration of scans to their CAD from any start: right, off, refused, or wrong and confident; against true poses.

Each part is scanned by the embedded depth camera with industrial noise, lying on a table: all round (the table cut away
by the crop), from three views of one side and from one view, both with the table and boxes left in. Every scan is then
moved by random rotations and shifts within 1 m. A pose is right when the CAD's vertices lie within 0.1 mm RMS and the
turn is within 0.05 degrees, its symmetries not counted; off when within ten times that; wrong beyond. What the
registration refuses or doubts counts as refused, and so does another pose that it calls one of several. Wrong parts:
scans laid on the mirror image or on another part of the list, where only a refusal is right. Seconds are CPU.

    cell bench registration              SCANS scans of each kind, POSES starts in all per part
    QUICK=1 cell bench registration      one scan of each kind of QUICK_PARTS, one start each
    MADE="5,6" cell bench registration   parts made at random from these seeds instead
    PARTS="box,bracket" POSES=100 SCANS=3 cell bench registration
"""

import os
import sys
import time
from collections import Counter

import numpy as np
from posed_scans import KINDS, Part, made_part, mirrored, parts, pose_error, random_pose, scan_of
from rich.console import Console
from rich.table import Table

from cell_core.errors import InputRefusedError
from cell_core.registration import register
from cell_core.surface import Surface
from cell_core.transforms import Array

RIGHT_M, RIGHT_RAD = 1e-4, np.deg2rad(0.05)
OFF_FACTOR = 10.0
QUICK_PARTS = "bracket,box,stepped shaft,marked plate"


def judged(part: Part, scan: Surface, T_scan_part: Array) -> tuple[str, float, float, float]:
    """Register one scan: verdict, error [m], error [rad], CPU seconds."""
    started = time.process_time()
    try:
        placed = register(scan, part.surface)
    except InputRefusedError:
        return "refused", np.nan, np.nan, time.process_time() - started
    seconds = time.process_time() - started
    error_m, error_rad = pose_error(part, placed.T_target_source @ T_scan_part)
    right = error_m <= RIGHT_M and error_rad <= RIGHT_RAD
    if placed.doubt or (placed.ambiguous and not right):
        return "refused", error_m, error_rad, seconds
    if right:
        return "right", error_m, error_rad, seconds
    near = error_m <= OFF_FACTOR * RIGHT_M and error_rad <= OFF_FACTOR * RIGHT_RAD
    return ("off" if near else "WRONG"), error_m, error_rad, seconds


def accepted(scan: Surface, cad: Surface) -> str:
    """Register a scan of another part: only a refusal or a doubt is right."""
    try:
        placed = register(scan, cad)
    except InputRefusedError:
        return "refused"
    return "refused" if placed.doubt else "WRONG"


def main() -> int:
    """Scan, place at random, register, compare."""
    quick = bool(os.environ.get("QUICK"))
    n_scans = 1 if quick else int(os.environ.get("SCANS", "2"))
    n_poses = 3 if quick else int(os.environ.get("POSES", "12"))
    wanted = os.environ.get("PARTS", QUICK_PARTS if quick else "")
    made = [made_part(int(seed)) for seed in os.environ.get("MADE", "").split(",") if seed]
    chosen = made or [p for p in parts() if not wanted or p.name in wanted.split(",")]
    console = Console(width=160)
    table = Table(
        "part", "scan", "right", "off", "refused", "WRONG", "median mm", "worst mm", "worst deg", "CPU s, worst"
    )
    others, n_wrong = Table("scan of", "laid on", "refused", "WRONG"), 0
    total: Counter[str] = Counter()
    rng = np.random.default_rng(6)
    for index, part in enumerate(chosen):
        scans = {kind: [scan_of(part, kind, seed) for seed in range(1, n_scans + 1)] for kind in KINDS}
        for kind in KINDS:
            rows = []
            for i in range(max(n_poses // len(KINDS), 1)):
                scan, T = scans[kind][i % n_scans]
                start = random_pose(rng)
                rows.append(judged(part, scan.transformed(start, "scan"), start @ T))
            count = {v: sum(r[0] == v for r in rows) for v in ("right", "off", "refused", "WRONG")}
            n_wrong += count["WRONG"]
            kept = np.array([r[1:3] for r in rows if r[0] != "refused"]).reshape(-1, 2)
            worst = kept.max(axis=0) if len(kept) else np.full(2, np.nan)
            cells = [
                *(part.name, kind),
                *(str(count[v]) for v in ("right", "off", "refused", "WRONG")),
                *(f"{1e3 * np.median(kept[:, 0]) if len(kept) else np.nan:.3f}", f"{1e3 * worst[0]:.3f}"),
                *(f"{np.rad2deg(worst[1]):.4f}", f"{max(r[3] for r in rows):.1f}"),
            ]
            table.add_row(*cells)
            console.print(" | ".join(cells), style="dim", highlight=False, markup=False)
            total.update(count)
        wrong = {"the next part": chosen[(index + 1) % len(chosen)].surface} if len(chosen) > 1 else {}
        if part.mirrored:
            wrong["its mirror image"] = mirrored(part.surface)
        for name, cad in wrong.items():
            verdicts = [
                accepted(s.transformed(random_pose(rng), "scan"), cad) for k in KINDS for s, _ in scans[k][:1]
            ]
            others.add_row(part.name, name, str(verdicts.count("refused")), str(verdicts.count("WRONG")))
            n_wrong += verdicts.count("WRONG")
        console.print(f"{part.name}: done, wrong and confident so far: {n_wrong}")
    console.print(table)
    console.print(others)
    console.print(f"of {total.total()} starts: " + ", ".join(f"{n} {verdict}" for verdict, n in total.items()))
    console.print(f"wrong and confident: {n_wrong}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
