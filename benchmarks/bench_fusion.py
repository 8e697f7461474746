"""Fusion of 60 simulated depth images of six generated parts against their true shape, and the legacy method beside it.

Views lie all over the upper half of a sphere of 0.55 m round the part on its table; every pose is off by a random
shift and turn (absolute values of normal draws with standard deviations 0.5 mm and 0.1 degrees, any direction).
Noise: "industrial", 0.13 mm median at 0.45 m, and "D4xx", 1.3 mm standard deviation at 0.45 m, white. Error: distance
of the surface's vertices from the true mesh; false: area more than 1 mm from it; seen: share of the true surface above
the cut that three views see within 60 degrees of incidence and that has a vertex within 2 mm; shape: the error left
once the surface was laid onto the part as one piece, since only the mean of all poses given tells where the part lies.
The legacy method is industrial_reconstruction's: Open3D's legacy TSDF at the settings its README gives for a part (5 mm
voxels, 25 mm truncation), all readings, poses as given. Its ScalableTSDFVolume makes nothing in Open3D 0.20, so the
same field is made by UniformTSDFVolume. Goals: industrial 0.06 / 0.15 mm, D4xx
0.13 / 0.33 mm, false 0.1 %, 25 frames/s, 8 s from the last frame to the mesh. Both are given per CPU second of all
threads and by the clock; the clock says something only where the load printed leaves two cores free.

    cell bench fusion
    PARTS=cowl,elbow NOISE=industrial cell bench fusion
    QUICK=1 cell bench fusion            one part, industrial
"""

import os
import resource
import sys
import time

import numpy as np
import open3d as o3d
from fusion_parts import PARTS
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from cell_core.config import CameraConfig
from cell_core.config.base import Interval
from cell_core.config.recipes import ScanSettings
from cell_core.surface import Surface
from cell_core.transforms import Array, inverse, transform_from_xyz_rpy
from cell_scanning.frames import Frame
from cell_scanning.fusion import Fusion
from cell_scanning.views import looking_at
from cell_simulation.camera import DepthCamera
from cell_simulation.true_part import TruePart

N_VIEWS, AWAY_M, VOXEL_M, FLOOR_M = 60, 0.55, 0.001, 0.003
SHIFT_M, TURN_RAD = 0.5e-3, np.deg2rad(0.1)
FALSE_M, NEAR_M = 1e-3, 2e-3
NOISE = {"industrial": (0.13e-3 / 0.6745 / 0.45**2, 0.3), "D4xx": (1.3e-3 / 0.45**2, 0.6)}
"""Standard deviation at 1 m [m], and of the pixel [px]."""
GOALS_MM = {"industrial": (0.06, 0.15), "D4xx": (0.13, 0.33)}
LEGACY_VOXEL_M, LEGACY_TRUNCATION_M = 0.005, 0.025


def camera_config(noise: str) -> CameraConfig:
    """Return a camera of 640 x 480 px and 65 degrees with the named noise."""
    axial, lateral = NOISE[noise]
    return CameraConfig(
        format="grind_spray_cell/camera", version=1, name=noise, width_px=640, height_px=480, fx_px=502.0, fy_px=502.0,
        cx_px=319.5, cy_px=239.5, range_m=Interval(low=0.25, high=1.5), rate_hz=10.0, incidence_max_rad=1.15,
        axial_noise_at_1m_m=axial, lateral_noise_px=lateral, dropout_fraction=0.002,
    )  # fmt: skip


def view_poses(centre_m: Array) -> list[Array]:
    """Return camera poses evenly over the sphere from 12 to 88 degrees above the table."""
    k = np.arange(N_VIEWS)
    low, high = np.sin(np.radians([12.0, 88.0]))
    up, turn = np.arcsin(low + (k + 0.5) / N_VIEWS * (high - low)), 2.399963 * k
    ways = np.stack([np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up)], axis=1)
    return [looking_at(centre_m + AWAY_M * way, centre_m) for way in ways]


def disturbed(T: Array, rng: np.random.Generator) -> Array:
    """Return a pose off by a shift and a turn of random size and direction."""
    shift, axis = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    E = np.eye(4)
    E[:3, :3] = Rotation.from_rotvec(axis * TURN_RAD * abs(rng.normal())).as_matrix()
    E[:3, 3] = shift * SHIFT_M * abs(rng.normal())
    return T @ E


class Truth:
    """The true part, for judging."""

    def __init__(self, part: Surface, T_part_camera: list[Array], camera: CameraConfig) -> None:
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            o3d.core.Tensor(part.vertices_m.astype(np.float32)), o3d.core.Tensor(part.triangles.astype(np.uint32))
        )
        rng = np.random.default_rng(1)
        share = part.triangle_areas_m2 / part.triangle_areas_m2.sum()
        triangle = rng.choice(len(share), 20000, p=share)
        u = rng.random((2, 20000, 1))
        u = np.where(u.sum(axis=0) > 1.0, 1.0 - u, u)
        a, b, c = (part.vertices_m[part.triangles[triangle, i]] for i in range(3))
        points, normals = a + u[0] * (b - a) + u[1] * (c - a), part.triangle_normals[triangle]
        above = points[:, 2] > FLOOR_M + NEAR_M
        points, normals = points[above], normals[above]
        seen = np.zeros(len(points), int)
        for T in T_part_camera:
            p = (points - T[:3, 3]) @ T[:3, :3]
            with np.errstate(divide="ignore", invalid="ignore"):
                x, y = (
                    f * p[:, i] / p[:, 2] + m
                    for i, f, m in ((0, camera.fx_px, camera.cx_px), (1, camera.fy_px, camera.cy_px))
                )
            back = T[:3, 3] - points
            away = np.linalg.norm(back, axis=1)
            facing = np.sum(back * normals, axis=1) / away > 0.5
            inside = (p[:, 2] > 0) & (x > 4) & (x < camera.width_px - 4) & (y > 4) & (y < camera.height_px - 4)
            rays = np.concatenate([points + 1e-5 * normals, back * ((away - 2e-3) / away)[:, None]], axis=1)
            blocked = self._scene.test_occlusions(o3d.core.Tensor(rays.astype(np.float32)), tnear=0.0, tfar=1.0).numpy()
            seen += facing & inside & ~blocked
        self._seen_m = points[seen >= 3]

    def distance_m(self, points_m: Array) -> Array:
        """Return the distance of points from the true surface [m]."""
        return self._scene.compute_distance(o3d.core.Tensor(points_m.astype(np.float32))).numpy().astype(float)

    def laid_on(self, points_m: Array) -> Array:
        """Return points laid onto the true surface as one piece: what is left is the error of the shape alone."""
        for _ in range(6):
            found = self._scene.compute_closest_points(o3d.core.Tensor(points_m.astype(np.float32)))
            n, gap = found["primitive_normals"].numpy(), found["points"].numpy() - points_m
            n = n / np.linalg.norm(n, axis=1, keepdims=True)
            off = np.sum(n * gap, axis=1)
            use = np.abs(off) < 5e-4
            centre = points_m.mean(axis=0)
            J = np.concatenate([np.cross(points_m - centre, n), n], axis=1)[use]
            step = np.linalg.lstsq(J.T @ J, J.T @ off[use], rcond=None)[0]
            points_m = (points_m - centre) @ Rotation.from_rotvec(step[:3]).as_matrix().T + centre + step[3:]
        return points_m

    def judged(self, surface: Surface) -> dict[str, float]:
        """Return mean and P95 error [mm], false area and share seen [%] of a surface."""
        error = 1e3 * self.distance_m(surface.vertices_m)
        shape = 1e3 * self.distance_m(self.laid_on(surface.vertices_m))
        far = self.distance_m(surface.centroids_m) > FALSE_M
        found = KDTree(surface.vertices_m).query(self._seen_m, distance_upper_bound=NEAR_M)[0]
        return {
            "mean": float(error.mean()),
            "p95": float(np.quantile(error, 0.95)),
            "shape": float(shape.mean()),
            "shape95": float(np.quantile(shape, 0.95)),
            "false": 100.0 * float(surface.triangle_areas_m2[far].sum() / surface.area_m2),
            "seen": 100.0 * float(np.isfinite(found).mean()),
        }


def legacy_surface(frames: list[Frame], camera: CameraConfig, crop: Array) -> Surface:
    """Return what industrial_reconstruction's method makes of the frames, cut to the same box."""
    size = float(np.ceil((crop[1] - crop[0]).max() / LEGACY_VOXEL_M + 20)) * LEGACY_VOXEL_M
    volume = o3d.pipelines.integration.UniformTSDFVolume(
        length=size,
        resolution=round(size / LEGACY_VOXEL_M),
        sdf_trunc=LEGACY_TRUNCATION_M,
        color_type=o3d.pipelines.integration.TSDFVolumeColorType.NoColor,
        origin=0.5 * (crop[0] + crop[1]) - 0.5 * size,
    )
    K = o3d.camera.PinholeCameraIntrinsic(
        camera.width_px, camera.height_px, camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px
    )
    blank = o3d.geometry.Image(np.zeros((camera.height_px, camera.width_px), np.float32))
    for f in frames:
        image = o3d.geometry.RGBDImage.create_from_color_and_depth(
            blank, o3d.geometry.Image(f.depth_m), depth_scale=1.0, depth_trunc=1.5, convert_rgb_to_intensity=False
        )
        volume.integrate(image, K, inverse(f.T_part_camera))
    mesh = volume.extract_triangle_mesh()
    whole = Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.triangles, np.int64))
    inside = np.all((whole.centroids_m >= crop[0] + [0, 0, FLOOR_M]) & (whole.centroids_m <= crop[1]), axis=1)
    return whole.select_triangles(inside)


def _seconds() -> Array:
    return np.round([time.process_time(), time.perf_counter()], 2)


def main() -> int:
    """Scan each part, fuse by both methods, judge."""
    quick = bool(os.environ.get("QUICK"))
    names = os.environ.get("PARTS", "elbow" if quick else ",".join(PARTS)).split(",")
    noises = os.environ.get("NOISE", "industrial" if quick else ",".join(NOISE)).split(",")
    console = Console(width=170)
    table = Table(
        *("part", "noise", "mean mm", "P95 mm", "goal", "shape", "P95", "false %", "seen %"),
        *("legacy", "P95", "false %", "ratio mean", "ratio P95"),
        *("frames per CPU s, by clock", "mesh after CPU s, by clock", "memory MB"),
    )  # fmt: skip
    for name in names:
        part = PARTS[name]()
        bounds = part.bounds_m
        crop = np.stack([bounds[0] - 0.03, bounds[1] + 0.03])
        crop[0, 2] = 0.0
        poses = view_poses(bounds.mean(axis=0))
        table_box = (transform_from_xyz_rpy([0, 0, -0.05], [0, 0, 0]), np.array([1.2, 1.2, 0.1]))
        for noise in noises:
            camera = camera_config(noise)
            studio = DepthCamera(camera, TruePart(part, edge_max_m=10.0), [table_box], seed=3)
            rng = np.random.default_rng([7, len(name)])
            frames = [
                Frame(depth_m=studio.render(T, float(i)).depth_m, T_part_camera=disturbed(T, rng), stamp_s=float(i))
                for i, T in enumerate(poses)
            ]
            before = _seconds()
            fusion = Fusion(camera, ScanSettings(voxel_m=VOXEL_M), crop=crop, floor_clearance_m=FLOOR_M)
            for frame in frames:
                fusion.add(frame)
            fusion.catch_up()
            taken = _seconds()
            surface = fusion.result().surface
            done = _seconds()
            truth = Truth(part, poses, camera)
            ours, legacy = truth.judged(surface), truth.judged(legacy_surface(frames, camera, crop))
            table.add_row(
                *(name, noise, f"{ours['mean']:.4f}", f"{ours['p95']:.4f}", "{} / {}".format(*GOALS_MM[noise])),
                *(f"{ours['shape']:.4f}", f"{ours['shape95']:.4f}"),
                *(f"{ours['false']:.3f}", f"{ours['seen']:.2f}"),
                *(f"{legacy['mean']:.3f}", f"{legacy['p95']:.3f}", f"{legacy['false']:.1f}"),
                *(f"{legacy['mean'] / ours['mean']:.1f}", f"{legacy['p95'] / ours['p95']:.1f}"),
                ", ".join(f"{len(frames) / s:.1f}" for s in taken - before),
                ", ".join(f"{s:.1f}" for s in done - taken),
                f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
            )
            console.print(
                f"{name}, {noise}: mean {ours['mean']:.4f}, P95 {ours['p95']:.4f} mm; CPU s, s by the clock: "
                f"{len(frames)} frames {taken - before}, mesh {done - taken}; load {os.getloadavg()[0]:.1f}"
            )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
