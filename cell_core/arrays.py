"""Read-only, contiguous arrays for frozen data."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def frozen_array(values: ArrayLike, shape: tuple[int | None, ...], name: str, dtype: DTypeLike = np.float64) -> NDArray:
    """Return a read-only contiguous copy of `values` after checking its shape (None: any length) and finiteness.

    Raises:
        ValueError: wrong number of axes, wrong length of one, or a value that is not finite.
    """
    array = np.array(values, dtype=dtype, order="C", copy=True)
    if array.size == 0 and len(shape) > 1 and array.ndim == 1:
        array = array.reshape([0 if n is None else n for n in shape])
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} has shape {array.shape}, wanted {shape}")
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        bad = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{name}{bad.tolist()} is not finite")
    array.setflags(write=False)
    return array
