"""Why a scan has holes: each reason where it is plain."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cell_core.config.recipes import ScanSettings
from cell_core.schemas import validate
from cell_scanning.frames import write_frames
from cell_scanning.fusion import fuse
from cell_scanning.hole_reasons import REASONS, explained_holes, hole_map, reason_lengths
from cell_scanning.offline import scan_folder
from cell_scanning.view_cover import box_surface
from cell_scanning.views import looking_at

BOX = np.array([[-0.2, -0.2, 0.0], [0.2, 0.2, 0.3]])
COARSE = ScanSettings(voxel_m=0.004)
DOWN = looking_at([0.0, 0.0, 0.65], [0.0, 0.0, 0.1])


def main_holes(shapes, scene, camera, views, edit=None, **how):
    frames = shapes.studio(scene, camera=camera).frames(views)
    if edit is not None:
        frames = [replace(f, depth_m=edit(f.depth_m.copy())) for f in frames]
    scan = fuse(frames, camera, COARSE, crop=BOX, refine=False)
    holes = explained_holes(scan.surface, scan.holes, camera, frames, work_volume_m=BOX, **how)
    assert len(holes) == len(scan.holes) > 0
    for hole in holes:
        assert hole.reason in REASONS
        assert sum(hole.reasons.values()) == pytest.approx(1.0)
    assert sum(reason_lengths(holes).values()) == pytest.approx(sum(h.length_m for h in holes))
    return scan, holes


def flat(shapes, half_m=0.3):
    return shapes.grid_surface(lambda x, y: 0.0 * x + 0.1, half_m, 5)


def test_a_missing_patch_is_unknown_and_in_the_mirror_direction_specular(shapes):
    def blank(depth):
        depth[100:140, 140:180] = 0.0
        return depth

    _, holes = main_holes(shapes, flat(shapes), shapes.qvga, [DOWN], blank)
    inside = [h for h in holes if h.kind == "hole" and np.hypot(*h.centre_m[:2]) < 0.03]
    assert [h.reason for h in inside] == ["unknown"]
    # the same hole in the image of a camera that cannot look along the normal
    shiny = replace(shapes.qvga, specular_cone_rad=0.12)
    _, holes = main_holes(shapes, flat(shapes), shiny, [DOWN], blank)
    inside = [h for h in holes if h.kind == "hole" and np.hypot(*h.centre_m[:2]) < 0.03]
    assert [h.reason for h in inside] == ["specular"]


def test_what_lies_in_a_shadow_is_occluded(shapes):
    plate, block = flat(shapes), box_surface([[-0.05, -0.05, 0.1], [0.05, 0.05, 0.22]])
    n = len(plate.vertices_m)
    scene = replace(
        plate,
        vertices_m=np.concatenate([plate.vertices_m, block.vertices_m]),
        triangles=np.concatenate([plate.triangles, block.triangles + n]),
    )
    aside = looking_at([-0.4, 0.0, 0.55], [0.0, 0.0, 0.1])
    _, holes = main_holes(shapes, scene, shapes.qvga, [aside])
    shadow = max((h for h in holes if h.length_m > 0.2), key=lambda h: h.reasons.get("occluded", 0.0) * h.length_m)
    assert shadow.reasons["occluded"] * shadow.length_m > 0.15


def test_beyond_the_picture_is_not_looked_at_and_beyond_the_range_out_of_range(shapes):
    near = looking_at([0.0, 0.0, 0.4], [0.0, 0.0, 0.1])
    _, holes = main_holes(shapes, flat(shapes), shapes.qvga, [near])
    assert max(holes, key=lambda h: h.length_m).reason == "not_looked_at"
    # a far corner of the plate lies beyond what the camera can measure
    low = looking_at([-0.45, 0.0, 0.65], [0.0, 0.0, 0.1])
    _, holes = main_holes(shapes, flat(shapes), replace(shapes.qvga, range_m=(0.25, 0.72)), [low])
    longest = max(holes, key=lambda h: h.length_m)
    assert longest.reasons.get("out_of_range", 0.0) * longest.length_m > 0.2


def test_out_of_reach_needs_a_view_that_would_show_it(shapes):
    near = looking_at([0.0, 0.0, 0.4], [0.0, 0.0, 0.1])
    for allowed, reason in ((False, "out_of_reach"), (True, "not_looked_at")):
        _, holes = main_holes(shapes, flat(shapes), shapes.qvga, [near], reachable=lambda T, a=allowed: a)
        assert max(holes, key=lambda h: h.length_m).reason == reason


def test_the_report_tells_reasons_and_the_map_marks_borders(shapes, tmp_path):
    frames = shapes.studio(shapes.with_table(flat(shapes, 0.1))).frames(shapes.ring(0.5, 0.9, 3, (0, 0, 0.1)))
    write_frames(tmp_path / "frames", frames, shapes.qvga)
    result = scan_folder(tmp_path / "frames", tmp_path / "out", crop=BOX)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    validate(report, "scan_report", "report.json")
    assert report["holes"]
    assert all(hole["reason"] in REASONS and hole["reasons"] for hole in report["holes"])
    assert sum(v for k, v in report["figures"].items() if k.startswith("border_")) == pytest.approx(
        report["figures"]["boundary_length_m"]
    )
    marked = hole_map(result.surface, result.holes)
    border = np.unique(np.concatenate([h.vertices for h in result.holes]))
    assert np.array_equal(np.flatnonzero(marked.fields["hole_reason"]), border)
    assert marked.fields["hole"].max() == len(result.holes)
