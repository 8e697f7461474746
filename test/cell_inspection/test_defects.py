import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from cell_core.errors import InputRefusedError
from cell_core.schemas import validate
from cell_core.surface import Surface
from cell_core.surface_io import load_surface, read_ply
from cell_core.transforms import apply, transform_from_xyz_rpy
from cell_inspection.cad_defects import find_defects_on_cad
from cell_inspection.defect_evidence import DefectSettings
from cell_inspection.defect_measures import classified
from cell_inspection.defects import find_defects
from cell_inspection.deviation import inspect
from cell_inspection.offline import inspect_alone, inspect_surfaces
from cell_operator.defect_figures import print_defects

HALF_M, N = 0.05, 101


def bump(x, y, at, height_m, width_m):
    r = np.hypot(x - at[0], y - at[1]) / width_m
    return height_m * np.where(r < 0.5, np.cos(np.pi * r) ** 2, 0.0)


def rough(surface, sigma_m, seed=0):
    off = np.random.default_rng(seed).normal(0.0, sigma_m, len(surface.vertices_m))
    return Surface(vertices_m=surface.vertices_m + off[:, None] * surface.vertex_normals, triangles=surface.triangles)


@pytest.fixture(scope="module")
def marked(make_sheet):
    def height(x, y):
        crown = -2.0 * x**2 - 1.0 * y**2 + 8.0 * x**3
        return crown + bump(x, y, (-0.02, 0.02), 3e-4, 6e-3) + bump(x, y, (0.02, -0.015), -6e-4, 14e-3)

    return rough(make_sheet(height, half_m=HALF_M, n=N), 4e-5)


def test_a_small_bump_and_a_dent_are_found_and_measured(marked):
    found = find_defects(marked)
    sure = [d for d in found.defects if d.confidence > 0.99]
    assert [d.kind for d in sure] == ["dent", "bead"]
    dent, bead = sure
    np.testing.assert_allclose(dent.centre_m[:2], [0.02, -0.015], atol=1.5e-3)
    np.testing.assert_allclose(bead.centre_m[:2], [-0.02, 0.02], atol=1.5e-3)
    assert dent.height_m == pytest.approx(-6e-4, rel=0.2)
    assert bead.height_m == pytest.approx(3e-4, rel=0.25)
    assert 9e-3 < dent.width_m < 15e-3 and 3.5e-3 < bead.width_m < 8e-3
    # a cos^2 of r holds (1/4 - 1/pi^2) pi w^2 h / 2 of volume
    assert dent.volume_m3 == pytest.approx(-6e-4 * 14e-3**2 * np.pi / 2 * (0.25 - 1 / np.pi**2), rel=0.3)
    assert 0.015 < bead.edge_distance_m < 0.03
    assert found.figures["defect_area_fraction"] < 0.04


def test_moving_the_surface_moves_its_defects(marked):
    T = transform_from_xyz_rpy([0.4, -1.0, 0.3], [0.7, -0.4, 2.0])
    still, moved = (
        [d for d in find_defects(s).defects if d.confidence > 0.99] for s in (marked, marked.transformed(T, "cell"))
    )
    assert len(still) == len(moved) == 2
    for a, b in zip(still, moved, strict=True):
        np.testing.assert_allclose(apply(T, np.array(a.centre_m)), b.centre_m, atol=1.5e-3)
        assert b.height_m == pytest.approx(a.height_m, rel=0.15)


def test_noise_alone_is_no_defect(make_sheet, crown_height):
    for seed in range(3):
        found = find_defects(rough(make_sheet(crown_height, half_m=HALF_M, n=N), 5e-5, seed))
        assert found.figures["defect_area_fraction"] < 0.005
        assert sum(d.sure for d in found.defects) == found.figures["n_sure"] == 0


def test_sure_defects_come_first_and_faint_ones_are_listed_only_when_asked_for(marked):
    found = find_defects(marked)
    sure = [d.sure for d in found.defects]
    assert sure == sorted(sure, reverse=True) and sum(sure) == 2
    faint = replace(found.defects[1], confidence=0.4)
    found = replace(found, defects=(found.defects[0], faint))
    for asked in (False, True):
        console = Console(width=160, record=True, file=io.StringIO())
        print_defects(console, found, faint=asked)
        text = console.export_text()
        assert "dent" in text and ("bead" in text) == asked
        assert ("1 faint regions not listed; --all shows them" in text) != asked


def test_bosses_around_do_not_pass_for_noise(make_sheet):
    def bossed(x, y):
        z = -x**2
        for cx, cy in ((-0.03, -0.03), (0.03, -0.03), (-0.03, 0.03), (0.03, 0.03)):
            flank = 1.4 * (0.012 - np.hypot(x - cx, y - cy))
            z = z + 3e-3 * (1.0 + np.tanh(np.clip(flank, -0.03, 0.03) / 3e-3))
        return z + bump(x, y, (0.0, 0.0), 3e-4, 6e-3)

    found = find_defects(rough(make_sheet(bossed, half_m=HALF_M, n=N), 3e-5))
    assert any(d.sure and d.kind == "bead" and np.hypot(*d.centre_m[:2]) < 2e-3 for d in found.defects)


def test_the_parts_own_edges_and_fillets_are_no_defects(make_sheet):
    def roof(x, y):
        # a crease of 40 degrees at y = 0, a fillet of 6 mm down a slope at y = 25 mm
        fillet = -6e-3 + np.sqrt(np.maximum(6e-3**2 - np.clip(y - 0.025, 0.0, 4e-3) ** 2, 0.0))
        slope = np.where(y > 0.029, -(y - 0.029) * 4.0 / np.sqrt(36.0 - 16.0), 0.0)
        return -np.maximum(-y, 0.0) * np.tan(np.deg2rad(40.0)) + fillet + slope

    found = find_defects(rough(make_sheet(roof, half_m=HALF_M, n=N), 3e-5))
    assert found.figures["defect_area_fraction"] < 0.01
    assert found.figures["judged_area_fraction"] > 0.6


def test_form_and_defect_are_told_apart_by_their_width(make_sheet, crown_height):
    def bent(x, y):
        return crown_height(x, y) + 4e-4 * np.cos(np.pi * x / 0.1) + bump(x, y, (0.0, 0.02), 5e-4, 8e-3)

    nominal = make_sheet(crown_height, half_m=HALF_M, n=N)
    scan = rough(make_sheet(bent, half_m=HALF_M, n=N), 3e-5)
    found = find_defects_on_cad(scan, inspect(scan, nominal).deviation_m, pose_sigma_m=2e-5)
    bead = next(d for d in found.defects if d.kind == "bead" and d.confidence > 0.99)
    assert bead.height_m == pytest.approx(5e-4, rel=0.2)
    form = [d for d in found.defects if d.kind == "form error"]
    assert len(form) == 1 and form[0].height_m == pytest.approx(4e-4, rel=0.25)
    loose = find_defects_on_cad(scan, inspect(scan, nominal).deviation_m, pose_sigma_m=2e-4)
    assert not [d for d in loose.defects if d.kind == "form error"]


@pytest.mark.parametrize(
    ("measures", "kind"),
    [
        ((1.0, 1e-3, 30e-3, 10e-3, 0.05), "bead"),
        ((1.0, 1e-3, 30e-3, 3e-3, 1e-3), "burr"),
        ((1.0, 5e-3, 30e-3, 20e-3, 0.05), "excess"),
        ((-1.0, 5e-4, 12e-3, 10e-3, 0.05), "dent"),
        ((-1.0, 5e-4, 30e-3, 4e-3, 0.05), "dent"),
        ((-1.0, 8e-4, 5e-3, 4e-3, 0.05), "pore"),
        ((-1.0, 5e-3, 30e-3, 20e-3, 0.05), "missing material"),
    ],
)
def test_classes_follow_from_measures(measures, kind):
    assert classified(*measures) == kind


def test_what_cannot_be_looked_for_is_refused(make_sheet):
    with pytest.raises(InputRefusedError, match="smallest_m"):
        DefectSettings(smallest_m=5e-3)
    with pytest.raises(InputRefusedError, match="sigmas"):
        DefectSettings(sigmas=1.0)
    with pytest.raises(InputRefusedError, match="could be judged"):
        find_defects(make_sheet(n=3, half_m=0.01))


def test_the_files_of_an_inspection(tmp_path, marked, make_sheet):
    found = inspect_alone(marked, tmp_path)
    document = json.loads((tmp_path / "defects.json").read_text())
    validate(document, "defects", "defects.json")
    rows = list(csv.DictReader((tmp_path / "defects.csv").open()))
    assert len(rows) == len(document["defects"]) == len(found.defects) >= 2
    assert float(rows[0]["height_mm"]) == pytest.approx(1e3 * document["defects"][0]["height_m"], abs=1e-3)
    back = read_ply(tmp_path / "deviation.ply")
    assert {"deviation_m", "quality", "significance", "defect"} <= set(back.fields)
    assert set(np.unique(back.fields["defect"])) == set(range(len(found.defects) + 1))
    np.testing.assert_allclose(back.vertices_m, marked.vertices_m, atol=1e-7)
    assert len(load_surface(tmp_path / "deviation.ply")[0].triangles) == len(marked.triangles)
    assert b"property uchar red" in (tmp_path / "deviation.ply").read_bytes()[:1500]
    with pytest.raises(InputRefusedError):
        inspect_alone(make_sheet(n=3, half_m=0.01), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_comparison_writes_its_defects_too(tmp_path, marked, make_sheet):
    nominal = make_sheet(lambda x, y: -2.0 * x**2 - 1.0 * y**2 + 8.0 * x**3, half_m=HALF_M, n=N)
    result = inspect_surfaces(marked, nominal, tmp_path, defects=DefectSettings())
    assert result.found is not None
    assert [d.kind for d in result.found.defects if d.confidence > 0.99] == ["dent", "bead"]
    assert {p.name for p in tmp_path.iterdir()} == {"deviation.ply", "defects.json", "defects.csv", "report.json"}
    validate(json.loads((tmp_path / "report.json").read_text()), "inspection_report", "report.json")
