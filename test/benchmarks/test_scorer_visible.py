import numpy as np
import pytest
from judged_parts import SHELLS, box, channel, joined, parts, plate
from scorer_visible import seen, seen_points, sphere_directions

from cell_core.errors import CellError
from cell_core.surface import Surface

UP = np.array([[0.0, 0.0, 1.0]])


def test_about_sixty_directions_lie_within_sixty_degrees_of_any_normal():
    directions = sphere_directions()
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((200, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    counts = (normals @ directions.T >= 0.5).sum(axis=1)
    assert counts.min() >= 54 and counts.max() <= 66


def raised(surface: Surface, z_m: float) -> Surface:
    return Surface(vertices_m=surface.vertices_m + [0.0, 0.0, z_m], triangles=surface.triangles)


def test_a_lid_hides_what_it_leaves_no_way_to():
    covered = joined(plate(0.6, 0.02), raised(plate(0.6, 0.02), 0.05))
    points = np.array([[0.0, 0.0, 0.0], [0.29, 0.0, 0.0]])
    assert seen(points, np.repeat(UP, 2, axis=0), covered, 0.2, hung=True).tolist() == [False, True]


def test_undersides_are_seen_where_the_part_hangs_only():
    sheet = raised(plate(0.2, 0.02), 0.1)
    standing = joined(sheet, plate(0.02, 0.01))
    point, down = np.array([[0.05, 0.0, 0.1]]), -UP
    assert seen(point, down, standing, 0.2, hung=True).all()
    assert not seen(point, down, standing, 0.2, hung=False).any()


def test_a_box_is_seen_whole_but_its_outside_is_not_asked():
    inside = box()
    points = seen_points(inside, 0.03, 50_000, 0.2, hung=False)
    assert points.areas_m2.sum() == pytest.approx(5 * 0.4**2, rel=0.02)
    sky = seen_points(inside, 0.03, 50_000, 0.2, hung=False, outside=True)
    assert sky.areas_m2.sum() == pytest.approx(0.4**2, rel=0.05)


@pytest.mark.parametrize("name", list(SHELLS))
def test_shells_face_the_gun(name):
    surface = SHELLS[name][0]()
    assert surface.triangle_areas_m2.min() >= 0.0
    points = seen_points(surface, 0.03, 500, 0.2, hung=False)
    assert points.areas_m2.sum() > (0.4 if name == "freeform" else 0.95) * surface.area_m2


def test_a_channel_turns_from_wall_to_floor_to_wall():
    normals, areas = channel().triangle_normals, channel().triangle_areas_m2
    floor = areas[normals[:, 2] > 0.99].sum()
    walls = [areas[normals[:, 1] * side > 0.99].sum() for side in (1.0, -1.0)]
    assert floor == pytest.approx(0.6 * 0.17, rel=0.1)
    assert walls == pytest.approx([0.6 * 0.105] * 2, rel=0.1)


def test_a_part_that_cannot_be_loaded_says_why():
    missing, odd = parts("no_such.stl no_such.stl:furlong")
    assert isinstance(missing.surface, CellError) and "no_such" in str(missing.surface)
    assert isinstance(odd.surface, CellError) and "furlong" in str(odd.surface)
