"""`cell calibrate gun`: a gun file and a picture, or one line that says why not and nothing written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cell_core.config import GunConfig, load_config, load_named
from cell_core.operator.footprint import footprint_for
from cell_operator.cli import main

TRUE = {"a_m": 0.11, "b_m": 0.042, "beta_1": 2.6, "beta_2": 1.7, "transfer_efficiency": 0.6}


def stripe_file(folder: Path, orientation: str, *, speed="0.15", said=True) -> Path:
    footprint = footprint_for(load_named(GunConfig, "guns", "hvlp_240").with_numbers(TRUE))
    x = np.arange(-0.2, 0.2, 0.0015)
    profile = footprint.stripe_across if orientation == "across" else footprint.stripe_along
    film = profile(x - 0.004) * footprint.volume_rate_m3_per_s / 0.15
    film = film + 2e-6 * np.random.default_rng(len(orientation)).standard_normal(len(x))
    head = f"# speed_m_per_s: {speed}\n# standoff_mm: 200\n# flow_cm3_per_min: 300\n"
    head += f"# orientation: {orientation}\n" if said else ""
    path = folder / f"{orientation}.csv"
    table = np.column_stack([1e3 * x, 1e6 * film])
    path.write_text(head + "position_mm,thickness_um\n" + "".join(f"{p:.3f},{t:.3f}\n" for p, t in table))
    return path


def calibrate(folder: Path, *extra: str, stripes=("across", "along"), out="mine.yaml", **how) -> int:
    files = [str(stripe_file(folder, way, **how)) for way in stripes]
    return main(["calibrate", "gun", "--stripes", *files, "--out", str(folder / "out" / out), *extra])


def test_two_stripes_give_a_gun_a_picture_and_a_table(tmp_path, capsys):
    assert calibrate(tmp_path) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mine.png", "mine.yaml"]
    gun = load_config(GunConfig, tmp_path / "out" / "mine.yaml")
    assert gun.name == "mine"
    assert gun.numbers == pytest.approx(TRUE, rel=0.12)
    assert gun.calibration is not None
    assert [s.file for s in gun.calibration.stripes] == ["across.csv", "along.csv"]
    assert gun.calibration.rms_residual_m == pytest.approx(2e-6, rel=0.2)
    assert np.asarray(Image.open(tmp_path / "out" / "mine.png").convert("L")).std() > 5.0
    said = capsys.readouterr().out
    assert "95 % interval" in said and "beta_2" in said and "warning" not in said


def test_the_calibrated_gun_is_a_start_gun_too(tmp_path):
    assert calibrate(tmp_path) == 0
    again = str(tmp_path / "out" / "mine.yaml")
    assert calibrate(tmp_path, "--gun", again, "--name", "second", out="second.yaml") == 0
    one, two = (load_config(GunConfig, tmp_path / "out" / f"{n}.yaml") for n in ("mine", "second"))
    assert two.name == "second" and two.numbers == pytest.approx(one.numbers, rel=1e-3)


def test_kept_numbers_are_said_to_be_kept(tmp_path, capsys):
    assert calibrate(tmp_path, "--keep", "b_m, beta_2", stripes=("across",)) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("b_m")] == ["kept"]


@pytest.mark.parametrize(
    ("extra", "how", "code", "fact"),
    [
        ((), {"stripes": ("across",)}, 3, "no stripe tells b_m, beta_2"),
        ((), {"speed": "-0.15"}, 3, "speed_m_per_s is -0.15"),
        (("--keep", "c_m"), {}, 2, "'c_m' is no number of gun hvlp_240"),
        (("--gun", "nowhere"), {}, 2, "no file or entry 'nowhere'"),
        ((), {"out": "mine.txt"}, 2, "wanted a file name ending in .yaml"),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(tmp_path, capsys, extra, how, code, fact):
    assert calibrate(tmp_path, *extra, **how) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and fact in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
