"""The depth images of a frame folder one after the other, without poses: what tracking reads."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_scanning.camera import Intrinsics
from cell_scanning.frames import Frame, frame_fault, image_list, read_lens, read_png
from cell_scanning.lens import Lens


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameImages:
    """A folder's depth images in order of time; each is read when it is asked for."""

    stamps_s: tuple[float, ...]
    """Time of each image [s], rising."""
    paths: tuple[Path, ...]
    """Their files."""
    lens: Lens
    """Camera with its distortion; images come rectified."""
    scale: float
    """Raw units per metre."""

    @property
    def camera(self) -> Intrinsics:
        """The camera that the rectified images are of."""
        return self.lens.camera

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.paths)

    def read(self, i: int) -> NDArray[np.float32] | str:
        """Return the i-th depth image (H, W) [m], or why it cannot be used."""
        depth = read_png(self.paths[i], self.scale)
        if depth is None:
            return "unreadable"
        frame = Frame(depth_m=depth, T_part_camera=np.eye(4), stamp_s=self.stamps_s[i])
        fault = frame_fault(frame, self.camera)
        if fault is None:
            frame = replace(frame, depth_m=self.lens.rectified(depth))
            fault = frame_fault(frame, self.camera)
        return frame.depth_m if fault is None else fault

    def __iter__(self) -> Iterator[NDArray[np.float32] | str]:
        """Yield what `read` returns for each image."""
        return (self.read(i) for i in range(len(self)))


def open_images(folder: Path) -> FrameImages:
    """Return the images of a frame folder: depth/*.png with intrinsics.json or camera_info.yaml, whatever its poses.

    Raises:
        InputRefusedError: no such folder, a file missing or malformed, or no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputRefusedError(f"{folder}: no such folder")
    lens, scale = read_lens(folder)
    images = sorted(image_list(folder))
    if not images:
        raise InputRefusedError(f"{folder}: holds 0 depth images")
    return FrameImages(stamps_s=tuple(s for s, _ in images), paths=tuple(p for _, p in images), lens=lens, scale=scale)
