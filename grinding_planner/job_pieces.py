"""A job cut into pieces, in the order it was run: where the abrasive stood in each, and what each takes off."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.config import GrindToolConfig
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from grinding_planner.contact import removal_rates
from grinding_planner.face import pairs_under, press
from grinding_planner.process_signal import impulse_n_s
from grinding_planner.samples import SurfaceSamples
from grinding_planner.wear import preston_along

N_PIECES = 40
POSES_AT_ONCE = 4000


@dataclass(frozen=True, kw_only=True, eq=False)
class JobPieces:
    """Pieces of about equal impulse, cut where the abrasive changed or was changed."""

    path: ToolPath
    piece: NDArray[np.int64]
    """(N,) which piece each sample of all strokes belongs to."""
    energy_j: Array
    """(B,) friction work of the abrasive in use, in the mean of each piece [J]."""
    work_j: Array
    """(B,) friction work since the job began, at the middle of each piece [J]."""
    level: NDArray[np.int64]
    """(B,) 0 until a sudden change and with every new abrasive, then the number of the change."""
    disc: NDArray[np.int64]
    """(B,) which abrasive."""
    energy_end_j: float

    @property
    def n(self) -> int:
        """Number of pieces."""
        return len(self.energy_j)

    @staticmethod
    def of(path: ToolPath, tool: GrindToolConfig, change_shares: Sequence[float]) -> "JobPieces":
        """Cut a path where its impulse has come to these shares (and into N_PIECES anyway)."""
        strokes = path.strokes
        changed = [int(k) for k in path.tool.get("disc_changes", ())]
        wear = preston_along(strokes, tool, float(path.tool.get("disc_energy_j", 0.0)), changed)
        impulse = impulse_n_s(strokes)
        total = float(impulse.sum())
        starts = np.cumsum([0, *(len(stroke) for stroke in strokes)])
        renewed = np.r_[0.0, np.cumsum(impulse)][starts[changed]] / total
        edges = np.unique(np.r_[np.linspace(0.0, 1.0, N_PIECES + 1), renewed, list(change_shares)])
        share = (np.cumsum(impulse) - 0.5 * impulse) / total
        piece = np.clip(np.searchsorted(edges, share, side="right") - 1, 0, len(edges) - 2)
        used, piece = np.unique(piece, return_inverse=True)
        middle = 0.5 * (edges[used] + edges[used + 1])
        weight = np.maximum(np.bincount(piece, impulse), 1e-30)
        disc = np.searchsorted(renewed, middle, side="right")
        level = np.zeros(len(used), np.int64)
        for number, at in enumerate(sorted(change_shares), start=1):
            own = np.searchsorted(renewed, at, side="right")
            level[(middle > at) & (disc == own)] = number
        return JobPieces(
            path=path,
            piece=piece,
            energy_j=np.bincount(piece, impulse * wear.energy_j) / weight,
            work_j=middle * wear.work_j,
            # a stretch shorter than the path's samples has no piece
            level=np.unique(level, return_inverse=True)[1].reshape(-1),
            disc=disc,
            energy_end_j=wear.energy_end_j,
        )

    def stroke_at(self, share: float) -> int:
        """Return the stroke during which the impulse has come to this share."""
        impulse = np.array([float(impulse_n_s([stroke]).sum()) for stroke in self.path.strokes])
        return int(min(np.searchsorted(np.cumsum(impulse), share * impulse.sum()), len(impulse) - 1))

    def removal(self, samples: SurfaceSamples, tool: GrindToolConfig) -> Array:
        """Return the depth (S, B) [m] that each piece takes off with a new abrasive, by the planner's contact model.

        Contact is that on the surface as sampled: true while what is removed does not change the gap under the tool,
        so for even removal of any depth, and for uneven removal much less than the layer yields.
        """
        strokes = self.path.strokes
        frames = np.concatenate([stroke.frames for stroke in strokes])
        force, dwell, feed = (
            np.concatenate(parts)
            for parts in zip(*((s.process_value, s.dwell_s, s.speed_m_per_s) for s in strokes), strict=True)
        )
        removed = np.zeros((len(samples), self.n))
        for start in range(0, len(frames), POSES_AT_ONCE):
            own = slice(start, start + POSES_AT_ONCE)
            pairs = pairs_under(samples, frames[own], tool)
            contact = press(pairs, force[own], tool)
            rates = removal_rates(pairs, contact, tool, feed[own][pairs.pose])
            for k in np.unique(self.piece[own]):
                removed[:, k] += rates @ np.where(self.piece[own] == k, dwell[own], 0.0)
        return removed
