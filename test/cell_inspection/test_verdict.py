import numpy as np
import pytest

from cell_core.config import load_recipe
from cell_core.errors import InputRefusedError
from cell_inspection.rework import rework_target
from cell_inspection.verdict import agreement, grind_verdict, spray_verdict


@pytest.fixture(scope="module")
def spray():
    return load_recipe("spray_50um")


@pytest.fixture(scope="module")
def grind():
    return load_recipe("grind_30um")


def judge(verdict, recipe, surface, field, target=50e-6, mask=None):
    n = len(surface.vertices_m)
    mask = np.ones(n, bool) if mask is None else mask
    return verdict(recipe, field, np.full(n, target), mask, surface.vertex_areas_m2, positions_m=surface.vertices_m)


def test_an_even_film_passes(spray, make_sheet):
    surface = make_sheet(n=41)
    film = 50e-6 * (1.0 + 0.05 * np.sin(80.0 * surface.vertices_m[:, 0]))
    verdict = judge(spray_verdict, spray, surface, film)
    assert verdict.passed
    assert verdict.reasons == []
    assert verdict.figures["mean_m"] == pytest.approx(50e-6, rel=0.01)
    assert 0.03 < verdict.figures["cv"] < 0.05
    assert verdict.figures["unmeasured_area_fraction"] == 0.0


def test_a_bare_corner_fails_and_is_named(spray, make_sheet):
    surface = make_sheet(n=41)
    bare = np.all(surface.vertices_m[:, :2] > 0.03, axis=1)
    verdict = judge(spray_verdict, spray, surface, np.where(bare, 0.0, 50e-6))
    assert not verdict.passed
    assert len(verdict.reasons) == 3
    assert any("covered" in r for r in verdict.reasons)
    assert any("CV" in r for r in verdict.reasons)
    assert all("mm" in r for r in verdict.reasons)
    share = surface.vertex_areas_m2[bare].sum() / surface.area_m2
    assert verdict.figures["covered_area_fraction"] == pytest.approx(1.0 - share)
    assert verdict.figures["cv_covered"] == pytest.approx(0.0, abs=1e-9)


def test_what_was_not_measured_counts_as_nothing(spray, make_sheet):
    surface = make_sheet(n=41)
    film = np.full(len(surface.vertices_m), 50e-6)
    film[surface.vertices_m[:, 0] > 0.05] = np.nan
    verdict = judge(spray_verdict, spray, surface, film)
    assert not verdict.passed
    assert any("could not be measured" in r for r in verdict.reasons)
    served = surface.vertices_m[:, 0] < 0.05
    assert judge(spray_verdict, spray, surface, film, mask=served).passed


def test_removal_too_deep_fails_and_says_so(grind, make_sheet):
    surface = make_sheet(n=41)
    removed = np.where(surface.vertices_m[:, 1] > 0.04, 60e-6, 30e-6)
    verdict = judge(grind_verdict, grind, surface, removed, target=30e-6)
    assert not verdict.passed
    assert "too deep at (" in verdict.reasons[0]
    assert judge(grind_verdict, grind, surface, np.full(len(removed), 32e-6), target=30e-6).passed


def test_a_mask_without_area_and_unequal_lengths_are_refused(spray, make_sheet):
    surface = make_sheet(n=11)
    n = len(surface.vertices_m)
    with pytest.raises(InputRefusedError, match="0 m2"):
        judge(spray_verdict, spray, surface, np.zeros(n), mask=np.zeros(n, bool))
    with pytest.raises(InputRefusedError, match="different lengths"):
        judge(spray_verdict, spray, surface, np.zeros(n - 1))


def test_rework_asks_only_for_what_is_missing(make_sheet):
    surface = make_sheet(n=101)
    n = len(surface.vertices_m)
    target = np.full(n, 50e-6)
    radius = np.linalg.norm(surface.vertices_m[:, :2], axis=1)
    field = np.where(radius < 0.03, 10e-6, 45e-6)
    mask = surface.vertices_m[:, 0] > -0.09
    wanted = rework_target(surface, field, target, mask, tolerance_fraction=0.3, feather_m=0.03)
    np.testing.assert_allclose(wanted[radius < 0.029], 40e-6)
    assert np.all(wanted <= target - field + 1e-12)
    assert np.all(wanted[radius > 0.062] == 0.0)
    rim = (radius > 0.033) & (radius < 0.055)
    assert np.all(wanted[rim] > 0.0)
    assert np.corrcoef(radius[rim], wanted[rim])[0, 1] < -0.9
    # done once, nothing is left to do
    assert not rework_target(surface, field + wanted, target, mask, tolerance_fraction=0.3).any()


def test_specks_and_unmeasured_places_are_not_reworked(make_sheet):
    surface = make_sheet(n=101)
    target = np.full(len(surface.vertices_m), 50e-6)
    field = target.copy()
    field[5050] = 0.0
    field[200:300] = np.nan
    assert not rework_target(surface, field, target, np.ones(len(field), bool), tolerance_fraction=0.3).any()


def test_agreement_is_the_rms_of_prediction_minus_truth_where_measured(make_sheet):
    surface = make_sheet(n=41)
    n, areas = len(surface.vertices_m), surface.vertex_areas_m2
    rng = np.random.default_rng(0)
    error = 1e-6 * rng.standard_normal(n) + 2e-6
    predicted = np.full(n, 50e-6)
    truth = predicted - error
    truth[::7] = np.nan
    served = surface.vertices_m[:, 0] > 0.0
    found = agreement(predicted, truth, np.full(n, 40e-6), served, areas)
    known = served & np.isfinite(truth)
    assert found["agreement_bias_m"] == pytest.approx(np.average(error[known], weights=areas[known]))
    assert found["agreement_rms_m"] == pytest.approx(np.sqrt(np.average(error[known] ** 2, weights=areas[known])))
    assert found["agreement_rms_fraction"] == pytest.approx(found["agreement_rms_m"] / 40e-6)


def test_agreement_over_nothing_measured_is_refused(make_sheet):
    surface = make_sheet(n=5)
    n, areas = len(surface.vertices_m), surface.vertex_areas_m2
    film, every = np.full(n, 50e-6), np.ones(n, bool)
    with pytest.raises(InputRefusedError, match="0 masked vertices were measured"):
        agreement(film, np.full(n, np.nan), film, every, areas)
    with pytest.raises(InputRefusedError, match="one length"):
        agreement(film[:-1], film, film, every, areas)
