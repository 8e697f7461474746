"""Shapes with known deviations."""

from collections.abc import Callable

import numpy as np
import pytest

from cell_core.surface import Surface
from cell_core.transforms import Array


def sheet(height: Callable[[Array, Array], Array] | None = None, half_m: float = 0.1, n: int = 81) -> Surface:
    """A height field over a square, facing up."""
    x, y = np.meshgrid(np.linspace(-half_m, half_m, n), np.linspace(-half_m, half_m, n), indexing="ij")
    z = np.zeros_like(x) if height is None else height(x, y)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(
        vertices_m=np.column_stack([x.ravel(), y.ravel(), z.ravel()]),
        triangles=np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]),
    )


def crown(x: Array, y: Array) -> Array:
    """A gentle doubly curved height."""
    return 0.03 - 0.8 * x**2 - 0.5 * y**2


@pytest.fixture(scope="session")
def make_sheet() -> Callable[..., Surface]:
    """Make a height field."""
    return sheet


@pytest.fixture(scope="session")
def crown_height() -> Callable[[Array, Array], Array]:
    """Height of the curved sheet."""
    return crown
