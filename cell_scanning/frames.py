"""Depth frames with poses: checks, and folders in TUM format (depth/*.png, intrinsics.json, poses)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from cell_core.bounded import read_text, read_yaml
from cell_core.config import Distortion
from cell_core.errors import InputRefusedError
from cell_core.files import read_json, write_atomically, write_json, write_text
from cell_core.transforms import Array, inverse
from cell_scanning.camera import Intrinsics, intrinsics_document, read_intrinsics
from cell_scanning.lens import Lens

PIXELS_MAX = 50_000_000
"""No depth camera has more; a small file may claim any number."""
POSE_FILES = ("poses.txt", "groundtruth.txt")
INTRINSICS, CAMERA_INFO = "intrinsics.json", "camera_info.yaml"
MILLIMETRES_PER_M = 1000.0
"""Depth images beside a camera info are 16UC1 [mm]."""
FLANGE_POSES = "flange_poses.txt"
"""Poses of the robot's flange in its base, where a folder is for calibration."""
TWIST_STEP_S = 0.01
POSE_GAP_MAX_S = 0.05
"""A pose is interpolated only between neighbours this near to the image stamp."""
STAMP_EQUAL_S = 2e-6
"""Stamps of seconds since 1970 written with six digits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One depth image and where it was taken."""

    depth_m: NDArray[np.float32]
    """(H, W) depth along the optical axis [m]; 0 = no reading."""
    T_part_camera: Array
    """(4, 4) pose of the optical frame in the part frame."""
    stamp_s: float
    """Time of the image [s]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameFolder:
    """What a folder of frames held."""

    frames: tuple[Frame, ...]
    camera: Intrinsics
    refused: dict[str, int] = field(default_factory=dict)
    """Frames not used, counted by reason."""

    @property
    def n_found(self) -> int:
        """Frames in the folder, refused ones included."""
        return len(self.frames) + sum(self.refused.values())


def frame_fault(frame: Frame, camera: Intrinsics) -> str | None:
    """Say why a frame cannot be used, or None: wrong size, NaN, all zero, nothing in range, bad pose."""
    depth = frame.depth_m
    if depth.shape != (camera.height_px, camera.width_px):
        return "wrong_size"
    if not np.all(np.isfinite(depth)):
        return "not_finite"
    if not np.any(depth):
        return "all_zero"
    if not np.any((depth >= camera.range_m[0]) & (depth <= camera.range_m[1])):
        return "nothing_in_range"
    T = np.asarray(frame.T_part_camera)
    rigid = T.shape == (4, 4) and np.all(np.isfinite(T)) and np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-4)
    return None if rigid and np.linalg.det(T[:3, :3]) > 0.0 else "bad_pose"


def usable_frames(frames: Sequence[Frame], camera: Intrinsics) -> tuple[list[Frame], dict[str, int]]:
    """Split off the frames that cannot be used; returns the good ones and the refused counted by reason."""
    faults = [frame_fault(f, camera) for f in frames]
    refused = Counter(fault for fault in faults if fault is not None)
    return [f for f, fault in zip(frames, faults, strict=True) if fault is None], dict(refused)


def depth_from_raw(raw: NDArray, encoding: str) -> NDArray[np.float32]:
    """Return depth (H, W) [m] of a sensor image by REP 118: 16UC1 in mm with 0 = none, 32FC1 in m with NaN = none."""
    if encoding in ("16UC1", "mono16"):
        return raw.astype(np.float32) * np.float32(1e-3)
    if encoding == "32FC1":
        return np.where(np.isfinite(raw), raw, 0.0).astype(np.float32)
    raise InputRefusedError(f"depth image: encoding {encoding!r} unknown; known: 16UC1, 32FC1")


def read_frames(
    folder: Path, pose_files: Sequence[str] = POSE_FILES, *, poses_file: Path | None = None
) -> FrameFolder:
    """Read a frame folder; a pose is interpolated at each image's stamp (poses are camera to part).

    Args:
        folder: holds depth/*.png, intrinsics.json (or camera_info.yaml) and poses; distorted images are rectified.
        pose_files: names that the poses may have; the first found counts.
        poses_file: a file of poses elsewhere, instead.

    Raises:
        InputRefusedError: a file is missing or malformed (named with its line), or no frame is usable.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputRefusedError(f"{folder}: no such folder")
    lens, scale = read_lens(folder)
    camera = lens.camera
    images = image_list(folder)
    pose_file = poses_file or next((folder / name for name in pose_files if (folder / name).is_file()), None)
    if pose_file is None:
        raise InputRefusedError(f"{folder}: no {' or '.join(pose_files)}")
    stamps_s, xyz_m, quat_xyzw = _read_poses(pose_file)
    frames: list[Frame] = []
    refused: Counter[str] = Counter()
    for stamp_s, path in images:
        T = _pose_at(stamp_s, stamps_s, xyz_m, quat_xyzw)
        if T is None:
            refused["no_pose"] += 1
            continue
        depth = read_png(path, scale)
        if depth is None:
            refused["unreadable"] += 1
            continue
        frame = Frame(depth_m=depth, T_part_camera=T, stamp_s=stamp_s)
        fault = frame_fault(frame, camera)
        if fault is None:
            frame = replace(frame, depth_m=lens.rectified(depth))
            fault = frame_fault(frame, camera)
        if fault is None:
            frames.append(frame)
        else:
            refused[fault] += 1
    if not frames:
        reasons = ", ".join(f"{n} {reason}" for reason, n in refused.items()) or "the folder lists none"
        raise InputRefusedError(f"{folder}: 0 of {len(images)} frames usable: {reasons}", refused=dict(refused))
    return FrameFolder(frames=tuple(frames), camera=camera, refused=dict(refused))


def flange_twists(folder: Path, stamps_s: Sequence[float]) -> Array | None:
    """Return the flange's velocity (F, 6) (v, w) [m/s, rad/s] in its own frame at image stamps.

    None where flange_poses.txt does not reach 10 ms to both sides of every stamp.
    """
    table = _read_poses(Path(folder) / FLANGE_POSES)
    twists = []
    for stamp_s in stamps_s:
        before, after = (_pose_at(stamp_s + step, *table) for step in (-TWIST_STEP_S, TWIST_STEP_S))
        if before is None or after is None:
            return None
        move = inverse(before) @ after
        twists.append(np.r_[move[:3, 3], Rotation.from_matrix(move[:3, :3]).as_rotvec()] / (2.0 * TWIST_STEP_S))
    return np.array(twists)


def write_frames(folder: Path, frames: Sequence[Frame], camera: Intrinsics) -> None:
    """Write frames as `read_frames` reads them: depth/*.png (16 bit), depth.txt, poses.txt, intrinsics.json."""
    folder = Path(folder)
    deepest = max((float(f.depth_m.max(initial=0.0)) for f in frames), default=1.0)
    scale = next((s for s in (20000.0, 10000.0, 5000.0, 1000.0) if deepest * s <= 65535.0), 1000.0)
    listing = ["# timestamp filename"]
    for f in frames:
        name = f"depth/{f.stamp_s:.6f}.png"
        raw = np.clip(np.rint(f.depth_m * scale), 0, 65535).astype(np.uint16)
        write_atomically(folder / name, lambda p, raw=raw: Image.fromarray(raw).save(p, compress_level=1))
        listing.append(f"{f.stamp_s:.6f} {name}")
    write_text(folder / "depth.txt", "\n".join(listing) + "\n")
    write_poses(folder / "poses.txt", frames)
    write_json(folder / "intrinsics.json", intrinsics_document(camera, scale))


def write_poses(path: Path, frames: Sequence[Frame]) -> None:
    """Write the frames' poses in TUM format: stamp, x y z [m], quaternion x y z w, camera to part."""
    lines = ["# timestamp tx ty tz qx qy qz qw, camera to part"]
    for f in frames:
        quat = Rotation.from_matrix(f.T_part_camera[:3, :3]).as_quat()
        lines.append(f"{f.stamp_s:.6f} " + " ".join(f"{x:.9f}" for x in (*f.T_part_camera[:3, 3], *quat)))
    write_text(path, "\n".join(lines) + "\n")


def read_lens(folder: Path) -> tuple[Lens, float]:
    """Return the camera with its distortion and raw units per metre, of intrinsics.json or camera_info.yaml."""
    path = folder / INTRINSICS
    if not path.is_file() and (folder / CAMERA_INFO).is_file():
        return read_camera_info(folder / CAMERA_INFO), MILLIMETRES_PER_M
    camera, scale = read_intrinsics(path)
    document = read_json(path)
    try:
        distortion = document.get("distortion")
        if distortion is not None:
            given = {"model": distortion["model"], "coefficients": tuple(map(float, distortion["coefficients"]))}
            distortion = Distortion.model_validate(given)
    except (KeyError, TypeError, ValueError) as error:
        raise InputRefusedError(f"{path}: distortion: {' '.join(str(error).split())}") from error
    return Lens(camera=camera, distortion=distortion), scale


def read_camera_info(path: Path) -> Lens:
    """Read a calibration as ROS' camera_calibration writes it: size, camera_matrix, distortion model and coefficients.

    Raises:
        InputRefusedError: cannot be read, a key missing, or numbers out of bounds.
    """
    try:
        document = read_yaml(path)
        K = np.array(document["camera_matrix"]["data"], float).reshape(3, 3)
        coefficients = tuple(float(x) for x in document["distortion_coefficients"]["data"])
        camera = Intrinsics(
            width_px=int(document["image_width"]),
            height_px=int(document["image_height"]),
            fx_px=float(K[0, 0]),
            fy_px=float(K[1, 1]),
            cx_px=float(K[0, 2]),
            cy_px=float(K[1, 2]),
        )
        if not any(coefficients):
            return Lens(camera=camera)
        given = {"model": document["distortion_model"], "coefficients": coefficients}
        return Lens(camera=camera, distortion=Distortion.model_validate(given))
    except (KeyError, TypeError, ValueError) as error:
        raise InputRefusedError(f"{path}: no camera info: {' '.join(str(error).split())}") from error


def image_list(folder: Path) -> list[tuple[float, Path]]:
    """Return stamp [s] and file of each depth image: those of depth.txt, or else of depth/."""
    listing = folder / "depth.txt"
    if not listing.is_file():
        paths = sorted((folder / "depth").glob("*.png"))
        try:
            return [(float(p.stem), p) for p in paths]
        except ValueError as error:
            raise InputRefusedError(f"{folder}/depth: file names must be stamps in seconds: {error}") from error
    images = []
    for n, words in _lines(listing):
        try:
            stamp_s, name = float(words[0]), words[1]
        except (ValueError, IndexError) as error:
            raise InputRefusedError(f"{listing}:{n}: wanted 'timestamp filename', got {' '.join(words)!r}") from error
        images.append((stamp_s, folder / name))
    return images


def _read_poses(path: Path) -> tuple[Array, Array, Array]:
    rows = []
    for n, words in _lines(path):
        try:
            row = [float(w) for w in words]
        except ValueError as error:
            raise InputRefusedError(f"{path}:{n}: {error}") from error
        if len(row) != 8 or not np.all(np.isfinite(row)) or abs(np.linalg.norm(row[4:]) - 1.0) > 0.01:
            raise InputRefusedError(
                f"{path}:{n}: wanted stamp, x y z [m] and a unit quaternion x y z w, got {' '.join(words)!r}"
            )
        rows.append(row)
    if not rows:
        raise InputRefusedError(f"{path}: holds 0 poses")
    table = np.array(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 0], table[:, 1:4], table[:, 4:]


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    lines = [(n, line.split()) for n, line in enumerate(read_text(path).splitlines(), 1)]
    return [(n, words) for n, words in lines if words and not words[0].startswith("#")]


def _pose_at(stamp_s: float, stamps_s: Array, xyz_m: Array, quat_xyzw: Array) -> Array | None:
    after = int(np.searchsorted(stamps_s, stamp_s - STAMP_EQUAL_S))
    before = max(after - 1, 0)
    after = min(after, len(stamps_s) - 1)
    if abs(stamps_s[after] - stamp_s) <= STAMP_EQUAL_S:
        before = after
    if max(abs(stamps_s[before] - stamp_s), abs(stamps_s[after] - stamp_s)) > POSE_GAP_MAX_S:
        return None
    span = stamps_s[after] - stamps_s[before]
    share = (stamp_s - stamps_s[before]) / span if span > 0.0 else 0.0
    turn = Rotation.from_quat(quat_xyzw[before]).inv() * Rotation.from_quat(quat_xyzw[after])
    T = np.eye(4)
    T[:3, :3] = (Rotation.from_quat(quat_xyzw[before]) * Rotation.from_rotvec(share * turn.as_rotvec())).as_matrix()
    T[:3, 3] = (1.0 - share) * xyz_m[before] + share * xyz_m[after]
    return T


def read_png(path: Path, scale: float) -> NDArray[np.float32] | None:
    """Return the depth (H, W) [m] of an image, `scale` raw units per metre; None: damaged or no depth image."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > PIXELS_MAX:
                return None
            raw = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises on damaged files
        return None
    return (raw / scale).astype(np.float32) if raw.ndim == 2 else None
