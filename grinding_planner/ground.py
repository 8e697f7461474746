"""What of a part a pad can serve: samples, seats all over it, and how well each sample is exposed to them."""

from dataclasses import dataclass

import numpy as np

from cell_core.config import PadTool
from cell_core.errors import CoverageError
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, tool_frames
from grinding_planner.contact import nominal_speed, removal_rates
from grinding_planner.results import Served
from grinding_planner.samples import SurfaceSamples, sample_surface
from grinding_planner.seating import PRESSED_FRACTION_MIN, Seating, any_perpendicular, pad_axes, pressed_by, seat

SAMPLES_PER_RADIUS = 8.0
SEATS_PER_RADIUS = 5.0
SAMPLES_MAX = 60_000
SEATS_MAX = 20_000
EXPOSURE_MIN = 0.05
"""Open ground has exposure 1, a straight edge about a quarter; below this a pad meets a point only by chance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground(Served):
    """A surface as a pad sees it."""

    caster: RayCaster
    seats: Seating
    seat_spacing_m: float
    exposure: Array
    """(S,) removal rate summed over valid seats by their area, over that of a point on open flat ground."""


def survey(surface: Surface, tool: PadTool, force_n: float, *, samples: SurfaceSamples | None = None) -> Ground:
    """Try the pad all over the surface, axis normal to it, and return what it can serve.

    Raises:
        CoverageError: no pose anywhere stands firmly with a free body; facts carry the reasons' shares.
    """
    finest = np.sqrt(surface.area_m2 / SAMPLES_MAX)
    samples = samples or sample_surface(surface, max(tool.radius_m / SAMPLES_PER_RADIUS, finest))
    seat_spacing = max(tool.radius_m / SEATS_PER_RADIUS, np.sqrt(surface.area_m2 / SEATS_MAX))
    spread = sample_surface(surface, seat_spacing)
    axes = pad_axes(samples, spread.points_m, spread.normals, tool.radius_m)
    caster = RayCaster(surface)
    seats = seat(samples, caster, tool_frames(spread.points_m, axes, any_perpendicular(axes)), tool, force_n)
    rates = removal_rates(seats.pairs, seats.contact, tool)
    open_ground = tool.preston_per_pa * force_n * nominal_speed(tool)
    exposure = rates @ np.where(seats.valid, spread.areas_m2, 0.0) / open_ground
    serviceable = (pressed_by(seats) >= PRESSED_FRACTION_MIN) & (exposure >= EXPOSURE_MIN)
    ground = Ground(
        surface=surface,
        caster=caster,
        samples=samples,
        seats=seats,
        seat_spacing_m=seat_spacing,
        exposure=exposure,
        serviceable=serviceable,
        refusals=seats.refusals,
        to_vertices=samples.weights_at(surface.vertices_m, surface.vertex_normals),
    )
    if not serviceable.any():
        told = ", ".join(f"{reason} {share:.0%}" for reason, share in ground.refusals.items() if share > 0.0)
        raise CoverageError(
            f"pad {tool.name} of radius {tool.radius_m:.4g} m finds no ground to stand on: of {len(axes)} poses {told}",
            refusals=ground.refusals,
        )
    return ground
