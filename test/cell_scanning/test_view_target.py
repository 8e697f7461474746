"""A CAD that is not where it was said to be, or of which that is not known, and one of another part."""

import numpy as np
import pytest
import trimesh

from cell_core.config.recipes import ScanSettings
from cell_core.surface import Surface
from cell_core.transforms import transform_from_xyz_rpy
from cell_scanning.view_loop import look_around

BOX = np.array([[-0.3, -0.3, 0.0], [0.3, 0.3, 0.4]])
SETTINGS = ScanSettings(voxel_m=0.004, measured_area_fraction_min=0.95)


def _part(*blocks) -> Surface:
    mesh = trimesh.boolean.union(
        [trimesh.creation.box(size, transform_from_xyz_rpy(at, [0.0, 0.0, 0.0])) for size, at in blocks]
    ).subdivide()
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces))


def _angle() -> Surface:
    return _part(
        ((0.2, 0.14, 0.05), (0, 0, 0.025)),
        ((0.05, 0.14, 0.12), (-0.075, 0, 0.06)),
        ((0.06, 0.04, 0.08), (0.06, 0.04, 0.04)),
    )


@pytest.fixture(scope="module")
def look(shapes):
    def run(views_max=20, **known):
        studio = shapes.studio(shapes.with_table(_angle()), noise=True)
        seen, said = [], []

        def visit(views, obstacle):
            seen.append((len(views), obstacle))
            return [studio.frames([T]) for T in views]

        settings = SETTINGS.model_copy(update={"views_max": views_max})
        looked = look_around(shapes.qvga, BOX, settings, visit, progress=lambda f, text: said.append(text), **known)
        return looked, seen, said

    return run


def _off_m(found: Surface | None) -> float:
    assert found is not None
    return float(np.linalg.norm(found.vertices_m - _angle().vertices_m, axis=1).max())


def test_a_cad_in_any_frame_is_found_and_covered(look):
    T = transform_from_xyz_rpy([0.4, -0.2, 0.5], [0.5, -0.7, 2.0])
    looked, seen, said = look(cad_elsewhere=_angle().transformed(T, "part"))
    assert _off_m(looked.cad) < 0.004
    assert looked.n_views_bound is not None and looked.measured_fraction > 0.93
    # nothing is known before the first look, and it is short
    assert seen[0][0] <= 4 and seen[0][1] is None
    assert "finding where the CAD stands" in said


def test_a_cad_said_to_stand_elsewhere_is_looked_for(look):
    T = transform_from_xyz_rpy([0.12, 0.1, 0.0], [0.0, 0.0, 1.0])
    looked, seen, said = look(cad=_angle().transformed(T, "part"))
    assert _off_m(looked.cad) < 0.004
    assert looked.measured_fraction > 0.93
    # the arm keeps off the box around what was said
    assert np.all(seen[0][1].bounds_m[0, :2] <= _angle().transformed(T, "part").bounds_m[0, :2] - 0.049)
    assert any("does not stand where it was said to" in text for text in said)


def test_the_cad_of_another_part_is_done_without(look):
    other = _part(((0.12, 0.12, 0.12), (0, 0, 0.06)), ((0.02, 0.3, 0.02), (0.0, 0.0, 0.01)))
    looked, _, said = look(cad_elsewhere=other, views_max=7)
    assert looked.cad is None and looked.n_views_bound is None
    assert len(looked.taken) == 7
    assert looked.measured_fraction > 0.7
    assert any(text.startswith("going on without the CAD") for text in said)
