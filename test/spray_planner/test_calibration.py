"""Guns found again from stripes they sprayed, with honest intervals; what stripes cannot tell is refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cell_core.config import GunConfig, load_config, load_named
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.operator.footprint import footprint_for
from spray_planner.calibration import calibrate_gun
from spray_planner.gun_file import write_gun
from spray_planner.stripes import Stripe

TRUE = {
    "hvlp_240": {"a_m": 0.11, "b_m": 0.042, "beta_1": 2.6, "beta_2": 1.7, "transfer_efficiency": 0.6},
    "round_air_120": {"radius_m": 0.07, "beta": 3.1, "transfer_efficiency": 0.55},
    "bell_300": {"ring_radius_m": 0.085, "ring_width_m": 0.03, "hollow_fill": 0.3, "transfer_efficiency": 0.8},
    "lopsided_fan_220": {"gaussians.0.share": 0.45, "gaussians.1.sigma_y_m": 0.024, "transfer_efficiency": 0.7},
}
KEEP = {"lopsided_fan_220": ["gaussians.*.offset_x_m", "gaussians.*.sigma_x_m"]}
KINDS = pytest.mark.parametrize("name", TRUE)
NOISE_M = 2e-6


def start_of(name: str) -> GunConfig:
    return load_named(GunConfig, "guns", name)


def stripe(gun, orientation="across", *, noise_m=NOISE_M, seed=0, standoff_m=None, centre_m=0.003) -> Stripe:
    """Return the stripe that the gun's footprint lays, with noise."""
    footprint = footprint_for(gun)
    standoff = standoff_m or gun.reference_standoff_m
    spread, speed, pitch = standoff / gun.reference_standoff_m, 0.15, 1.5e-3
    profile, half = (
        (footprint.stripe_across, footprint.half_width_m)
        if orientation == "across"
        else (footprint.stripe_along, footprint.half_height_m)
    )
    reach = 1.6 * half * spread + 0.02
    x = np.arange(-reach, reach, pitch)
    film = profile((x - centre_m) / spread) / spread * footprint.volume_rate_m3_per_s / speed
    rng = np.random.default_rng([seed, orientation == "along"])
    film = film + noise_m * rng.standard_normal(len(x))
    return Stripe(
        name=f"{orientation}.csv", sha256="0" * 64, position_m=x, thickness_m=film, speed_m_per_s=speed,
        standoff_m=standoff, flow_m3_per_s=gun.flow_m3_per_s, orientation=orientation,
    )  # fmt: skip


def stripes_of(gun: GunConfig, **changes) -> list[Stripe]:
    both = ["across"] if gun.round else ["across", "along"]
    return [stripe(gun, orientation, **changes) for orientation in both]


@KINDS
@pytest.mark.parametrize("standoff_m", [None, 0.16, 0.27])
def test_noise_free_stripes_give_the_gun_back(name, standoff_m):
    true = start_of(name).with_numbers(TRUE[name])
    found = calibrate_gun(
        start_of(name), stripes_of(true, noise_m=0.0, standoff_m=standoff_m), keep=KEEP.get(name, [])
    )
    identified = found.gun.confidence
    assert len(identified) >= 3
    for number in identified:
        assert found.gun.numbers[number] == pytest.approx(true.numbers[number], rel=2e-3, abs=1e-4), number
    assert found.rms_residual_m < 2e-8
    assert [fit.centre_m for fit in found.fits] == pytest.approx([0.003] * len(found.fits), abs=2e-5)


@pytest.mark.parametrize("name", [n for n in TRUE if n not in KEEP])
def test_a_start_far_off_leads_to_the_same_gun(name):
    true = start_of(name).with_numbers(TRUE[name])
    stripes, far = stripes_of(true), start_of(name)
    longer = {n: 1.6 * value for n, value in far.numbers.items() if n.endswith("_m")}
    far = far.with_numbers({**longer, "transfer_efficiency": 0.3})
    near, other = (calibrate_gun(s, stripes).gun for s in (start_of(name), far))
    assert other.numbers == pytest.approx(near.numbers, rel=2e-3)


@KINDS
def test_95_percent_intervals_hold_the_truth_95_times_in_100(name):
    """Seeded Monte Carlo: 40 draws, at least 88 % of all intervals, none below 80 %, and few far wider than needed."""
    true, start, draws = start_of(name).with_numbers(TRUE[name]), start_of(name), 40
    held: Counter[str] = Counter()
    values: dict[str, list[float]] = {}
    widths: dict[str, list[float]] = {}
    for seed in range(draws):
        found = calibrate_gun(start, stripes_of(true, seed=seed), keep=KEEP.get(name, []))
        for number, interval in found.gun.confidence.items():
            held[number] += interval.low <= true.numbers[number] <= interval.high
            values.setdefault(number, []).append(found.gun.numbers[number])
            widths.setdefault(number, []).append(interval.high - interval.low)
    assert min(held.values()) >= 0.8 * draws
    assert sum(held.values()) >= 0.88 * draws * len(held)
    for number, found_values in values.items():
        assert np.mean(widths[number]) == pytest.approx(3.95 * np.std(found_values), rel=0.4), number


def test_a_stripe_across_alone_does_not_tell_height_and_says_what_would():
    gun = start_of("hvlp_240")
    with pytest.raises(InputRefusedError, match=r"no stripe tells b_m, beta_2: .*: along.*--keep b_m,beta_2"):
        calibrate_gun(gun, [stripe(gun)])
    found = calibrate_gun(gun, [stripe(gun)], keep=["b_m", "beta_2"])
    assert set(found.gun.confidence) == {"a_m", "beta_1", "transfer_efficiency"}
    assert found.gun.calibration is not None and found.gun.calibration.not_identified == ("b_m", "beta_2")
    assert (found.gun.numbers["b_m"], found.gun.numbers["beta_2"]) == (0.035, 2.0)


def test_a_stripe_along_alone_does_not_tell_width():
    gun = start_of("hvlp_240")
    with pytest.raises(InputRefusedError, match=r"no stripe tells a_m, beta_1: .*orientation: across"):
        calibrate_gun(gun, [stripe(gun, "along")])


def test_terms_that_hide_in_each_other_are_named():
    gun = start_of("lopsided_fan_220")
    with pytest.raises(InputRefusedError, match=r"gaussians\.\d\.(sigma|offset)_x_m.*--keep"):
        calibrate_gun(gun, stripes_of(gun))


def test_more_noise_than_stripe_leaves_numbers_open():
    gun = start_of("round_air_120")
    x = np.linspace(-0.11, 0.11, 40)
    exact = footprint_for(gun).stripe_across(x)
    film = 30e-6 * exact / exact.max() + 5e-6 * np.random.default_rng(3).standard_normal(40)
    noisy = replace(stripe(gun), position_m=x, thickness_m=film)
    with pytest.raises(InputRefusedError, match=r"do not identify radius_m = .*beta = "):
        calibrate_gun(gun, [noisy])


def test_stripes_with_more_film_than_was_sprayed_are_refused():
    gun = start_of("hvlp_240")
    stripes = [replace(s, thickness_m=1.7 * s.thickness_m) for s in stripes_of(gun)]
    with pytest.raises(InputRefusedError, match=r"hold 1\.1 times the solids .* solids_volume_fraction 0\.45"):
        calibrate_gun(gun, stripes)


def test_the_wrong_kind_is_warned_of_and_widens_the_intervals():
    bell = start_of("bell_300").with_numbers({"hollow_fill": 0.1})
    jet = start_of("round_air_120")
    found = calibrate_gun(jet, [replace(stripe(bell), noise_m=NOISE_M)])
    assert any("neighbouring residuals are alike" in w for w in found.warnings)
    assert any("chi-square" in w and "axisymmetric_beta does not fit" in w for w in found.warnings)
    assert any("of scatter from point to point" in w for w in calibrate_gun(jet, [stripe(bell)]).warnings)
    right = calibrate_gun(start_of("bell_300"), [replace(stripe(bell), noise_m=NOISE_M)])
    assert not right.warnings
    assert found.gun.calibration is not None and found.gun.calibration.warnings == tuple(found.warnings)


def test_orientation_is_told_by_width_where_that_is_plain():
    gun = start_of("hvlp_240")
    bare = [replace(s, orientation=None) for s in stripes_of(gun)]
    found = calibrate_gun(gun, bare)
    assert [fit.stripe.orientation for fit in found.fits] == ["across", "along"]
    assert sum("orientation not given" in w for w in found.warnings) == 2
    squat = gun.with_numbers({"b_m": 0.11})
    with pytest.raises(InputRefusedError, match=r"across\.csv: orientation is missing"):
        calibrate_gun(squat, bare)


def test_centred_stripes_tell_where_a_lopsided_pattern_sits():
    start = start_of("lopsided_fan_220")
    offsets = [f"gaussians.{k}.offset_y_m" for k in range(3)]
    true = start.with_numbers({name: start.numbers[name] + 0.01 for name in offsets})
    own = stripe(true, centre_m=0.0, noise_m=0.5e-6)
    keep = ["gaussians.*_x_m"]
    found = calibrate_gun(start, [replace(own, centred=True)], keep=keep).gun.numbers
    middle = sum(found[f"gaussians.{k}.share"] * found[f"gaussians.{k}.offset_y_m"] for k in range(2))
    middle += (1.0 - found["gaussians.0.share"] - found["gaussians.1.share"]) * found["gaussians.2.offset_y_m"]
    assert middle == pytest.approx(sum(g.share * g.offset_y_m for g in true.gaussians), abs=5e-4)  # pyright: ignore
    adrift = calibrate_gun(start, [own], keep=keep)
    assert "gaussians.0.offset_y_m" not in adrift.gun.confidence
    assert any("only distances between terms show" in w for w in adrift.warnings)


@pytest.mark.parametrize(("keep", "fact"), [(["c_m"], "'c_m' is no number of"), (["*"], "nothing is left")])
def test_keeping_what_there_is_not_or_everything(keep, fact):
    gun = start_of("hvlp_240")
    with pytest.raises(ConfigurationError, match=fact):
        calibrate_gun(gun, stripes_of(gun), keep=keep)


@KINDS
def test_the_written_gun_is_read_back_equal(tmp_path, name):
    start = start_of(name)
    found = calibrate_gun(start, stripes_of(start), name="mine", keep=KEEP.get(name, []))
    write_gun(tmp_path / "mine.yaml", found.gun)
    read = load_config(GunConfig, tmp_path / "mine.yaml")
    assert read == found.gun and read.name == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_gun_without_calibration_can_be_written_too(tmp_path):
    gun = start_of("bell_300")
    write_gun(tmp_path / "gun.yaml", gun)
    assert load_config(GunConfig, tmp_path / "gun.yaml") == gun
