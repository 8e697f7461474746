"""Make the robot's meshes: `python -m robot_description.generate_meshes`.

Shapes are our own; only joint axes follow the real arm. Each link is a list of convex solids. Their union, less some
pockets, is the visual mesh; hulls over groups of them are the collision meshes, so no visual vertex lies outside them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh

from cell_core.transforms import Array

MESHES = Path(__file__).resolve().parent / "meshes"
SECTIONS = 28
_AXES = {"x": np.array([1.0, 0.0, 0.0]), "y": np.array([0.0, 1.0, 0.0]), "z": np.array([0.0, 0.0, 1.0])}


@dataclass(frozen=True, kw_only=True)
class Body:
    """One link's shape [m], in the link frame."""

    groups: Sequence[Sequence[trimesh.Trimesh]]
    """Solids; each inner list becomes one collision hull."""
    pockets: Sequence[trimesh.Trimesh] = field(default_factory=tuple)
    """Solids cut out of the visual mesh only."""

    def visual(self) -> trimesh.Trimesh:
        """Return the union of all solids less the pockets."""
        mesh = trimesh.boolean.union([s for group in self.groups for s in group], engine="manifold")
        return trimesh.boolean.difference([mesh, *self.pockets], engine="manifold") if self.pockets else mesh

    def collisions(self) -> list[trimesh.Trimesh]:
        """Return one convex hull per group."""
        return [hull(*group) for group in self.groups]


def cylinder(
    axis: str, radius: float, low: float, high: float, at: Sequence[float] = (0.0, 0.0, 0.0), end: float | None = None
) -> trimesh.Trimesh:
    """Return a cylinder (a cone frustum with `end`) along an axis from `low` to `high`, its axis through `at`."""
    angle = 2.0 * np.pi * (np.arange(SECTIONS) + 0.5) / SECTIONS
    u, v = {"x": ("y", "z"), "y": ("z", "x"), "z": ("x", "y")}[axis]
    ring = np.cos(angle)[:, None] * _AXES[u] + np.sin(angle)[:, None] * _AXES[v]
    points = np.vstack(
        [radius * ring + low * _AXES[axis], (radius if end is None else end) * ring + high * _AXES[axis]]
    )
    return _hull_of(points + np.asarray(at, float))


def box(low: Sequence[float], high: Sequence[float], chamfer: float = 0.0) -> trimesh.Trimesh:
    """Return a box between two corners with chamfered edges."""
    low_m, high_m = np.asarray(low, float), np.asarray(high, float)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    points = low_m + corners * (high_m - low_m)
    if chamfer > 0.0:
        inward = np.sign(0.5 * (low_m + high_m) - points) * chamfer
        points = np.vstack([points + inward * (1.0 - axis) for axis in _AXES.values()])
    return _hull_of(points)


def hull(*solids: trimesh.Trimesh) -> trimesh.Trimesh:
    """Return the convex hull of several solids."""
    return _hull_of(np.vstack([s.vertices for s in solids]))


def _hull_of(points: Array) -> trimesh.Trimesh:
    return trimesh.convex.convex_hull(np.round(points, 7))


def base_link() -> Body:
    """Foot, casting up to the axis 1 bearing, connector panel."""
    foot = box((-0.30, -0.27, 0.0), (0.27, 0.27, 0.035), 0.012)
    column = hull(box((-0.24, -0.22, 0.03), (0.22, 0.22, 0.05), 0.01), cylinder("z", 0.215, 0.22, 0.26))
    bearing = cylinder("z", 0.235, 0.255, 0.325)
    bolts = [cylinder("z", 0.022, 0.03, 0.06, (x, y, 0.0)) for x in (-0.265, 0.235) for y in (-0.235, 0.235)]
    panel = box((-0.38, -0.13, 0.05), (-0.20, 0.13, 0.21), 0.015)
    plugs = [cylinder("x", 0.028, -0.405, -0.37, (0.0, y, 0.13)) for y in (-0.07, 0.0, 0.07)]
    return Body(groups=[[foot, column, bearing, *bolts], [panel, *plugs]])


def link_1() -> Body:
    """Turntable and shoulder casting; axis 2 at x = 0.175, its motor on the right; lower arm on the left (y > 0.09)."""
    table = cylinder("z", 0.232, -0.162, -0.095)
    block = box((-0.17, -0.17, -0.10), (0.20, 0.085, -0.05), 0.02)
    shoulder = hull(block, cylinder("y", 0.150, -0.165, 0.070, (0.175, 0.0, 0.0)))
    bearing = cylinder("y", 0.128, 0.06, 0.088, (0.175, 0.0, 0.0))
    motor_2 = [
        cylinder("y", 0.105, -0.20, -0.16, (0.175, 0.0, 0.0)),
        cylinder("y", 0.078, -0.37, -0.19, (0.175, 0.0, 0.0)),
    ]
    motor_1 = [
        cylinder("z", 0.085, -0.10, 0.02, (-0.10, -0.06, 0.0)),
        cylinder("z", 0.068, 0.01, 0.20, (-0.10, -0.06, 0.0)),
    ]
    return Body(groups=[[table, block, shoulder, bearing], motor_2, motor_1])


def link_2() -> Body:
    """Lower arm: a tapered beam beside shoulder and elbow, y from 0.09 to 0.21."""
    lower, upper = cylinder("y", 0.136, 0.092, 0.205), cylinder("y", 0.120, 0.092, 0.195, (0.0, 0.0, 0.9))
    waist = hull(
        cylinder("y", 0.118, 0.096, 0.196, (0.0, 0.0, 0.20)), cylinder("y", 0.092, 0.096, 0.188, (0.0, 0.0, 0.72))
    )
    beam = [
        hull(lower, cylinder("y", 0.118, 0.096, 0.196, (0.0, 0.0, 0.20))),
        waist,
        hull(upper, cylinder("y", 0.092, 0.096, 0.188, (0.0, 0.0, 0.72))),
    ]
    covers = [
        cylinder("y", 0.105, 0.19, 0.222, (0.0, 0.0, 0.0), end=0.09),
        cylinder("y", 0.085, 0.18, 0.212, (0.0, 0.0, 0.9), end=0.07),
    ]
    pocket = hull(
        cylinder("y", 0.075, 0.168, 0.25, (0.0, 0.0, 0.24)), cylinder("y", 0.052, 0.168, 0.25, (0.0, 0.0, 0.70))
    )
    return Body(groups=[[*beam, *covers]], pockets=[pocket])


def link_3() -> Body:
    """Elbow casting around axis 3 and the fixed half of the forearm; wrist motors at the back as counterweight."""
    elbow = cylinder("y", 0.132, -0.130, 0.075)
    bearing = cylinder("y", 0.110, 0.07, 0.090)
    cover = cylinder("y", 0.10, -0.155, -0.125, end=0.115)
    house = box((-0.16, -0.125, 0.06), (0.15, 0.080, 0.295), 0.03)
    body = hull(elbow, house)
    neck = hull(
        cylinder("x", 0.098, 0.13, 0.15, (0.0, -0.010, 0.175)), cylinder("x", 0.088, 0.36, 0.392, (0.0, 0.0, 0.175))
    )
    plate = box((-0.20, -0.12, 0.09), (-0.15, 0.078, 0.285), 0.015)
    motors = [
        cylinder("x", 0.046, -0.40, -0.19, (0.0, y, z)) for y, z in ((-0.070, 0.235), (0.030, 0.235), (-0.02, 0.145))
    ]
    return Body(groups=[[elbow, bearing, cover, body], [neck], [plate, *motors]])


def link_4() -> Body:
    """Turning half of the forearm with the wrist fork around axis 5 (x = 0.96)."""
    collar = cylinder("x", 0.092, 0.394, 0.43)
    tube = cylinder("x", 0.086, 0.42, 0.75, end=0.066)
    yoke = hull(cylinder("x", 0.068, 0.70, 0.72), box((0.80, -0.098, -0.060), (0.862, 0.098, 0.060), 0.012))
    prongs = [
        hull(cylinder("y", 0.068, y0, y1, (0.96, 0.0, 0.0)), box((0.83, y0, -0.058), (0.862, y1, 0.058)))
        for y0, y1 in ((0.058, 0.098), (-0.098, -0.058))
    ]
    caps = [cylinder("y", 0.045, 0.09, 0.108, (0.96, 0.0, 0.0)), cylinder("y", 0.045, -0.108, -0.09, (0.96, 0.0, 0.0))]
    return Body(groups=[[collar, tube], [yoke, *prongs, *caps]])


def link_5() -> Body:
    """Wrist between the fork's prongs."""
    return Body(
        groups=[
            [cylinder("y", 0.064, -0.056, 0.056), cylinder("x", 0.052, 0.0, 0.085), cylinder("x", 0.060, 0.080, 0.104)]
        ]
    )


def link_6() -> Body:
    """Flange; its face is the link's origin."""
    return Body(groups=[[cylinder("x", 0.058, -0.030, -0.012), cylinder("x", 0.070, -0.014, 0.0)]])


def tool_plate() -> Body:
    """Tool changer: master and tool half with a couplings block, and the hub that carries the tools."""
    halves = [cylinder("z", 0.078, 0.0, 0.026), cylinder("z", 0.070, 0.025, 0.030), cylinder("z", 0.082, 0.029, 0.052)]
    hub = cylinder("z", 0.062, 0.05, 0.085, end=0.04)
    block = box((-0.035, 0.07, 0.006), (0.035, 0.105, 0.050), 0.006)
    return Body(groups=[[*halves, hub, block]])


def gun() -> Body:
    """Automatic air gun, nozzle outlet at z = 0.27; air horns at +-y, across the fan's major axis."""
    arm = cylinder("z", 0.020, 0.0, 0.095)
    body = box((-0.026, -0.026, 0.08), (0.026, 0.026, 0.205), 0.008)
    head = [
        cylinder("z", 0.023, 0.20, 0.225),
        cylinder("z", 0.027, 0.224, 0.242),
        cylinder("z", 0.026, 0.241, 0.256, end=0.016),
    ]
    horns = [
        hull(_post(side * 0.022, 0.006, 0.242, 0.244), _post(side * 0.017, 0.003, 0.263, 0.265)) for side in (-1.0, 1.0)
    ]
    nozzle = cylinder("z", 0.008, 0.25, 0.27, end=0.004)
    ports = [cylinder("x", 0.010, 0.02, 0.052, (0.0, 0.0, z)) for z in (0.105, 0.135, 0.170)]
    return Body(groups=[[arm], [body, *ports], [*head, *horns, nozzle]])


def _post(y: float, half: float, low: float, high: float) -> trimesh.Trimesh:
    return box((-half, y - half, low), (half, y + half, high))


def sander() -> Body:
    """Random-orbital sander on a pneumatic slide along its axis; the pad is a link of its own."""
    arm = cylinder("z", 0.026, 0.0, 0.095)
    rail = [
        box((-0.045, -0.045, 0.085), (0.045, 0.045, 0.100), 0.006),
        box((-0.036, -0.040, 0.10), (0.036, 0.040, 0.150), 0.008),
    ]
    carriage = box((-0.042, -0.042, 0.155), (0.042, 0.042, 0.185), 0.008)
    rods = [cylinder("z", 0.008, 0.14, 0.16, (x, y, 0.0)) for x in (-0.025, 0.025) for y in (-0.025, 0.025)]
    motor = [cylinder("z", 0.036, 0.18, 0.235), cylinder("z", 0.048, 0.225, 0.262), cylinder("z", 0.030, 0.26, 0.272)]
    port = cylinder("x", 0.014, 0.03, 0.085, (0.0, 0.0, 0.245))
    return Body(groups=[[arm], [*rail, carriage, *rods], [*motor, port]])


def sander_pad() -> Body:
    """Backing plate and soft interface; the pad's face is the origin, z out of it."""
    return Body(groups=[[cylinder("z", 0.052, -0.024, -0.012, end=0.060), cylinder("z", 0.0625, -0.0125, 0.0)]])


def camera_link() -> Body:
    """Structured-light camera, long side along y, front at the origin, z forward."""
    house = box((-0.024, -0.075, -0.060), (0.024, 0.075, -0.006), 0.006)
    eyes = [cylinder("z", r, -0.01, 0.0, (0.0, y, 0.0)) for r, y in ((0.016, -0.05), (0.018, 0.0), (0.016, 0.05))]
    bracket = hull(
        box((-0.022, -0.045, -0.062), (0.018, 0.045, -0.058)), box((-0.045, -0.030, -0.098), (-0.010, 0.030, -0.094))
    )
    return Body(groups=[[house, *eyes], [bracket]])


BODIES: dict[str, Callable[[], Body]] = {
    f.__name__: f
    for f in (
        base_link,
        link_1,
        link_2,
        link_3,
        link_4,
        link_5,
        link_6,
        tool_plate,
        gun,
        sander,
        sander_pad,
        camera_link,
    )
}


def main() -> None:
    """Write every mesh as binary STL."""
    for folder in ("visual", "collision"):
        (MESHES / folder).mkdir(parents=True, exist_ok=True)
        for old in (MESHES / folder).glob("*.stl"):
            old.unlink()
    for name, make in BODIES.items():
        body = make()
        body.visual().export(MESHES / "visual" / f"{name}.stl")
        for index, piece in enumerate(body.collisions()):
            piece.export(MESHES / "collision" / f"{name}_{index}.stl")


if __name__ == "__main__":
    main()
