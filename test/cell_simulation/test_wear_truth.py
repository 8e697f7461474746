"""The simulated abrasive: it dulls with the work it does, may break at once, and the spindle's power tells."""

import numpy as np
import pytest

from cell_core.config import GrindToolConfig, WearLaw, load_named
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_simulation.grind import Contact, GrindTruth
from cell_simulation.predict import predict
from cell_simulation.tool_parameters import PadTruth, ToolErrors
from cell_simulation.true_part import TruePart
from cell_simulation.wear import FRICTION_EXPONENT

PAD = PadTruth(
    radius_m=0.03,
    stiffness_pa_per_m=2e7,
    preston_per_pa=1e-9,
    motion="orbital",
    rpm=10000.0,
    orbit_radius_m=0.0025,
    wear_floor=0.4,
    wear_energy_j=100.0,
)
V_REL = 10000.0 * 2.0 * np.pi / 60.0 * 0.0025
FORCE_N = 40.0
TICK_S = 0.004
BLOCKS = 40


def plate() -> Surface:
    x, y = (np.linspace(-0.1, 0.1, 21), np.linspace(-0.05, 0.05, 11))
    X, Y = (a.ravel() for a in np.meshgrid(x, y, indexing="ij"))
    i = (np.arange(20)[:, None] * 11 + np.arange(10)).ravel()
    triangles = np.concatenate([np.c_[i, i + 11, i + 12], np.c_[i, i + 12, i + 1]])
    return Surface(vertices_m=np.c_[X, Y, 0.0 * X], triangles=triangles)


def rub(
    pad: PadTruth, errors: ToolErrors, n_blocks: int = BLOCKS, seed: int = 0
) -> tuple[np.ndarray, GrindTruth, Contact]:
    """Volume removed in each block of a pass to and fro, the truth after it, and the last block's contact."""
    grind = GrindTruth(TruePart(plate()), pad, seed=seed, errors=errors)
    grind.settle(FORCE_N)
    volumes, contact = [], None
    for block in range(n_blocks):
        times = (block * 10 + np.arange(10) + 0.5) * TICK_S
        T = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (10, 1, 1))
        T[:, 0, 3] = 0.03 * np.sin(times)
        before = grind.removed_m3
        contact = grind.grind(times, T, np.full(10, FORCE_N), np.ones(10))
        volumes.append(grind.removed_m3 - before)
    assert contact is not None
    return np.array(volumes), grind, contact


def test_removal_follows_the_law_over_the_work_really_done() -> None:
    volumes, grind, _ = rub(PAD, ToolErrors.none(), 200)
    ability = volumes / (PAD.preston_per_pa * FORCE_N * V_REL * 10 * TICK_S)
    # dE = mu F v dt with mu = mu_0 sqrt(a), and da = (floor - a) dE / E0: march it much finer
    a, fine, means = 1.0, 200, []
    for _ in volumes:
        taken = 0.0
        for _ in range(fine):
            a += (0.4 - a) * 0.4 * a**FRICTION_EXPONENT * FORCE_N * V_REL * 10 * TICK_S / fine / 100.0
            taken += a / fine
        means.append(taken)
    assert ability == pytest.approx(np.array(means), rel=0.01)
    assert means[-1] < 0.6
    assert grind.abrasive.energy_j == grind.abrasive.work_j > 100.0


def test_a_break_halves_what_is_removed_and_the_power_falls_by_less() -> None:
    pad = PadTruth(**{**vars(PAD), "wear_energy_j": np.inf})
    errors = ToolErrors.none()
    _, _, before = rub(pad, errors)
    broken = ToolErrors(**{**vars(errors), "preston_break_energy_j": 10.0, "preston_break_factor": 0.5})
    volumes, grind, after = rub(pad, broken)
    assert volumes[-1] / volumes[0] == pytest.approx(0.5, rel=0.01)
    load = before.power_w[-1] - errors.idle_power_w
    assert load == pytest.approx(0.4 * FORCE_N * V_REL, rel=0.02)
    assert (after.power_w[-1] - errors.idle_power_w) / load == pytest.approx(0.5**FRICTION_EXPONENT, rel=0.02)
    # the step lies where the work reached it
    step = 10.0 / (0.4 * FORCE_N * V_REL * 10 * TICK_S)
    assert np.flatnonzero(volumes < 0.75 * volumes[0])[0] == pytest.approx(step, abs=1.0)
    grind.renew_abrasive()
    assert (grind.abrasive.ability, grind.abrasive.energy_j, grind.abrasive.floor) == (1.0, 0.0, 0.4)


def test_specimens_differ_by_seed_and_only_by_seed() -> None:
    first, again, other = (rub(PAD, ToolErrors(), 1, seed)[1].abrasive for seed in (1, 1, 2))
    assert (first.scale_j, first.friction) == (again.scale_j, again.friction)
    assert (first.scale_j, first.friction) != (other.scale_j, other.friction)
    assert first.scale_j == pytest.approx(100.0, rel=0.2) and first.friction == pytest.approx(0.4, rel=0.2)


def test_an_idle_spindle_takes_its_idle_power_and_a_still_one_none() -> None:
    grind = GrindTruth(TruePart(plate()), PAD, seed=0, errors=ToolErrors())
    times = np.arange(10) * TICK_S
    T = np.tile(np.eye(4), (10, 1, 1))
    T[:, 2, 3] = -0.2
    idle = grind.grind(times, T, np.zeros(10), np.ones(10))
    assert idle.power_w == pytest.approx(60.0, abs=6.0) and np.ptp(idle.power_w) > 0.0
    assert np.all(grind.grind(times, T, np.zeros(10), np.zeros(10)).power_w == 0.0)


def test_the_tool_files_wear_is_taken_and_a_plan_replayed_changes_its_abrasive() -> None:
    tool = load_named(GrindToolConfig, "tools", "orbital_32")
    law = WearLaw(floor_fraction=0.5, energy_j=20.0, energy_max_j=1e4)
    pad = PadTruth.from_config(tool.model_copy(update={"wear": law}), disc_energy_j=20.0)
    assert (pad.wear_floor, pad.wear_energy_j, pad.disc_energy_j) == (0.5, 20.0, 20.0)
    assert PadTruth.from_config(tool).wear_energy_j == np.inf
    x = np.linspace(-0.06, 0.06, 25)
    strokes = [
        Stroke(
            kind="area",
            position_m=np.c_[x, np.full(25, y), np.zeros(25)],
            tool_axis=np.tile([0.0, 0.0, -1.0], (25, 1)),
            travel=np.tile([1.0, 0.0, 0.0], (25, 1)),
            speed_m_per_s=np.full(25, 0.02),
            process_value=np.full(25, 10.0),
            on=np.ones(25, bool),
        )
        for y in (-0.02, 0.02)
    ]
    block = {**tool.model_dump(mode="json"), "wear": law.model_dump(), "disc_energy_j": 0.0}
    surface = {"path": "", "sha256": ""}
    kept = ToolPath(process="grind", strokes=strokes, tool=block, surface=surface)
    changed = ToolPath(process="grind", strokes=strokes, tool={**block, "disc_changes": [1]}, surface=surface)
    rows = plate().vertices_m[:, 1]
    first, second = (np.abs(rows - y) < 0.001 for y in (-0.02, 0.02))
    depth = predict(plate(), kept)
    assert depth[second].sum() < 0.8 * depth[first].sum()
    depth = predict(plate(), changed)
    assert depth[second].sum() == pytest.approx(depth[first].sum(), rel=0.02)
