"""Droplets of every kind of gun against the footprint that the planner has of it."""

import numpy as np
import pytest

from cell_core.config import GunConfig, config_root, load_named
from cell_core.errors import InputRefusedError
from cell_core.operator.footprint import footprint_for
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_simulation import predict
from cell_simulation.patterns import pattern_from
from cell_simulation.tool_parameters import GunTruth

GUNS = sorted(p.stem for p in (config_root() / "guns").glob("*.yaml"))
LEVELLING_M = 0.0046
"""Levelling and turbulence of the simulator spread a stripe by this standard deviation."""


def gun(name: str) -> GunConfig:
    return load_named(GunConfig, "guns", name)


def even_points(n: int):
    """Return a Hammersley set: another sequence than the simulator's own."""
    bits = np.arange(n, dtype=np.uint32)
    reverse = np.zeros(n)
    for k in range(32):
        reverse += ((bits >> k) & 1) * 0.5 ** (k + 1)
    return np.column_stack([(np.arange(n) + 0.5) / n, reverse])


@pytest.mark.parametrize("name", GUNS)
def test_places_have_the_density_of_the_footprint(name):
    x, y = pattern_from(gun(name).as_block()).places(even_points(400_000))
    footprint = footprint_for(gun(name))
    edges = [np.linspace(-1.25, 1.25, 26) * h for h in (footprint.half_height_m, footprint.half_width_m)]
    found, *_ = np.histogram2d(x, y, bins=edges)
    fine = [np.linspace(-1.25, 1.25, 401) * h for h in (footprint.half_height_m, footprint.half_width_m)]
    middle = [0.5 * (f[1:] + f[:-1]) for f in fine]
    cell = (fine[0][1] - fine[0][0]) * (fine[1][1] - fine[1][0])
    X, Y = np.meshgrid(*middle, indexing="ij")
    wanted = (footprint.density(X, Y) * cell).reshape(25, 16, 25, 16).sum(axis=(1, 3))
    assert found.sum() / len(x) > 0.98
    assert np.abs(found / len(x) - wanted).max() < 0.01 * wanted.max()
    assert np.abs(found / len(x) - wanted).sum() < 0.01


def plate(half_x: float, half_y: float) -> Surface:
    x, y = np.linspace(-half_x, half_x, 3), np.linspace(-half_y, half_y, 81)
    X, Y = np.meshgrid(x, y, indexing="ij")
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(
        vertices_m=np.column_stack([X.ravel(), Y.ravel(), np.zeros(X.size)]),
        triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]],
    )


@pytest.mark.parametrize("standoff_share", [1.0, 0.8])
@pytest.mark.parametrize("name", GUNS)
def test_a_stripe_on_a_plate_is_the_footprints(name, standoff_share):
    own = gun(name)
    footprint = footprint_for(own)
    standoff, speed = standoff_share * own.reference_standoff_m, 0.1
    reach = max(e.half_x_m + abs(e.centre_x_m) for e in footprint.supports)
    x = np.linspace(-reach - 0.03, reach + 0.03, 61)
    stroke = Stroke(
        kind="area", position_m=np.column_stack([x, 0.0 * x, 0.0 * x + standoff]),
        travel=np.tile([1.0, 0.0, 0.0], (61, 1)), tool_axis=np.tile([0.0, 0.0, -1.0], (61, 1)),
        speed_m_per_s=np.full(61, speed),
        process_value=np.full(61, own.flow_m3_per_s), on=np.ones(61, bool),
    )  # fmt: skip
    surface = plate(0.03, 1.6 * footprint.half_width_m)
    path = ToolPath(process="spray", strokes=[stroke], tool=own.as_block(), surface={})
    film = np.mean([predict(surface, path, seed=seed) for seed in range(2)], axis=0)
    # tool y = z cross x points to -y of a plate seen from above
    middle = np.abs(surface.vertices_m[:, 0]) < 1e-9
    place = -surface.vertices_m[middle, 1]
    fine = np.linspace(-0.5, 0.5, 4001)
    kernel = np.exp(-0.5 * (np.arange(-80, 81) * (fine[1] - fine[0]) / LEVELLING_M) ** 2)
    stripe = footprint.stripe_across(fine / standoff_share) / standoff_share * footprint.volume_rate_m3_per_s / speed
    expected = np.interp(place, fine, np.convolve(stripe, kernel / kernel.sum(), "same"))
    error = film[middle] - expected
    assert expected.max() > 20e-6
    assert np.sqrt(np.mean(error**2)) < 0.012 * expected.max()
    assert film[middle].sum() == pytest.approx(expected.sum(), rel=0.01)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("hvlp_240", "kind", "plasma"), ("hvlp_240", "beta_1", None), ("round_air_120", "beta", 0.0),
        ("bell_300", "hollow_fill", 1.5), ("bell_300", "ring_width_m", float("nan")),
        ("lopsided_fan_220", "gaussians", []),
        ("lopsided_fan_220", "gaussians", [{"share": 1.0, "offset_x_m": 0.0, "offset_y_m": 0.0, "sigma_x_m": 0.01}]),
    ],
)  # fmt: skip
def test_a_tool_block_that_lacks_a_number_is_refused_by_name(name, key, value):
    with pytest.raises(InputRefusedError, match=key):
        GunTruth.from_mapping({**gun(name).as_block(), key: value})


def test_shares_that_do_not_add_up_are_refused():
    block = gun("lopsided_fan_220").as_block()
    with pytest.raises(InputRefusedError, match=r"shares of 0\.4 together"):
        GunTruth.from_mapping({**block, "gaussians": block["gaussians"][:1]})
