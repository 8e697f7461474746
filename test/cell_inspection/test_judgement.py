"""Verdicts by measurement and process model, and why a job stops."""

from types import SimpleNamespace

import numpy as np
import pytest

from cell_core.config import load_recipe
from cell_inspection.judgement import judge_film, judge_removal, still_wanted, stop_after

TARGET_M = 2e-4


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("grind_30um")


@pytest.fixture(scope="module")
def sheet(make_sheet):
    return make_sheet(n=41)


def measured(values, sigma_m):
    fit = SimpleNamespace(area_m2=0.01, rms_m=1e-6, shift_m=0.0)
    return SimpleNamespace(
        removed_m=np.asarray(values), sigma_m=np.broadcast_to(sigma_m, len(values)), floor_m=3e-5, fit=fit
    )


def judged(recipe, sheet, model_m, measurement=None, why_not=""):
    n = len(sheet.vertices_m)
    return judge_removal(
        recipe, sheet, np.full(n, TARGET_M), np.ones(n, bool), np.broadcast_to(model_m, n), measurement, why_not
    )


def stop(recipe, sheet, judgement, cycle=1, cycles_max=3):
    n = len(sheet.vertices_m)
    wanted = still_wanted(recipe, sheet, judgement.change_m, np.full(n, TARGET_M), np.ones(n, bool))
    return stop_after(judgement.verdict.passed, judgement, wanted, cycle=cycle, cycles_max=cycles_max)


def test_a_measurement_overrules_a_model_that_is_content(recipe, sheet):
    n = len(sheet.vertices_m)
    judgement = judged(recipe, sheet, TARGET_M, measured(np.full(n, 0.3 * TARGET_M), 5e-6))
    assert judgement.by == "measurement" and not judgement.verdict.passed
    assert judgement.figures["measured_mean_m"] == pytest.approx(0.3 * TARGET_M)
    assert judgement.figures["model_mean_m"] == pytest.approx(TARGET_M)
    assert stop(recipe, sheet, judgement) is None


def test_where_noise_exceeds_the_tolerance_the_model_counts_and_it_is_said(recipe, sheet):
    n = len(sheet.vertices_m)
    judgement = judged(recipe, sheet, TARGET_M, measured(np.full(n, 0.3 * TARGET_M), 6e-5))
    assert judgement.by == "process model" and judgement.verdict.passed
    assert "not measurable" in judgement.text and "60 um" in judgement.text and "70 um" in judgement.text
    ended = stop(recipe, sheet, judgement)
    assert ended is not None and ended.reason == "scan_noise" and "not measurable" in ended.text


def test_each_place_is_judged_by_what_tells_of_it(recipe, sheet):
    left = sheet.vertices_m[:, 0] < 0.0
    noise = np.where(left, 5e-6, 1e-4)
    judgement = judged(recipe, sheet, TARGET_M, measured(np.where(left, 0.0, TARGET_M), noise))
    assert judgement.by == "measurement and process model"
    np.testing.assert_array_equal(judgement.by_measurement, left)
    np.testing.assert_allclose(judgement.change_m, np.where(left, 0.0, TARGET_M))
    assert judgement.figures["measured_area_fraction"] == pytest.approx(0.5, abs=0.03)


def test_without_a_second_scan_the_model_judges_and_says_why(recipe, sheet):
    judgement = judged(recipe, sheet, TARGET_M, None, "no ground")
    assert judgement.by == "process model" and "no ground" in judgement.text
    ended = stop(recipe, sheet, judgement)
    assert ended is not None and ended.reason == "tolerance" and "process model" in ended.text


def test_reasons_to_stop(recipe, sheet):
    n = len(sheet.vertices_m)
    good = judged(recipe, sheet, TARGET_M, measured(np.full(n, TARGET_M), 5e-6))
    ended = stop(recipe, sheet, good)
    assert ended is not None and ended.reason == "tolerance" and "measurement" in ended.text
    short = judged(recipe, sheet, TARGET_M, measured(np.full(n, 0.3 * TARGET_M), 5e-6))
    last = stop(recipe, sheet, short, cycle=3)
    assert last is not None and last.reason == "cycles_max" and "3 of 3" in last.text
    deep = judged(recipe, sheet, TARGET_M, measured(np.full(n, 2.0 * TARGET_M), 5e-6))
    over = stop(recipe, sheet, deep)
    assert not deep.verdict.passed and over is not None and over.reason == "nothing_missing"
    strict = recipe.model_copy(
        update={"acceptance": recipe.acceptance.model_copy(update={"in_tolerance_area_fraction_min": 1.0})}
    )
    specks = np.full(n, TARGET_M)
    specks[n // 2] = 0.0
    few = stop(strict, sheet, judged(strict, sheet, TARGET_M, measured(specks, 5e-6)))
    assert few is not None and "no 100 mm2 in one piece have too little" in few.text


def test_spared_ground_is_judged_by_the_model_until_a_whole_region_contradicts_it(recipe, sheet):
    n = len(sheet.vertices_m)
    recipe = recipe.model_copy(
        update={"acceptance": recipe.acceptance.model_copy(update={"undercut_max_m": 5e-5, "tolerance_fraction": 0.5})}
    )
    mask = sheet.vertices_m[:, 0] < 0.0
    target = np.where(mask, TARGET_M, 0.0)
    rng = np.random.default_rng(0)
    noisy = target + 2e-5 * rng.normal(size=n)
    quiet = judge_removal(recipe, sheet, target, mask, target, measured(noisy, 2e-5))
    assert quiet.verdict.figures["undercut_p999_m"] < 1e-6
    gouge = (np.abs(sheet.vertices_m[:, 0] - 0.05) < 0.02) & (np.abs(sheet.vertices_m[:, 1]) < 0.03)
    found = judge_removal(recipe, sheet, target, mask, target, measured(noisy + 3e-4 * gouge, 2e-5))
    assert found.verdict.figures["undercut_p999_m"] > 2.5e-4 and not found.verdict.passed


def test_what_is_wanted_next_heeds_the_absolute_tolerance(recipe, sheet):
    n = len(sheet.vertices_m)
    bounds = recipe.acceptance.model_copy(update={"tolerance_m": 1.9e-4})
    wide = recipe.model_copy(update={"acceptance": bounds})
    field, target, mask = np.full(n, 0.3 * TARGET_M), np.full(n, TARGET_M), np.ones(n, bool)
    assert still_wanted(recipe, sheet, field, target, mask).max() == pytest.approx(0.7 * TARGET_M)
    assert not still_wanted(wide, sheet, field, target, mask).any()


def test_a_film_is_judged_by_the_model(sheet):
    spray = load_recipe("spray_50um")
    n = len(sheet.vertices_m)
    thin = sheet.vertices_m[:, 0] > 0.05
    film = np.where(thin, 20e-6, 50e-6)
    judgement = judge_film(spray, sheet, np.full(n, 50e-6), np.ones(n, bool), film)
    assert judgement.by == "process model" and not judgement.verdict.passed
    wanted = still_wanted(spray, sheet, film, np.full(n, 50e-6), np.ones(n, bool))
    assert wanted[thin].max() == pytest.approx(30e-6) and wanted.max() <= 30e-6
    assert stop_after(False, judgement, wanted, cycle=1, cycles_max=2) is None
