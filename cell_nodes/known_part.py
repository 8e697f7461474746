"""What a job says about its part before it is scanned."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cell_core.config import JobConfig, load_config
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.transforms import Array, transform_from_xyz_rpy


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownPart:
    """A part as known before its scan, in the part frame, which is the fixture's."""

    cad: Surface | None = None
    """Its shape where it stands."""
    cad_elsewhere: Surface | None = None
    """Its shape, where it is not known where it stands."""
    part_box_m: Array | None = None
    """(2, 3) corners of a box that holds it."""


NOTHING_KNOWN = KnownPart()


def known_part(job_dir: Path) -> KnownPart:
    """Return what job.yaml says; nothing where there is no such file."""
    path = job_dir / "job.yaml"
    if not path.is_file():
        return NOTHING_KNOWN
    job = load_config(JobConfig, path)
    box = None if job.part_box_m is None else np.array(job.part_box_m)
    if job.cad is None:
        return KnownPart(part_box_m=box)
    # an absolute path stays one
    shape = load_surface(job_dir / job.cad)[0]
    if job.cad_pose is None:
        return KnownPart(cad_elsewhere=shape, part_box_m=box)
    T_part_cad = transform_from_xyz_rpy(job.cad_pose.xyz_m, job.cad_pose.rpy_rad)
    return KnownPart(cad=shape.transformed(T_part_cad, "part"), part_box_m=box)
