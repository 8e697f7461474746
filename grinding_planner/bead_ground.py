"""What a pad meets round a bead: the smooth parent, and on it the bead's height with the scan's noise averaged away.

A stiff disc in the model would ride on the peaks of a scan's noise, which are not there. So the ground is the parent,
fitted anew without the bead, and upon it heights from local fits to the bead's own vertices alone: a fit across its
foot would round off what is sharp there. The foot is where the fitted flank comes down to the parent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from grinding_planner.bead import Bead
from grinding_planner.bead_parent import Parent, fit_parent
from grinding_planner.samples import SurfaceSamples, sample_surface

ALONG_MAX_M = 0.008
ACROSS_M = 0.0022
"""Reach (standard deviation) of the fit along a bead and across it; along, an eighth of its length within these."""
WAVE_SHARE = 0.1
AGREE_SIGMAS = 3.0
STANDS_M, STANDS_SIGMAS = 50e-6, 3.0
"""A vertex belongs to the bead when it stands this high above the parent, and this much above the noise."""
STOOD_M = 200e-6
"""A vertex belongs to a known bead where that once stood this high: a map carried from scan to scan smears the foot."""
FOOT_M = 0.2e-3
"""A foot is known no better than this."""
PARENT_MARGIN_M = 0.003
"""So far around a bead nothing counts as parent."""
NEAREST = 120
FLANK_EDGES = 1.2
"""A flank is followed down to the parent so many edges of the scan past the last vertex that belongs to it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadGround:
    """The part around one bead as the planner believes it to be."""

    feet: SurfaceSamples
    """Even samples of the parent, under the bead too."""
    height_m: Array
    """(S,) height of the surface over them; 0 where there is parent only."""
    doubt_m: Array
    """(S,) how much of that the fit cannot follow; 0 where noise is all."""
    sigma_m: float
    """Standard error of these heights, measured beside the bead."""
    bead: NDArray[np.bool_]
    """(S,) belongs to the bead."""
    parent: Parent
    """Fitted without the bead."""

    @property
    def surface(self) -> SurfaceSamples:
        """The samples where the surface is."""
        return SurfaceSamples(
            points_m=self.feet.points_m + self.height_m[:, None] * self.feet.normals,
            normals=self.feet.normals,
            areas_m2=self.feet.areas_m2,
            spacing_m=self.feet.spacing_m,
        )


def ground_of(
    surface: Surface, bead: Bead, others_m: Array, reach_m: float, spacing_m: float, stood_m: Array | None = None
) -> BeadGround:
    """Return the ground within reach of a bead.

    Args:
        others_m: (M, 3) points of every bead found, this one's too: none of them is parent.
        reach_m: how far around it the ground is wanted.
        spacing_m: distance of the samples.
        stood_m: (V,) height that the bead once had at the surface's vertices: its foot is where that comes down to 0.
    """
    own = KDTree(bead.points_m)
    near = own.query(surface.centroids_m, distance_upper_bound=reach_m + PARENT_MARGIN_M)[0] < np.inf
    kept = np.unique(surface.triangles[near])
    local = surface.select_triangles(near)
    standing = KDTree(others_m).query(local.vertices_m)[0]
    is_parent = standing > bead.spacing_m + PARENT_MARGIN_M
    parent = fit_parent(local, is_parent)
    height, outward, _ = parent.at(local.vertices_m, local.vertex_normals)
    noise = float(np.sqrt(np.mean(height[is_parent] ** 2)))
    flat = Surface(vertices_m=local.vertices_m - height[:, None] * outward, triangles=local.triangles)
    feet = sample_surface(flat, spacing_m)
    off, outward, _ = parent.at(feet.points_m, feet.normals)
    feet = SurfaceSamples(
        points_m=feet.points_m - off[:, None] * outward, normals=outward, areas_m2=feet.areas_m2, spacing_m=spacing_m
    )
    shape = height if stood_m is None else stood_m[kept]
    threshold = max(STANDS_M, STANDS_SIGMAS * noise) if stood_m is None else min(STOOD_M, 0.3 * float(shape.max()))
    belongs = (own.query(local.vertices_m)[0] < 1.5 * bead.spacing_m) & (shape > threshold)
    edge_m = float(np.median(local.adjacency.data))
    along = float(np.clip(bead.length_m / 8.0, ACROSS_M, ALONG_MAX_M))
    fitted, doubt, inside = np.zeros(len(feet)), np.zeros(len(feet)), np.zeros(len(feet), bool)
    if belongs.sum() >= 8:
        at = flat.vertices_m[belongs]
        asked = np.flatnonzero(KDTree(at).query(feet.points_m)[0] < FLANK_EDGES * edge_m)
        here = feet.subset(asked)
        outline = _fitted(at, shape[belongs], here, bead, ACROSS_M, curved=True)
        within = outline.value_m > -FOOT_M * outline.slope
        asked, here = asked[within], here.subset(within)
        sharp = _fitted(at, height[belongs], here, bead, ACROSS_M, curved=True)
        calm = _fitted(at, height[belongs], here, bead, along, curved=False)
        # the long reach where it says the same as the short one: not over a bead's ends
        agree = np.abs(sharp.value_m - calm.value_m) < AGREE_SIGMAS * noise / 3.0
        fitted[asked], inside[asked] = np.maximum(np.where(agree, calm.value_m, sharp.value_m), -STANDS_M), True
        if stood_m is not None:
            # nothing grows: a flank run on past a foot that is a step by now ends where the bead once did
            fitted[asked] = np.minimum(fitted[asked], np.maximum(outline.value_m[within], 0.0))
        miss = np.where(agree, calm.scatter_m, sharp.scatter_m)
        doubt[asked] = np.sqrt(np.maximum(miss**2 - noise**2, 0.0)) + FOOT_M * sharp.slope
        # a scan's long waves pass for height; of what stands low that share is small enough to be left
        doubt[asked] += np.minimum(0.5 * noise, WAVE_SHARE * np.maximum(fitted[asked], 0.0))
    return BeadGround(feet=feet, height_m=fitted, doubt_m=doubt, sigma_m=noise / 3.0, bead=inside, parent=parent)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    value_m: Array
    slope: Array
    scatter_m: Array
    """Of the values about the fit."""


def _fitted(at_m: Array, value: Array, feet: SurfaceSamples, bead: Bead, along_m: float, *, curved: bool) -> _Fit:
    # weighted least squares over (1, s, t, tt), s along the bead and t across it, curved along s too where asked
    middle = bead.middle_m
    tangent = np.gradient(gaussian_filter1d(middle, 1.0, axis=0, mode="nearest"), axis=0)
    _, nearest = KDTree(middle).query(feet.points_m)
    along = tangent[nearest]
    along = unit(along - np.einsum("ij,ij->i", along, feet.normals)[:, None] * feet.normals)
    across = np.cross(feet.normals, along)
    k = min(NEAREST, len(at_m))
    _, index = KDTree(at_m).query(feet.points_m, k=k)
    index = index.reshape(len(feet), k)
    offset = at_m[index] - feet.points_m[:, None]
    s = np.einsum("nki,ni->nk", offset, along) / along_m
    t = np.einsum("nki,ni->nk", offset, across) / ACROSS_M
    weight = np.exp(-0.5 * (s**2 + t**2))
    basis = np.stack([np.ones_like(s), s, t, t * t, *((s * t, s * s) if curved else ())], axis=-1)
    weighted = basis * weight[..., None]
    # the ridge, over the bending alone, keeps a fit to few vertices from running away
    ridge = np.diag([0.0, 1e-3, 1e-3, 1e-2, *((1e-2, 1e-2) if curved else ())]) * weight.sum(axis=1)[:, None, None]
    normal = np.einsum("nkc,nkd->ncd", weighted, basis) + ridge + 1e-12 * np.eye(basis.shape[-1])
    moment = np.einsum("nkc,nk->nc", weighted, value[index])
    fit = np.linalg.solve(normal, moment[..., None])[..., 0]
    miss = value[index] - np.einsum("nkc,nc->nk", basis, fit)
    return _Fit(
        value_m=fit[:, 0],
        slope=np.hypot(fit[:, 1] / along_m, fit[:, 2] / ACROSS_M),
        scatter_m=np.sqrt(np.einsum("nk,nk->n", weight, miss**2) / np.maximum(weight.sum(axis=1), 1e-12)),
    )
