"""Where a residual comes from: what no speed can mend, and what each kind of bound costs."""

from dataclasses import dataclass, replace

import numpy as np

from cell_core.optimise.dwell_problem import Caps
from cell_core.optimise.dwell_solver import DwellSolver
from cell_core.transforms import Array

ROUNDS = 6
UNBOUNDED_M_PER_S2 = 1e12
SMOOTHNESS_LEAST = 1e-9


@dataclass(frozen=True, kw_only=True)
class ResidualCauses:
    """Parts of the weighted mean square error, as root mean squares [m]; their squares add up to the residual's."""

    layout_rms_m: float
    """Left with any dwell >= 0 at the knots: no speed mends it, other strokes may."""
    speed_bounds_rms_m: float
    """Added by the lowest and highest speed."""
    acceleration_rms_m: float
    """Added by the acceleration bound and by caps."""
    smoothness_rms_m: float
    """Added by preferring even speeds and little time, and by ending before the optimum."""

    @property
    def residual_rms_m(self) -> float:
        """All parts together [m]."""
        return float(np.sqrt(sum(v**2 for v in self._parts.values())))

    @property
    def _parts(self) -> dict[str, float]:
        return {
            "the strokes' layout": self.layout_rms_m,
            "speed bounds": self.speed_bounds_rms_m,
            "acceleration bound and caps": self.acceleration_rms_m,
            "smoothness": self.smoothness_rms_m,
        }

    @property
    def text(self) -> str:
        """One line for a report."""
        total = max(self.residual_rms_m, 1e-30) ** 2
        ranked = sorted(self._parts.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {value**2 / total:.0%}" for name, value in ranked)
        return f"residual {self.residual_rms_m * 1e6:.3g} um RMS, of its square: {shares}"


def residual_causes(solver: DwellSolver, slowness: Array) -> ResidualCauses:
    """Return the causes for slownesses at the samples (N,): bounds come back one after the other, each solved anew.

    Layout first, then speed bounds, acceleration and caps, smoothness: each gets what it adds to those before it.
    """
    given = solver.path.limits
    fit = solver.fit if solver.fit.over_weight == 1.0 else replace(solver.fit, over_weight=1.0)
    no_caps = Caps.of_none(solver.path)
    speeds = replace(given, acceleration_m_per_s2=UNBOUNDED_M_PER_S2)
    squares = [solver.square_m2(fit.linear @ solver.layout_z().astype(np.float32) - fit.target)]
    for limits, caps in ((speeds, no_caps), (given, solver.caps)):
        path = replace(solver.path, limits=limits)
        relaxed = replace(
            solver,
            fit=fit,
            path=path,
            caps=caps,
            smoothness=SMOOTHNESS_LEAST / solver.start**2,
            time_cost=fit.time_cost(0.0),
        )
        squares.append(solver.square_m2(fit.error(path.spread @ relaxed.solve(ROUNDS).z)))
    squares.append(solver.square_m2(fit.error(slowness)))
    # solved to a gap only, so that a part may come out below 0 by that
    parts = np.sqrt(np.diff(np.minimum(np.maximum.accumulate(squares), squares[-1]), prepend=0.0))
    return ResidualCauses(
        layout_rms_m=float(parts[0]),
        speed_bounds_rms_m=float(parts[1]),
        acceleration_rms_m=float(parts[2]),
        smoothness_rms_m=float(parts[3]),
    )
