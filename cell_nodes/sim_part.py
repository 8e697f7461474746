"""The simulated cell of a job folder, and its ground truth written back there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cell_core.config import load_recipe_tool
from cell_core.config.loader import find_config
from cell_core.errors import ConfigurationError
from cell_core.files import write_npz
from cell_core.jobs import JobFolder
from cell_core.surface_io import load_surface, write_ply
from cell_core.transforms import transform_from_xyz_rpy

TRUTH_MESH = "truth.ply"
TRUTH_LOG = "truth_log.npz"


def simulated_cell(
    job_dir: Path, cell_name: str = "", arm: Any = "auto", warn: Callable[[str], object] = print
) -> tuple[Any, Any]:
    """Return (Cell, SimulatedCell) of a job with a simulated part.

    Args:
        arm: as SimulatedCell takes it; auto: with masses where the URDF tells them, otherwise without, and a warning.

    Raises:
        ConfigurationError: the job names no simulated part, or, with arm "mujoco", the URDF lacks masses or torques.
        InputRefusedError: its mesh is not usable.
    """
    from cell_simulation import SimulatedCell
    from robot_description import load_cell, resting_pose

    config = JobFolder(path=job_dir).config
    if config.simulated_part is None:
        raise ConfigurationError(f"{job_dir / 'job.yaml'}: simulated_part is missing; the embedded simulator needs one")
    part = config.simulated_part
    recipe = JobFolder(path=job_dir).recipe()
    cell = load_cell(config.cell or cell_name).equipped(load_recipe_tool(recipe, find_config("recipes", config.recipe)))
    path = Path(part.path)
    surface, _ = load_surface(path if path.is_absolute() else job_dir / path, part.unit, frame="mesh")
    T_fixture_mesh = (
        resting_pose(surface) if part.pose is None else transform_from_xyz_rpy(part.pose.xyz_m, part.pose.rpy_rad)
    )
    T_base_part = cell.T_base_fixture @ T_fixture_mesh
    if arm == "auto":
        try:
            return cell, SimulatedCell(cell, surface, T_base_part, seed=config.seed, arm="mujoco")
        except ConfigurationError as error:
            warn(f"arm simulated without masses: {error}")
            arm = "servo"
    return cell, SimulatedCell(cell, surface, T_base_part, seed=config.seed, arm=arm)


def write_truth(folder: Path, sim: Any) -> None:
    """Write the true part with its change field, and what arm and tool really did, into `folder`."""
    write_ply(folder / TRUTH_MESH, sim.truth())
    write_npz(folder / TRUTH_LOG, **sim.executed_log())
