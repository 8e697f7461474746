"""Six closed parts of about 0.4 m, each of another kind, that fusion and tracking are measured on."""

from collections.abc import Callable

import numpy as np
import trimesh
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array

EDGE_M = 0.004
TURNED_SECTIONS = 160


def cowl() -> Surface:
    """Return a doubly curved cover 14 mm thick with a ridge and a round recess."""

    def height(x: Array, y: Array) -> Array:
        ridge = 0.012 * np.exp(-(((y + 0.3 * x) / 0.018) ** 2))
        recess = 0.018 / (1.0 + np.exp((np.hypot(x - 0.07, y - 0.03) - 0.045) / 0.004))
        return 0.085 - 0.9 * x**2 - 1.1 * y**2 + 0.4 * x * y + ridge - recess

    x, y = np.meshgrid(np.linspace(-0.2, 0.2, 134), np.linspace(-0.15, 0.15, 101), indexing="ij")
    n, m = x.shape
    i = np.arange(n * m).reshape(n, m)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    up = np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    rim = np.concatenate([i[:, 0], i[-1, 1:], i[-2::-1, -1], i[0, -2:0:-1]])
    after = np.roll(rim, -1)
    wall = np.concatenate([np.c_[rim, rim + n * m, after + n * m], np.c_[rim, after + n * m, after]])
    z = height(x, y).ravel()
    vertices = np.concatenate([np.c_[x.ravel(), y.ravel(), z], np.c_[x.ravel(), y.ravel(), z - 0.014]])
    return _standing(trimesh.Trimesh(vertices, np.concatenate([up, up[:, ::-1] + n * m, wall]), process=False))


def elbow() -> Surface:
    """Return a pipe bend with two flanges and a foot."""
    radius, tube = 0.13, 0.045
    turn, round_ = np.meshgrid(np.linspace(0.0, 0.5 * np.pi, 60), np.linspace(0.0, 2.0 * np.pi, 96), indexing="ij")
    reach = radius + tube * np.cos(round_)
    bend = _tube(np.stack([reach * np.cos(turn), reach * np.sin(turn), tube * np.sin(round_)], axis=-1)[:, :-1])
    flange = trimesh.creation.cylinder(0.07, 0.018, sections=TURNED_SECTIONS)
    flanges = [
        flange.copy().apply_transform(_turned([1, 0, 0], 0.5 * np.pi, [radius, -0.008, 0.0])),
        flange.copy().apply_transform(_turned([0, 1, 0], 0.5 * np.pi, [-0.008, radius, 0.0])),
    ]
    foot = trimesh.creation.box([0.05, 0.05, 0.08])
    foot.apply_translation([radius * np.sqrt(0.5), radius * np.sqrt(0.5), -0.06])
    return _standing(trimesh.boolean.union([bend, *flanges, foot]))


def sprocket() -> Surface:
    """Return a toothed wheel with a hub, a bore and five pockets: flat faces and sharp edges."""
    angle = np.linspace(0.0, 2.0 * np.pi, 18 * 12 + 1)[:-1]
    r = 0.17 + 0.018 * np.clip(2.0 * np.cos(18 * angle), -1.0, 1.0)
    wheel = _prism(np.c_[r * np.cos(angle), r * np.sin(angle)], 0.035)
    hub = trimesh.creation.cylinder(0.055, 0.09, sections=TURNED_SECTIONS)
    hub.apply_translation([0, 0, 0.045])
    cut = [trimesh.creation.cylinder(0.025, 0.3, sections=TURNED_SECTIONS)]
    for k in range(5):
        pocket = trimesh.creation.cylinder(0.028, 0.04, sections=TURNED_SECTIONS)
        pocket.apply_translation([0.105 * np.cos(1.2566 * k), 0.105 * np.sin(1.2566 * k), 0.035])
        cut.append(pocket)
    return _standing(trimesh.boolean.difference([trimesh.boolean.union([wheel, hub]), *cut]))


def blade() -> Surface:
    """Return a twisted aerofoil standing in a root block."""
    s = np.linspace(0.0, 2.0 * np.pi, 129)[:-1]
    rings = []
    for t in np.linspace(0.0, 1.0, 60):
        chord = 0.16 - 0.05 * t
        x = 0.5 * np.cos(s)
        y = 0.09 * np.sin(s) * (1.0 - 0.75 * x) + 0.12 * (0.25 - x * x)
        twist = -0.5 + 0.8 * t
        c, d = np.cos(twist), np.sin(twist)
        rings.append(np.c_[chord * (c * x - d * y), chord * (d * x + c * y) + 0.03 * t * t, np.full(len(s), 0.26 * t)])
    foil = _tube(np.array(rings))
    foil.apply_translation([0, 0, 0.035])
    root = trimesh.creation.box([0.24, 0.13, 0.05])
    root.apply_translation([0, 0, 0.025])
    return _standing(trimesh.boolean.union([foil, root]))


def bracket() -> Surface:
    """Return an angle of two plates with a gusset, a slot and drilled holes."""
    base, wall = trimesh.creation.box([0.36, 0.22, 0.025]), trimesh.creation.box([0.03, 0.22, 0.2])
    wall.apply_translation([-0.165, 0.0, 0.1])
    gusset = _prism(np.array([(-0.16, 0.0), (0.02, 0.0), (-0.16, 0.15)]), 0.02)
    gusset.apply_transform(_turned([1, 0, 0], 0.5 * np.pi, [0.0, 0.01, 0.0]))
    slot = trimesh.creation.box([0.09, 0.03, 0.2])
    slot.apply_translation([0.1, 0.06, 0.0])
    cuts = [slot]
    for x, y, radius in ((0.14, -0.07, 0.018), (0.06, -0.07, 0.012), (-0.06, 0.075, 0.015)):
        hole = trimesh.creation.cylinder(radius, 0.2, sections=96)
        hole.apply_translation([x, y, 0.0])
        cuts.append(hole)
    return _standing(trimesh.boolean.difference([trimesh.boolean.union([base, wall, gusset]), *cuts]))


def urn() -> Surface:
    """Return a turned body with a waist and a rounded bulge, ribbed along its axis."""
    z, angle = np.meshgrid(np.linspace(0.0, 0.32, 100), np.linspace(0.0, 2.0 * np.pi, 193)[:-1], indexing="ij")
    r = 0.10 + 0.035 * np.sin(2.0 * np.pi * z / 0.26 + 0.7) + 0.02 * np.exp(-(((z - 0.30) / 0.02) ** 2))
    r = r + 0.003 * np.cos(9.0 * angle) * np.exp(-(((z - 0.07) / 0.05) ** 2))
    return _standing(_tube(np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=-1)))


PARTS: dict[str, Callable[[], Surface]] = {
    "cowl": cowl,
    "elbow": elbow,
    "sprocket": sprocket,
    "blade": blade,
    "bracket": bracket,
    "urn": urn,
}
"""Maker by name."""


def _tube(rings: NDArray[np.float64]) -> trimesh.Trimesh:
    """Return rings of points (R, P, 3) skinned and capped."""
    n, m = rings.shape[:2]
    i = np.arange(n * m).reshape(n, m)
    a, b = i[:-1].ravel(), i[1:].ravel()
    c, d = np.roll(i[1:], -1, axis=1).ravel(), np.roll(i[:-1], -1, axis=1).ravel()
    skin = np.concatenate([np.c_[a, d, c], np.c_[a, c, b]])
    low, high = n * m, n * m + 1
    caps = np.concatenate(
        [
            np.c_[np.full(m, low), np.roll(i[0], -1), i[0]],
            np.c_[np.full(m, high), i[-1], np.roll(i[-1], -1)],
        ]
    )
    vertices = np.concatenate([rings.reshape(-1, 3), [rings[0].mean(axis=0), rings[-1].mean(axis=0)]])
    mesh = trimesh.Trimesh(vertices, np.concatenate([skin, caps]), process=False)
    if mesh.volume < 0.0:
        mesh.invert()
    return mesh


def _prism(outline_m: Array, height_m: float) -> trimesh.Trimesh:
    """Return an outline (P, 2), star-shaped about its mean, carried up from z = 0."""
    return _tube(np.stack([np.c_[outline_m, np.full(len(outline_m), z)] for z in (0.0, height_m)]))


def _turned(axis: list[int], angle_rad: float, at_m: list[float]) -> Array:
    T = trimesh.transformations.rotation_matrix(angle_rad, axis)
    T[:3, 3] = at_m
    return T


def _standing(mesh: trimesh.Trimesh) -> Surface:
    """Return the mesh with its lowest point on z = 0 and its middle above the origin."""
    low, high = mesh.bounds
    shift = np.array([-0.5 * (low[0] + high[0]), -0.5 * (low[1] + high[1]), -low[2]])
    return Surface(vertices_m=np.asarray(mesh.vertices) + shift, triangles=np.asarray(mesh.faces))
