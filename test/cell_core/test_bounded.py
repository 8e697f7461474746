"""Files made to eat memory or never to end are refused before they do, with value and bound."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cell_core import bounded, surface_io
from cell_core.bounded import check_archive, read_text, read_yaml
from cell_core.config import SprayRecipe, load_config
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.files import read_json, read_npz, write_npz
from cell_core.meshes.point_cloud import read_points
from cell_core.surface_io import load_surface
from robot_description.expand import expand

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_a_device_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="/dev/zero: no regular file"):
        read_text(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe.ply")
    with pytest.raises(InputRefusedError, match=r"no regular file|no such file"):
        load_surface(tmp_path / "pipe.ply")


def test_a_large_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "large.stl"
    with path.open("wb") as file:
        file.truncate(3_000_000_000)  # sparse: takes no room
    with pytest.raises(InputRefusedError, match="3000000000 bytes, at most 1000000000 allowed"):
        load_surface(path)
    (tmp_path / "large.json").write_bytes(b"")
    with (tmp_path / "large.json").open("r+b") as file:
        file.truncate(600_000_000)
    with pytest.raises(InputRefusedError, match="600000000 bytes, at most 500000000"):
        read_json(tmp_path / "large.json")


@pytest.mark.parametrize("reader", [read_yaml, lambda path: load_config(SprayRecipe, path)])
def test_yaml_that_grows_by_its_aliases_is_refused(tmp_path: Path, reader) -> None:
    path = tmp_path / "laughs.yaml"
    path.write_text(LAUGHS)
    with pytest.raises((InputRefusedError, ConfigurationError), match=r"grows to \d{9,} values by its aliases"):
        reader(path)
    path.write_text("a: &a [1, *a]\n")
    with pytest.raises((InputRefusedError, ConfigurationError), match="contains itself"):
        reader(path)
    path.write_text("[" * 20_000 + "]" * 20_000)
    with pytest.raises((InputRefusedError, ConfigurationError), match="not YAML"):
        reader(path)


def test_ordinary_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "fine.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(tmp_path / "fine.yaml") == {"a": [1, 2], "b": [1, 2]}


def test_json_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(InputRefusedError, match="not readable as JSON"):
        read_json(tmp_path / "deep.json")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "ARCHIVE_MAX_BYTES", 1_000_000)
    write_npz(tmp_path / "bomb.npz", zeros=np.zeros(1_000_000))
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    with pytest.raises(InputRefusedError, match="unpacks to 8000128 bytes, at most 1000000 allowed"):
        read_npz(tmp_path / "bomb.npz")


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("a.npy", buffer.getvalue() + b"\0" * 64)
    with pytest.raises(InputRefusedError, match=r"a\.npy claims 8000000000000 bytes of data but has \d+"):
        read_npz(tmp_path / "lie.npz")


def test_a_good_archive_passes(tmp_path: Path) -> None:
    write_npz(tmp_path / "good.npz", a=np.arange(5), b=np.array([True, False]), c=np.array("text"))
    check_archive(tmp_path / "good.npz")
    assert read_npz(tmp_path / "good.npz")["a"].tolist() == [0, 1, 2, 3, 4]


def test_a_mesh_that_would_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "many.stl"
    with path.open("wb") as file:
        file.write(b"\0" * 80 + struct.pack("<I", 10_000_000))
        file.truncate(84 + 50 * 10_000_000)
    monkeypatch.setattr(bounded, "free_memory_bytes", lambda: 8e9)
    with pytest.raises(InputRefusedError, match=r"10000000 triangles: needs some 12\.0 GB of memory, 5\.6 GB allowed"):
        load_surface(path)


@pytest.mark.parametrize("element", ["vertex", "face"])
def test_a_ply_that_declares_what_it_cannot_hold_is_refused(tmp_path: Path, element: str) -> None:
    counts = {"vertex": 3, "face": 1} | {element: 10**12}
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {counts['vertex']}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {counts['face']}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    (tmp_path / "lie.ply").write_bytes(header.encode() + b"\0" * 64)
    with pytest.raises(InputRefusedError, match=r"PLY is unexpected length|1000000000000 triangles: needs some"):
        load_surface(tmp_path / "lie.ply")


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("n", [10**12, 4 * 10**9, 10**8, 1000])
def test_a_point_cloud_that_declares_what_it_cannot_hold_is_refused(tmp_path: Path, kind: str, n: int) -> None:
    header = f"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {n}\nHEIGHT 1\nPOINTS {n}\nDATA {kind}\n"
    (tmp_path / "lie.pcd").write_bytes(header.encode() + b"\0" * 64)
    with pytest.raises(InputRefusedError, match=f"header declares {n} points, 64 bytes of data follow"):
        load_surface(tmp_path / "lie.pcd")


@pytest.mark.parametrize("options", [{"write_ascii": True}, {}, {"compressed": True}])
def test_whole_point_clouds_pass(tmp_path: Path, options: dict) -> None:
    import open3d as o3d

    points = np.random.default_rng(0).uniform(0.0, 0.1, (500, 3))
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    o3d.io.write_point_cloud(str(tmp_path / "fine.pcd"), cloud, **options)
    found, _ = read_points(tmp_path / "fine.pcd")
    np.testing.assert_allclose(found, points, atol=1e-6)


def test_entities_of_a_urdf_do_not_grow(tmp_path: Path) -> None:
    entities = "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (tmp_path / "laughs.urdf").write_text(
        f'<!DOCTYPE r [<!ENTITY a "{"x" * 10}">{entities}]><robot name="&i;"><link name="a"/></robot>'
    )
    with pytest.raises(ConfigurationError, match="not XML"):
        expand(tmp_path / "laughs.urdf", {})


def test_what_a_triangle_takes_is_stated() -> None:
    assert surface_io.BYTES_PER_TRIANGLE > 500.0
