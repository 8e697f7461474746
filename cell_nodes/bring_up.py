"""Bring nodes that something else has started to the state active, then end: the launch files' lifecycle manager."""

import argparse
import sys
import threading
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor

from cell_core.errors import DeviceError
from cell_nodes.lifecycle_manager import LifecycleManager
from cell_nodes.names import NAMESPACE, NODES


def main(arguments: list[str] | None = None) -> int:
    """Bring up the nodes named; return 0, or 5 when one of them did not come."""
    parser = argparse.ArgumentParser(prog="python -m cell_nodes.bring_up", description=__doc__)
    parser.add_argument("nodes", nargs="+", choices=NODES, metavar="node", help=f"one of: {', '.join(NODES)}")
    parser.add_argument("--timeout", type=float, default=60.0, help="for each transition [s] (default 60)")
    options = parser.parse_args(rclpy.utilities.remove_ros_args(sys.argv if arguments is None else arguments)[1:])
    rclpy.init()
    node = rclpy.create_node("bring_up", namespace=NAMESPACE)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    start = time.monotonic()
    try:
        LifecycleManager(node, options.nodes, lambda: None).bring_up(options.timeout)
        print(f"active after {time.monotonic() - start:.1f} s: {', '.join(options.nodes)}", flush=True)
        return 0
    except DeviceError as error:
        print(str(error), file=sys.stderr, flush=True)
        return error.exit_code
    finally:
        executor.shutdown(timeout_sec=1.0)
        thread.join(2.0)
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
