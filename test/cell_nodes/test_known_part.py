"""What a job says about its part reaches the scan in the part frame."""

import numpy as np
import pytest
import yaml
from node_kit import dome, make_job

from cell_core.config.models import Pose
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.surface_io import write_ply
from cell_nodes.known_part import known_part


def test_nothing_is_known_without_a_job_file_or_a_word_in_it(tmp_path):
    for folder in (tmp_path, make_job(tmp_path / "job", dome()).path):
        known = known_part(folder)
        assert (known.cad, known.cad_elsewhere, known.part_box_m) == (None, None, None)


def test_a_cad_stands_where_its_pose_says_or_anywhere(tmp_path):
    job = make_job(tmp_path / "job", dome(), cad="nominal.ply")
    write_ply(job.path / "nominal.ply", dome())
    assert known_part(job.path).cad is None
    assert known_part(job.path).cad_elsewhere is not None
    placed = make_job(
        tmp_path / "placed",
        dome(),
        cad=str(job.path / "nominal.ply"),
        cad_pose=Pose(xyz_m=(0.1, 0.2, 0.0)),
        part_box_m=((-0.2, -0.2, 0.0), (0.2, 0.2, 0.1)),
    )
    known = known_part(placed.path)
    assert known.cad is not None and known.cad_elsewhere is None
    np.testing.assert_allclose(known.cad.bounds_m, dome().bounds_m + [0.1, 0.2, 0.0], atol=1e-6)
    np.testing.assert_allclose(known.part_box_m, [[-0.2, -0.2, 0.0], [0.2, 0.2, 0.1]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cad_pose": {"xyz_m": [0.0, 0.0, 0.0]}}, "cad_pose"),
        ({"part_box_m": [[0.0, 0.0, 0.1], [0.1, 0.1, 0.1]]}, "part_box_m"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, change, said):
    path = make_job(tmp_path / "job", dome()).path / "job.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(ConfigurationError, match=said):
        known_part(path.parent)


def test_a_cad_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match=r"gone\.ply"):
        known_part(make_job(tmp_path / "job", dome(), cad="gone.ply").path)
