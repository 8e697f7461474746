"""Where a CAD lies on a scan, and what stands above it."""

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import apply, transform_from_xyz_rpy
from cell_simulation.demo_parts import freeform_shell
from grinding_planner.target import lies_on, placed_on, target_from_cad


def test_a_cad_elsewhere_is_found_on_the_scan():
    cad = freeform_shell()
    raised = cad.vertices_m + 0.4e-3 * cad.vertex_normals
    T = transform_from_xyz_rpy([0.7, -0.2, 0.5], [0.2, -0.1, 2.0])
    scan = Surface(vertices_m=apply(T, raised), triangles=cad.triangles, frame="base")
    assert lies_on(cad, cad)
    assert not lies_on(scan, cad)
    moved, placed = placed_on(scan, cad)
    assert moved.frame == "base"
    assert placed.overlap_fraction > 0.95
    assert lies_on(scan, moved)
    target = target_from_cad(scan, moved, 0.01)
    # both sides of a sheet stand out by the same: nothing but the skin is found
    assert np.median(target) == pytest.approx(0.4e-3, abs=0.05e-3)


def test_a_cad_that_fits_in_two_ways_is_refused(make_sheet):
    square = make_sheet((0.3, 0.3), 0.01, lambda x, y: 0.5 * (x**2 + y**2))
    with pytest.raises(InputRefusedError, match="more than one way"):
        placed_on(square, square)
