"""Write a grinding tool as identified, as the YAML file that config/tools holds."""

from pathlib import Path

import yaml

from cell_core.files import write_text
from grinding_planner.identification import Identification


def write_tool(path: Path, found: Identification, source: str) -> None:
    """Write the tool atomically; `load_config(GrindToolConfig, path)` gives it back equal.

    Args:
        source: what it was identified from, for the head.
    """
    write_text(path, tool_text(found, source))


def tool_text(found: Identification, source: str) -> str:
    """Return the file's text: what is known of the numbers first."""
    now, between = found.preston_now_per_pa, found.preston_now_interval
    head = [
        f"# Identified from {source}: {', '.join(found.identified)}.",
        f"# The abrasive in use has done {found.disc_energy_j:.4g} J of friction work: its Preston coefficient is now "
        f"{now:.4g} /Pa (95 %: {between.low:.4g} .. {between.high:.4g}).",
        f"# Plan its next job with this file and --disc-energy {found.disc_energy_j:.0f}.",
    ]
    head += [f"# Kept as it was: {name}; {why}." for name, why in found.not_identified.items()]
    if found.changes:
        head.append(
            "# The coefficient changed at once during that job. preston_per_pa is that of the abrasive in use; "
            f"a new one started with {found.new_preston_per_pa:.4g} /Pa."
        )
    data = found.tool.model_dump(mode="json", exclude_none=True)
    return "\n".join(head) + "\n" + yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True)
