"""What the recorder writes can be read back by anybody's MCAP reader."""

from pathlib import Path

import numpy as np
import pytest
from cell_interfaces.msg import JobState, StepSummary, ToolState
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from node_kit import dome, until
from sensor_msgs.msg import JointState

from cell_core.surface_io import write_ply
from cell_nodes.markers import change_markers, cloud_message, part_markers, stroke_markers
from cell_nodes.node_base import LATCHED, STREAM
from cell_nodes.recorder import TOPICS, RecorderNode
from cell_nodes.ros_schema import schema_text


def _read(path: Path) -> dict[str, list]:
    messages: dict[str, list] = {}
    with path.open("rb") as file:
        for _, channel, _, message in make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages():
            messages.setdefault(channel.topic, []).append(message)
    return messages


def test_a_job_is_recorded_from_first_to_last_state(ros, tmp_path):
    (tmp_path / "execution").mkdir()
    ros.up(RecorderNode)
    state = ros.client.create_publisher(JobState, "job_state", LATCHED)
    joints = ros.client.create_publisher(JointState, "/joint_states", STREAM)
    tool = ros.client.create_publisher(ToolState, "tool_state", STREAM)
    for publisher in (state, joints, tool):
        until(lambda p=publisher: p.get_subscription_count() > 0)
    state.publish(JobState(job_dir=str(tmp_path), status=JobState.RUNNING, step="scan", message="started"))
    until(lambda: (tmp_path / ".record.mcap").exists())
    for i in range(20):
        joints.publish(JointState(name=["joint_1"], position=[0.1 * i], velocity=[0.0]))
    tool.publish(ToolState(tool="spray", armed=True, on=True, flow_m3_per_s=5e-6))
    state.publish(JobState(job_dir=str(tmp_path), status=JobState.FINISHED, step="inspection", progress=1.0))
    path = tmp_path / "execution" / "record.mcap"
    until(path.exists)
    messages = _read(path)
    assert [m.status for m in messages["/cell/job_state"]][:1] == [JobState.RUNNING]
    positions = [m.position[0] for m in messages["/joint_states"]]
    assert len(positions) > 10 and np.allclose(np.diff(positions), 0.1)
    assert messages["/cell/tool_state"][0].flow_m3_per_s == pytest.approx(5e-6)


def test_what_a_killed_recorder_left_is_kept_aside(ros, tmp_path):
    (tmp_path / ".record.mcap").write_bytes(b"cut short")
    ros.up(RecorderNode)
    state = ros.client.create_publisher(JobState, "job_state", LATCHED)
    until(lambda: state.get_subscription_count() > 0)
    state.publish(JobState(job_dir=str(tmp_path), status=JobState.RUNNING))
    until((tmp_path / "record_cut_short.mcap").exists)
    state.publish(JobState(job_dir=str(tmp_path), status=JobState.FAILED))
    until((tmp_path / "record.mcap").exists)


def test_every_schema_names_every_nested_type():
    for kind, _ in TOPICS.values():
        text = schema_text(kind)
        for line in text.splitlines():
            name = line.split(" ")[0].split("[")[0]
            if "/" in name and not line.startswith("MSG:"):
                assert f"MSG: {name}\n" in text
    assert "float64[] values" in schema_text(StepSummary)


def test_markers_hold_mesh_strokes_and_colours(tmp_path):
    surface = dome()
    write_ply(tmp_path / "part.ply", surface)
    mesh = part_markers(tmp_path / "part.ply").markers[0]
    assert len(mesh.mesh_file.data) == (tmp_path / "part.ply").stat().st_size and mesh.header.frame_id == "part"
    change = change_markers(surface, np.linspace(0.0, 1e-4, len(surface.vertices_m)), 5e-5).markers[0]
    assert len(change.points) == len(change.colors) == 3 * len(surface.triangles)
    assert change.colors[0].b == 1.0 and max(c.r for c in change.colors) == 1.0
    cloud = cloud_message(surface, mesh.header.stamp)
    assert cloud.width == len(surface.vertices_m) and len(cloud.data) == cloud.row_step
    assert stroke_markers.__doc__
