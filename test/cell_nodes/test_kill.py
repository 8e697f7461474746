"""Every node is killed once, in the step where it matters; each next run continues at the step that failed.

One chain of runs on one job folder: a run that is cut short by a kill is at once the resume of the kill before.
"""

from pathlib import Path

import pytest
from node_kit import dome, make_job
from supervised import RECIPE, Supervised

from cell_core.resume import Journal
from cell_nodes.names import NODES


def _at(step, word):
    return lambda e: e["event"] in ("progress", "step") and e.get("step") == step and word in e.get("message", "")


CHAIN = [
    ("robot_state_publisher", "scan", _at("scan", "view 1 ")),
    ("scan", "scan", _at("scan", "view 2 ")),
    ("spray_planner", "plan", _at("plan", "started")),
    ("motion", "motion", _at("motion", "started")),
    ("execution", "execution", _at("execution", "stroke 1 ")),
    ("simulator", "execution", _at("execution", "stroke 1 ")),
    ("job", "execution", _at("execution", "stroke 1 ")),
    ("recorder", "execution", _at("execution", "stroke 1 ")),
    ("grinding_planner", "execution", _at("execution", "stroke 1 ")),
    ("inspection", "inspection", _at("inspection", "started")),
]


def test_the_chain_holds_every_node():
    assert sorted(node for node, _, _ in CHAIN) == sorted(NODES)


@pytest.mark.timeout(900)
def test_a_killed_node_stops_the_cell_and_the_job_goes_on_where_it_failed(tmp_path: Path):
    (tmp_path / "quick.yaml").write_text(RECIPE)
    folder = make_job(tmp_path / "job", dome(radius_m=0.2), recipe=str(tmp_path / "quick.yaml"))
    resume: list[str] = []
    failed_before = ""
    for node, step, moment in CHAIN:
        run = Supervised(folder.path, "--rtf", "4", "--approve", "auto", *resume)
        run.until(moment, 240.0)
        run.kill(node)
        code = run.finish(90.0)
        error = next(e for e in run.events if e["event"] == "error")
        where = f"{node}: {error}"
        assert code == 5, where
        assert error["node"] == node and f"node {node} died (signal 9)" in error["message"], where
        # the simulator is the device: when it is gone there is nobody to ask, and nothing that could move
        assert error["stopped"] is (None if node == "simulator" else True), where
        state = folder.read_state()
        assert state["status"] == "failed" and state["step"] == step and node in state["message"], (node, state)
        started = [e["step"] for e in run.events if e["event"] == "step" and e["message"] == "started"]
        if failed_before:
            # before a process the camera looks again, whatever was planned already
            assert started[0] in (failed_before, "check"), f"{node}: continued at {started}"
        resume, failed_before = ["--resume"], step
    journal = [e["event"] for e in Journal(folder.step("execution") / "journal.jsonl").read()]
    assert journal.count("start") == 6 and journal.count("done") == 1
    last = Supervised(folder.path, "--rtf", "4", "--approve", "auto", "--resume")
    assert last.finish() == 0, last.events[-3:]
    assert [e["step"] for e in last.events if e["event"] == "step" and e["message"] == "started"] == ["inspection"]
