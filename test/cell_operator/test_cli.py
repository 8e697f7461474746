"""Every kind of bad input: one line with the facts, the right exit code, no traceback, nothing half-written."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from cell_core.config import config_root
from cell_core.files import read_json
from cell_core.plan import Plan
from cell_operator.cli import build_parser, main

PLAN_GRIND = ["plan", "grind", "--surface", "a.stl", "--recipe", "grind_map", "--out", "o"]


def _plate(path: Path, scale: float = 1.0) -> Path:
    mesh = trimesh.creation.box(extents=[0.3 * scale, 0.2 * scale, 0.05 * scale])
    mesh.export(path)
    return path


def _recipe(tmp_path: Path, old: str, new: str) -> Path:
    text = (config_root() / "recipes" / "spray_50um.yaml").read_text()
    assert old in text
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace(old, new))
    return path


def _bad_file(kind: str, folder: Path) -> tuple[Path, str]:
    """Return a file of that kind of badness and a piece of the message it must cause."""
    if kind == "missing":
        return folder / "missing.stl", "no such file"
    if kind == "empty":
        path = folder / "empty.stl"
        path.touch()
        return path, "0 bytes"
    if kind == "text":
        path = folder / "text.ply"
        path.write_text("this is no mesh\n" * 20)
        return path, "not readable as a mesh"
    if kind == "nan":
        path = folder / "nan.obj"
        path.write_text("v 0 0 0\nv nan 0 0\nv 0 0.1 0\nv 0 0 0.1\nf 1 2 3\nf 1 3 4\nf 2 3 4\nf 1 2 4\n")
        return path, "not finite"
    if kind == "one triangle":
        path = folder / "one.obj"
        path.write_text("v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nf 1 2 3\n")
        return path, "1 sound triangle(s), at least 4"
    if kind == "1000x unit":
        return _plate(folder / "big.stl", 1000.0), "largest extent is 300 m when read in m"
    if kind == "truncated":
        path = _plate(folder / "cut.ply")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - 60])
        return path, "cut.ply"
    if kind == "not a mesh format":
        path = folder / "part.docx"
        path.write_bytes(b"x" * 100)
        return path, "suffix '.docx'"
    raise ValueError(kind)


BAD_FILES = ("missing", "empty", "text", "nan", "one triangle", "1000x unit", "truncated", "not a mesh format")


def _run(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(argv)
    return code, capsys.readouterr().err


def _assert_one_line(text: str) -> None:
    errors = [line for line in text.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("command", ["plan", "demo", "predict", "inspect"])
def test_bad_surface_is_refused(kind: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, words = _bad_file(kind, tmp_path)
    out = tmp_path / "out"
    if command == "plan":
        argv = ["plan", "spray", "--surface", str(path), "--recipe", "spray_50um", "--out", str(out)]
    elif command == "demo":
        argv = ["demo", "grind", "--part", str(path), "--out", str(out)]
    elif command == "inspect":
        good = _plate(tmp_path / "good.stl")
        argv = ["inspect", "--scan", str(path), "--reference", str(good), "--out", str(out)]
    else:
        toolpath = tmp_path / "toolpath.json"
        _write_toolpath(toolpath)
        argv = ["predict", "--surface", str(path), "--toolpath", str(toolpath), "--out", str(out)]
    code, text = _run(argv, capsys)
    assert code == 3
    assert words in text
    _assert_one_line(text)
    assert not out.exists()


def _write_toolpath(path: Path) -> None:
    from cell_core.toolpath import Stroke, ToolPath

    n = 5
    stroke = Stroke(
        kind="area",
        position_m=np.c_[np.linspace(0, 0.2, n), np.zeros(n), np.full(n, 0.2)],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, 0.3),
        process_value=np.full(n, 5e-6),
        on=np.ones(n, bool),
    )
    tool = {"name": "g", "kind": "elliptic_double_beta"}
    ToolPath(process="spray", strokes=[stroke], tool=tool, surface={"path": "", "sha256": ""}).write(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("standoff_m: 0.20", "standof_m: 0.20", ["unknown key 'standof_m'", "did you mean 'standoff_m'", ":8:"]),
        ("standoff_m: 0.20", "standoff_mm: 200.0", ["unit suffix", "'standoff_m'"]),
        ("50.0e-6", "-50.0e-6", ["target_thickness_m", "-5e-05", "greater than 0", ":7:"]),
        ("standoff_m: 0.20", "standoff_m: fast", ["standoff_m", "'fast'", "valid number"]),
        ("gun: hvlp_240", "gun: nothing", ["no file or entry 'nothing'", "hvlp_240"]),
        ("process: spray", "process: polish", ["process", "'polish'"]),
        ("version: 1", "version: 7", ["version", "7"]),
        ("standoff_m: 0.20", "standoff_m: [", ["not YAML"]),
    ],
)
def test_bad_recipe_is_refused(
    old: str, new: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = _plate(tmp_path / "plate.stl")
    out = tmp_path / "out"
    recipe = _recipe(tmp_path, old, new)
    code, text = _run(["plan", "spray", "--surface", str(part), "--recipe", str(recipe), "--out", str(out)], capsys)
    assert code == 2
    for word in words:
        assert word in text
    _assert_one_line(text)
    assert not out.exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demo", "spray", "--pose", "-0.1,0,0"], "3 number(s), wanted six"),
        (["demo", "spray", "--pose", "a,b,c,d,e,f"], "could not convert"),
        (["demo", "spray", "--rtf", "0"], "--rtf"),
        (["demo", "spray", "--seed", "-4"], "--seed"),
        pytest.param(
            ["demo", "spray", "--backend", "moveit"],
            "needs moveit_py",
            marks=pytest.mark.skipif(importlib.util.find_spec("moveit") is not None, reason="moveit_py is installed"),
        ),
        (["demo", "grind", "--cycles", "9"], "must be within 1..5"),
        (["demo", "grind", "--recipe", "spray_50um"], "recipe is for 'spray'"),
        (["demo", "spray", "--recipe", "nowhere.yaml"], "no file or entry 'nowhere.yaml'"),
        (["demo", "spray", "--cell", "nowhere"], "nowhere"),
        (["run", "nowhere.yaml"], "no such file"),
        (["report", "."], "not a job folder"),
        (["scan", "--frames", ".", "--voxel", "-1", "--out", "o"], "--voxel"),
        (PLAN_GRIND + ["--cad", "a.stl", "--allowance"], "--register is not given"),
        (PLAN_GRIND + ["--register"], "no --cad given"),
        (PLAN_GRIND + ["--disc-energy", "nan"], "must be >= 0 J"),
        (["bench", "nothing"], "no benchmark 'nothing'"),
    ],
)
def test_bad_usage_is_refused(
    argv: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = _run(argv, capsys)
    assert code == 2
    assert words in text
    _assert_one_line(text)
    assert not list(tmp_path.iterdir())


def test_usage_errors_end_with_2() -> None:
    for argv in ([], ["nothing"], ["plan", "spray"], ["demo", "weld"], ["demo", "spray", "--unit", "furlong"]):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        "demo",
        "plan spray",
        "plan grind",
        "predict",
        "motion",
        "scan",
        "inspect",
        "report",
        "doctor",
        "describe robot",
        "up",
        "run",
        "bench",
    ]
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            build_parser().parse_args([*command.split(), "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert "exit codes:" in text
        assert command.split()[-1] in text


def _layers(tmp_path: Path, **changes: str) -> Path:
    text = (config_root() / "recipes" / "spray_three_layers.yaml").read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "system.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("changes", "more", "words"),
    [
        ({}, ["--layer", "top"], ["no layer 'top'", "primer, base, clear"]),
        ({}, ["--coats", "2"], ["--coats", "say which with --layer: primer, base, clear"]),
        ({}, ["--layer", "base", "--coats", "1"], ["--coats 1", "strategy cross needs coats >= 2"]),
        ({}, ["--layer", "base", "--coats", "0"], ["--coats: value 0", "1..10"]),
        ({"30.0e-6": "1500.0e-6", "max_thickness_m: 45.0e-6": "max_thickness_m: 2.0e-3"}, [], ["-primer", "coats: "]),
        ({"15.0e-6": "30.0e-6"}, [], ["layer base", "3e-05 m is above its max_thickness_m 2.2e-05"]),
        ({"name: base": "name: primer"}, [], ["names must differ"]),
        ({"format:": "target_thickness_m: 50.0e-6\nformat:"}, [], ["target_thickness_m", "given beside layers"]),
    ],
)
def test_bad_layers_are_refused(
    changes: dict[str, str], more: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, out = _plate(tmp_path / "plate.stl"), tmp_path / "out"
    argv = ["plan", "spray", "--surface", str(part), "--recipe", str(_layers(tmp_path, **changes)), "--out", str(out)]
    code, text = _run([*argv, *more], capsys)
    assert code == 2
    for word in words:
        assert word in text
    _assert_one_line(text)
    assert not out.exists()


def test_a_job_on_layers_names_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "job"
    argv = ["demo", "spray", "--recipe", "spray_three_layers", "--out", str(out)]
    code, text = _run(argv, capsys)
    assert code == 2
    assert "has 3 layers, and a job runs one of them: name primer, base, clear" in text
    code, text = _run([*argv, "--layer", "top"], capsys)
    assert code == 2
    assert "no layer 'top'; its layers: primer, base, clear" in text
    job = tmp_path / "job.yaml"
    job.write_text(
        "format: grind_spray_cell/job\nversion: 1\nprocess: spray\nrecipe: spray_three_layers\ncell: default\n"
    )
    code, text = _run(["run", str(job), "--out", str(out)], capsys)
    assert code == 2
    assert "name primer, base, clear" in text
    assert not out.exists()


def test_layers_are_planned_into_folders_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part, out = _plate(tmp_path / "plate.stl", 0.5), tmp_path / "out"
    argv = ["plan", "spray", "--surface", str(part), "--recipe", "spray_three_layers", "--out", str(out)]
    assert _run(argv, capsys)[0] == 0
    names = {"toolpath.json", "fields.npz", "figures.json", "surface.ply", "plan.png"}
    assert sorted(p.name for p in out.iterdir()) == ["01-primer", "02-base", "03-clear", "figures.json"]
    for folder in ("01-primer", "02-base", "03-clear"):
        assert {p.name for p in (out / folder).iterdir()} == names
    whole = read_json(out / "figures.json")
    rows = [Plan.read(out / row["folder"]) for row in whole["layers"]]
    assert whole["process_time_s"] == pytest.approx(sum(plan.figures["process_time_s"] for plan in rows))
    assert [plan.figures["n_coats"] for plan in rows] == [1, 2, 2]
    assert rows[0].toolpath.strokes[0].kind == "border" or rows[0].figures["n_border_strokes"] == 0

    single = tmp_path / "single"
    argv = [*argv[:-1], str(single), "--layer", "clear", "--coats", "3"]
    assert _run(argv, capsys)[0] == 0
    assert {p.name for p in single.iterdir()} == names
    assert {s.coat for s in Plan.read(single).toolpath.strokes} == {1, 2, 3}


def test_a_mask_of_the_wrong_length_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part, out, mask = _plate(tmp_path / "plate.stl"), tmp_path / "out", tmp_path / "mask.npz"
    np.savez(mask, mask=np.ones(7))
    argv = ["plan", "spray", "--surface", str(part), "--recipe", "spray_50um", "--mask", str(mask), "--out", str(out)]
    code, text = _run(argv, capsys)
    assert code == 3
    assert "7 values, but plate.stl has" in text and "after repair" in text
    _assert_one_line(text)
    assert not out.exists()


def test_pareto_writes_every_price_and_the_recipes_own_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part, out = _plate(tmp_path / "plate.stl", 0.5), tmp_path / "out"
    argv = ["plan", "spray", "--surface", str(part), "--recipe", "spray_50um", "--pareto", "--out", str(out)]
    code, _ = _run(argv, capsys)
    assert code == 0
    names, *rows = [line.split(",") for line in (out / "pareto.csv").read_text().splitlines()]
    table = [dict(zip(names, map(float, row), strict=True)) for row in rows]
    assert len(table) == 6
    assert [row["chosen"] for row in table] == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert table[-1]["catch_fraction"] > table[0]["catch_fraction"] + 0.02
    figures = json.loads((out / "figures.json").read_text())
    assert figures["cv"] == pytest.approx(table[3]["cv"])
    assert (out / "pareto.png").stat().st_size > 10_000


def test_inspect_finds_a_dent_without_a_cad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = np.meshgrid(np.linspace(-0.04, 0.04, 81), np.linspace(-0.04, 0.04, 81), indexing="ij")
    z = -x**2 - 5e-4 * np.exp(-((x - 0.01) ** 2 + y**2) / 3e-3**2)
    z += np.random.default_rng(0).normal(0.0, 3e-5, z.shape)
    i = np.arange(x.size).reshape(x.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    path = tmp_path / "scan.stl"
    faces = np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    trimesh.Trimesh(np.c_[x.ravel(), y.ravel(), z.ravel()], faces).export(path)
    code, text = _run(["inspect", str(path), "--out", str(tmp_path / "out")], capsys)
    assert code == 0, text
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"deviation.ply", "defects.json", "defects.csv", "inspection.png"}
    for argv, words in (
        (["inspect", str(path), "--scan", str(path)], "both given"),
        (["inspect"], "neither given"),
        (["inspect", str(path), "--register"], "needs a --reference"),
        (["inspect", str(path), "--smallest", "0.01"], "smallest_m"),
    ):
        code, text = _run([*argv, "--out", str(tmp_path / "no")], capsys)
        assert code in (2, 3) and words in text
        _assert_one_line(text)
    assert not (tmp_path / "no").exists()
