"""Sums over windows of an image, made of whole-image additions: several times as fast as filters of one pass each."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Image32 = NDArray[np.float32]
STRIP_ROWS = 64
"""Images are worked on in strips of about so many rows, which stay in the processor's cache."""


def strips(n_rows: int, margin: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield the rows of one strip after the other: with a margin, without, and where the latter lie in the former."""
    bounds = np.linspace(0, n_rows, max(n_rows // STRIP_ROWS, 1) + 1).astype(int).tolist()
    for low, high in pairwise(bounds):
        start = max(low - margin, 0)
        yield (
            slice(start, min(high + margin, n_rows)),
            slice(low, high),
            slice(low - start, high - start),
        )


def summed(image: Image32, n: int, axis: int, *, repeat: bool) -> Image32:
    """Return the sum over `n` (odd) neighbours along an axis; outside, the edge repeats or there are zeros."""
    length = image.shape[axis]
    block, width, start = _padded(image, n // 2, axis, repeat), 1, 0
    out = None
    while True:
        if n & width:
            term = _part(block, axis, start, length)
            out = term.copy() if out is None else np.add(out, term, out=out)
            start += width
        if 2 * width > n:
            assert out is not None
            return out
        # sums over twice as many: each with its neighbour that far on
        count = block.shape[axis] - width
        block, width = _part(block, axis, 0, count) + _part(block, axis, width, count), 2 * width


def squares_summed(image: Image32, n: int, *, repeat: bool) -> Image32:
    """Return the sum over windows of `n` x `n`, `n` odd."""
    return summed(summed(image, n, 0, repeat=repeat), n, 1, repeat=repeat)


def correlated(image: Image32, weights: Sequence[float], axis: int, *, odd: bool = False, repeat: bool) -> Image32:
    """Return the image weighted along an axis by `weights`, centre first, mirrored to the other side.

    Args:
        image: (H, W).
        weights: of the centre and of one neighbour after the other.
        axis: along which.
        odd: the mirrored side counts negative, and the centre not at all.
        repeat: outside, the edge repeats; otherwise there are zeros.
    """
    half, length = len(weights) - 1, image.shape[axis]
    padded = _padded(image, half, axis, repeat)
    out = np.zeros_like(image) if odd else image * np.float32(weights[0])
    for k in range(1, half + 1):
        after, before = _part(padded, axis, half + k, length), _part(padded, axis, half - k, length)
        pair = after - before if odd else after + before
        pair *= np.float32(weights[k])
        out += pair
    return out


def grown(mask: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    """Return a mask grown by `half` pixels to all eight sides."""
    for axis in (0, 1):
        out = mask.copy()
        length = mask.shape[axis]
        for k in range(1, min(half, length - 1) + 1):
            _part(out, axis, k, length - k)[...] |= _part(mask, axis, 0, length - k)
            _part(out, axis, 0, length - k)[...] |= _part(mask, axis, k, length - k)
        mask = out
    return mask


def _part(image: NDArray, axis: int, start: int, length: int) -> NDArray:
    return image[start : start + length] if axis == 0 else image[:, start : start + length]


def _padded(image: Image32, half: int, axis: int, repeat: bool) -> Image32:
    shape = list(image.shape)
    shape[axis] += 2 * half
    out = np.empty(shape, image.dtype)
    n = image.shape[axis]
    _part(out, axis, half, n)[...] = image
    _part(out, axis, 0, half)[...] = _part(image, axis, 0, 1) if repeat else 0.0
    _part(out, axis, half + n, half)[...] = _part(image, axis, n - 1, 1) if repeat else 0.0
    return out
