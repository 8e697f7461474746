"""Gun files of every kind: what loads, what is refused and how."""

import copy
import pickle

import pytest
import yaml
from pydantic import ValidationError

from cell_core.config import GunConfig, config_root, load_config, load_named
from cell_core.config.guns import AxisymmetricBetaGun, EllipticDoubleBetaGun, GaussianSumGun
from cell_core.errors import ConfigurationError

GUNS = sorted(p.stem for p in (config_root() / "guns").glob("*.yaml"))


def text_of(name: str) -> str:
    return (config_root() / "guns" / f"{name}.yaml").read_text()


def refused(tmp_path, text: str) -> str:
    path = tmp_path / "gun.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(GunConfig, path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def test_every_kind_is_shipped_and_is_a_gun():
    guns = [load_named(GunConfig, "guns", name) for name in GUNS]
    assert {g.kind for g in guns} == {"elliptic_double_beta", "axisymmetric_beta", "gaussian_sum", "bell_ring"}
    assert all(isinstance(g, GunConfig) for g in guns)


def test_a_file_of_before_the_kinds_loads_unchanged():
    gun = load_named(GunConfig, "guns", "hvlp_240")
    assert isinstance(gun, EllipticDoubleBetaGun)
    assert (gun.on_time_min_s, gun.fan_spin, gun.confidence, gun.calibration) == (0.0, "held", {}, None)
    assert gun.numbers == {"a_m": 0.125, "b_m": 0.035, "beta_1": 2.0, "beta_2": 2.0, "transfer_efficiency": 0.65}


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ("version: 1", "version: 2", r":3: version: value 2: not supported: this version reads 1"),
        ("kind: elliptic_double_beta", "kind: plasma", ":5: kind: value 'plasma': not supported: this version reads "
         "elliptic_double_beta, axisymmetric_beta, gaussian_sum, bell_ring"),
        ("grind_spray_cell/gun", "other/gun", ":2: format: value 'other/gun': not supported: this version reads "
         "grind_spray_cell/gun"),
        ("kind: elliptic_double_beta\n", "", ":1: key 'kind' is missing"),
        ("kind: elliptic_double_beta", "kind: [a]", ":5: kind: not supported: this version reads"),
    ],
)  # fmt: skip
def test_another_version_format_or_kind_is_refused_with_what_is_supported(tmp_path, old, new, fact):
    message = refused(tmp_path, text_of("hvlp_240").replace(old, new, 1))
    assert message.startswith(fact) and ";" not in message


def test_numbers_of_another_kind_are_unknown_keys(tmp_path):
    message = refused(tmp_path, text_of("round_air_120") + "beta_1: 2.0\n")
    assert "unknown key 'beta_1'" in message and "did you mean 'beta'" in message


@pytest.mark.parametrize(
    ("name", "old", "new", "fact"),
    [
        ("round_air_120", "beta: 2.5", "beta: 0.5", "beta: value 0.5: "),
        ("bell_300", "hollow_fill: 0.55", "hollow_fill: 1.2", "hollow_fill: value 1.2: "),
        ("lopsided_fan_220", "share: 0.40", "share: 0.45", "shares add up to 1.05, must be 1"),
        ("lopsided_fan_220", "sigma_x_m: 0.016", "sigma_x_m: -0.016", "gaussians.1.sigma_x_m: value -0.016"),
        ("lopsided_fan_220", "fan_spin: held", "fan_spin: free", "the pattern is not round"),
        ("hvlp_240", "on_delay_s", "fan_spin: free\non_delay_s", "the pattern is not round"),
        ("hvlp_240", "on_delay_s", "confidence: {c_m: {low: 0.1, high: 0.2}}\non_delay_s", "'c_m' is no number of"),
        ("hvlp_240", "on_delay_s", "confidence: {a_m: {low: 0.1, high: 0.12}}\non_delay_s", "outside its own interval"),
    ],
)
def test_a_bad_number_is_refused(tmp_path, name, old, new, fact):
    assert fact in refused(tmp_path, text_of(name).replace(old, new, 1))


@pytest.mark.parametrize("name", GUNS)
def test_copies_and_pickles_keep_the_kind(name):
    gun = load_named(GunConfig, "guns", name)
    for other in (copy.deepcopy(gun), pickle.loads(pickle.dumps(gun)), gun.model_copy()):
        assert other == gun and type(other) is type(gun)


@pytest.mark.parametrize("name", GUNS)
def test_numbers_can_be_changed_by_name(name):
    gun = load_named(GunConfig, "guns", name)
    assert gun.with_numbers({}) == gun
    for key, value in gun.numbers.items():
        other = gun.with_numbers({key: 0.9 * value})
        assert other.numbers == {**gun.numbers, key: 0.9 * value}
    if isinstance(gun, GaussianSumGun):
        assert sum(g.share for g in gun.with_numbers({"gaussians.0.share": 0.3}).gaussians) == pytest.approx(1.0)
        with pytest.raises(ValidationError):
            gun.with_numbers({"gaussians.0.share": 0.9})


@pytest.mark.parametrize("name", GUNS)
def test_the_tool_block_holds_the_whole_gun(name):
    gun, block = load_named(GunConfig, "guns", name), load_named(GunConfig, "guns", name).as_block()
    given = yaml.safe_load(text_of(name))
    policy = {"format", "version", "flow_min_m3_per_s", "standoff_m", "speed_m_per_s", "tilt_max_rad", "fan_spin"}
    assert {k: block[k] for k in given if k not in policy} == {k: v for k, v in given.items() if k not in policy}
    assert block["kind"] == gun.kind


def test_how_motion_may_turn_it():
    spins = {name: load_named(GunConfig, "guns", name).stroke_spin for name in GUNS}
    assert spins["hvlp_240"] == "fixed" and spins["lopsided_fan_220"] == "exact"
    assert spins["bell_300"] == spins["round_air_120"] == "free"
    round_gun = load_named(GunConfig, "guns", "round_air_120")
    assert isinstance(round_gun, AxisymmetricBetaGun)
    assert round_gun.model_copy(update={"fan_spin": "held"}).stroke_spin == "fixed"
