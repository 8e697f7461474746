"""What a grinding strategy is given."""

from collections.abc import Sequence
from dataclasses import dataclass

from cell_core.config import GrindRecipe
from cell_core.plan import Progress, no_progress
from cell_core.surface import Surface
from cell_core.transforms import Array
from grinding_planner.edge import Edge


@dataclass(frozen=True, kw_only=True, eq=False)
class GrindTask:
    """A surface and what is to be taken off it."""

    surface: Surface
    recipe: GrindRecipe
    wanted_m: Array | None = None
    """(V,) depth wanted at each vertex [m], for the strategies that have a map; None: as the strategy says."""
    cad: Surface | None = None
    """Nominal shape in the surface's frame."""
    disc_energy_j: float = 0.0
    """Friction work the abrasive has done before this job."""
    edges: Sequence[Edge] | None = None
    """What strategy edge is to ride, evenly sampled; None: all edges it finds."""
    on_table: bool = False
    """The part lies on a table, z up: edges below which only the table has room are left."""
    progress: Progress = no_progress
