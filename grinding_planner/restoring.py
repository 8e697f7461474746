"""The depth of a plan, restored along the path that the arm really runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse

from cell_core.config import GrindToolConfig
from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import SpeedLimits
from cell_core.optimise.restored import Wanted, restored_strokes
from cell_core.restoring import Attainable, content_key
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array
from grinding_planner.contact import removal_rates
from grinding_planner.face import pairs_under, press, reach_m
from grinding_planner.ground import ground_samples

KNOT_RADII = 0.5
"""Distance of the knots that speeds are fitted at, in radii of the tool."""
FORCE_MOST = 1.25
"""Most force over the highest one planned, as far as the tool goes: pressure and heat have their bounds."""
DEPTHS_MAX = 1000


def restores(planned: ToolPath) -> bool:
    """Tell whether a plan's depth is linear in dwell: beads and edges change shape under the tool, areas hardly do."""
    return planned.process == "grind" and all(stroke.kind == "area" for stroke in planned.strokes)


class GroundRestorer:
    """Finds speeds and forces that leave the depth a tool path was planned for (see `cell_core.restoring.Restorer`).

    The tool is pressed anew on the ground at each force; between forces depth is taken to be proportional to force.
    Wear is left out on both sides: it is the same work whatever the speed.
    """

    def __init__(self, surface: Surface, planned: ToolPath, tool: GrindToolConfig) -> None:
        """Predict the depth as planned.

        Args:
            surface: what the tool path was planned on, in its frame.
            planned: strokes over ground (see `restores`) at the poses, speeds and forces planned.
            tool: as used.
        """
        self._tool = tool
        self._samples = ground_samples(surface, tool)
        highest = max(float(s.process_value.max()) for s in planned.strokes)
        self._forces = (tool.force_n.low, max(min(FORCE_MOST * highest, tool.force_n.high), highest))
        self._depths: dict[bytes, Array] = {}
        self._covered = float(planned.prediction.get("coverage_area_fraction", 1.0))
        self._wanted = Wanted(change_m=self._left(planned.strokes), weights=self._samples.areas_m2)

    def off(self, run: ToolPath) -> float:
        """Return how far the depth of the path as run is off that planned: RMS over the planned mean."""
        return self._wanted.off(self._left(run.strokes))

    def predicted(self, run: ToolPath) -> Mapping[str, float]:
        """Return what the path as run leaves where the path as planned serves the part."""
        return self._wanted.figures(self._left(run.strokes), self._covered)

    def restored(self, run: ToolPath, attainable: Sequence[Attainable]) -> ToolPath:
        """Return the path as run at speeds and forces that leave the depth planned."""
        rates = [self._rates(s, a.value_asked) for s, a in zip(run.strokes, attainable, strict=True)]
        operator = CoverageOperator(
            matrix=scipy.sparse.hstack(rates, format="csr", dtype=np.float32),
            stroke_of_column=np.repeat(np.arange(len(rates)), [len(s) for s in run.strokes]),
        )
        tool = self._tool
        limits = SpeedLimits(
            low_m_per_s=tool.speed_m_per_s.low,
            high_m_per_s=tool.speed_m_per_s.high,
            acceleration_m_per_s2=tool.acceleration_m_per_s2,
        )
        try:
            strokes = restored_strokes(
                operator, run.strokes, self._wanted, limits, attainable,
                value_range=self._forces, knot_m=KNOT_RADII * reach_m(tool),
            )  # fmt: skip
        except CoverageError:
            return run  # nothing of what was wanted is left to the strokes run
        return replace(run, strokes=strokes)

    def _rates(self, stroke: Stroke, force_n: Array) -> scipy.sparse.csr_matrix:
        step_m = float(np.median(stroke.step_lengths_m))
        pairs = pairs_under(self._samples, stroke.frames, self._tool, step_m=step_m)
        contact = press(pairs, force_n, self._tool)
        return removal_rates(pairs, contact, self._tool, float(np.mean(stroke.speed_m_per_s)))

    def _left(self, strokes: Sequence[Stroke]) -> Array:
        """Return the depth that strokes leave (S,), each computed once while paths are compared."""
        if len(self._depths) + len(strokes) > DEPTHS_MAX:
            self._depths = {}
        total = np.zeros(len(self._samples))
        for stroke in strokes:
            key = content_key(stroke)
            if key not in self._depths:
                self._depths[key] = self._rates(stroke, stroke.process_value) @ stroke.dwell_s
            total += self._depths[key]
        return total
