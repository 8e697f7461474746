"""Preston coefficient and wear from a rescan: what was put in comes out, within the interval told, or a refusal."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cell_core.config import PadTool, WearLaw
from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from grinding_planner.identification import Identification, identify
from grinding_planner.process_signal import ProcessSignal, friction_along
from grinding_planner.remaining import removed_so_far

RADIUS, FORCE, NOISE = 0.0625, 50.0, 10e-6
ROWS = np.arange(-0.2, 0.2001, 0.02)
SPEED = 0.08


@pytest.fixture(scope="module")
def sheet(make_sheet) -> Surface:
    return make_sheet((0.7, 0.66), 0.006, lambda x, y: 0.0 * x)


def row(y: float, k: int, n: int = 60, speed: float = SPEED) -> Stroke:
    x = np.linspace(-0.2, 0.2, n) * (1 if k % 2 == 0 else -1)
    return Stroke(
        kind="area",
        position_m=np.c_[x, np.full(n, y), np.zeros(n)],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([np.sign(x[-1] - x[0]), 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, speed),
        process_value=np.full(n, FORCE),
        on=np.ones(n, bool),
    )


def path_of(tool: PadTool, strokes=None, **block) -> ToolPath:
    strokes = [row(y, k) for k, y in enumerate(ROWS)] if strokes is None else strokes
    return ToolPath(
        process="grind", strokes=strokes, tool={**tool.model_dump(), **block}, surface={"path": "", "sha256": ""}
    )


def v_rel(tool: PadTool) -> float:
    return tool.rpm * 2.0 * np.pi / 60.0 * tool.orbit_radius_m


def truth(surface: Surface, path: ToolPath, tool: PadTool, factor: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Depth on a flat sheet: a round face of even pressure, each stroke in fine steps; factor of the job's time."""
    xy = surface.vertices_m[:, :2]
    removed, clock = np.zeros(len(xy)), 0.0
    rate = tool.preston_per_pa * FORCE / (np.pi * RADIUS**2) * v_rel(tool)
    for stroke in path.strokes:
        times = stroke.times_s
        at = (np.arange(400) + 0.5) / 400 * times[-1]
        x, y = (np.interp(at, times, stroke.position_m[:, k]) for k in range(2))
        near = np.flatnonzero(np.abs(xy[:, 1] - y[0]) < RADIUS)
        reach = np.sqrt(RADIUS**2 - (xy[near, 1] - y[0]) ** 2)
        under = np.abs(xy[near, :1] - x[None, :]) < reach[:, None]
        removed[near] += rate * (under @ factor(clock + at)) * times[-1] / 400
        clock += times[-1]
    return removed


def duration(path: ToolPath) -> float:
    return sum(float(s.times_s[-1]) for s in path.strokes)


def log(path: ToolPath, tool: PadTool, friction: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> ProcessSignal:
    rng, rows, clock = np.random.default_rng(seed), [], 0.0
    for stroke in path.strokes:
        t = np.arange(-0.4, stroke.times_s[-1], 0.04)
        force = np.where(t < 0.0, 0.0, FORCE + rng.normal(size=len(t)))
        power = 80.0 + friction(clock + np.maximum(t, 0.0)) * force * v_rel(tool) + 3.0 * rng.normal(size=len(t))
        rows.append((3.0 * len(rows) + clock + t, force, power))
        clock += float(stroke.times_s[-1])
    time_s, force, power = (np.concatenate([r[k] for r in rows]) for k in range(3))
    return ProcessSignal(time_s=time_s, on=np.ones(len(time_s), bool), force_n=force, power_w=power)


def noisy(depth: np.ndarray, seed: int = 0) -> np.ndarray:
    return depth + np.sqrt(2.0) * NOISE * np.random.default_rng(seed).normal(size=len(depth))


@pytest.fixture(scope="module")
def halved(sheet, orbital) -> tuple[Identification, ToolPath, np.ndarray]:
    path = path_of(orbital)
    middle = 0.43 * duration(path)
    depth = truth(sheet, path, orbital, lambda t: np.where(t < middle, 1.1, 0.55))
    signal = log(path, orbital, lambda t: np.where(t < middle, 0.35, 0.25))
    return identify(sheet, noisy(depth), path, orbital, signal=signal), path, depth


def test_one_coefficient_comes_out_with_an_honest_interval(sheet, orbital) -> None:
    path = path_of(orbital)
    depth = truth(sheet, path, orbital, lambda t: 0.0 * t + 1.2)
    inside = 0
    for seed in range(5):
        found = identify(sheet, noisy(depth, seed), path, orbital)
        assert found.preston_now_per_pa == pytest.approx(1.2 * orbital.preston_per_pa, rel=0.01)
        interval = found.preston_now_interval
        assert interval.high - interval.low < 0.04 * found.preston_now_per_pa
        inside += interval.low <= 1.2 * orbital.preston_per_pa <= interval.high
    assert inside >= 4
    assert found.identified == ("preston_per_pa",)
    assert set(found.not_identified) == {"wear.energy_j", "wear.floor_fraction"}
    assert not any("changed along the job" in warning for warning in found.warnings)
    assert found.noise_m == pytest.approx(np.sqrt(2.0) * NOISE, rel=0.1)
    assert found.tool.preston_interval_per_pa is not None and found.tool.wear is None
    # the next pass does not start from a new abrasive
    work = orbital.friction * v_rel(orbital) * FORCE * duration(path)
    assert found.disc_energy_j == pytest.approx(work, rel=1e-6)


def test_a_halving_is_placed_by_the_signal_and_measured_by_the_scan(halved, orbital) -> None:
    found, path, depth = halved
    assert len(found.changes) == 1
    assert found.changes[0].share == pytest.approx(0.43, abs=0.005)
    assert found.changes[0].factor == pytest.approx(0.25 / 0.35, rel=0.05)
    assert found.change_strokes == (int(0.43 * len(path.strokes)),)
    for level, half, true in zip(found.levels, found.level_half_widths, (1.1, 0.55), strict=True):
        assert abs(level - true) < max(half, 0.02 * true)
    assert found.preston_now_per_pa == pytest.approx(0.55 * orbital.preston_per_pa, rel=0.02)
    # the pieces on their own, which know nothing of two levels being flat, show the step too
    first, second = found.work_j < 0.42 * found.work_j[-1], found.work_j > 0.45 * found.work_j[-1]
    assert found.piece_factor[first].mean() == pytest.approx(1.1, rel=0.03)
    assert found.piece_factor[second].mean() == pytest.approx(0.55, rel=0.03)
    own = found.touched
    assert np.sqrt(np.mean((found.fitted_m - depth)[own] ** 2)) < 0.03 * depth[own].mean()


def test_an_early_change_leaves_the_coefficient_now_well_known(sheet, orbital) -> None:
    path = path_of(orbital)
    early = 0.025 * duration(path)
    depth = truth(sheet, path, orbital, lambda t: np.where(t < early, 1.0, 0.6))
    signal = log(path, orbital, lambda t: np.where(t < early, 0.35, 0.27))
    found = identify(sheet, noisy(depth), path, orbital, signal=signal)
    assert len(found.changes) == 1
    assert found.preston_now_per_pa == pytest.approx(0.6 * orbital.preston_per_pa, rel=0.02)
    assert found.level_half_widths[0] > 5.0 * found.level_half_widths[1]


def test_what_is_gone_is_known_better_than_the_scan_is_noisy(halved, sheet) -> None:
    found, _, depth = halved
    gone = removed_so_far(sheet, found, RADIUS)
    own = found.touched
    assert np.sqrt(np.mean((gone - depth)[own] ** 2)) < 0.1 * NOISE


def test_what_the_path_does_not_tell_the_scan_does(sheet, orbital) -> None:
    """A dent of 15 um beyond what the path takes off stays in the estimate, its noise does not."""
    path = path_of(orbital)
    x, y = sheet.vertices_m[:, :2].T
    dent = 15e-6 * np.exp(-0.5 * (x**2 + y**2) / 0.08**2)
    depth = truth(sheet, path, orbital, lambda t: 0.0 * t + 1.0) + dent
    found = identify(sheet, noisy(depth), path, orbital)
    gone = removed_so_far(sheet, found, RADIUS)
    middle = np.hypot(x, y) < 0.12
    assert np.sqrt(np.mean((found.fitted_m - depth)[middle] ** 2)) > 5e-6
    assert np.sqrt(np.mean((gone - depth)[middle] ** 2)) < 2.5e-6


def test_what_the_scans_differ_by_on_wide_ground_is_no_removal(sheet, orbital) -> None:
    path = path_of(orbital)
    depth = truth(sheet, path, orbital, lambda t: 0.0 * t + 1.0)
    x, y, _ = sheet.vertices_m.T
    measured = noisy(depth) + 16e-6 * np.sin(15.0 * x + 1.0) * np.cos(15.0 * y)
    found = identify(sheet, measured, path, orbital)
    gone = removed_so_far(sheet, found, RADIUS)
    deep = depth > 0.5 * depth.max()
    # 5 um were its free margin not asked
    assert np.sqrt(np.mean((gone - found.fitted_m)[deep] ** 2)) < 3.5e-6


def test_a_wear_law_is_told_where_the_job_spans_it(sheet, orbital) -> None:
    known = WearLaw(floor_fraction=0.5, energy_j=3000.0, energy_max_j=2e4)
    tool = orbital.model_copy(update={"wear": known})
    path = path_of(tool, [row(y, k, speed=0.5 * SPEED) for k, y in enumerate(ROWS)], disc_energy_j=0.0)
    power = tool.friction * FORCE * v_rel(tool)

    def factor(t: np.ndarray) -> np.ndarray:
        return 0.95 * (0.4 + 0.6 * np.exp(-power * t / 2400.0))

    found = identify(sheet, noisy(truth(sheet, path, tool, factor)), path, tool)
    assert found.identified == ("preston_per_pa", "wear.energy_j", "wear.floor_fraction")
    assert found.tool.wear is not None
    assert found.tool.wear.energy_j == pytest.approx(2400.0, rel=0.1)
    assert found.tool.wear.floor_fraction == pytest.approx(0.4, abs=0.05)
    now = tool.preston_per_pa * float(factor(np.array(duration(path))))
    assert found.preston_now_per_pa == pytest.approx(now, rel=0.02)
    assert found.preston_now_interval.low <= now <= found.preston_now_interval.high
    # what the tool file says of the abrasive at that work is the coefficient now
    w = found.tool.wear
    worn = w.floor_fraction + (1.0 - w.floor_fraction) * np.exp(-found.disc_energy_j / w.energy_j)
    assert found.tool.preston_per_pa * worn == pytest.approx(found.preston_now_per_pa, rel=1e-3)


def test_wear_that_a_job_hardly_spans_stays_as_in_the_file(sheet, orbital) -> None:
    known = WearLaw(floor_fraction=0.5, energy_j=2e6, energy_max_j=1e7)
    tool = orbital.model_copy(update={"wear": known})
    path = path_of(tool)
    found = identify(sheet, noisy(truth(sheet, path, tool, lambda t: 0.0 * t + 0.8)), path, tool)
    assert found.tool.wear == known
    assert found.identified == ("preston_per_pa",)
    assert "spans too little" in found.not_identified["wear.energy_j"]
    assert found.preston_now_per_pa == pytest.approx(0.8 * tool.preston_per_pa, rel=0.02)


def test_a_changed_abrasive_starts_anew(sheet, orbital) -> None:
    law = WearLaw(floor_fraction=0.4, energy_j=1500.0, energy_max_j=1e4)
    tool = orbital.model_copy(update={"wear": law})
    k = len(ROWS) // 2
    path = path_of(tool, disc_energy_j=500.0, disc_changes=[k])
    power = tool.friction * FORCE * v_rel(tool)
    change_s = k * float(path.strokes[0].times_s[-1])

    def factor(t: np.ndarray) -> np.ndarray:
        energy = np.where(t < change_s, 500.0 + power * t, power * (t - change_s))
        return 1.1 * (0.4 + 0.6 * np.exp(-energy / 1500.0))

    signal = log(path, tool, lambda t: 0.35 * np.sqrt(factor(t)))
    found = identify(sheet, noisy(truth(sheet, path, tool, factor)), path, tool, signal=signal)
    assert found.changes == ()
    assert found.levels == pytest.approx((1.1,), rel=0.02)
    assert found.disc_energy_j == pytest.approx(power * (duration(path) - change_s), rel=0.01)


def test_pieces_tell_which_half_wore(sheet, orbital) -> None:
    """Without a log a halving is no level, but the pieces on their own show it."""
    path = path_of(orbital)
    middle = 0.5 * duration(path)
    depth = truth(sheet, path, orbital, lambda t: np.where(t < middle, 1.0, 0.5))
    found = identify(sheet, noisy(depth), path, orbital)
    assert any("changed along the job" in warning for warning in found.warnings)
    assert found.piece_factor[:15].mean() == pytest.approx(1.0, abs=0.08)
    assert found.piece_factor[-15:].mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_a_steady_signal_has_no_change(orbital, seed: int) -> None:
    path = path_of(orbital)
    told = friction_along(log(path, orbital, lambda t: 0.35 * (1.0 - 0.003 * t), seed), path.strokes, v_rel(orbital))
    assert told.changes == ()
    assert told.idle_power_w == pytest.approx(80.0, rel=0.01)
    wanted = 0.35 * (1.0 - 0.003 * told.share * duration(path))
    assert told.friction == pytest.approx(wanted, rel=0.2)
    assert told.friction.mean() == pytest.approx(wanted.mean(), rel=0.02)


def test_two_changes_are_told_apart(orbital) -> None:
    path = path_of(orbital)
    whole = duration(path)
    signal = log(path, orbital, lambda t: 0.35 * np.where(t < 0.3 * whole, 1.0, np.where(t < 0.7 * whole, 0.7, 0.9)))
    told = friction_along(signal, path.strokes, v_rel(orbital))
    assert [change.share for change in told.changes] == pytest.approx([0.3, 0.7], abs=0.01)
    assert [change.factor for change in told.changes] == pytest.approx([0.7, 0.9 / 0.7], rel=0.08)


def refuse_cases(sheet: Surface, tool: PadTool) -> dict[str, tuple[np.ndarray, ToolPath, str]]:
    path = path_of(tool)
    depth = truth(sheet, path, tool, lambda t: 0.0 * t + 1.0)
    x = sheet.vertices_m[:, 0]
    other = path_of(tool, [row(y, k) for k, y in enumerate((-0.3, -0.25, -0.2))])
    hidden = np.where(np.abs(x) < 0.33, np.nan, depth)
    return {
        "nothing": (noisy(0.0 * depth), path, "nothing was removed"),
        "shifted": (noisy(depth + 30e-6), path, "not aligned"),
        "tilted": (noisy(depth + 800e-6 * x), path, "not aligned, or scans of another job"),
        "hidden": (noisy(hidden), path, "at least"),
        "elsewhere": (
            noisy(truth(sheet, path_of(tool, list(path.strokes[:5])), tool, lambda t: 0 * t + 1)),
            path,
            "the Preston coefficient now is known to",
        ),
        "length": (depth[:-1], path, "vertices"),
        "bead": (depth, replace(path, strokes=[replace(s, kind="bead") for s in path.strokes]), "bead"),
        "other": (noisy(truth(sheet, path, tool, lambda t: 0.0 * t)), other, "nothing was removed"),
    }


@pytest.mark.parametrize("case", ["nothing", "shifted", "tilted", "hidden", "elsewhere", "length", "bead", "other"])
def test_what_cannot_tell_is_refused(sheet, orbital, case: str) -> None:
    measured, path, fact = refuse_cases(sheet, orbital)[case]
    with pytest.raises(InputRefusedError, match=fact):
        identify(sheet, measured, path, orbital)


def test_a_log_of_another_job_is_refused(sheet, orbital) -> None:
    path = path_of(orbital)
    short = log(path_of(orbital, list(path.strokes[:6])), orbital, lambda t: 0.0 * t + 0.35)
    with pytest.raises(InputRefusedError, match="not the log of this plan"):
        friction_along(short, path.strokes, v_rel(orbital))
    with pytest.raises(InputRefusedError, match="times ascending"):
        replace(short, time_s=short.time_s[::-1])
