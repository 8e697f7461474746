"""Picture of a hand-eye calibration: how far the views disagreed before and after, and what each is off by itself."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from cell_operator.figures import save
from cell_scanning.hand_eye_result import HandEye


def hand_eye_figure(found: HandEye, path: Path) -> None:
    """Write the views' disagreement, their own deviations, and where the flange looked."""
    figure, axes = plt.subplots(3, 1, figsize=(max(8.0, 0.22 * len(found.rms_after_m)), 10.0), sharex=True)
    view = np.arange(len(found.rms_after_m))
    axes[0].bar(view - 0.2, 1e3 * found.rms_before_m, 0.4, color="#aab7b8", label="before")
    axes[0].bar(view + 0.2, 1e3 * found.rms_after_m, 0.4, color="#2a6f9d", label="after")
    axes[0].set_ylabel("disagreement with the\nother views, mm rms")
    axes[0].legend(fontsize=8)
    for row, columns, factor, unit, scatter in (
        (1, slice(0, 3), 1e3, "mm", found.scatter[0]),
        (2, slice(3, 6), 180.0 / np.pi, "degrees", found.scatter[1]),
    ):
        band = 2.0 * factor * scatter
        axes[row].axhspan(-band, band, color="#eaeded", label="twice the scatter")
        for values, axis, colour in zip(
            found.deviation[:, columns].T, "xyz", ("#c0392b", "#1e8449", "#2a6f9d"), strict=True
        ):
            axes[row].plot(view, factor * values, "o", color=colour, markersize=4, label=f"optical {axis}")
        axes[row].axhline(0.0, color="black", linewidth=0.8)
        axes[row].set_ylabel(f"view's own deviation, {unit}")
        axes[row].legend(fontsize=8, ncols=4)
    axes[2].set_xlabel("view")
    verdict = "go" if found.go else "NO-GO: " + "; ".join(found.faults)
    figure.suptitle(
        f"hand-eye moved {1e3 * found.shift_m:.3f} mm, {np.degrees(found.turn_rad):.4f} degrees; known to "
        f"+-{1e3 * found.translation_bound_m:.3f} mm, +-{np.degrees(found.rotation_bound_rad):.4f} degrees (95 %): "
        + verdict,
        fontsize=10,
        wrap=True,
    )
    save(figure, path)
