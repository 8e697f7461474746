"""The interface packages: upstream's type hashes, a unit on every field, and actions and services under real rclpy."""

import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cell_core.ros_environment import free_domain_id

ROOT = Path(__file__).resolve().parents[1]
rclpy = pytest.importorskip("rclpy")
TIMEOUT_S = 20.0

# Where these come from. TFMessage: what `ros2 topic info -v /tf` prints on any Jazzy or later machine. control_msgs:
# the hash generator of rosidl 4.9.5 run over upstream's own control_msgs 6.8.0 (ros-controls/control_msgs, branch
# master, which Kilted and Rolling release from) in a checkout outside this project. Jazzy's feedback has no `index`
# fields; its hashes stand second and hold where that distribution's own package is in use, never for what we build.
UPSTREAM = {
    "tf2_msgs/msg/TFMessage": ("RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",),
    "control_msgs/action/FollowJointTrajectory": (
        "RIHS01_ff29901b2693f5deb847e96084a1c2cdb26e70b7c847be21859b70a55fb29cf0",
        "RIHS01_738ebcb7a2d7cfa42f9f1001cc99ce3a4383d1cfe508015d9be8485e4b1c66f6",
    ),
    "control_msgs/action/FollowJointTrajectory_SendGoal": (
        "RIHS01_b13789dddc325a7a962825c45e28c77d37237ec129dd0c34dc5994562938c57f",
    ),
    "control_msgs/action/FollowJointTrajectory_GetResult": (
        "RIHS01_e3ceb38e3e1867c8dc0f46014df26e90eb93422f27e9e97f936e07f94be4bc8b",
    ),
    "control_msgs/action/FollowJointTrajectory_FeedbackMessage": (
        "RIHS01_95618cc73912d99b9acaa17d2da5e832cb0bfdeede7534fa8ec600feca2a6c4b",
        "RIHS01_80398fcb9674a79081a9906e2ccf0c804dd7cb15e22e362e606ee87186beab71",
    ),
}
DESCRIPTIONS = ("tf2_msgs/msg/TFMessage.json", "control_msgs/action/FollowJointTrajectory.json")


def description_files(name: str) -> Iterator[tuple[Path, bool]]:
    """Yield where a type description lies, and whether it is our own build."""
    for prefix in [sys.prefix, *os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]:
        path = Path(prefix) / "share" / name
        if prefix and path.is_file():
            yield path, prefix == sys.prefix


def test_built_types_have_upstreams_hashes():
    checked = 0
    for name in DESCRIPTIONS:
        path, ours = next(description_files(name))
        for entry in json.loads(path.read_text())["type_hashes"]:
            known = UPSTREAM.get(entry["type_name"], ())
            if known:
                assert entry["hash_string"] in (known[:1] if ours else known), entry["type_name"]
                checked += 1
    assert checked == len(UPSTREAM)


@pytest.fixture
def node() -> Iterator[Any]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=free_domain_id())
    node = rclpy.create_node("interfaces_test", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def executor_of(node: Any) -> Any:
    executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    return executor


def test_hashes_on_the_wire_are_upstreams(node):
    from control_msgs.action import FollowJointTrajectory
    from tf2_msgs.msg import TFMessage

    types = {
        "tf2_msgs/msg/TFMessage": TFMessage,
        "control_msgs/action/FollowJointTrajectory_FeedbackMessage": FollowJointTrajectory.Impl.FeedbackMessage,
    }
    for i, (name, message_type) in enumerate(types.items()):
        node.create_publisher(message_type, f"probe_{i}", 1)
        (endpoint,) = node.get_publishers_info_by_topic(f"probe_{i}")
        assert str(endpoint.topic_type_hash) in UPSTREAM[name]


def test_an_action_goes_round(node):
    from cell_interfaces.action import PlanMotion
    from cell_interfaces.msg import StepSummary
    from rclpy.action import ActionClient, ActionServer

    def serve(handle: Any) -> Any:
        handle.publish_feedback(PlanMotion.Feedback(step="search", progress=0.5, message="half way"))
        handle.succeed()
        goal = handle.request
        return PlanMotion.Result(
            success=True,
            trajectory_path=f"{goal.folder}/trajectory.json",
            reached_views=[2, 0],
            stop_times_s=[1.5, 4.0],
            summary=StepSummary(step="motion", ok=True, names=["views"], values=[len(goal.views) / 16], units=["1"]),
        )

    feedback: list[Any] = []
    server = ActionServer(node, PlanMotion, "plan_motion", serve)
    client = ActionClient(node, PlanMotion, "plan_motion")
    executor = executor_of(node)
    assert client.wait_for_server(timeout_sec=TIMEOUT_S)
    goal = PlanMotion.Goal(kind=PlanMotion.Goal.VIEWS, views=[0.0] * 48, start_rad=[0.1] * 6, folder="motion")
    sent = client.send_goal_async(goal, feedback_callback=lambda m: feedback.append(m.feedback))
    executor.spin_until_future_complete(sent, timeout_sec=TIMEOUT_S)
    assert sent.done() and sent.result().accepted
    outcome = sent.result().get_result_async()
    executor.spin_until_future_complete(outcome, timeout_sec=TIMEOUT_S)
    result = outcome.result().result
    assert result.trajectory_path == "motion/trajectory.json"
    assert list(result.reached_views) == [2, 0] and list(result.stop_times_s) == [1.5, 4.0]
    assert list(result.summary.values) == [3.0]
    assert [f.progress for f in feedback] == [0.5]
    server.destroy()
    client.destroy()


@pytest.mark.parametrize("name", ["Approve", "Reject", "Pause", "Resume", "Abort", "SelectTool", "ArmTool",
                                  "ScheduleEvents", "WriteTruth"])  # fmt: skip
def test_a_service_goes_round(node, name):
    import cell_interfaces.srv

    service_type = getattr(cell_interfaces.srv, name)
    flag = "accepted" if hasattr(service_type.Response(), "accepted") else "ok"

    def serve(request: Any, response: Any) -> Any:
        setattr(response, flag, True)
        response.message = type(request).__name__
        return response

    node.create_service(service_type, "probe", serve)
    client = node.create_client(service_type, "probe")
    executor = executor_of(node)
    assert client.wait_for_service(timeout_sec=TIMEOUT_S)
    answer = client.call_async(service_type.Request())
    executor.spin_until_future_complete(answer, timeout_sec=TIMEOUT_S)
    assert getattr(answer.result(), flag) is True
    assert answer.result().message == f"{name}_Request"


def interface_files() -> list[Path]:
    files = sorted(p for kind in ("msg", "srv", "action") for p in (ROOT / "cell_interfaces" / kind).iterdir())
    assert len(files) == 5 + 9 + 6
    return files


@pytest.mark.parametrize("path", interface_files(), ids=lambda p: p.name)
def test_every_field_is_explained_and_numbers_carry_units(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    field = re.compile(r"(?P<type>[\w/]+(?:\[\])?) (?P<name>[a-z]\w*)$")
    explained = set()
    for before, line in itertools.pairwise(lines):
        match = field.match(line)
        if not match:
            continue
        if before.startswith("#"):
            explained.add(match["name"])
        quantity = match["type"].startswith("float") and match["name"].endswith(("_s", "_n", "_m", "_rad", "_rpm"))
        if quantity:
            assert "[" in before, f"{path.name}: {match['name']} has no unit in its comment"
    numeric = ("float", "int", "uint", "std_msgs")
    assert {m["name"] for m in map(field.match, lines) if m and m["type"].startswith(numeric)} <= explained


def test_feedback_and_result_look_alike_in_every_action():
    for path in (ROOT / "cell_interfaces" / "action").iterdir():
        goal, result, feedback = (
            [line for line in part.splitlines() if line and not line.startswith("#")]
            for part in path.read_text().split("---\n")
        )
        assert "string job_dir" in goal
        assert result[:3] == ["bool success", "int32 exit_code", "string message"]
        assert feedback == ["string step", "float32 progress", "string message"]
