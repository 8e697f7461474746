"""Run one job folder: start all nodes, manage their lifecycle, run the job, tell what happens as JSON lines.

`python -m cell_nodes.supervisor JOBDIR [--rtf N|max] [--lockstep] [--approve auto|ask] [--resume] [--up]`

One JSON object per line on standard output, `event` being one of: ready, step, progress, approval_request, approved,
rejected, summary, error, done. On standard input a line {"approve": true|false, "comment": "..."} answers an approval
request. Exit code: 0 accepted, 4 not accepted, 2 configuration, 3 input refused, 5 device or ROS failure, 130
interrupted or rejected.
"""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from cell_core.errors import CellError, ConfigurationError
from cell_core.jobs import JobFolder
from cell_core.ros_environment import ros_environment
from cell_nodes.names import NODES
from cell_nodes.processes import DomainLease, NodeProcesses

_print_lock = threading.Lock()


def emit(event: str, **facts: Any) -> None:
    """Print one event as a JSON line."""
    with _print_lock:
        print(json.dumps({"event": event, **facts}, allow_nan=False, default=str), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the supervisor and return the exit code."""
    options = _parser().parse_args(arguments)
    # a shell starts what it runs in the background deaf to interrupts, and Python leaves it so
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        rtf = 0.0 if options.rtf == "max" else float(options.rtf)
        folder = JobFolder(path=options.job_dir.resolve())
        _ = folder.config
        return _supervise(folder, rtf, options)
    except KeyboardInterrupt:
        emit("error", message="interrupted", exit_code=130)
        return 130
    except ValueError:
        emit("error", message=f"--rtf {options.rtf!r}: wanted a number or max", exit_code=2)
        return 2
    except CellError as error:
        emit("error", message=str(error), exit_code=error.exit_code)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cell_nodes.supervisor", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("job_dir", type=Path, help="folder with job.yaml")
    parser.add_argument(
        "--rtf", default="1.0", help="simulated seconds per wall second while moving; max: as fast as possible"
    )
    parser.add_argument(
        "--approve", choices=("auto", "ask"), default="ask", help="approve plans at once, or ask on standard output"
    )
    parser.add_argument("--backend", default="embedded", help="who plans motions: embedded or moveit")
    parser.add_argument("--resume", action="store_true", help="continue a job whose process began")
    parser.add_argument(
        "--lockstep", action="store_true", help="simulated time passes only while something moves or a frame is taken"
    )
    parser.add_argument("--up", action="store_true", help="bring the nodes up and wait for goals over ROS")
    return parser


def _supervise(folder: JobFolder, rtf: float, options: argparse.Namespace) -> int:
    config = folder.config
    if config.simulated_part is None:
        raise ConfigurationError(f"{folder.path / 'job.yaml'}: simulated_part is missing; the embedded cell needs one")
    # a domain that the user has chosen stays: RViz is listening there
    lease = None if "ROS_DOMAIN_ID" in os.environ else DomainLease()
    environment = ros_environment(lease.domain if lease is not None else int(os.environ["ROS_DOMAIN_ID"]))
    os.environ.update(environment)
    processes = NodeProcesses(environment, folder.path / "log")
    try:
        for name in NODES:
            processes.start(name, _parameters(name, folder.path, options, config.cell, rtf))
        # rclpy only now: its import must see the environment, and the children start meanwhile
        from cell_nodes.supervision import Supervision

        return Supervision(folder, processes, emit, resume=options.resume, up_only=options.up).run()
    finally:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        processes.close()
        if lease is not None:
            lease.close()
        signal.signal(signal.SIGINT, previous)


def _parameters(name: str, job_dir: Path, options: argparse.Namespace, cell: str, rtf: float) -> dict[str, object]:
    parameters: dict[str, object] = {"cell": cell, "job_root": str(job_dir)}
    if name == "job":
        parameters |= {"approve": options.approve}
    if name == "motion":
        parameters |= {"backend": options.backend}
    if name == "simulator":
        parameters |= {"job_dir": str(job_dir), "rtf": rtf, "dead_man_s": 1.5, "lockstep": options.lockstep}
        parameters |= {"joint_state_rate_hz": 500.0}
    if name == "execution":
        # a simulator that shares two busy cores with ten nodes is late more often than a robot controller
        parameters |= {"joint_state_age_s": 3.0, "tool_state_age_s": 3.0, "heartbeat_age_s": 5.0}
        parameters |= {"required_nodes": [n for n in NODES if n != "execution"], "lockstep": options.lockstep}
    return parameters


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a native thread of the middleware must not keep a finished run alive
