"""Recorder node: what the cell said during a job, as MCAP with ROS 2 schemas."""

import contextlib
import time
from pathlib import Path
from typing import Any, BinaryIO

from cell_interfaces.msg import JobState, StepSummary, ToolState
from geometry_msgs.msg import WrenchStamped
from mcap.writer import CompressionType, Writer
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from cell_nodes.names import NAMESPACE
from cell_nodes.node_base import STREAM, CellNode, run_node
from cell_nodes.ros_schema import schema_name, schema_text

ACTIVE_NAME = ".record.mcap"
END_DELAY_S = 0.5
CHUNK_BYTES = 256 * 1024
ENDED = (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED, JobState.REJECTED)
_LATCHED = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOPICS = {
    "/joint_states": (JointState, STREAM),
    "/tf_static": (TFMessage, _LATCHED),
    "/robot_description": (String, _LATCHED),
    f"{NAMESPACE}/tool_state": (ToolState, STREAM),
    f"{NAMESPACE}/wrench": (WrenchStamped, STREAM),
    f"{NAMESPACE}/job_state": (JobState, _LATCHED),
    f"{NAMESPACE}/step_summary": (StepSummary, _LATCHED),
    f"{NAMESPACE}/markers/part": (MarkerArray, _LATCHED),
    f"{NAMESPACE}/markers/strokes": (MarkerArray, _LATCHED),
    f"{NAMESPACE}/markers/change": (MarkerArray, _LATCHED),
}


class RecorderNode(CellNode):
    """Writes every message of TOPICS from the first state of a job to its last.

    While recording the file is <job>/.record.mcap; at the end it becomes <job>/execution/record.mcap, or
    record_<n>.mcap when the job was recorded before. What a killed recorder left is kept as record_cut_short_<n>.mcap.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("recorder", **options)
        self._job_dir: Path | None = None
        self._file: BinaryIO | None = None
        self._writer: Writer | None = None
        self._channels: dict[str, int] = {}
        self._kept: dict[str, bytes] = {}
        for topic, (kind, qos) in TOPICS.items():
            self.create_subscription(kind, topic, lambda m, t=topic: self._write(t, m), qos, raw=True)
        self._end_s = float("inf")
        self.create_subscription(JobState, "job_state", self._on_state, _LATCHED)
        self.create_wall_timer(0.1, self._finish_when_due)

    def deactivate(self) -> None:
        """Close the file."""
        self._finish()

    def _on_state(self, state: JobState) -> None:
        if not self.is_active:
            return
        if state.status in ENDED:
            # other topics' last messages may still wait behind this one
            self._end_s = min(self._end_s, time.monotonic() + END_DELAY_S)
        elif state.job_dir and state.status != JobState.IDLE and self._end_s < float("inf"):
            self._finish()
        if self._writer is None and state.job_dir and state.status not in (*ENDED, JobState.IDLE):
            self._begin(self.job_path(state.job_dir))

    def _finish_when_due(self) -> None:
        if time.monotonic() > self._end_s:
            self._finish()

    def _begin(self, job_dir: Path) -> None:
        path = job_dir / ACTIVE_NAME
        if path.exists():
            path.rename(_free(job_dir, "record_cut_short"))
        self._job_dir = job_dir
        self._file = path.open("wb")
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.LZ4)
        self._writer.start(profile="ros2", library="grind_spray_cell")
        self._channels = {}
        for topic, (kind, _) in TOPICS.items():
            schema = self._writer.register_schema(schema_name(kind), "ros2msg", schema_text(kind).encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        for topic, data in self._kept.items():
            self._write(topic, data)

    def _write(self, topic: str, data: bytes) -> None:
        if TOPICS[topic][1] is _LATCHED:
            self._kept[topic] = data  # said before the file was open, and still valid
        if self._writer is None:
            return
        now = time.time_ns()
        self._writer.add_message(self._channels[topic], log_time=now, publish_time=now, data=bytes(data))

    def _finish(self) -> None:
        self._end_s = float("inf")
        if self._writer is None or self._file is None or self._job_dir is None:
            return
        self._writer.finish()
        self._file.close()
        folder = self._job_dir / "execution"
        folder = folder if folder.is_dir() else self._job_dir
        with contextlib.suppress(FileNotFoundError):  # the job folder may have been removed meanwhile
            (self._job_dir / ACTIVE_NAME).rename(_free(folder, "record"))
        self._writer = self._file = self._job_dir = None


def _free(folder: Path, stem: str) -> Path:
    path, n = folder / f"{stem}.mcap", 1
    while path.exists():
        path, n = folder / f"{stem}_{n}.mcap", n + 1
    return path


def main() -> None:
    """Run the node."""
    run_node(RecorderNode)


if __name__ == "__main__":
    main()
