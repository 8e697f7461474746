"""Job folders: one sub-folder per step, each finished by a manifest written last; nothing half-written counts.

A job runs in cycles of plan, check, motion, execution, rescan and inspection on one scan. The first cycle's steps lie
in the job folder itself, those of later ones in cycle_2/ and so on.
"""

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cell_core.config import JobConfig, Recipe, load_config, load_one_layer
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.files import read_json, sha256, write_json, write_text
from cell_core.schemas import validate

MANIFEST = "manifest.json"
STATE = "state.json"
STEPS = ("scan", "plan", "check", "motion", "execution", "rescan", "inspection")
SIMULATED_STATE = ("sim_state.npz", "sim_state.json")
"""What the embedded simulator keeps of its part in the first cycle's execution folder, for all cycles: never settled,
so in no manifest."""
_CYCLE = re.compile(r"cycle_([2-9]|[1-9][0-9]+)")


def steps_of(process: str) -> tuple[str, ...]:
    """Return the steps that a cycle of a process has, in order: a film cannot be scanned."""
    return tuple(step for step in STEPS if process == "grind" or step != "rescan")


@dataclass(frozen=True, kw_only=True)
class JobFolder:
    """One job on disk: job.yaml, state.json, scan/, plan/, motion/, execution/, inspection/, report.html."""

    path: Path
    cycle: int = 1
    """Which cycle's steps are meant, counted from 1."""

    @staticmethod
    def create(path: Path, config: JobConfig) -> "JobFolder":
        """Make a new folder with its job.yaml.

        Raises:
            ConfigurationError: the folder exists and is not empty.
        """
        path = Path(path)
        if path.exists() and any(path.iterdir()):
            raise ConfigurationError(f"{path}: job folder exists and is not empty")
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "job.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        return JobFolder(path=path)

    @property
    def config(self) -> JobConfig:
        """The job's configuration, validated anew."""
        return load_config(JobConfig, self.path / "job.yaml")

    def recipe(self, name: str = "") -> Recipe:
        """Return the recipe the job works to, or another by name: of one with layers, the layer job.yaml names.

        Raises:
            ConfigurationError: it has layers and job.yaml names none of them.
        """
        config = self.config
        return load_one_layer(name or config.recipe, config.layer, self.path / "job.yaml")

    @staticmethod
    def of_step(path: Path, folder: Path) -> "JobFolder":
        """Return the job at `path`, in the cycle that a step's folder belongs to."""
        found = _CYCLE.fullmatch(Path(folder).parent.name) if Path(folder).parent != Path(path) else None
        return JobFolder(path=Path(path), cycle=int(found[1]) if found else 1)

    def in_cycle(self, cycle: int) -> "JobFolder":
        """Return the same job in another cycle."""
        return JobFolder(path=self.path, cycle=cycle)

    def at(self, label: str) -> tuple["JobFolder", str]:
        """Return the cycle and the step that a label such as "cycle_2/plan" names."""
        folder, _, step = label.rpartition("/")
        found = _CYCLE.fullmatch(folder)
        return self.in_cycle(int(found[1]) if found else 1), step

    @property
    def cycles(self) -> list["JobFolder"]:
        """The cycles begun, the first always among them."""
        found = (_CYCLE.fullmatch(p.name) for p in self.path.glob("cycle_*") if p.is_dir())
        return [self.in_cycle(n) for n in sorted({1, *(int(m[1]) for m in found if m)})]

    def label(self, name: str) -> str:
        """Name of a step among all cycles: the bare step in the first."""
        return name if self.cycle == 1 or name == "scan" else f"cycle_{self.cycle}/{name}"

    def step(self, name: str) -> Path:
        """Folder of a step."""
        if name not in STEPS:
            raise ValueError(f"no step {name!r}; known: {STEPS}")
        return self.path / self.label(name)

    @property
    def looked_at(self) -> Path:
        """Folder of the scan that this cycle is planned on: the first, or the rescan of the cycle before."""
        first = self._before is None or "rescan" not in steps_of(self.config.process)
        return self.path / "scan" if first or self._before is None else self._before.step("rescan")

    @property
    def rework(self) -> Path | None:
        """Folder with what the cycle before left to this one; None in the first."""
        return None if self._before is None else self._before.step("inspection") / "rework"

    @property
    def _before(self) -> "JobFolder | None":
        return None if self.cycle == 1 else self.in_cycle(self.cycle - 1)

    def is_finished(self, name: str) -> bool:
        """Whether the step's manifest stands and every output it names is there unchanged."""
        manifest = self.step(name) / MANIFEST
        if not manifest.is_file():
            return False
        try:
            document = read_json(manifest)
            validate(document, "manifest", str(manifest))
        except InputRefusedError:
            return False
        return all(
            _matches(self.path / file, digest) for file, digest in {**document["inputs"], **document["outputs"]}.items()
        )

    def finish(self, name: str, inputs: list[Path], seconds: float, figures: Mapping[str, Any]) -> None:
        """Write the step's manifest last of all: inputs and outputs with sha256, version, seed, time, figures."""
        folder = self.step(name)
        outputs = sorted(
            p
            for p in folder.rglob("*")
            if p.is_file() and p.name not in (MANIFEST, *SIMULATED_STATE) and not p.name.startswith(".")
        )
        document = {
            "format": "grind_spray_cell/manifest",
            "version": 1,
            "step": name,
            "inputs": {str(p.relative_to(self.path)): sha256(p) for p in inputs},
            "outputs": {str(p.relative_to(self.path)): sha256(p) for p in outputs},
            "versions": {"grind_spray_cell": project_version(), "numpy": np.__version__},
            "seed": self.config.seed,
            "finished_unix_s": time.time(),
            "duration_s": seconds,
            "figures": dict(figures),
        }
        validate(document, "manifest", name)
        write_json(folder / MANIFEST, document)

    def clear(self, name: str) -> None:
        """Remove what a step, the steps after it and later cycles left, the execution journal's folder included."""
        for step in STEPS[STEPS.index(name) :]:
            shutil.rmtree(self.step(step), ignore_errors=True)
        for later in self.cycles:
            if later.cycle > self.cycle:
                shutil.rmtree(later.path / f"cycle_{later.cycle}", ignore_errors=True)

    def write_state(self, status: str, step: str, message: str, **facts: Any) -> None:
        """Record the job's status: running, waiting_for_approval, failed, finished, cancelled or rejected."""
        write_json(
            self.path / STATE,
            {"status": status, "step": step, "message": message, "unix_s": time.time(), **facts},
        )

    def read_state(self) -> dict[str, Any]:
        """Return the last recorded state, or {} before the first."""
        path = self.path / STATE
        return read_json(path) if path.is_file() else {}

    def figures(self, name: str) -> dict[str, Any]:
        """Figures of a finished step."""
        return read_json(self.step(name) / MANIFEST)["figures"]


def _matches(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


def project_version() -> str:
    """Version of the installed project, or "source" when it runs from a tree."""
    try:
        return version("grind_spray_cell")
    except PackageNotFoundError:
        return "source"
