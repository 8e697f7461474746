"""Tell in what two job folders differ: files by their bytes, and what differs inside them.

    python tools/compare_jobs.py JOB_A JOB_B

Wall times are no difference: JSON keys of TIMES and PLACES are left out, so are the journal's progress entries, written
every half second of the wall, and files of IGNORED are not looked at. Exit code 0 when nothing else differs, 1 when
something does.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

IGNORED = re.compile(r"(^|/)(log/|report\.html$|state\.json$|record(_\d+)?\.mcap$|.*\.lock$)")
"""Logs, the report with its times, the job's state with its clock, recordings of message traffic."""
TIMES = re.compile(r"(unix_s|wall|seconds|plan_time|elapsed|duration_wall|created|_at$|sha256|time_s$)")
"""Keys that hold wall times, or hashes of files that do."""
PLACES = re.compile(
    r"manifest\.json\.(duration_s|inputs|outputs)$|(^|/)(re)?scan/(report|manifest)\.json\.figures\.duration_s$"
)
"""Wall times, and hashes of files that are compared themselves, whose keys mean something else elsewhere."""


def main() -> int:
    """Compare two folders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("a", type=Path, metavar="JOB_A")
    parser.add_argument("b", type=Path, metavar="JOB_B")
    options = parser.parse_args()
    for folder in (options.a, options.b):
        if not folder.is_dir():
            print(f"{folder}: no folder", file=sys.stderr)
            return 2
    a, b = (_files(folder) for folder in (options.a, options.b))
    n_different = 0
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            print(f"{name}: only in {options.a if name in a else options.b}")
            n_different += 1
        elif _hash(a[name]) != _hash(b[name]):
            differences = _differences(a[name], b[name], name)
            n_different += bool(differences)
            for text in differences:
                print(f"{name}: {text}")
    print(f"{len(a.keys() & b.keys())} files in both, {n_different} differ")
    return 1 if n_different else 0


def _files(folder: Path) -> dict[str, Path]:
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path for name, path in found.items() if not IGNORED.search(name)}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _differences(a: Path, b: Path, name: str) -> list[str]:
    if a.suffix == ".json":
        found = _json(json.loads(a.read_text()), json.loads(b.read_text()), name)
        return [text.removeprefix(name) for text in found]
    if a.suffix == ".jsonl":
        kept = [_told([json.loads(line) for line in path.read_text().splitlines()]) for path in (a, b)]
        return [text.removeprefix(name) for text in _json(*kept, name)]
    if a.suffix == ".npz":
        with np.load(a) as x, np.load(b) as y:
            return [text for key in sorted({*x.files, *y.files}) if (text := _arrays(x, y, key))]
    return [f"{a.stat().st_size} and {b.stat().st_size} bytes"]


def _told(entries: list[Any]) -> list[Any]:
    """Return a journal's entries but progress, sorted: begins are written ahead by the wall's clock."""
    return sorted((e for e in entries if not (isinstance(e, dict) and e.get("event") == "progress")), key=json.dumps)


def _arrays(x: Any, y: Any, key: str) -> str:
    if key not in x.files or key not in y.files:
        return f"{key}: in one only"
    p, q = x[key], y[key]
    if p.shape != q.shape:
        return f"{key}: shapes {p.shape} and {q.shape}"
    if np.array_equal(p, q, equal_nan=p.dtype.kind == "f"):
        return ""
    if p.dtype.kind not in "fiu":
        return f"{key}: {np.count_nonzero(p != q)} of {p.size} entries"
    return f"{key}: {np.count_nonzero(p != q)} of {p.size} entries, by up to {np.nanmax(np.abs(p - 1.0 * q)):.3g}"


def _json(a: Any, b: Any, place: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        found = []
        for key in sorted(a.keys() | b.keys()):
            if TIMES.search(key) or PLACES.search(f"{place}.{key}"):
                continue
            if key not in a or key not in b:
                found.append(f"{place}.{key}: in one only")
            else:
                found += _json(a[key], b[key], f"{place}.{key}")
        return found
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return [f"{place}: {len(a)} and {len(b)} entries"]
        inner = [text for i, (x, y) in enumerate(zip(a, b, strict=True)) for text in _json(x, y, f"{place}[{i}]")]
        return inner if len(inner) < 4 else [inner[0], f"{place}: {len(inner)} differences in all"]
    return [] if a == b else [f"{place}: {a!r} and {b!r}"[:160]]


if __name__ == "__main__":
    sys.exit(main())
