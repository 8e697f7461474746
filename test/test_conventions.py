"""Every convention of docs/conventions.md, held by a test of its own."""

import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from cell_core.config import CameraConfig, GrindToolConfig, GunConfig
from cell_core.config.loader import config_root, load_config, load_named
from cell_core.errors import CellError, ConfigurationError, InputRefusedError
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.strokes.layout import LayoutRequest, lay_strokes
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.trajectory import JointTrajectory, ProcessEvent, Segment
from cell_core.transforms import apply, inverse, tool_frames, transform_from_xyz_quat, transform_from_xyz_rpy
from cell_scanning.camera import Intrinsics
from cell_simulation import predict
from cell_simulation.tools import check_events
from robot_description import Cell, load_cell, resting_pose
from robot_description.scene import link_meshes

DOCS = Path(__file__).resolve().parents[1] / "docs" / "conventions.md"


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


@pytest.fixture(scope="module")
def gun() -> GunConfig:
    return load_named(GunConfig, "guns", "hvlp_240")


def plate(side_m: float = 0.3, step_m: float = 0.01) -> Surface:
    """Return a flat square facing up, centred at the origin."""
    n = round(side_m / step_m) + 1
    x, y = np.meshgrid(np.linspace(-side_m / 2, side_m / 2, n), np.linspace(-side_m / 2, side_m / 2, n), indexing="ij")
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(
        vertices_m=np.stack([x.ravel(), y.ravel(), np.zeros(n * n)], axis=1),
        triangles=np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]),
    )


def straight(height_m: float, value: float, n: int = 21, speed: np.ndarray | float = 0.1, **changes: object) -> Stroke:
    """Return a stroke along x over the plate's middle, axis down."""
    position = np.stack([np.linspace(-0.1, 0.1, n), np.zeros(n), np.full(n, height_m)], axis=1)
    values: dict[str, object] = {
        "kind": "area",
        "position_m": position,
        "tool_axis": np.tile([0.0, 0.0, -1.0], (n, 1)),
        "travel": np.tile([1.0, 0.0, 0.0], (n, 1)),
        "speed_m_per_s": np.broadcast_to(speed, n),
        "process_value": np.full(n, value),
        "on": np.ones(n, bool),
    }
    return Stroke(**(values | changes))  # type: ignore[arg-type]


def test_the_page_names_existing_tests_and_every_test_stands_on_the_page() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCS.read_text()))
    here = {name for name in globals() if name.startswith("test_")}
    assert len(named) > 15
    assert named == here - {"test_the_page_names_existing_tests_and_every_test_stands_on_the_page"}


# units and names


def test_a_key_with_another_unit_is_refused(tmp_path: Path) -> None:
    text = (
        (config_root() / "guns" / "hvlp_240.yaml")
        .read_text()
        .replace("reference_standoff_m:", "reference_standoff_mm:")
    )
    (tmp_path / "gun.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"reference_standoff_mm.*wanted 'reference_standoff_m'"):
        load_config(GunConfig, tmp_path / "gun.yaml")


def test_mesh_units_are_declared_never_guessed(tmp_path: Path) -> None:
    trimesh.creation.box((300.0, 200.0, 100.0)).export(tmp_path / "part.stl")
    surface = load_surface(tmp_path / "part.stl", unit="mm")[0]
    assert np.allclose(np.ptp(surface.vertices_m, axis=0), [0.3, 0.2, 0.1])
    with pytest.raises(CellError):
        load_surface(tmp_path / "part.stl", unit="m")


def test_adjacent_frame_names_cancel() -> None:
    T_base_part = transform_from_xyz_rpy((1.0, 0.0, 0.5), (0.0, 0.0, np.pi / 2))
    T_part_tool = transform_from_xyz_rpy((0.2, 0.0, 0.0), (0.0, 0.0, 0.0))
    origin_in_base = apply(T_base_part @ T_part_tool, np.zeros(3))
    assert np.allclose(origin_in_base, [1.0, 0.2, 0.5])
    assert np.allclose(inverse(T_base_part) @ T_base_part @ T_part_tool, T_part_tool)


def test_quaternions_are_xyzw_and_rpy_is_urdf() -> None:
    half = np.sqrt(0.5)
    assert np.allclose(apply(transform_from_xyz_quat((0, 0, 0), (0, 0, half, half)), [1.0, 0.0, 0.0]), [0.0, 1.0, 0.0])
    roll, pitch, yaw = 0.3, -0.4, 1.1
    expected = (
        Rotation.from_rotvec([0, 0, yaw]) * Rotation.from_rotvec([0, pitch, 0]) * Rotation.from_rotvec([roll, 0, 0])
    )
    assert np.allclose(transform_from_xyz_rpy((0, 0, 0), (roll, pitch, yaw))[:3, :3], expected.as_matrix())


# frames


def test_base_frame_has_z_up_and_x_towards_the_fixture(cell: Cell) -> None:
    x, y, _ = cell.T_base_fixture[:3, 3]
    assert x > 0.5 and abs(y) < 1e-9
    floor = next(box for box in cell.obstacles if box.name == "floor")
    assert floor.T_base_box[2, 3] < 0.0 < cell.robot.forward(np.zeros(6), "link_2")[2, 3]


def test_part_frame_is_the_fixture_frame(cell: Cell) -> None:
    fixture = next(box for box in cell.obstacles if box.name == "fixture")
    top = fixture.T_base_box[:3, 3] + [0.0, 0.0, fixture.size_m[2] / 2]
    assert np.allclose(cell.T_base_fixture[:3, 3], top)
    assert np.allclose(cell.T_base_fixture[:3, :3], np.eye(3))
    lying = plate().transformed(transform_from_xyz_rpy((5.0, 1.0, 2.0), (0.0, 0.0, 0.0)), "file")
    assert np.allclose(apply(resting_pose(lying), lying.vertices_m).min(axis=0)[2], 0.0)


def test_joint_zero_is_the_makers(cell: Cell) -> None:
    T = cell.robot.forward(np.zeros(6), "tool0")
    # ABB IRB 4600-60/2.05 at zero: 495 + 900 + 175 mm up, 175 + 960 + 135 mm ahead, flange pointing ahead
    assert np.allclose(T[:3, 3], [1.270, 0.0, 1.570])
    assert np.allclose(T[:3, 2], [1.0, 0.0, 0.0])
    leaning = cell.robot.forward(np.array([0.0, 0.2, 0.0, 0.0, 0.0, 0.0]), "tool0")
    assert leaning[0, 3] > T[0, 3], "joint 2 leans forwards when positive"
    turned = cell.robot.forward(np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0]), "tool0")
    assert turned[1, 3] > 0.0, "joint 1 turns counter-clockwise seen from above"


def test_tool_centre_points_lie_on_nozzle_and_pad(cell: Cell) -> None:
    shapes = {link: vertices for _, link, vertices, _ in link_meshes(cell.robot)}
    for link, tcp in (("gun", "gun_tcp"), ("sander_pad", "sander_tcp")):
        in_tcp = apply(inverse(cell.robot.fixed(link, tcp)), shapes[link])
        assert in_tcp[:, 2].max() == pytest.approx(0.0, abs=1e-6), "nothing of the tool lies beyond its TCP"
        at_tip = in_tcp[in_tcp[:, 2] > -1e-6]
        assert np.allclose(at_tip.min(axis=0) + at_tip.max(axis=0), 0.0, atol=1e-5), "the TCP is the tip's centre"


def test_camera_looks_along_z_with_x_right_and_y_down() -> None:
    camera = Intrinsics.from_config(load_named(CameraConfig, "cameras", "wrist_640"))
    assert np.allclose(camera.project([0.0, 0.0, 1.0]), [camera.cx_px, camera.cy_px])
    right_and_down = camera.project([0.1, 0.2, 1.0])
    assert right_and_down[0] > camera.cx_px and right_and_down[1] > camera.cy_px
    depth = np.zeros((camera.height_px, camera.width_px), np.float32)
    depth[0, 0] = 1.0
    assert np.allclose(camera.project(camera.back_project(depth)[0, 0]), [0.0, 0.0], atol=1e-3)


# surfaces


def test_normals_point_outwards() -> None:
    solid = trimesh.creation.box((0.1, 0.1, 0.1))
    surface = Surface(vertices_m=solid.vertices, triangles=solid.faces)
    assert np.all(np.sum(surface.triangle_normals * surface.centroids_m, axis=1) > 0.0)
    assert np.allclose(plate().vertex_normals, [0.0, 0.0, 1.0])


def test_film_and_removal_are_both_positive(gun: GunConfig) -> None:
    pad = load_named(GrindToolConfig, "tools", "orbital_125")
    surface = plate(0.4, 0.02)
    for process, tool, stroke in (
        ("spray", gun, straight(gun.reference_standoff_m, gun.flow_m3_per_s)),
        ("grind", pad, straight(0.0, 30.0)),
    ):
        path = ToolPath(process=process, strokes=[stroke], tool=tool.model_dump(mode="json"), surface={})
        change_m = predict(surface, path)
        assert change_m.min() >= 0.0
        assert 1e-7 < change_m.max() < 1e-3


# tool paths


def test_tool_frame_is_travel_across_axis() -> None:
    T = tool_frames(np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.0, -1.0]), np.array([1.0, 0.0, 0.2]))
    assert np.allclose(T[:3, 2], [0.0, 0.0, -1.0])
    assert np.allclose(T[:3, 0], [1.0, 0.0, 0.0])
    assert np.allclose(T[:3, 1], np.cross(T[:3, 2], T[:3, 0]))
    assert np.allclose(straight(0.2, 1.0).frames[0][:3, 2], [0.0, 0.0, -1.0])


def test_fan_lies_across_travel(gun: GunConfig) -> None:
    footprint = EllipticDoubleBeta(gun)
    reach = 0.9 * gun.a_m
    assert gun.b_m < reach
    points = np.array([[0.0, reach, gun.reference_standoff_m], [reach, 0.0, gun.reference_standoff_m]])
    across, along = footprint.rates(points, np.tile([0.0, 0.0, -1.0], (2, 1)), np.zeros(2, np.int64))
    assert across > 0.0
    assert along == 0.0


def test_standoff_is_measured_back_along_the_axis() -> None:
    for standoff_m in (0.2, 0.0):
        strokes = lay_strokes(plate(), request(standoff_m))
        assert strokes
        for stroke in strokes:
            assert np.allclose(stroke.tool_axis, [0.0, 0.0, -1.0], atol=1e-3)
            assert np.allclose(stroke.position_m[:, 2], standoff_m, atol=1e-3)


def request(standoff_m: float) -> LayoutRequest:
    return LayoutRequest(
        direction=np.array([0.0, 0.0, 1.0]),
        spacing_m=0.06,
        angle_rad=0.0,
        step_m=0.01,
        wavelength_m=0.1,
        standoff_m=standoff_m,
        speed_m_per_s=0.2,
        process_value=1.0,
    )


def test_raster_strokes_alternate() -> None:
    strokes = lay_strokes(plate(), request(0.2))
    assert len(strokes) >= 4
    heading = np.array([np.sign(s.travel[:, np.argmax(np.abs(strokes[0].travel[0]))].mean()) for s in strokes])
    assert np.all(heading[1:] == -heading[:-1])
    centres = np.array([s.position_m.mean(axis=0) for s in strokes])
    steps = np.diff(centres[:, np.argmax(np.ptp(centres, axis=0))])
    assert np.all(steps > 0.0) or np.all(steps < 0.0), "neighbours follow one another across the patch"


def test_force_presses_when_positive() -> None:
    assert straight(0.0, 30.0).process_value.min() > 0.0
    with pytest.raises(InputRefusedError, match="process_value"):
        straight(0.0, -30.0)
    check_events([ProcessEvent(time_s=0.0, name="set_force_n", value=30.0)])
    with pytest.raises(CellError):
        check_events([ProcessEvent(time_s=0.0, name="set_force_n", value=-30.0)])


def test_a_step_lasts_two_ds_over_v0_plus_v1() -> None:
    speed = np.linspace(0.1, 0.3, 21)
    stroke = straight(0.2, 1.0, speed=speed)
    assert np.allclose(stroke.step_durations_s, 2 * 0.01 / (speed[:-1] + speed[1:]))


def test_process_switches_half_way_between_samples() -> None:
    on = np.zeros(21, bool)
    on[5:9] = True
    stroke = straight(0.2, 1.0, on=on)
    step_s = 0.01 / 0.1
    assert stroke.dwell_s.sum() == pytest.approx(4 * step_s), "from half a step before sample 5 to half a step after 8"
    assert np.all(stroke.dwell_s[~on] == 0.0)


def test_fixed_spin_keeps_the_fan(gun: GunConfig) -> None:
    footprint = EllipticDoubleBeta(gun)
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-0.1, 0.1, (50, 2)), np.full(50, gun.reference_standoff_m)]
    normals, index = np.tile([0.0, 0.0, -1.0], (50, 1)), np.zeros(50, np.int64)
    rates = footprint.rates(points, normals, index)
    assert rates.max() > 0.0
    turned = points * [-1.0, -1.0, 1.0]
    assert np.allclose(footprint.rates(turned, normals, index), rates), "half a turn about the axis changes nothing"
    quarter = np.c_[-points[:, 1], points[:, 0], points[:, 2]]
    assert not np.allclose(footprint.rates(quarter, normals, index), rates)


# trajectories


def trajectory() -> JointTrajectory:
    return JointTrajectory(
        joint_names=["a"],
        time_s=np.array([0.0, 1.0, 2.0]),
        position_rad=np.array([[0.0], [0.5], [1.0]]),
        velocity_rad_per_s=np.array([[0.0], [0.75], [0.0]]),
        acceleration_rad_per_s2=np.zeros((3, 1)),
        segments=[Segment(kind="process", i0=0, i1=2, stroke=0)],
        events=[],
        tool_frame="gun_tcp",
        base_frame="base_link",
        T_base_part=np.eye(4),
    )


def test_trajectory_is_a_hermite_spline() -> None:
    position, velocity = trajectory().sample(np.array([0.5]))
    # 3u^2 - 2u^3 of the rise less (u^2 - u^3) h v1 at u = 1/2
    assert position[0, 0] == pytest.approx(0.5 * 0.5 - 0.125 * 0.75)
    assert velocity[0, 0] == pytest.approx(1.5 * 0.5 - 0.25 * 0.75)


def test_segments_include_both_ends() -> None:
    assert trajectory().segments[0].i1 == 2
    with pytest.raises(InputRefusedError, match="outside"):
        JointTrajectory(
            **{**trajectory().__dict__, "segments": [Segment(kind="process", i0=0, i1=3, stroke=0)]}  # past the end
        )
