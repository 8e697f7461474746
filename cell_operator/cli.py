"""The `cell` command: parse, dispatch, and turn every error into one line and an exit code."""

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from cell_core.errors import CellError, ConfigurationError
from cell_operator.arguments import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    args = build_parser().parse_args(_join_negative_values(list(sys.argv[1:] if argv is None else argv)))
    console = Console(stderr=True, highlight=False)
    try:
        from cell_operator.commands import run_command  # the numerical libraries load only once usage is right

        return run_command(args)
    except CellError as error:
        console.print(f"[bold red]error:[/] {_escape(' '.join(str(error).split()))}", soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("[bold yellow]interrupted[/]")
        return 130
    except OSError as error:
        # a full disk or a folder that may not be written is the user's to mend, not a bug of ours
        console.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        return ConfigurationError.exit_code


def _join_negative_values(argv: list[str]) -> list[str]:
    # argparse takes "-0.1,0,..." for an option; "--pose=-0.1,0,..." is safe
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in ("--pose", "--part-pose") and word.startswith("-") and "," in word:
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    sys.exit(main())
