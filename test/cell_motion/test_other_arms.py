"""Arms of other makers, from pip packages and published dimensions: imported, solved, and moved along a tool path."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from motion_paths import dome, dome_height, dome_normal, stroke_over, toolpath

from cell_core.errors import ConfigurationError
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, ToolPath
from cell_motion import check_trajectory, plan_process
from cell_motion.chain import Chain
from cell_motion.kinematics import TURN_RAD, Kinematics
from cell_motion.solvers import DecompositionSolver, NumericalSolver, OpwSolver, Solver, solver_for
from robot_description import Cell, load_cell
from robot_description.arm_import import import_arm

sys.path.insert(0, str(Path(__file__).parents[1] / "robot_description"))
from arm_kit import ODD, UR10E, dh_urdf

KUKA = "xacro/kuka_description"
FILES = {
    "kr16": f"{KUKA}/kuka_kr16/urdf/kr16_2.urdf",
    "kr120": f"{KUKA}/kuka_kr120/urdf/kr120r2500pro.urdf",
    "kr210": f"{KUKA}/kuka_kr210/urdf/kr210l150.urdf",
}
SOLVERS: dict[str, type[Solver]] = {
    "kr16": OpwSolver,
    "kr120": OpwSolver,
    "kr210": DecompositionSolver,  # its axis 1 stands 2.8 mm beside the base's z axis
    "ur10e": DecompositionSolver,
    "odd": NumericalSolver,
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cell]:
    folder = tmp_path_factory.mktemp("arms")
    for name, rows in (("ur10e", UR10E), ("odd", ODD)):
        (folder / f"{name}.urdf").write_text(dh_urdf(name, rows))
    spec = importlib.util.find_spec("rtbdata")
    places = {name: folder / f"{name}.urdf" for name in ("ur10e", "odd")}
    if spec is not None and spec.submodule_search_locations:
        places |= {name: Path(spec.submodule_search_locations[0]) / file for name, file in FILES.items()}
    return {name: load_cell(import_arm(path, folder / f"made_{name}").cell_path) for name, path in places.items()}


def cell_of(cells: dict[str, Cell], name: str) -> Cell:
    if name not in cells:
        pytest.skip("rtb-data is not installed")
    return cells[name]


ARMS = pytest.mark.parametrize("name", list(SOLVERS))


@ARMS
def test_every_branch_stands_at_the_pose_and_one_is_where_it_came_from(cells: dict[str, Cell], name: str) -> None:
    cell = cell_of(cells, name)
    robot = cell.robot
    assert isinstance(solver_for(robot), SOLVERS[name])
    kinematics = Kinematics(robot, "sander_tcp")
    low, high = np.maximum(robot.lower_rad, -3.0), np.minimum(robot.upper_rad, 3.0)
    q = np.random.default_rng(2).uniform(low, high, (200, 6))
    T = robot.forward(q, "sander_tcp")
    answer = kinematics.solve(T)
    found = robot.forward(answer.position_rad[answer.exists], "sander_tcp")
    wanted = np.repeat(T[:, None], answer.exists.shape[1], axis=1)[answer.exists]
    np.testing.assert_allclose(found, wanted, atol=1e-8)
    d = answer.position_rad - q[:, None]
    d = np.abs(d - TURN_RAD * np.round(d / TURN_RAD)).max(axis=2)
    nearest = np.min(np.where(np.isnan(d), np.inf, d), axis=1)
    # closed forms find every branch but where two of them meet; numbers may miss one
    assert (nearest < 1e-6).mean() >= (0.98 if name == "odd" else 0.995)
    assert np.nanmin(answer.regularity) >= 0.0


def test_regularity_is_nothing_where_the_arm_is_stretched_or_the_wrist_is_straight(cells: dict[str, Cell]) -> None:
    chain = Chain.of(cells["ur10e"].robot)
    good = np.array([0.3, -1.2, 1.4, 0.5, 1.2, 0.1])
    stretched, straight = good.copy(), good.copy()
    stretched[2], straight[4] = 0.0, 0.0
    assert chain.regularity(good) > 0.3
    assert max(chain.regularity(stretched), chain.regularity(straight)) < 1e-9


def _path_on(cell: Cell) -> tuple[Surface, ToolPath]:
    """Return a dome of a third of the fixture's distance and two sprayed strokes over it."""
    size_m = 0.3 * float(cell.T_base_fixture[0, 3])
    shape = (size_m, size_m, 0.15 * size_m)
    y = np.linspace(-0.4 * size_m, 0.4 * size_m, 25)
    strokes = []
    for x0 in (-0.2 * size_m, 0.2 * size_m):
        x = np.full_like(y, x0)
        points = np.stack([x, y, dome_height(x, y, *shape)], axis=1)
        freedom = Freedom(spin="fixed", tilt_rad=0.35)
        strokes.append(
            stroke_over(
                points,
                dome_normal(x, y, *shape),
                speed_m_per_s=0.15,
                value=5e-6,
                standoff_m=0.2,
                off_ends=2,
                freedom=freedom,
            )
        )
    return dome(*shape, n=30), toolpath("spray", strokes)


@ARMS
def test_a_tool_path_is_run_without_collision(cells: dict[str, Cell], name: str) -> None:
    cell = cell_of(cells, name)
    part, path = _path_on(cell)
    plan = plan_process(cell, path, part, cell.T_base_fixture)
    assert plan.figures["reached_fraction"] == 1.0
    check_trajectory(cell, plan.trajectory, part, cell.T_base_fixture)
    for stroke, segment in zip(
        plan.toolpath.strokes, [s for s in plan.trajectory.segments if s.kind == "process"], strict=True
    ):
        q, _ = plan.trajectory.sample(plan.trajectory.time_s[segment.i0] + stroke.times_s)
        wanted = stroke.transformed(cell.T_base_fixture)
        T = cell.robot.forward(q, "gun_tcp")
        across = T[:, :3, 3] - wanted.position_m
        across -= np.sum(across * wanted.travel, axis=1, keepdims=True) * wanted.travel
        assert np.linalg.norm(across, axis=1).max() < 1e-4
        assert np.arccos(np.clip(np.sum(T[:, :3, 2] * wanted.tool_axis, axis=1), -1.0, 1.0)).max() < 1e-3
    assert np.abs(np.diff(plan.trajectory.position_rad, axis=0)).max() < 0.3


def test_what_is_written_can_be_moved_and_says_what_is_assumed(cells: dict[str, Cell], tmp_path: Path) -> None:
    arm = dh_urdf("mine", UR10E).replace("type='revolute'", "type='continuous'", 1)
    (tmp_path / "mine.urdf").write_text(arm)
    made = import_arm(tmp_path / "mine.urdf", tmp_path / "out", full_speed_s=0.25)
    (tmp_path / "out").rename(tmp_path / "moved")
    cell = load_cell(tmp_path / "moved" / made.cell_path.name)
    np.testing.assert_allclose(cell.robot.acceleration_rad_per_s2, 10.0)
    assert cell.robot.upper_rad[0] == pytest.approx(2.0 * np.pi)
    text = " ".join(made.notes)
    assert "joint a1 turns without end" in text and "full speed in 0.25 s" in text
    assert 0.9 < made.reach_m < 1.6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("velocity='2.5'", "velocity='0'"), r"joint 'a1': velocity limit 0\.0 rad/s: must be > 0"),
        (("name='l3'", "name='gun'"), "'gun' is also a name of the tool plate's"),
        (("<link name='tool0'/>", "<link name='tool9'/>"), "which does not exist"),
    ],
)
def test_an_arm_that_cannot_be_used_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = dh_urdf("mine", UR10E)
    text = text.replace("'l3'", "'gun'") if change[0] == "name='l3'" else text.replace(*change)
    (tmp_path / "mine.urdf").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        import_arm(tmp_path / "mine.urdf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_flange_that_looks_sideways_gets_a_mount(tmp_path: Path) -> None:
    text = dh_urdf("mine", UR10E).replace("</robot>", "")
    text += "<link name='side'/><joint name='s' type='fixed'><parent link='tool0'/><child link='side'/>"
    text += f"<origin xyz='0 0 0' rpy='0 {-0.5 * np.pi} 0'/></joint></robot>"
    (tmp_path / "mine.urdf").write_text(text)
    made = import_arm(tmp_path / "mine.urdf", tmp_path / "out", flange="side")
    robot = load_cell(made.cell_path).robot
    q = np.zeros(6)
    np.testing.assert_allclose(robot.forward(q, "tool_mount")[:3, 2], robot.forward(q, "tool0")[:3, 2], atol=1e-9)
    assert yaml.safe_load(made.robot_path.read_text())["flange_frame"] == "tool_mount"
