"""Picture of a calibration: measured and computed stripes, and what is left between them."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from cell_operator.figures import save
from spray_planner.calibration import Calibration, StripeFit

BAND_SIGMAS = 2.0


def calibration_figure(found: Calibration, path: Path) -> None:
    """Write one column per stripe: profile and fit above, residual with a band of its own noise below."""
    n = len(found.fits)
    size = (max(6.0 * n, 8.0), 7.0)
    figure, axes = plt.subplots(2, n, figsize=size, squeeze=False, sharex="col", height_ratios=[2, 1])
    for column, fit in zip(axes.T, found.fits, strict=True):
        position = 1e3 * fit.stripe.position_m
        column[0].plot(position, 1e6 * fit.stripe.thickness_m, ".", color="#5d6d7e", markersize=4, label="measured")
        column[0].plot(position, 1e6 * fit.predicted_m, color="#c0392b", linewidth=1.4, label="calibrated gun")
        column[0].axvline(1e3 * fit.centre_m, color="#aab7b8", linewidth=0.8, label="spray axis")
        column[0].set_title(_title(fit), fontsize=9)
        column[0].set_ylabel("thickness, um")
        column[0].legend(fontsize=8)
        residual = 1e6 * fit.residual_m
        column[1].axhspan(*(BAND_SIGMAS * 1e6 * fit.rms_m * np.array([-1.0, 1.0])), color="#eaeded")
        column[1].plot(position, residual, ".", color="#5d6d7e", markersize=4)
        column[1].axhline(0.0, color="#c0392b", linewidth=0.8)
        column[1].set_xlabel("position, mm")
        column[1].set_ylabel("measured less computed, um")
    numbers = ", ".join(f"{k} {found.gun.numbers[k]:.4g} ± {2.0 * e:.1g}" for k, e in found.standard_error.items())
    figure.suptitle(f"{found.gun.name} ({found.gun.kind}): {numbers}", fontsize=10, wrap=True)
    save(figure, path)


def _title(fit: StripeFit) -> str:
    stripe = fit.stripe
    return (
        f"{Path(stripe.name).name}, {stripe.orientation}: {stripe.speed_m_per_s:.3g} m/s, "
        f"{1e3 * stripe.standoff_m:.0f} mm, {6e7 * stripe.flow_m3_per_s:.0f} cm3/min; rms {1e6 * fit.rms_m:.2f} um"
    )
