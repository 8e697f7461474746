"""The scan node and the camera it listens to: frames refused and counted, camera info held against the camera file."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import node_kit
import numpy as np
import pytest
import yaml
from cell_interfaces.action import ExecuteProcess, PlanMotion, ScanPart
from rclpy.action import ActionClient
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState, RegionOfInterest
from std_srvs.srv import Trigger

from cell_core.config import Distortion, config_root
from cell_core.errors import DeviceError
from cell_core.files import read_json
from cell_core.raycast import RayCaster
from cell_core.surface_io import read_ply
from cell_core.trajectory import JointTrajectory, Segment
from cell_motion.views import ViewReach
from cell_nodes.action_work import ActionWorker, Work
from cell_nodes.camera_client import CameraClient
from cell_nodes.camera_info import require_agreement
from cell_nodes.messages import camera_info_message, depth_message, joint_state_message
from cell_nodes.node_base import CellNode
from cell_nodes.scan import ScanNode
from cell_nodes.simulator import SimulatorNode
from cell_scanning.lens import Lens
from cell_simulation.camera import DepthCamera
from cell_simulation.true_part import TruePart
from robot_description import load_cell

CELL = load_cell("default")
BENT = Distortion(model="plumb_bob", coefficients=(0.08, -0.05, 0.002, -0.001, 0.01))
IMAGE = np.full((CELL.camera.height_px, CELL.camera.width_px), 0.5, np.float32)
TICK_S = 0.02


class Rig(CellNode):
    """An arm at rest and a camera that takes one image when triggered: `take` draws it, `spoil` may spoil it."""

    def __init__(self, *, reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE, **options: Any) -> None:
        super().__init__("rig", **options)
        self.q = np.array(CELL.robot.config.home_rad)
        self.take: Callable[[], np.ndarray] = lambda: IMAGE
        self.spoil: dict[int, Callable[[Rig, Image], None]] = {}
        self.info: CameraInfo | None = camera_info_message(CELL.camera, 0.0, "camera")
        self.clock_s, self.n_taken = 100.0, 0
        self._now = threading.Lock()
        quality = QoSProfile(depth=2, reliability=reliability)
        self._states = self.create_publisher(JointState, "/joint_states", 20)
        self._images = self.create_publisher(Image, "camera/depth/image_rect", quality)
        self._infos = self.create_publisher(CameraInfo, "camera/depth/camera_info", quality)
        self.create_service(Trigger, "camera/trigger", self._trigger)
        self.create_wall_timer(TICK_S, self._tick)

    def _tick(self) -> None:
        self.clock_s += TICK_S
        self._states.publish(joint_state_message(CELL.robot.joint_names, self.q, 0.0 * self.q, self.clock_s))

    def _trigger(self, request: Any, response: Any) -> Any:
        # newer than the state that told that the arm stands, and than the image before
        self.clock_s += 0.1 * TICK_S
        image = depth_message(self.take(), self.clock_s, "camera")
        self.spoil.get(self.n_taken, lambda *_: None)(self, image)
        self.n_taken += 1
        self._images.publish(image)
        if self.info is not None:
            self._infos.publish(self.info)
        response.success = True
        return response


@contextmanager
def listening(scan: ScanNode) -> Iterator[CameraClient]:
    with CameraClient(scan, CELL) as camera:
        node_kit.until(lambda: camera._trigger.service_is_ready())
        yield camera


def filled(value: float) -> Callable[[Rig, Image], None]:
    def spoil(rig: Rig, image: Image) -> None:
        image.data = depth_message(np.full_like(IMAGE, value), 0.0, "").data

    return spoil


def smaller(rig: Rig, image: Image) -> None:
    stamp = image.header.stamp
    half = depth_message(IMAGE[::2, ::2], 0.0, "")
    image.width, image.height, image.step, image.data = half.width, half.height, half.step, half.data
    image.header.stamp = stamp


def unreadable(rig: Rig, image: Image) -> None:
    image.encoding = "rgb8"


def between_two_states(rig: Rig, image: Image) -> None:
    # the joint states before and after it are 1.5 s away
    rig.clock_s += 3.0
    image.header.stamp = depth_message(IMAGE[:1], rig.clock_s - 1.5, "").header.stamp


@pytest.mark.parametrize(
    "spoil, reason", [(smaller, "wrong_size"), (unreadable, "unreadable"), (between_two_states, "stale_pose")]
)
def test_an_image_that_cannot_be_used_is_counted_and_another_taken(ros, spoil, reason):
    rig = ros.up(Rig)
    rig.spoil = {1: spoil}
    with listening(ros.up(ScanNode)) as camera:
        taken = camera.frames(2)
    assert len(taken) == 2 and rig.n_taken == 3
    assert dict(camera.refused) == {reason: 1}
    assert taken[0][0] == pytest.approx(IMAGE)


def test_a_view_without_a_usable_image_fails_and_says_why(ros):
    ros.up(Rig).spoil = dict.fromkeys(range(9), smaller)
    with listening(ros.up(ScanNode)) as camera, pytest.raises(DeviceError) as error:
        camera.frames(1)
    assert "none of 3 images of a view can be used: 3 wrong_size" in str(error.value)
    assert "320 x 240 px, wanted 32FC1 or 16UC1, 640 x 480 px" in str(error.value)


def test_a_camera_that_offers_no_reliable_images_is_heard(ros):
    scan = ros.up(ScanNode)
    ros.up(partial(Rig, reliability=ReliabilityPolicy.BEST_EFFORT))
    node_kit.until(lambda: len(scan.get_publishers_info_by_topic("camera/depth/camera_info")) == 1)
    with listening(scan) as camera:
        assert len(camera.frames(1)) == 1


def test_a_camera_of_another_resolution_is_refused_before_it_is_believed(ros):
    rig = ros.up(Rig)
    rig.info = camera_info_message(CELL.camera.model_copy(update={"fx_px": 600.0}), 0.0, "camera")
    with (
        listening(ros.up(ScanNode)) as camera,
        pytest.raises(
            DeviceError, match=r"camera_info: fx 600\.00, .*rays up to .* px from where the camera file does"
        ),
    ):
        camera.frames(1)


def test_a_camera_that_does_not_tell_its_lens_is_refused(ros, monkeypatch):
    monkeypatch.setattr("cell_nodes.camera_client.INFO_WAIT_S", 0.2)
    ros.up(Rig).info = None
    with (
        listening(ros.up(ScanNode)) as camera,
        pytest.raises(DeviceError, match="no camera info on camera/depth/camera_info within"),
    ):
        camera.frames(1)


@pytest.mark.parametrize("lockstep", [False, True])
def test_the_simulators_camera_is_believed(ros, job, lockstep):
    ros.up(SimulatorNode, job_dir=str(job.path), lockstep=lockstep)
    with listening(ros.up(ScanNode)) as camera:
        assert len(camera.frames(1)) == 1 and not camera.refused


def told(**changes: Any) -> CameraInfo:
    message = camera_info_message(CELL.camera, 0.0, "camera")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def matrix(scale: float = 1.0, shift_px: float = 0.0) -> list[float]:
    fx, cx, cy = scale * CELL.camera.fx_px, CELL.camera.cx_px + shift_px, CELL.camera.cy_px
    return [fx, 0.0, cx, 0.0, fx, cy, 0.0, 0.0, 1.0]


def projection(scale: float) -> list[float]:
    return np.c_[np.reshape(matrix(scale), (3, 3)), np.zeros(3)].ravel().tolist()


STRAIGHT, CURVED = Lens.from_config(CELL.camera), Lens.from_config(CELL.camera.model_copy(update={"distortion": BENT}))
BENDING = {"distortion_model": "plumb_bob", "d": list(BENT.coefficients)}


@pytest.mark.parametrize(
    "lens, message",
    [
        (STRAIGHT, told()),
        (STRAIGHT, told(p=[0.0] * 12)),
        (STRAIGHT, told(k=matrix(shift_px=0.5), p=[0.0] * 12)),
        (STRAIGHT, told(k=matrix(1.03), **BENDING)),  # the raw image's matrix; P is that of the rectified one
        (CURVED, told(**BENDING)),
        (CURVED, told(p=projection(1.1), **BENDING)),
    ],
)
def test_a_camera_info_that_agrees_is_taken(lens, message):
    require_agreement(message, lens)


@pytest.mark.parametrize(
    "lens, message, reason",
    [
        (STRAIGHT, told(width=848, height=480), "images of 848 x 480 px, the camera file says 640 x 480 px"),
        (STRAIGHT, told(k=[0.0] * 9), "not calibrated"),
        (STRAIGHT, told(k=[float("nan")] * 9), "not calibrated"),
        (STRAIGHT, told(p=projection(1.01)), r"fx 507\.02.*rays up to 3\.\d\d px"),
        (STRAIGHT, told(k=matrix(shift_px=2.0), p=[0.0] * 12), r"rays up to 2\.00 px"),
        (STRAIGHT, told(**BENDING), r"plumb_bob 0\.08.*no distortion"),
        (CURVED, told(), r"no distortion puts rays .*plumb_bob 0\.08"),
        (CURVED, told(distortion_model="plumb_bob", d=[-0.08, 0.0, 0.0, 0.0, 0.0]), r"plumb_bob -0\.08"),
        (CURVED, told(distortion_model="fisheye62", d=[0.1]), "plumb_bob"),
        (STRAIGHT, told(binning_x=2), "binning 2 x 0"),
        (STRAIGHT, told(roi=RegionOfInterest(x_offset=10, width=630, height=480)), "region 630 x 480 px from 10, 0"),
    ],
)
def test_a_camera_info_that_disagrees_is_refused(lens, message, reason):
    with pytest.raises(DeviceError, match=reason):
        require_agreement(message, lens)


class Mover:
    """Plans and moves at once: the rig stands where a view asks for."""

    def __init__(self, ros: node_kit.Ros, rig: Rig) -> None:
        self.rig = rig
        self.reach = ViewReach(CELL, part=None, T_base_part=CELL.T_base_fixture)
        self.node = ros.up(partial(CellNode, "mover"))
        ActionWorker(self.node, PlanMotion, "plan_motion", self.plan)
        ActionWorker(self.node, ExecuteProcess, "execute_process", self.move)

    def plan(self, work: Work) -> dict[str, Any]:
        views = np.reshape(work.goal.views, (-1, 4, 4))
        found = [(i, self.reach.positions(T)[0]) for i, T in enumerate(views)]
        stops = [(i, q[0]) for i, q in found if len(q)]
        q = np.array([self.rig.q, *(q for _, q in stops)])
        still = np.zeros_like(q)
        path = Path(work.goal.folder) / "trajectory.json"
        JointTrajectory(
            joint_names=CELL.robot.joint_names, time_s=np.arange(len(q), dtype=float), position_rad=q,
            velocity_rad_per_s=still, acceleration_rad_per_s2=still,
            segments=[Segment(kind="transition", i0=i, i1=i + 1) for i in range(len(stops))], events=[],
            tool_frame="camera_optical_frame", base_frame="base_link", T_base_part=CELL.T_base_fixture,
        ).write(path)  # fmt: skip
        return {
            "trajectory_path": str(path),
            "reached_views": [i for i, _ in stops],
            "stop_times_s": [float(k + 1) for k in range(len(stops))],
        }

    def move(self, work: Work) -> dict[str, Any]:
        trajectory = JointTrajectory.read(Path(work.goal.trajectory_path))
        self.rig.q = trajectory.position_rad[trajectory.segments[work.goal.last_segment].i1]
        return {}


def test_bad_frames_of_a_scan_are_counted_in_its_report_and_the_surface_stands(ros, tmp_path):
    rig = ros.up(Rig)
    part = node_kit.dome().transformed(CELL.T_base_fixture, "base_link")
    studio = DepthCamera(CELL.camera, TruePart(part, edge_max_m=1.0), seed=1)
    rig.take = lambda: studio.render(CELL.robot.forward(rig.q, CELL.config.camera.optical_frame), 0.0).depth_m
    rig.spoil = dict(enumerate((smaller, filled(0.0), filled(np.nan), filled(9.0), unreadable, between_two_states), 1))
    mover = Mover(ros, rig)
    job = node_kit.make_job(tmp_path / "job", node_kit.dome())
    recipe = yaml.safe_load((config_root() / "recipes" / "spray_50um.yaml").read_text())
    recipe["scan"] = {"voxel_m": 0.004, "views_max": 4, "frames_per_view": 2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ros.up(ScanNode)
    client = ActionClient(ros.client, ScanPart, "scan")
    assert client.wait_for_server(timeout_sec=node_kit.WAIT_S)
    goal = ScanPart.Goal(
        job_dir=str(job.path), cell="default", recipe=str(tmp_path / "recipe.yaml"), folder=str(job.path / "scan")
    )
    handle = node_kit.wait(client.send_goal_async(goal))
    result = node_kit.wait(handle.get_result_async(), 60.0).result
    assert result.success, result.message
    report = read_json(job.path / "scan" / "report.json")
    assert report["frames"]["refused"] == {
        "wrong_size": 1, "unreadable": 1, "stale_pose": 1, "all_zero": 2, "nothing_in_range": 1
    }  # fmt: skip
    assert report["figures"]["n_frames_refused"] == 6
    surface = read_ply(job.path / "scan" / "surface.ply")
    off = RayCaster(node_kit.dome()).distance(surface.vertices_m)
    assert np.quantile(off, 0.95) < 1e-3
    assert mover.node.is_active
