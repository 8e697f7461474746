"""Poses of one surface on another: proposed, aligned, weighed against each other, and doubted where there is reason."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.near_cells import NearCells, NearTriangles
from cell_core.pose_alignment import NORMAL_COS_MIN, SAME_SHARE, Alignment, Motion, same_shape
from cell_core.pose_evidence import Evidence, PoseJudge
from cell_core.pose_votes import PoseVotes, facing_cells, scattered, spread_samples
from cell_core.sampling import SurfaceSamples
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, inverse

N_COARSE, N_WEIGHED, N_FINE = 700, 12_000, 12_000
"""Cells that the target's area is cut into for votes and for weighing, and cells the last alignment takes at most."""
N_SCREENED, N_POINTS_SCREENED = 48, 250
N_WEIGHED_POSES, N_POINTS_QUICK, N_POINTS = 24, 250, 2000
N_RIVALS = 6
"""Poses looked at closer, stage by stage, and how many points of the scan say so."""
QUICK_SHARES, QUICK_ROUNDS, FINE_SHARES = (0.05, 0.02), 6, (0.01, 0.004)
"""Reach of pairing, step by step, as shares of the diagonal."""
LAST_SIGMAS, LAST_COS_MIN = 4.0, 0.94
"""The last alignment pairs within so many standard deviations of the residual, and within 20 degrees: no edges."""
OVERLAP_SHARE = 0.004
"""What is within this share of the diagonal and faces the same way overlaps."""
DIFFERENT_SHARE = 0.02
"""Poses that shift the target's points by this share of the diagonal are different ones."""
WIDE_SHARE = 0.01
"""Reach at which a pose is accepted at all."""
OVERLAP_MIN, AGAINST_MAX, STRANGE_MAX, COVERED_MIN = 0.3, 0.02, 0.1, 0.02
"""Least share explained of what was scanned in the target's box, most against a pose beside what a part's own
deviations explain, most in one piece with the part but not of it, all over the area on the target, and least share of
the target that was scanned."""
SEPARATION_MIN, MARGIN_MIN = 2.5, 0.005
"""A pose stands out from another by so many standard deviations of what tells them apart, and by this share of the
area that lies on the target."""
UNCERTAINTY_MAX_M, UNCERTAINTY_MAX_OF_RMS = 8e-5, 0.6
"""A pose that may be off by more than both (one standard deviation of the shift) is doubted: what a good scan can do,
or little against the part's own deviations."""
CELLS_ALIKE = 4.0
"""Cells that stand for one independent difference between two poses."""
TURNS_RAD = tuple(np.deg2rad([45, 60, 72, 90, 120, 135, 144, 180, 216, 225, 240, 270, 288, 300, 315]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One place where the source may lie."""

    T_target_source: Array
    """(4, 4) source coordinates in, target coordinates out."""
    score: float
    """Area that speaks for it less area against it, over what the best pose lays on the target."""
    overlap_fraction: float
    """Share of the source's area that lies on the target."""
    against_fraction: float
    """Area that speaks against it (scanned inside the target, or seen through it) over the area on the target."""
    rms_m: float
    """Root mean square distance [m] of what lies on the target."""
    separation: float
    """By how many standard deviations of what tells them apart the best pose is better; 0 for the best."""
    same_shape: bool
    """Between the best pose and this one the target lies on itself: a symmetry of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """Where the source lies on the target."""

    T_target_source: Array
    """(4, 4) source coordinates in, target coordinates out."""
    rms_m: float
    """Root mean square distance [m] of overlapping samples to the target's surface."""
    overlap_fraction: float
    """Share of the source's area that lies on the target; table and clutter are part of the source."""
    ambiguous: bool = False
    """A clearly different pose fits as well."""
    second_overlap_fraction: float = 0.0
    """Overlap of the best clearly different pose; 0 when none was found."""
    explained_fraction: float = 1.0
    """Share of what was scanned within the target's box that lies on the target."""
    candidates: tuple[Candidate, ...] = ()
    """The pose and its rivals, best first."""
    least_held: Motion | None = None
    """The motion that the scan holds least, symmetries aside, scaled to one standard deviation."""
    doubt: str = ""
    """Why the pose must not be relied on, with values and bounds and what to do; empty when it may."""


class PoseSearch:
    """Poses of one source on one target."""

    def __init__(self, source: Surface, target: Surface, uncertainty_max_m: float) -> None:
        self._source, self._target = source, target
        self._uncertainty_max_m = uncertainty_max_m
        self.target_area_m2 = target.area_m2
        extents = [float(np.linalg.norm(np.ptp(s.bounds_m, axis=0))) for s in (source, target)]
        self.diagonal_m = min(extents)
        cell_m = float(np.sqrt(target.area_m2 / N_WEIGHED))
        self._cell_m = cell_m
        self.judge = PoseJudge(facing_cells(source, cell_m), cell_m, target, cell_m)
        self._coarse_m = float(np.sqrt(target.area_m2 / N_COARSE))
        self._votes = PoseVotes(facing_cells(target, self._coarse_m), extents[1])
        self._spread_m, _ = spread_samples(target, 200)

    def poses(self, part: Surface) -> list[Array]:
        """Return distinct poses that votes propose for what is scanned of the part, aligned in haste, best first."""
        scene = facing_cells(part, self._coarse_m)
        few = self._aligner(scene, N_POINTS_QUICK, self.judge.grid)
        screened = self._screened(self._votes.poses(scene), scene, N_SCREENED)
        hasty = few.descend_all(np.array(screened).reshape(-1, 4, 4), self._shares(QUICK_SHARES), QUICK_ROUNDS)
        return self._screened(hasty, scene, N_WEIGHED_POSES)

    def judged(self, poses: list[Array]) -> Registration:
        """Return the best of these poses and of its turns about the target's axes, aligned to the end and weighed."""
        reach_m = OVERLAP_SHARE * self.diagonal_m
        kept = self._likely(poses, 2.5 * reach_m, N_RIVALS)
        near = self._near(kept[0])
        kept = [self._aligned(T) for T in kept]
        best = self._best(kept, reach_m, 1)[0]
        turned = self._screened(_turns(self._target) @ best, near, N_WEIGHED_POSES)
        alike = [T for T in self._likely(turned, 2.5 * reach_m, N_RIVALS) if self._differ(T, best)]
        kept = self._best([*kept, *(self._aligned(T) for T in alike)], reach_m, 2 * N_RIVALS)
        return self._concluded(kept, reach_m)

    def _concluded(self, poses: list[Array], reach_m: float) -> Registration:
        T = poses[0]
        sigma_m = self._sigma(T, reach_m)
        last_m = float(np.clip(LAST_SIGMAS * sigma_m, 0.1 * reach_m, reach_m))
        aligner = self._aligner(self._finely(T), N_FINE, self.judge.exact)
        T = aligner.descend(T, (last_m,), cos_min=LAST_COS_MIN)
        poses = [T, *(p for p in poses[1:] if self._differ(p, T))]
        evidence = [self.judge.at(p, reach_m) for p in poses]
        order = np.argsort([-e.score_m2 for e in evidence], kind="stable")
        order = np.r_[0, order[order != 0]]
        candidates = tuple(self._candidate(poses[i], evidence[i], T, evidence[0], 3.0 * sigma_m) for i in order)
        motions = aligner.motions(T, last_m, LAST_COS_MIN, self._target)
        held = [m for m in motions if not m.symmetric]
        free = any(m.symmetric for m in motions)
        best, rivals = candidates[0], [c for c in candidates[1:] if not stands_out(c)]
        return Registration(
            T_target_source=T,
            rms_m=best.rms_m,
            overlap_fraction=best.overlap_fraction,
            ambiguous=bool(rivals) or free,
            second_overlap_fraction=max((c.overlap_fraction for c in candidates[1:]), default=0.0),
            explained_fraction=evidence[0].on_m2 / max(evidence[0].in_box_m2, 1e-12),
            candidates=candidates,
            least_held=held[0] if held else None,
            doubt=self._doubt(candidates, held[:1], best.rms_m),
        )

    def _doubt(self, candidates: tuple[Candidate, ...], least: list[Motion], rms_m: float) -> str:
        if any(not stands_out(c) and not c.same_shape for c in candidates[1:]):
            return alike(candidates)
        bound_m = max(self._uncertainty_max_m, UNCERTAINTY_MAX_OF_RMS * rms_m)
        if least and least[0].shift_m > bound_m:
            turn, shift = least[0].twist[:3], least[0].twist[3:]
            return (
                f"lies loosely: it may be off by {1e3 * least[0].shift_m:.3g} mm, at most {1e3 * bound_m:.3g} mm "
                f"allowed, turning about {_way(turn)} by {np.rad2deg(least[0].turn_rad):.3g} deg and moving along "
                f"{_way(shift)} of the target; scan faces that hold it there"
            )
        return ""

    def _candidate(self, T: Array, evidence: Evidence, T_best: Array, best: Evidence, within_m: float) -> Candidate:
        on_m2 = max(best.on_m2, 1e-12)
        less = self.judge.less(T_best, best, T, evidence, max(within_m, SAME_SHARE * self.diagonal_m))
        spread = float(np.sqrt(CELLS_ALIKE * np.sum(less**2)))
        margin = float(less.sum()) / on_m2
        stands_out = float(less.sum()) / spread if spread > 0.0 else 0.0
        return Candidate(
            T_target_source=T,
            score=evidence.score_m2 / on_m2,
            overlap_fraction=evidence.on_m2 / self._source.area_m2,
            against_fraction=evidence.against_m2 / max(evidence.on_m2, 1e-12),
            rms_m=evidence.rms_m,
            separation=stands_out if margin > MARGIN_MIN else min(stands_out, 0.0),
            same_shape=T is T_best or same_shape(self._target, self.judge.caster, T @ inverse(T_best), within_m),
        )

    def _shares(self, shares: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(s * self.diagonal_m for s in shares)

    def _aligner(self, samples: SurfaceSamples, n: int, target: NearTriangles | NearCells) -> Alignment:
        some = samples.select(scattered(len(samples), n))
        return Alignment(some.points_m, some.normals, target, self.diagonal_m)

    def _aligned(self, T: Array) -> Array:
        near = self._near(T)
        T = self._aligner(near, N_POINTS, self.judge.grid).descend(T, self._shares(FINE_SHARES[:1]))
        return self._aligner(near, N_POINTS, self.judge.exact).descend(T, self._shares(FINE_SHARES[1:]), QUICK_ROUNDS)

    def _near(self, T: Array) -> SurfaceSamples:
        return self.judge.scan.select(self._in_box(apply(T, self.judge.scan.points_m)))

    def _in_box(self, points_m: Array) -> NDArray[np.bool_]:
        box = self._target.bounds_m + np.array([[-1.0], [1.0]]) * FINE_SHARES[0] * self.diagonal_m
        return np.all((points_m > box[0]) & (points_m < box[1]), axis=1)

    def _finely(self, T: Array) -> SurfaceSamples:
        # what lies by the target, in cells small enough for the number wanted
        part = self._source.select_triangles(self._in_box(apply(T, self._source.centroids_m)))
        return facing_cells(part, float(np.sqrt(part.area_m2 / N_FINE)))

    def _sigma(self, T: Array, reach_m: float) -> float:
        aligner = self._aligner(self._near(T), N_POINTS, self.judge.exact)
        _, gap, normals, near = aligner.pairs(T, reach_m, LAST_COS_MIN)
        if not near.any():
            return reach_m
        return 1.4826 * float(np.median(np.abs(np.einsum("ij,ij->i", gap[near], normals[near]))))

    def _screened(self, poses: Array, scene: SurfaceSamples, n: int) -> list[Array]:
        # by how many points come to lie on the target at all
        some = scene.select(scattered(len(scene), N_POINTS_SCREENED))
        R, shift = poses[:, :3, :3], poses[:, None, :3, 3]
        points = np.einsum("kij,nj->kni", R, some.points_m) + shift
        facing = np.einsum("kij,nj->kni", R, some.normals)
        reach_m = 1.5 * self._coarse_m
        gap, _, near = self.judge.grid.pairs(points.reshape(-1, 3), facing.reshape(-1, 3), reach_m, NORMAL_COS_MIN)
        on = np.where(near, 1.0 - np.linalg.norm(gap, axis=1) / reach_m, 0.0)
        score = on.reshape(len(poses), -1).sum(axis=1)
        return self._distinct(poses[np.argsort(-score, kind="stable")], n)

    def _likely(self, poses: list[Array], reach_m: float, n: int) -> list[Array]:
        scores = [self.judge.roughly(T, reach_m) for T in poses]
        return self._distinct(np.array([poses[i] for i in np.argsort(np.negative(scores), kind="stable")]), n)

    def _best(self, poses: list[Array], reach_m: float, n: int) -> list[Array]:
        scores = [self.judge.at(T, reach_m).score_m2 for T in poses]
        return self._distinct(np.array([poses[i] for i in np.argsort(np.negative(scores), kind="stable")]), n)

    def _distinct(self, poses: Array, n: int) -> list[Array]:
        kept: list[Array] = []
        for T in poses:
            if len(kept) == n:
                break
            if all(self._differ(T, k) for k in kept):
                kept.append(T)
        return kept

    def _differ(self, a: Array, b: Array) -> bool:
        shift = apply(a @ inverse(b), self._spread_m) - self._spread_m
        return float(np.sqrt(np.mean(np.sum(shift**2, axis=1)))) > DIFFERENT_SHARE * self.diagonal_m


def alike(candidates: tuple[Candidate, ...]) -> str:
    """Say that a pose has rivals, and how alike they are."""
    rivals = [c for c in candidates[1:] if not stands_out(c)]
    own = "a symmetry of the target" if all(c.same_shape for c in rivals) else "by the scan alone they are alike"
    shown = ", ".join(f"{100 * c.overlap_fraction:.1f} %" for c in candidates[:1] + tuple(rivals[:3]))
    return (
        f"lies on the surface in more than one way ({1 + len(rivals)}): {shown} of the surface overlap, {own}; "
        "scan what tells them apart, or lay it in place by hand and do without registration"
    )


def stands_out(candidate: Candidate) -> bool:
    """Whether the best pose stands out from this one."""
    return candidate.separation >= SEPARATION_MIN


def misfit_of(found: Registration, search: PoseSearch, overlap_min: float) -> str:
    """Return what is wrong about the best pose, or ""."""
    # weighed with a wide reach: a real part may deviate from its CAD all over, and
    # where it does, more of it comes to lie inside or to be seen through
    reach_m = WIDE_SHARE * search.diagonal_m
    best = search.judge.at(found.T_target_source, reach_m)
    explained = best.on_m2 / max(best.in_box_m2, 1e-12)
    if explained < overlap_min:
        return (
            f"only {explained:.2f} of what was scanned within the target's box lies on the target, "
            f"at least {overlap_min:g} needed"
        )
    hidden_m2 = search.judge.hidden_m2(found.T_target_source, reach_m)
    against, bound = max(best.against_m2, hidden_m2) / best.on_m2, AGAINST_MAX + (best.rms_m / reach_m) ** 2
    if against > bound:
        return (
            f"what was scanned inside the target, behind it or is seen through it is {against:.3f} of what lies on the "
            f"target, at most {bound:.3f} allowed"
        )
    strange = search.judge.strange_m2(best.on) / best.on_m2
    if strange > STRANGE_MAX:
        return (
            f"what was scanned in one piece with the part but does not lie on the target is {strange:.3f} of what "
            f"does, at most {STRANGE_MAX:g} allowed (cut fixtures away that touch it)"
        )
    covered = best.on_m2 / search.target_area_m2
    if covered < COVERED_MIN:
        return f"only {covered:.3f} of the target was scanned, at least {COVERED_MIN:g} needed"
    return ""


def _way(vector: Array) -> str:
    length = float(np.linalg.norm(vector))
    return "(" + ", ".join(f"{x:.2f}" for x in vector / max(length, 1e-12)) + ")"


def _turns(target: Surface) -> Array:
    # turns about the principal axes of the target's area through its middle, and about those of its largest faces
    points, normals = spread_samples(target, 2000)
    middle = points.mean(axis=0)
    axes = [*np.linalg.svd(points - middle, full_matrices=False)[2], *_face_normals(normals)]
    out = []
    for axis in axes:
        for angle in TURNS_RAD:
            turn = np.eye(4)
            turn[:3, :3] = Rotation.from_rotvec(angle * axis).as_matrix()
            turn[:3, 3] = middle - turn[:3, :3] @ middle
            out.append(turn)
    return np.array(out)


def _face_normals(normals: Array, n: int = 3) -> list[Array]:
    left, out = np.ones(len(normals), bool), []
    for _ in range(n):
        if not left.any():
            break
        count = (np.abs(normals @ normals[left].T) > 0.98).sum(axis=0)
        axis = normals[left][count.argmax()]
        out.append(axis)
        left &= np.abs(normals @ axis) < 0.9
    return out
