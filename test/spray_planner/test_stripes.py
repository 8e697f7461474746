"""Stripe files: both ways to write them, and what is refused with file, line and value."""

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from spray_planner.stripes import read_stripes

HEAD = "# speed_m_per_s: 0.3\n# standoff_m: 0.2\n# flow_m3_per_s: 5e-6\n# orientation: along\n# measured on Tuesday\n"


def profile(n=81, half_mm=150.0, width_mm=100.0, peak_um=50.0):
    x = np.linspace(-half_mm, half_mm, n)
    return x, peak_um * np.maximum(1.0 - (x / width_mm) ** 2, 0.0) ** 1.5


def rows(x, film, extra=""):
    return "".join(f"{p:.3f},{t:.3f}{extra}\n" for p, t in zip(x, film, strict=True))


def write(tmp_path, text, name="stripe.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_settings_may_stand_in_comment_lines(tmp_path):
    path = write(tmp_path, HEAD + "position_mm,thickness_um\n" + rows(*profile()))
    (stripe,) = read_stripes([path])
    assert (stripe.speed_m_per_s, stripe.standoff_m, stripe.flow_m3_per_s) == (0.3, 0.2, 5e-6)
    assert stripe.orientation == "along" and not stripe.centred and stripe.noise_m is None
    assert stripe.position_m[[0, -1]] == pytest.approx([-0.15, 0.15])
    assert stripe.peak_m == pytest.approx(50e-6, rel=0.01)
    assert len(stripe.sha256) == 64


def test_settings_may_stand_in_columns_and_one_file_may_hold_several_stripes(tmp_path):
    x, film = profile()
    text = "position_mm,thickness_um,speed_mm_per_s,standoff_mm,flow_cm3_per_min,orientation,centred,noise_um\n"
    text += rows(x, film, ",300,200,300,across,yes,2") + rows(x, 2.0 * film, ",150,200,300,along,no,2")
    one, two = read_stripes([write(tmp_path, text)])
    assert (one.speed_m_per_s, one.standoff_m, one.flow_m3_per_s) == pytest.approx((0.3, 0.2, 5e-6))
    assert (one.orientation, one.centred, one.noise_m) == ("across", True, 2e-6)
    assert (two.orientation, two.centred, two.speed_m_per_s) == ("along", False, 0.15)
    assert two.name.endswith("stripe 2")


def test_semicolons_bom_any_order_and_blank_lines(tmp_path):
    x, film = profile()
    text = "\ufeff" + HEAD + "thickness_um;position_mm\n\n"
    text += "".join(f"{t:.3f};{p:.3f}\n" for p, t in zip(x[::-1], film[::-1], strict=True))
    (stripe,) = read_stripes([write(tmp_path, text)])
    assert (np.diff(stripe.position_m) > 0.0).all()


X, FILM = profile()
GOOD = HEAD + "position_mm,thickness_um\n" + rows(X, FILM)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (GOOD.replace("0.3", "-0.3", 1), r"speed_m_per_s is -0\.3, must be within 0\.001\.\.10"),
        (GOOD.replace("0.3", "0", 1), "speed_m_per_s is 0, must be within"),
        (GOOD.replace("5e-6", "300"), "flow_m3_per_s is 300, must be within 1e-09..0.001"),
        (GOOD.replace("standoff_m: 0.2", "standoff_m: 200"), "standoff_m is 200, must be within 0.01..2"),
        (GOOD.replace("# speed_m_per_s: 0.3\n", ""), "speed_m_per_s or speed_mm_per_s is missing"),
        (GOOD.replace("0.3", "fast", 1), "speed_m_per_s is 'fast', wanted a number"),
        (GOOD.replace("along", "sideways"), "orientation is 'sideways', must be across or along"),
        (GOOD.replace("thickness_um", "film"), r"stripe\.csv:6: unknown column 'film'; known: position_mm"),
        (GOOD + "1,2,3\n", r"stripe\.csv:88: 3 cells, wanted 2"),
        (GOOD + "1,nan\n", "thickness_um is nan, wanted a finite number"),
        (GOOD + "1,\n", "thickness_um is '', wanted a number"),
        (HEAD, "no row of column names"),
        (HEAD + "position_mm,thickness_um\n", "no rows under the column names"),
        (HEAD + "position_mm,thickness_um\n" + rows(X[:7], FILM[:7]), "7 points, at least 8 needed"),
        (HEAD + "position_mm,thickness_um\n" + rows(*profile(n=11)), "stripe, at least 8 needed: measure every"),
        (HEAD + "position_mm,thickness_um\n" + rows(X[:55], FILM[:55]), "profile is cut off at its end"),
        (HEAD + "position_mm,thickness_um\n" + rows(X[25:], FILM[25:]), "profile is cut off at its start"),
        (HEAD + "position_mm,thickness_um\n" + rows(X, FILM - 10.0 * (np.abs(X) > 120)), "must be >= 0 but for noise"),
        (HEAD + "position_mm,thickness_um\n" + rows(X, 0.0 * FILM), "no stripe: thickest 0 um"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, text, fact):
    with pytest.raises(InputRefusedError, match=fact) as caught:
        read_stripes([write(tmp_path, text)])
    assert str(tmp_path) in str(caught.value)


def test_noise_about_zero_is_no_negative_thickness(tmp_path):
    noise = 2.0 * np.random.default_rng(0).standard_normal(len(X))
    (stripe,) = read_stripes([write(tmp_path, HEAD + "position_mm,thickness_um\n" + rows(X, FILM + noise))])
    assert stripe.thickness_m.min() < -1e-6
    assert stripe.scatter_m == pytest.approx(2e-6, rel=0.35)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputRefusedError, match=r"none\.csv: no such file"):
        read_stripes([tmp_path / "none.csv"])
