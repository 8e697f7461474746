"""Write config/security/policy.xml: the rights that the cell's nodes use while one job of each process runs.

    python tools/write_security_policy.py

Runs `cell demo` for both processes in a ROS domain that it watches, takes every name that any node is seen to use, and
writes the union. Names that come and go within a tenth of a second are missed.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rclpy
from rclpy.context import Context

from cell_core.files import write_text
from cell_nodes.names import NAMESPACE, NODES
from cell_nodes.processes import DomainLease
from cell_nodes.rights import Rights, policy_xml, rights_of

POLICY = Path(__file__).resolve().parents[1] / "config" / "security" / "policy.xml"
WATCHED = (*NODES, "supervisor")
PERIOD_S = 0.1


def main() -> int:
    """Run, watch and write."""
    lease = DomainLease()
    context = Context()
    rclpy.init(context=context, domain_id=lease.domain)
    observer = rclpy.create_node("observer", namespace=NAMESPACE, context=context)
    rights = dict.fromkeys(WATCHED, Rights())
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        for process in ("spray", "grind"):
            command = [sys.executable, "-m", "cell_operator.cli", "demo", process, "--out", f"{folder}/{process}"]
            job = subprocess.Popen(command, env={**os.environ, "ROS_DOMAIN_ID": str(lease.domain)})
            while job.poll() is None:
                present = {name for name, space in observer.get_node_names_and_namespaces() if space == NAMESPACE}
                for name in present & set(WATCHED):
                    rights[name] |= rights_of(observer, name)
                time.sleep(PERIOD_S)
            code = code or job.returncode
    observer.destroy_node()
    rclpy.shutdown(context=context)
    lease.close()
    rights["bring_up"] = of_bring_up(rights["supervisor"])
    missing = [name for name, held in rights.items() if held == Rights()]
    if code or missing:
        print(f"not written: exit code {code}, never seen: {', '.join(missing) or 'none'}", file=sys.stderr)
        return 1
    write_text(POLICY, policy_xml(rights))
    return 0


def of_bring_up(supervisor: Rights) -> Rights:
    """Return the rights of the node that brings the others up under ros2 launch: that part of the supervisor's."""
    own = {name.replace("/supervisor/", "/bring_up/") for name in supervisor.reply}
    return Rights(
        publish=supervisor.publish,
        subscribe=frozenset({f"{NAMESPACE}/heartbeat"}),
        reply=frozenset(own),
        request=frozenset(name for name in supervisor.request if name.endswith("/change_state")),
    )


if __name__ == "__main__":
    sys.exit(main())
