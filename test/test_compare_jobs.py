"""The comparison of two job folders finds what differs and leaves wall times alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

TOOL = Path(__file__).parents[1] / "tools" / "compare_jobs.py"


def job(folder: Path, *, depth: float, unix_s: float, text: str = "same") -> Path:
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "node.log").write_text(str(unix_s))
    (folder / "facts.json").write_text(json.dumps({"depth_m": depth, "unix_s": unix_s}))
    np.savez(folder / "fields.npz", depth_m=np.array([depth, 1.0]))
    (folder / "note.txt").write_text(text)
    return folder


def compare(*folders: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(TOOL), *map(str, folders)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_only_times_differ(tmp_path: Path) -> None:
    code, said = compare(job(tmp_path / "a", depth=1e-5, unix_s=1.0), job(tmp_path / "b", depth=1e-5, unix_s=2.0))
    assert code == 0, said
    assert "3 files in both, 0 differ" in said


def test_progress_of_a_journal_and_hashes_of_what_is_compared_anyway_are_no_difference(tmp_path: Path) -> None:
    folders = []
    for name, n, wall in (("a", 2, 1.0), ("b", 3, 1.7)):
        folder = job(tmp_path / name, depth=1e-5, unix_s=1.0)
        progress = [{"event": "progress", "path_time_s": wall * i} for i in range(n)]
        entries = [{"event": "start", "attempt": 0}, *progress, {"event": "done"}]
        (folder / "journal.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
        manifest = {"duration_s": wall, "outputs": {"x": str(wall)}, "figures": {"duration_s": 4.0}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        folders.append(folder)
    code, said = compare(*folders)
    assert code == 0, said
    (folders[1] / "manifest.json").write_text(json.dumps({"figures": {"duration_s": 4.1}}))
    code, said = compare(*folders)
    assert code == 1 and "manifest.json: .figures.duration_s: 4.0 and 4.1" in said


def test_what_differs_is_named(tmp_path: Path) -> None:
    b = job(tmp_path / "b", depth=2e-5, unix_s=1.0, text="another")
    (b / "more.txt").write_text("x")
    code, said = compare(job(tmp_path / "a", depth=1e-5, unix_s=1.0), b)
    assert code == 1
    assert "facts.json: .depth_m: 1e-05 and 2e-05" in said
    assert "fields.npz: depth_m: 1 of 2 entries, by up to 1e-05" in said
    assert "note.txt: 4 and 7 bytes" in said and "more.txt: only in" in said and "4 differ" in said


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    code, said = compare(tmp_path / "none", tmp_path)
    assert code == 2 and "no folder" in said
