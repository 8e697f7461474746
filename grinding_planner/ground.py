"""What of a part a pad can serve: samples, seats all over it, and how well each sample is exposed to them."""

from dataclasses import dataclass

import numpy as np

from cell_core.config import GrindToolConfig
from cell_core.errors import CoverageError
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, tool_frames
from grinding_planner.contact import nominal_speed, removal_rates
from grinding_planner.face import reach_m
from grinding_planner.results import Served
from grinding_planner.samples import SurfaceSamples, finer_at_rims, sample_surface
from grinding_planner.seating import PRESSED_FRACTION_MIN, Seating, any_perpendicular, pad_axes, pressed_by, seat

SAMPLES_PER_RADIUS = 12.0
SEATS_PER_RADIUS = 5.0
AXIS_RADII = 0.35
"""The pad lies flat on the ground within about so many radii of its centre."""
SAMPLES_MAX = 60_000
SHEET_MIN = 0.2
"""Length of the sum of the area vectors over the area, above which a surface has one side only."""
SEATS_MAX = 20_000
EXPOSURE_MIN = 0.05
"""Open ground has exposure 1, a straight edge about a quarter; below this a pad meets a point only by chance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground(Served):
    """A surface as a pad sees it."""

    caster: RayCaster
    seats: Seating
    seat_spacing_m: float
    is_sheet: bool
    """The surface is one side of a part, and none of it an underside."""
    exposure: Array
    """(S,) removal rate summed over valid seats by their area, over that of a point on open flat ground."""

    @property
    def contact_share(self) -> float:
        """Median over the valid seats of the share of the ground under the pad that it touches."""
        seats = self.seats
        share = seats.contact.contact_area_m2 / np.maximum(seats.ground_area_m2, 1e-12)
        return min(float(np.median(share[seats.valid])), 1.0)


def ground_samples(surface: Surface, tool: GrindToolConfig) -> SurfaceSamples:
    """Return the samples a pad is tried on."""
    finest = np.sqrt(surface.area_m2 / SAMPLES_MAX)
    return finer_at_rims(surface, sample_surface(surface, max(reach_m(tool) / SAMPLES_PER_RADIUS, finest)))


def survey(surface: Surface, tool: GrindToolConfig, force_n: float, *, samples: SurfaceSamples | None = None) -> Ground:
    """Try the pad all over the surface, axis normal to it, and return what it can serve.

    Raises:
        CoverageError: no pose anywhere stands firmly with a free body; facts carry the reasons' shares.
    """
    samples = samples or ground_samples(surface, tool)
    seat_spacing = max(reach_m(tool) / SEATS_PER_RADIUS, np.sqrt(surface.area_m2 / SEATS_MAX))
    spread = sample_surface(surface, seat_spacing)
    axes = pad_axes(samples, spread.points_m, spread.normals, reach_m(tool), middle_m=AXIS_RADII * reach_m(tool))
    caster = RayCaster(surface)
    # the area vectors of a closed surface add up to nothing, whichever way it lies
    is_sheet = bool(np.linalg.norm(surface.triangle_area_vectors_m2.sum(axis=0)) > SHEET_MIN * surface.area_m2)
    frames = tool_frames(spread.points_m, axes, any_perpendicular(axes))
    seats = seat(samples, caster, frames, tool, force_n, any_direction=is_sheet)
    rates = removal_rates(seats.pairs, seats.contact, tool)
    open_ground = tool.preston_per_pa * force_n * nominal_speed(tool)
    exposure = rates @ np.where(seats.valid, spread.areas_m2, 0.0) / open_ground
    serviceable = (pressed_by(seats) >= PRESSED_FRACTION_MIN) & (exposure >= EXPOSURE_MIN)
    if samples.forbidden is not None:
        serviceable &= ~samples.forbidden
    ground = Ground(
        surface=surface,
        caster=caster,
        samples=samples,
        seats=seats,
        seat_spacing_m=seat_spacing,
        is_sheet=is_sheet,
        exposure=exposure,
        serviceable=serviceable,
        refusals=seats.refusals,
        to_vertices=samples.weights_at(surface.vertices_m, surface.vertex_normals),
    )
    if not serviceable.any():
        told = ", ".join(f"{reason} {share:.0%}" for reason, share in ground.refusals.items() if share > 0.0)
        raise CoverageError(
            f"pad {tool.name} of radius {reach_m(tool):.4g} m finds no ground to stand on: of {len(axes)} poses {told}",
            refusals=ground.refusals,
        )
    return ground
