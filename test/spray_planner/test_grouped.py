"""Speeds of long paths, fitted group by group."""

import numpy as np
import pytest
from spray_parts import GUN, dome, recipe

from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import footprint_for
from cell_core.optimise.dwell import SpeedLimits
from cell_core.sampling import sample_surface
from spray_planner import plan_spray
from spray_planner.grouped import optimise_in_groups, stroke_groups


@pytest.fixture(scope="module")
def problem():
    surface = dome(0.4, 0.5)
    asked = recipe(refine=False, overspray_price=0.0, flow_m3_per_s=GUN.flow_m3_per_s)
    strokes = plan_spray(surface, asked, GUN, table=False).toolpath.strokes
    samples = sample_surface(surface, 0.012)
    operator = coverage_of_points(samples.points_m, samples.normals, strokes, footprint_for(GUN), caster=None)
    speeds, most = GUN.speed_m_per_s, GUN.acceleration_m_per_s2
    limits = SpeedLimits(low_m_per_s=speeds.low, high_m_per_s=speeds.high, acceleration_m_per_s2=most)
    return operator, strokes, np.full(len(samples), 50e-6), samples.areas_m2, limits


def fitted(problem, price=0.0):
    return optimise_in_groups(*problem, knot_m=0.03, dwell_price_per_s=price)


def on_time_s(result):
    return sum(float(s.dwell_s.sum()) for s in result.strokes)


def test_groups_come_near_the_fit_of_all(problem, monkeypatch):
    whole = fitted(problem)
    monkeypatch.setattr("spray_planner.grouped.GROUP_LENGTH_M", 1.2)
    assert len(stroke_groups(problem[1])) >= 2
    parts = fitted(problem)
    assert parts.residual_rms_m < 1.5 * whole.residual_rms_m
    assert len(parts.strokes) == len(problem[1])
    np.testing.assert_allclose(parts.predicted_m, problem[0].predict(parts.strokes), rtol=1e-5, atol=1e-9)


def test_paint_has_its_price_in_groups_too(problem, monkeypatch):
    free, dear = fitted(problem), fitted(problem, 0.01)
    saved = on_time_s(free) - on_time_s(dear)
    assert saved > 0.0
    monkeypatch.setattr("spray_planner.grouped.GROUP_LENGTH_M", 1.2)
    free, dear = fitted(problem), fitted(problem, 0.01)
    assert on_time_s(free) - on_time_s(dear) == pytest.approx(saved, rel=0.5)
