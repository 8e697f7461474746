import json

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.errors import InputRefusedError
from cell_core.schemas import validate
from cell_core.surface import Surface
from cell_core.surface_io import read_ply
from cell_core.transforms import transform_from_xyz_rpy
from cell_inspection.deviation import inspect
from cell_inspection.offline import inspect_surfaces


def ball(radius_m):
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=radius_m)
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces))


@pytest.mark.parametrize("grown_m", [0.002, -0.002])
def test_outside_is_positive(grown_m):
    deviation = inspect(ball(0.05 + grown_m), ball(0.05))
    np.testing.assert_allclose(deviation.deviation_m, grown_m, atol=2e-5)
    assert deviation.figures["mean_m"] == pytest.approx(grown_m, abs=2e-5)
    assert deviation.figures["compared_area_fraction"] == pytest.approx(1.0)


def test_a_bead_is_found_where_it_is_with_its_height_and_volume(make_sheet, crown_height):
    rng = np.random.default_rng(0)

    def beaded(x, y):
        profile = np.clip(1.0 - ((y - 0.03) / 0.007) ** 2, 0.0, None)
        return crown_height(x, y) + 0.0015 * profile * (np.abs(x) < 0.05) + rng.normal(0.0, 2e-5, x.shape)

    deviation = inspect(make_sheet(beaded, n=201), make_sheet(crown_height, n=101))
    assert len(deviation.regions) == 1
    bead = deviation.regions[0]
    assert bead.side == "above"
    np.testing.assert_allclose(bead.centre_m[:2], [0.0, 0.03], atol=1e-3)
    assert bead.peak_m == pytest.approx(0.0015, rel=0.05)
    assert bead.volume_m3 == pytest.approx(0.0015 * 0.014 * 2 / 3 * 0.1, rel=0.1)


def test_a_dent_lies_below(make_sheet):
    dented = make_sheet(lambda x, y: -0.001 * np.exp(-((x - 0.02) ** 2 + y**2) / 0.01**2))
    regions = inspect(dented, make_sheet()).regions
    assert [r.side for r in regions] == ["below"]
    assert regions[0].peak_m == pytest.approx(-0.001, rel=0.02)
    assert regions[0].volume_m3 < 0.0


def test_what_is_far_or_faces_elsewhere_does_not_compare(make_sheet):
    flat = make_sheet()
    stepped = make_sheet(lambda x, y: np.where(x > 0.05, 0.05, 0.0))
    deviation = inspect(stepped, flat)
    far = stepped.vertices_m[:, 2] > 0.0
    assert np.isnan(deviation.deviation_m[far]).all()
    assert np.abs(deviation.deviation_m[stepped.vertices_m[:, 0] < 0.04]).max() == 0.0
    upside_down = Surface(vertices_m=flat.vertices_m, triangles=flat.triangles[:, ::-1])
    with pytest.raises(InputRefusedError, match="lies within"):
        inspect(upside_down, flat)
    with pytest.raises(InputRefusedError, match="units"):
        inspect(flat.transformed(transform_from_xyz_rpy([0, 0, 1.0], [0, 0, 0]), "part"), flat)


@settings(max_examples=8, deadline=None)
@given(rpy=st.tuples(*[st.floats(-3.0, 3.0)] * 3), xyz=st.tuples(*[st.floats(-1.0, 1.0)] * 3))
def test_moving_both_changes_nothing(make_sheet, crown_height, rpy, xyz):
    T = transform_from_xyz_rpy(xyz, rpy)
    scan = make_sheet(lambda x, y: crown_height(x, y) + 1e-3 * np.sin(40.0 * x), n=41)
    reference = make_sheet(crown_height, n=41)
    still = inspect(scan, reference).deviation_m
    moved = inspect(scan.transformed(T, "b"), reference.transformed(T, "b")).deviation_m
    both = np.isfinite(still) & np.isfinite(moved)
    assert both.mean() > 0.99
    np.testing.assert_allclose(moved[both], still[both], atol=2e-6)


def test_the_files_of_a_comparison(tmp_path, make_sheet, crown_height):
    reference = make_sheet(lambda x, y: crown_height(x, y) + 0.01 * np.sin(30 * x) * (y > 0))
    T = transform_from_xyz_rpy([0.3, 0.1, 0.2], [0.3, 0.2, 0.5])
    result = inspect_surfaces(reference.transformed(T, "scan"), reference, tmp_path / "out", register=True)
    assert result.figures["rms_m"] < 2e-4
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    validate(report, "inspection_report", "report.json")
    np.testing.assert_allclose(np.array(report["T_reference_scan"]) @ T, np.eye(4), atol=5e-3)
    assert "deviation_m" in read_ply(tmp_path / "out" / "deviation.ply").fields
    away = reference.transformed(transform_from_xyz_rpy([5.0, 0.0, 0.0], [0.0, 0.0, 0.0]), "scan")
    with pytest.raises(InputRefusedError):
        inspect_surfaces(away, reference, tmp_path / "never")
    assert not (tmp_path / "never").exists()
