import numpy as np
import pytest

import cell_scanning.tsdf
from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError
from cell_scanning.fusion import Fusion, fuse
from cell_scanning.tsdf import DistanceGrid, fitting_memory_m, fusion_bytes


@pytest.fixture(scope="module")
def plate(shapes):
    """A plate of 0.6 m seen from four places."""
    flat = shapes.grid_surface(lambda x, y: 0.0 * x, 0.3, 3)
    return shapes.studio(flat).frames(shapes.ring(0.6, 1.2, 4))


def test_the_memory_a_fusion_takes_is_told_before(shapes, plate):
    for voxel_m in (0.002, 0.004):
        grid = DistanceGrid(shapes.qvga, voxel_m)
        for f in plate:
            grid.add(f.depth_m, f.T_part_camera)
        told = fusion_bytes([f.depth_m for f in plate], [f.T_part_camera for f in plate], shapes.qvga, voxel_m)
        assert told == pytest.approx(grid.n_bytes, rel=0.35)


def test_too_much_memory_is_refused_with_the_voxel_that_fits(shapes, plate, monkeypatch):
    needed = fusion_bytes([f.depth_m for f in plate], [f.T_part_camera for f in plate], shapes.qvga, 0.002)
    monkeypatch.setattr(cell_scanning.tsdf, "MEMORY_MAX_BYTES", needed // 3)
    with pytest.raises(InputRefusedError, match=r"GB at voxels of 0.002 m, at most .* take voxels of 0\.00") as caught:
        fuse(plate, shapes.qvga, ScanSettings(voxel_m=0.002), refine=False)
    fitting_m = fitting_memory_m(caught.value.facts["n_bytes"], 0.002)
    assert 0.002 < fitting_m < 0.006
    fuse(plate, shapes.qvga, ScanSettings(voxel_m=float(np.ceil(1.5e3 * fitting_m) / 1e3)), refine=False)


def test_frames_can_be_looked_at_as_they_come(shapes, plate):
    fusion = Fusion(shapes.qvga, ScanSettings(voxel_m=0.004))
    assert fusion.preview() is None
    areas = []
    for f in plate:
        assert fusion.add(f) is None
        areas.append(fusion.preview().area_m2)
    assert areas == sorted(areas)
    assert fusion.n_frames == 4
    whole = fuse(plate, shapes.qvga, ScanSettings(voxel_m=0.004), refine=False).surface
    assert fusion.result(refine=False).surface.area_m2 == pytest.approx(whole.area_m2, rel=1e-6)


def test_the_surface_is_seen_where_it_is(shapes, plate):
    grid = DistanceGrid(shapes.qvga, 0.004)
    for f in plate:
        grid.add(f.depth_m, f.T_part_camera)
    T = plate[1].T_part_camera
    for _ in range(2):
        points, normals = grid.seen_from(T, plate[1].depth_m, 2, 1)
    found = np.isfinite(points[..., 0])
    assert found.mean() > 0.3
    world = points[found] @ T[:3, :3].T + T[:3, 3]
    assert np.median(np.abs(world[:, 2])) < 2e-4
    assert np.nanquantile(np.abs((normals[found] @ T[:3, :3].T)[:, 2]), 0.1) > 0.99
    # where a pixel of the view looks is where the camera's pixel looks
    rows, columns = np.nonzero(found)
    np.testing.assert_allclose(shapes.qvga.project(points[found]), 2 * np.c_[columns, rows], atol=0.05)
