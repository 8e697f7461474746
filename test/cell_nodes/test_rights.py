"""The security policy that is shipped: what the nodes use and no more, in the form that SROS 2 takes."""

import importlib
import time
from pathlib import Path
from typing import Any

import pytest
from node_kit import WAIT_S

from cell_core.config import config_root
from cell_core.errors import ConfigurationError
from cell_nodes.names import NAMESPACE, NODES
from cell_nodes.rights import Rights, policy_xml, read_policy, rights_of

POLICY = config_root() / "security" / "policy.xml"


def test_every_node_has_an_enclave_of_its_own() -> None:
    assert sorted(read_policy(POLICY)) == sorted((*NODES, "bring_up", "supervisor"))


def test_nodes_use_what_the_policy_allows_and_serve_all_that_it_lets_them_serve(ros: Any, job: Any) -> None:
    allowed = read_policy(POLICY)
    for name in NODES:
        kind = next(v for k, v in vars(importlib.import_module(f"cell_nodes.{name}")).items() if _is_node(k, v, name))
        node = ros.make(kind, **({"job_dir": str(job.path)} if name == "simulator" else {}))
        if name == "simulator":
            assert node.trigger_configure().name == "SUCCESS"
    for name in NODES:
        served = Rights(reply=allowed[name].reply, execute=allowed[name].execute)
        seen, end = rights_of(ros.client, name), time.monotonic() + WAIT_S
        while served.beyond(seen) and time.monotonic() < end:
            time.sleep(0.02)
            seen |= rights_of(ros.client, name)
        assert served.beyond(seen) == [], name
        assert seen.beyond(allowed[name]) == [], name


def _is_node(key: str, value: Any, name: str) -> bool:
    wanted = name.replace("_", "") + "node"
    return isinstance(value, type) and key.lower() == wanted


def test_no_node_but_the_devices_commands_the_arm_or_the_tool() -> None:
    allowed = read_policy(POLICY)
    for name, rights in allowed.items():
        commands = {
            f"{NAMESPACE}/{n}"
            for n in ("arm_controller/follow_joint_trajectory", "select_tool", "arm_tool", "schedule_events")
        }
        assert bool(commands & (rights.call | rights.request)) == (name == "execution"), name
        # safety inputs come from the cell's own safety controller
        assert not any("/safety/" in topic for topic in rights.publish), name


def test_a_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    rights = {
        "a": Rights(publish=frozenset({"/x", "/y"}), call=frozenset({"/cell/act"})),
        "b": Rights(request=frozenset({"/cell/ask"}), reply=frozenset({"/cell/answer"})),
    }
    (tmp_path / "policy.xml").write_text(policy_xml(rights))
    assert read_policy(tmp_path / "policy.xml") == rights
    assert rights["a"].beyond(rights["b"]) == ["publish /x", "publish /y", "call /cell/act"]


@pytest.mark.parametrize("change", [("ALLOW", "DENY"), ("publish=", "shout="), ("<topic>", "<topics>")])
def test_a_policy_that_says_something_else_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    text = policy_xml({"a": Rights(publish=frozenset({"/x"}))})
    (tmp_path / "policy.xml").write_text(text.replace(*change))
    with pytest.raises(ConfigurationError, match=r"policy\.xml"):
        read_policy(tmp_path / "policy.xml")
