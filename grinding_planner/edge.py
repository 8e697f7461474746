"""One convex edge of a surface, in order from end to end."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.signal import savgol_filter

from cell_core.transforms import Array, unit

CURVATURE_SAMPLES = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class Edge:
    """One convex edge, its samples in order; the face `normal_left` lies to the left of the way, seen from outside."""

    position_m: Array
    """(N, 3) samples on the crest [m]; of a closed edge the last is the first again."""
    normal_left: Array
    """(N, 3) outward unit normals."""
    normal_right: Array
    rounding_m: Array
    """(N,) radius by which the edge is rounded already [m]; 0: sharp."""
    closed: bool
    kind: Literal["sharp", "border", "round"]

    def __len__(self) -> int:
        return len(self.position_m)

    @property
    def arc_m(self) -> Array:
        """(N,) way from the first sample [m]."""
        return np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(self.position_m, axis=0), axis=1))]

    @property
    def length_m(self) -> float:
        """Length of the edge [m]."""
        return float(self.arc_m[-1])

    @property
    def outward(self) -> Array:
        """(N, 3) unit bisector of the faces' normals."""
        return unit(self.normal_left + self.normal_right)

    @property
    def opening_rad(self) -> Array:
        """(N,) angle of the material between the faces."""
        cosine = np.einsum("ij,ij->i", self.normal_left, self.normal_right)
        return np.pi - np.arccos(np.clip(cosine, -1.0, 1.0))

    def at(self, arc_m: Array) -> "Edge":
        """Return the edge sampled at these ways along it (M,), at least 2 of them; the result is not closed."""
        own = self.arc_m

        def line(values: Array) -> Array:
            return np.stack([np.interp(arc_m, own, values[:, k]) for k in range(3)], axis=1)

        return replace(
            self,
            position_m=line(self.position_m),
            normal_left=unit(line(self.normal_left)),
            normal_right=unit(line(self.normal_right)),
            rounding_m=np.interp(arc_m, own, self.rounding_m),
            closed=False,
        )

    def reversed(self) -> "Edge":
        """Return the edge run the other way."""
        return replace(
            self,
            position_m=self.position_m[::-1],
            normal_left=self.normal_right[::-1],
            normal_right=self.normal_left[::-1],
            rounding_m=self.rounding_m[::-1],
        )

    def rolled(self, first: int) -> "Edge":
        """Return a closed edge as one that begins and ends at its sample `first`."""
        turned = np.r_[np.arange(first, len(self) - 1), np.arange(first + 1)]
        return replace(
            self,
            position_m=self.position_m[turned],
            normal_left=self.normal_left[turned],
            normal_right=self.normal_right[turned],
            rounding_m=self.rounding_m[turned],
        )

    @property
    def along(self) -> Array:
        """(N, 3) unit, along the way."""
        p = self.position_m
        if self.closed:
            step = np.vstack([p[1] - p[-2], p[2:] - p[:-2], p[1] - p[-2]])
        else:
            step = np.vstack([p[1] - p[0], p[2:] - p[:-2], p[-1] - p[-2]])
        return unit(step)

    @property
    def curvature_per_m(self) -> Array:
        """(N,) how fast the crest falls away from a tool on the bisector, before and behind it [1/m].

        A parabola through CURVATURE_SAMPLES even samples; below 0 where the crest comes towards the tool, as in a bore.
        """
        n = min(CURVATURE_SAMPLES, (len(self) - 1) // 2 * 2 + 1)
        if n < 3:
            return np.zeros(len(self))
        own = self.position_m[:-1] if self.closed else self.position_m
        step = self.length_m / (len(self) - 1)
        n = min(n, len(own) - 1 + len(own) % 2)
        mode = "wrap" if self.closed else "interp"
        bend: Array = np.asarray(savgol_filter(own, n, 2, deriv=2, delta=step, axis=0, mode=mode), float)
        bend = np.vstack([bend, bend[:1]]) if self.closed else bend
        return -np.einsum("ij,ij->i", bend, self.outward)

    def even(self, step_m: float) -> "Edge":
        """Return the edge in even steps of about that length, at least 2."""
        n = max(2, round(self.length_m / step_m))
        return replace(self.at(np.linspace(0.0, self.length_m, n + 1)), closed=self.closed)
