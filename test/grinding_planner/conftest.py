"""Small shapes and the tools the tests press on them."""

from collections.abc import Callable

import numpy as np
import pytest

from cell_core.config import GrindRecipe, GrindToolConfig, load_named, load_recipe
from cell_core.surface import Surface

HeightField = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sheet(size_m: tuple[float, float], step_m: float, height: HeightField) -> Surface:
    """Return an open sheet z = height(x, y), normals up."""
    nx, ny = (round(s / step_m) + 1 for s in size_m)
    x, y = np.meshgrid(
        np.linspace(-size_m[0] / 2, size_m[0] / 2, nx), np.linspace(-size_m[1] / 2, size_m[1] / 2, ny), indexing="ij"
    )
    i = np.arange(nx * ny).reshape(nx, ny)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    triangles = np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    return Surface(vertices_m=np.c_[x.ravel(), y.ravel(), height(x, y).ravel()], triangles=triangles)


@pytest.fixture(scope="session")
def make_sheet() -> Callable[..., Surface]:
    return sheet


@pytest.fixture(scope="session")
def orbital() -> GrindToolConfig:
    return load_named(GrindToolConfig, "tools", "orbital_125")


@pytest.fixture(scope="session")
def disc() -> GrindToolConfig:
    return load_named(GrindToolConfig, "tools", "disc_50")


@pytest.fixture(scope="session")
def area_recipe() -> GrindRecipe:
    recipe = load_recipe("grind_30um")
    assert isinstance(recipe, GrindRecipe)
    return recipe


@pytest.fixture(scope="session")
def bead_recipe() -> GrindRecipe:
    recipe = load_recipe("grind_bead")
    assert isinstance(recipe, GrindRecipe)
    return recipe
