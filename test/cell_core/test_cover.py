import numpy as np
import pytest
import trimesh

from cell_core.errors import CoverageError
from cell_core.raycast import RayCaster
from cell_core.strokes.access import RoundTool, reached
from cell_core.strokes.cover import cover_part
from cell_core.strokes.ground import find_ground
from cell_core.strokes.spacing import stroke_distances
from cell_core.surface import Surface
from cell_simulation import shapes

TOOL = RoundTool.of_radius(0.015)


def box(extents) -> Surface:
    mesh = trimesh.creation.box(extents=extents)
    return Surface(vertices_m=mesh.vertices, triangles=mesh.faces)


@pytest.mark.parametrize(
    "part",
    [
        box((0.16, 0.1, 0.06)),
        shapes.sphere(radius_m=0.07, edge_m=0.006),
        shapes.torus(major_m=0.08, minor_m=0.03, edge_m=0.006),
        shapes.cylinder(radius_m=0.03, length_m=0.15, edge_m=0.006),
    ],
    ids=["box", "sphere", "torus", "open tube"],
)
def test_a_round_tool_passes_over_all_it_can_reach_and_little_twice(part):
    cover = cover_part(part, TOOL)
    caster = RayCaster(part)
    points = np.concatenate([line.surface_m for line in cover.lines])
    middles = np.concatenate([0.5 * (line.surface_m[1:] + line.surface_m[:-1]) for line in cover.lines])
    assert caster.distance(np.r_[points, middles]).max() < 2e-4
    assert cover.mean_visits < 1.5
    # counted anew on other points: random ones, with the triangles' own normals
    mesh = trimesh.Trimesh(part.vertices_m, part.triangles, process=False)
    at, face = trimesh.sample.sample_surface(mesh, 4000, seed=3)
    normals = np.asarray(mesh.face_normals[face])
    ground = cover.ground
    seats = ground.mesh.centroids_m[ground.seat]
    serviceable = reached(np.asarray(at), normals, seats, ground.outward[ground.seat], TOOL)
    dense = [_dense(line) for line in cover.lines]
    contact, outward = (np.concatenate([d[k] for d in dense]) for k in (0, 1))
    touched = reached(np.asarray(at), normals, contact, outward, TOOL)
    assert serviceable.mean() > 0.4
    assert touched[serviceable].mean() >= 0.99


def _dense(line):
    share = np.linspace(0.0, 1.0, 9)[:-1]
    blend = [
        np.concatenate([(1 - share)[:, None, None] * a[None, :-1] + share[:, None, None] * a[None, 1:]]).reshape(-1, 3)
        for a in (line.surface_m, line.normal)
    ]
    return blend[0], blend[1] / np.linalg.norm(blend[1], axis=1)[:, None]


def test_neighbours_on_a_sphere_lie_the_asked_distance_apart():
    part = shapes.sphere(radius_m=0.1, edge_m=0.006)
    cover = cover_part(part, TOOL, spacing_m=0.026)
    assert len(cover.patches) == 1
    lines = [line for line, patch in zip(cover.lines, cover.patch_of_line, strict=True) if patch == 0]
    distances = stroke_distances(cover.ground.caster, lines, 0.026)
    assert distances.weight_m.sum() > 2.0
    assert distances.within >= 0.95


def test_what_has_no_room_for_the_tool_is_told_not_covered():
    bowl = trimesh.creation.cylinder(radius=0.012, height=0.04, sections=48)
    tube = Surface(vertices_m=bowl.vertices, triangles=bowl.faces[:, ::-1])  # seen from inside only
    with pytest.raises(CoverageError, match="stand nowhere"):
        find_ground(tube, TOOL)


def test_a_cover_says_what_it_leaves_and_its_strokes_are_contact_strokes():
    cover = cover_part(box((0.1, 0.08, 0.05)), TOOL)
    shares = cover.unreached
    assert shares["area_fraction"] == pytest.approx(sum(shares["reasons"].values()))
    assert cover.figures["n_strokes"] == len(cover.strokes) > 5
    for stroke in cover.strokes:
        assert np.linalg.norm(np.cross(stroke.travel, stroke.tool_axis), axis=1).min() > 0.99
    assert {row["patch"] for row in cover.table} == set(range(len(cover.patches)))
