"""The fewest views of a known shape, and the loop that takes them."""

from dataclasses import replace

import numpy as np
import pytest

from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError, UnreachableError
from cell_core.raycast import RayCaster
from cell_scanning.measurability import Patches, measurable, surely_measurable
from cell_scanning.view_cover import box_surface, cover_points, fewest, plan_cover
from cell_scanning.view_loop import look_around
from cell_scanning.views import CAMERA_Z_MIN_M, CLEARANCE_M, looking_at

BOX = np.array([[-0.3, -0.3, 0.0], [0.3, 0.3, 0.4]])
PART = np.array([[-0.1, -0.08, 0.0], [0.1, 0.08, 0.1]])


def test_fewest_beats_greedy_where_greedy_is_fooled():
    # greedy takes the middle row first and needs three; the two halves do
    seen = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 0]], bool)
    chosen, bound = fewest(seen, 1.0)
    assert sorted(chosen) == [0, 1]
    assert bound == 2
    assert fewest(seen, 0.5)[1] == 1
    assert fewest(np.zeros((3, 4), bool), 1.0) == ([], 0)


def test_a_box_is_covered_by_few_views_within_reach(shapes):
    shape = box_surface(PART)
    plan = plan_cover(shapes.vga, shape, 0.0)
    eyes = plan.T_part_camera[:, :3, 3]
    assert 3 <= len(eyes) <= 8
    assert plan.n_views_bound <= len(eyes)
    assert eyes[:, 2].min() >= CAMERA_Z_MIN_M - 1e-9
    assert RayCaster(shape).distance(eyes).min() > CLEARANCE_M - 1e-6
    points = cover_points(shape, 0.0)
    seen = measurable(shapes.vga, plan.T_part_camera, points, RayCaster(shape)).any(axis=0)
    assert seen.mean() > 0.98
    half = plan_cover(shapes.vga, shape, 0.0, reachable=lambda T: T[0, 3] < 0.1)
    assert len(half.T_part_camera) > 0
    assert np.all(half.T_part_camera[:, 0, 3] < 0.1)
    assert len(plan_cover(shapes.vga, shape, 0.0, reachable=lambda T: False).T_part_camera) == 0


def test_sure_views_keep_off_grazing_edges_and_the_mirror_direction(shapes):
    plate = shapes.grid_surface(lambda x, y: 0.0 * x + 0.2, 0.1, 5)
    up = np.array([[0.0, 0.0, 1.0]] * 2)
    patches = Patches(points_m=np.array([[0.0, 0.0, 0.2], [0.0985, 0.0, 0.2]]), normals=up)
    head_on, slanted = looking_at([0.0, 0.0, 0.7], [0.0, 0.0, 0.2]), looking_at([0.4, 0.0, 0.45], [0.0, 0.0, 0.2])
    poses, caster = np.array([head_on, slanted]), RayCaster(plate)
    assert measurable(shapes.vga, poses, patches, caster).tolist() == [[True, True], [True, True]]
    # the middle is left to the view head-on; beside the edge one view is as bad as the other
    assert surely_measurable(shapes.vga, poses, patches, caster, 0.0).tolist() == [[True, True], [False, True]]
    shiny = replace(shapes.vga, specular_cone_rad=0.15)
    assert measurable(shiny, poses, patches, caster).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("known", ["cad", "box", "none"])
def test_the_loop_measures_a_box_in_fewer_views_the_more_is_known(shapes, known):
    low, high = PART
    shape = box_surface(PART)
    studio = shapes.studio(shapes.with_table(shape), noise=True)
    result = look_around(
        shapes.qvga,
        BOX,
        ScanSettings(voxel_m=0.004, measured_area_fraction_min=0.95),
        lambda views, _: [studio.frames([T]) for T in views],
        cad=shape if known == "cad" else None,
        part_box_m=np.array([low - [0.02, 0.02, 0.0], high + 0.02]) if known == "box" else None,
    )
    most = {"cad": 8, "box": 14, "none": 20}[known]
    assert 2 <= len(result.taken) <= most
    assert result.measured_fraction > 0.93
    assert (result.n_views_bound is None) == (known != "cad")
    points = cover_points(shape, 0.0)
    assert (RayCaster(result.surface).distance(points.points_m) < 0.006).mean() > 0.95


def test_what_cannot_be_is_refused(shapes):
    none = ScanSettings(voxel_m=0.004)
    with pytest.raises(InputRefusedError, match="outside the work volume"):
        look_around(shapes.qvga, BOX, none, lambda v, s: [], cad=box_surface(PART + 0.5))
    with pytest.raises(UnreachableError, match="none of"):
        look_around(shapes.qvga, BOX, none, lambda v, s: [])
    with pytest.raises(InputRefusedError, match="specular_cone_rad"):
        replace(shapes.vga, specular_cone_rad=1.3)
