"""`cell identify`: a tool file and a picture, or one line that says why not and nothing written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cell_core.config import GrindToolConfig, load_config, load_named
from cell_core.surface import Surface
from cell_core.surface_io import write_ply
from cell_core.toolpath import Stroke, ToolPath
from cell_operator.cli import main

FORCE, SPEED, NOISE = 10.0, 0.02, 5e-6
TOOL = load_named(GrindToolConfig, "tools", "orbital_32")
RADIUS = TOOL.radius_m
V_REL = TOOL.rpm * 2.0 * np.pi / 60.0 * TOOL.orbit_radius_m
ROWS = 0.0037 * np.arange(-13, 14)  # no multiple of the mesh, so that vertices see the rows evenly


def plate(gone=None, seed: int = 0) -> Surface:
    x, y = np.meshgrid(np.arange(-0.1, 0.1001, 0.002), np.arange(-0.08, 0.0801, 0.002), indexing="ij")
    i = np.arange(x.size).reshape(x.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    z = NOISE * np.random.default_rng(seed).normal(size=x.size)
    z = z if gone is None else z - gone(x.ravel(), y.ravel())
    return Surface(
        vertices_m=np.c_[x.ravel(), y.ravel(), z], triangles=np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    )


def depth(factor: tuple[float, float]):
    """What rows of a round face take off, the first half of them with one factor, the others with another."""

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.zeros(len(x))
        for k, row in enumerate(ROWS):
            half = np.sqrt(np.maximum(RADIUS**2 - (y - row) ** 2, 0.0))
            way = np.minimum(x + half, 0.06) - np.maximum(x - half, -0.06)
            rate = TOOL.preston_per_pa * FORCE / (np.pi * RADIUS**2) * V_REL
            out += factor[int(k >= len(ROWS) // 2)] * rate * np.maximum(way, 0.0) / SPEED
        return out

    return at


def folder(tmp_path: Path, factor=(1.3, 1.3), *, shift_m: float = 0.0) -> Path:
    x = np.linspace(-0.06, 0.06, 31)
    strokes = [
        Stroke(
            kind="area",
            position_m=np.c_[x, np.full(31, y), np.zeros(31)],
            tool_axis=np.tile([0.0, 0.0, -1.0], (31, 1)),
            travel=np.tile([1.0, 0.0, 0.0], (31, 1)),
            speed_m_per_s=np.full(31, SPEED),
            process_value=np.full(31, FORCE),
            on=np.ones(31, bool),
        )
        for y in ROWS
    ]
    block = {**TOOL.model_dump(mode="json"), "disc_energy_j": 100.0, "disc_changes": []}
    path = ToolPath(process="grind", strokes=strokes, tool=block, surface={"path": "", "sha256": ""})
    path.write(tmp_path / "plan" / "toolpath.json")
    write_ply(tmp_path / "before.ply", plate())
    take = depth(factor)
    write_ply(tmp_path / "after.ply", plate(lambda x, y: take(x, y) + shift_m, seed=1))
    return tmp_path


def log_file(tmp_path: Path, friction: tuple[float, float], **arrays: np.ndarray) -> Path:
    rng, seconds = np.random.default_rng(2), 0.12 / SPEED
    t = np.arange(0.0, len(ROWS) * (seconds + 1.0), 0.04)
    row, within = np.divmod(t, seconds + 1.0)
    pressed = within >= 1.0
    force = np.where(pressed, FORCE + 0.2 * rng.normal(size=len(t)), 0.0)
    mu = np.where(row < len(ROWS) // 2, *friction)
    power = 40.0 + mu * force * V_REL + 0.5 * rng.normal(size=len(t))
    rows = {"time_s": t, "on": np.ones(len(t), bool), "process_value": force, "spindle_power_w": power} | arrays
    np.savez(tmp_path / "log.npz", **{k: v for k, v in rows.items() if len(v)})
    return tmp_path / "log.npz"


def run(at: Path, *extra: str, out="mine.yaml") -> int:
    scans = ["--before", str(at / "before.ply"), "--after", str(at / "after.ply")]
    return main(["identify", "--plan", str(at / "plan"), *scans, "--out", str(at / "out" / out), *extra])


def test_two_scans_give_a_tool_a_picture_and_a_table(tmp_path, capsys) -> None:
    assert run(folder(tmp_path)) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mine.png", "mine.yaml"]
    tool = load_config(GrindToolConfig, tmp_path / "out" / "mine.yaml")
    assert tool.name == "mine"
    assert tool.preston_per_pa == pytest.approx(1.3 * TOOL.preston_per_pa, rel=0.02)
    interval = tool.preston_interval_per_pa
    assert interval is not None and interval.low < 1.3 * TOOL.preston_per_pa < interval.high
    assert tool.model_dump(exclude={"name", "preston_per_pa", "preston_interval_per_pa"}) == TOOL.model_dump(
        exclude={"name", "preston_per_pa", "preston_interval_per_pa"}
    )
    assert np.asarray(Image.open(tmp_path / "out" / "mine.png").convert("L")).std() > 5.0
    energy = 100.0 + TOOL.friction * FORCE * V_REL * len(ROWS) * 0.12 / SPEED
    head = (tmp_path / "out" / "mine.yaml").read_text()
    assert head.startswith("# Identified from plan, 27 strokes: preston_per_pa.")
    assert f"--disc-energy {energy:.0f}" in head
    said = capsys.readouterr().out
    assert "95 % interval" in said and "no log of force" in said and f"--disc-energy {energy:.0f}" in said


def test_a_log_tells_a_sudden_change(tmp_path, capsys) -> None:
    at = folder(tmp_path, (1.0, 0.5))
    log = log_file(at, (0.35, 0.25))
    assert run(at, "--log", str(log), "--name", "worn") == 0
    tool = load_config(GrindToolConfig, tmp_path / "out" / "mine.yaml")
    assert tool.name == "worn"
    assert tool.preston_per_pa == pytest.approx(0.5 * TOOL.preston_per_pa, rel=0.04)
    assert "sudden change in stroke 1" in capsys.readouterr().out
    assert "a new one started with" in (tmp_path / "out" / "mine.yaml").read_text()


def test_a_job_folder_brings_scan_log_and_measurement(tmp_path, capsys) -> None:
    at = folder(tmp_path)
    job = tmp_path / "job"
    for name in ("scan", "motion", "execution", "inspection"):
        (job / name).mkdir(parents=True)
    (at / "plan" / "toolpath.json").rename(job / "motion" / "toolpath.json")
    before = plate()
    write_ply(job / "scan" / "surface.ply", before)
    x, y = before.vertices_m[:, :2].T
    np.savez(job / "inspection" / "fields.npz", change_m=depth((0.7, 0.7))(x, y))
    log_file(at, (0.35, 0.35)).rename(job / "execution" / "executed_0.npz")
    assert main(["identify", "--job", str(job), "--out", str(tmp_path / "out" / "mine.yaml")]) == 0
    tool = load_config(GrindToolConfig, tmp_path / "out" / "mine.yaml")
    assert tool.preston_per_pa == pytest.approx(0.7 * TOOL.preston_per_pa, rel=0.02)
    said = capsys.readouterr().out
    assert "no log" not in said and "sudden" not in said


def test_a_shifted_scan_is_refused(tmp_path, capsys) -> None:
    at = folder(tmp_path, shift_m=200e-6)
    assert run(at) == 3
    assert "not aligned" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "factor", "code", "fact"),
    [
        ((), (0.0, 0.0), 3, "nothing was removed"),
        (("--tool", "nowhere"), (1.0, 1.0), 2, "no file or entry 'nowhere'"),
        (("--out", "mine.txt"), (1.0, 1.0), 2, "wanted a file name ending in .yaml"),
        (("--log", "LOG"), (1.0, 1.0), 3, "no array spindle_power_w"),
        (("--plan", "elsewhere"), (1.0, 1.0), 3, "elsewhere: holds no toolpath.json"),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(tmp_path, capsys, extra, factor, code, fact) -> None:
    at = folder(tmp_path, factor)
    if "LOG" in extra:
        extra = ("--log", str(log_file(at, (0.3, 0.3), spindle_power_w=np.zeros(0))))
    assert run(at, *extra) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and fact in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_left_to_do_is_written(tmp_path, capsys) -> None:
    at = folder(tmp_path, (0.8, 0.8))
    x, y = plate().vertices_m[:, :2].T
    rest = tmp_path / "out" / "rest.npz"
    assert run(at, "--rest", str(rest)) == 3
    assert "no fields.npz with target_change_m" in capsys.readouterr().err and not rest.exists()
    wanted = depth((1.0, 1.0))(x, y)
    np.savez(at / "plan" / "fields.npz", target_change_m=wanted)
    assert run(at, "--rest", str(rest)) == 0
    left = np.load(rest)["target_m"] - 0.2 * wanted
    inside = (np.abs(x) < 0.05) & (np.abs(y) < 0.04)
    assert np.sqrt(np.mean(left[inside] ** 2)) < 0.02 * wanted[inside].mean()


def test_what_is_missing_is_asked_for(tmp_path, capsys) -> None:
    at = folder(tmp_path)
    out = ["--out", str(tmp_path / "out" / "mine.yaml")]
    assert main(["identify", "--plan", str(at / "plan"), "--after", str(at / "after.ply"), *out]) == 2
    assert "--before: needed" in capsys.readouterr().err
    assert main(["identify", "--plan", str(at / "plan"), "--before", str(at / "before.ply"), *out]) == 2
    assert "--after: needed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["identify", *out])
