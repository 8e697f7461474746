"""Write a gun as the YAML file that config/guns holds."""

from pathlib import Path

import yaml

from cell_core.config import GunConfig
from cell_core.files import write_text


def write_gun(path: Path, gun: GunConfig) -> None:
    """Write the gun atomically; `load_config(GunConfig, path)` gives it back equal."""
    write_text(path, gun_text(gun))


def gun_text(gun: GunConfig) -> str:
    """Return the file's text: what is known of the numbers first, optional keys only where they say something."""
    head = ["# A gun. Numbers are assumed; none is calibrated."]
    if gun.calibration is not None:
        record = gun.calibration
        head = [
            f"# Calibrated from {len(record.stripes)} stripe(s), residual {1e6 * record.rms_residual_m:.2f} um rms; "
            "confidence: 95 % intervals.",
            f"# Identified: {', '.join(record.identified)}.",
            f"# Taken over from gun {record.start}: {', '.join(record.not_identified) or 'no number of the pattern'}; "
            "solids, delays and limits.",
            "# Film tells the product of transfer efficiency and solids, not either alone.",
        ]
    data = gun.model_dump(mode="json", exclude_none=True)
    # these two last, and not at all where they are empty
    for key in ("confidence", "calibration"):
        block = data.pop(key, None)
        if block:
            data[key] = block
    return "\n".join(head) + "\n" + yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True)
