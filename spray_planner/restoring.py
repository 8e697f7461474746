"""The film of a plan, restored along the path that the arm really runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse

from cell_core.config import GunConfig
from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageModel, CoverageOperator
from cell_core.operator.footprint import footprint_for
from cell_core.operator.pair_rates import PairRates
from cell_core.optimise.dwell import SpeedLimits
from cell_core.optimise.restored import Wanted, restored_strokes
from cell_core.raycast import RayCaster
from cell_core.restoring import Attainable, content_key
from cell_core.sampling import sample_surface
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array

SAMPLES_MAX = 15_000
PITCH_DETAILS = 0.25
CLEARANCE_M = 0.003
KNOT_DEPTHS = 0.5
"""Distance of the knots that speeds are fitted at, in half heights of the fan."""
FILMS_MAX = 1000
FLOW_MOST = 1.25
"""Most flow over the one planned, as far as the gun goes."""


class FilmRestorer:
    """Finds speeds and flows that leave the film a tool path was planned for (see `cell_core.restoring.Restorer`)."""

    def __init__(self, surface: Surface, planned: ToolPath, gun: GunConfig) -> None:
        """Predict the film as planned, coat by coat.

        Args:
            surface: what the tool path was planned on, in its frame.
            planned: spray strokes at the poses and speeds planned.
            gun: as used; its flow is that of the tool path's tool block.
        """
        flow = float(planned.tool.get("flow_m3_per_s", gun.flow_m3_per_s))
        self._flows = None
        if gun.flow_min_m3_per_s is not None:
            self._flows = (gun.flow_min_m3_per_s, max(min(FLOW_MOST * flow, gun.flow_m3_per_s), flow))
        self._gun = gun.model_copy(update={"flow_m3_per_s": flow})
        footprint = footprint_for(self._gun)
        self._knot_m = KNOT_DEPTHS * footprint.half_height_m
        pitch = max(PITCH_DETAILS * footprint.detail_m, float(np.sqrt(surface.area_m2 / SAMPLES_MAX)))
        self._samples = samples = sample_surface(surface, pitch, rims=True)
        self._model = CoverageModel(
            pairs=PairRates(
                points_m=samples.points_m,
                normals=samples.normals,
                footprint=footprint,
                caster=RayCaster(surface) if footprint.occludes else None,
                clearance_m=CLEARANCE_M,
            )
        )
        self._known: CoverageOperator | None = None
        self._films: dict[bytes, Array] = {}
        self._covered = float(planned.prediction.get("coverage_area_fraction", 1.0))
        self._wanted = {coat: self._left(own) for coat, own in _coats(planned.strokes).items()}

    def off(self, run: ToolPath) -> float:
        """Return how far the film of the path as run is off that planned: RMS over the planned mean."""
        return self._whole.off(self._left(run.strokes))

    def predicted(self, run: ToolPath) -> Mapping[str, float]:
        """Return what the path as run leaves where the path as planned serves the part."""
        return self._whole.figures(self._left(run.strokes), self._covered)

    def restored(self, run: ToolPath, attainable: Sequence[Attainable]) -> ToolPath:
        """Return the path as run at speeds and flows that leave the film planned; later coats mend earlier ones."""
        strokes = list(run.strokes)
        wanted = np.zeros(len(self._samples))
        for coat, own in self._wanted.items():
            wanted = wanted + own
            index = [k for k, s in enumerate(strokes) if s.coat == coat]
            if not index:
                continue
            now = self._operator([strokes[k] for k in index])
            try:
                fitted = restored_strokes(
                    self._at_most(now, [attainable[k] for k in index]),
                    [strokes[k] for k in index],
                    self._goal(np.maximum(wanted, 0.0)),
                    self._limits,
                    [attainable[k] for k in index],
                    value_range=self._flows,
                    knot_m=self._knot_m,
                )
            except CoverageError:
                # nothing of this coat is left to the strokes run: they stay as they are
                fitted = [strokes[k] for k in index]
            for k, stroke in zip(index, fitted, strict=True):
                strokes[k] = stroke
            wanted = wanted - self._film(now, fitted)
        return replace(run, strokes=strokes)

    @property
    def _whole(self) -> Wanted:
        return self._goal(np.sum(list(self._wanted.values()), axis=0))

    @property
    def _limits(self) -> SpeedLimits:
        gun = self._gun
        return SpeedLimits(
            low_m_per_s=gun.speed_m_per_s.low,
            high_m_per_s=gun.speed_m_per_s.high,
            acceleration_m_per_s2=gun.acceleration_m_per_s2,
        )

    def _goal(self, film_m: Array) -> Wanted:
        return Wanted(change_m=np.asarray(film_m, float), weights=self._samples.areas_m2)

    def _operator(self, strokes: Sequence[Stroke]) -> CoverageOperator:
        self._known = self._model.operator(strokes, known=self._known)
        return self._known

    def _at_most(self, operator: CoverageOperator, attainable: Sequence[Attainable]) -> CoverageOperator:
        """Return the operator with the rates of the flow each sample was planned for."""
        share = np.concatenate([a.value_asked for a in attainable]) / self._gun.flow_m3_per_s
        if np.all(share == 1.0):
            return operator
        return replace(operator, matrix=operator.matrix @ scipy.sparse.diags(share))

    def _left(self, strokes: Sequence[Stroke]) -> Array:
        """Return the film of strokes (P,), each computed once while paths are compared."""
        keys = [content_key(stroke) for stroke in strokes]
        missing = {key: stroke for key, stroke in zip(keys, strokes, strict=True) if key not in self._films}
        if len(self._films) + len(missing) > FILMS_MAX:
            self._films, missing = {}, dict(zip(keys, strokes, strict=True))
        if missing:
            operator = self._operator(list(missing.values()))
            for k, (key, stroke) in enumerate(missing.items()):
                self._films[key] = self._film(operator.columns_of(np.array([k])), [stroke])
        return np.sum([self._films[key] for key in keys], axis=0)

    def _film(self, operator: CoverageOperator, strokes: Sequence[Stroke]) -> Array:
        flow = self._gun.flow_m3_per_s
        open_share = np.concatenate([s.process_value for s in strokes]) / flow
        return np.asarray(operator.predict(open_share * np.concatenate([s.dwell_s for s in strokes])), float)


def _coats(strokes: Sequence[Stroke]) -> dict[int, list[Stroke]]:
    return {coat: [s for s in strokes if s.coat == coat] for coat in sorted({s.coat for s in strokes})}
