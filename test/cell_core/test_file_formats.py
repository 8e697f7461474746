"""Tool paths, trajectories and job folders: written, validated, read back; damaged files are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_core import errors
from cell_core.config import JobConfig
from cell_core.errors import CellError, ConfigurationError, InputRefusedError
from cell_core.files import read_json, read_npz, write_atomically, write_json, write_npz
from cell_core.jobs import STEPS, JobFolder
from cell_core.plan import Plan
from cell_core.schemas import validate
from cell_core.toolpath import Freedom, Stroke, ToolPath
from cell_core.trajectory import JointTrajectory, ProcessEvent, Segment, Unreached
from cell_core.transforms import transform_from_xyz_rpy, unit

PREDICTION = {"mean_m": 5e-5, "cv": 0.1, "min_m": 0.0, "max_m": 9e-5, "in_tolerance_area_fraction": 0.9,
              "coverage_area_fraction": 1.0, "overspray_fraction": 0.2, "duration_s": 1.0, "length_m": 0.3}  # fmt: skip


def make_stroke(rng: np.random.Generator, n: int) -> Stroke:
    axis = rng.normal(size=(n, 3))
    travel = np.cross(axis, rng.normal(size=(n, 3)))
    return Stroke(
        kind="area",
        position_m=np.cumsum(rng.uniform(0.001, 0.01, (n, 3)), axis=0),
        tool_axis=unit(axis),
        travel=unit(travel),
        speed_m_per_s=rng.uniform(0.01, 0.6, n),
        process_value=rng.uniform(0.0, 3e-6, n),
        on=rng.random(n) > 0.3,
        freedom=Freedom(spin="fixed", tilt_rad=0.1, standoff_m=(-0.02, 0.03)),
    )


def make_toolpath(seed: int = 0) -> ToolPath:
    rng = np.random.default_rng(seed)
    return ToolPath(
        process="spray",
        strokes=[make_stroke(rng, n) for n in (2, 7)],
        tool={"name": "gun", "kind": "elliptic_double_beta", "a_m": 0.12},
        surface={"path": "scan/surface.ply", "sha256": "0" * 64},
        prediction=PREDICTION,
        unreached={"area_fraction": 0.05, "reasons": {"incidence": 0.05}},
    )


def make_trajectory() -> JointTrajectory:
    time_s = np.linspace(0.0, 2.0, 21)
    swing = np.outer(np.sin(time_s), np.linspace(0.1, 1.0, 6))
    slope = np.outer(np.cos(time_s), np.linspace(0.1, 1.0, 6))
    return JointTrajectory(
        joint_names=[f"joint_{i}" for i in range(1, 7)],
        time_s=time_s,
        position_rad=swing,
        velocity_rad_per_s=slope,
        acceleration_rad_per_s2=-swing,
        segments=[Segment(kind="approach", i0=0, i1=5), Segment(kind="process", i0=5, i1=20, stroke=0)],
        events=[ProcessEvent(time_s=0.4, name="on"), ProcessEvent(time_s=0.5, name="set_flow_m3_per_s", value=2e-6)],
        tool_frame="gun_tcp",
        base_frame="base_link",
        T_base_part=np.eye(4),
        unreached=[Unreached(stroke=1, sample=3, reason="ik")],
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_tool_path_comes_back(tmp_path, seed):
    path = make_toolpath(seed)
    path.write(tmp_path / "toolpath.json")
    again = ToolPath.read(tmp_path / "toolpath.json")
    assert len(again.strokes) == 2
    for ours, theirs in zip(path.strokes, again.strokes, strict=True):
        for name in ("position_m", "tool_axis", "travel", "speed_m_per_s", "process_value"):
            assert getattr(theirs, name) == pytest.approx(getattr(ours, name), abs=1e-7), name
        assert np.array_equal(theirs.on, ours.on)
        assert theirs.freedom == ours.freedom and theirs.kind == ours.kind
    assert dict(again.prediction) == PREDICTION
    assert again.tool == path.tool and again.surface == path.surface and again.unreached == path.unreached


def test_coats_and_waits_come_back_and_are_left_out_where_they_say_nothing(tmp_path):
    path = make_toolpath()
    path.write(tmp_path / "plain.json")
    text = (tmp_path / "plain.json").read_text()
    assert "coat" not in text and "wait_before_s" not in text
    strokes = [path.strokes[0], replace(path.strokes[1], coat=2, wait_before_s=90.0)]
    replace(path, strokes=strokes).write(tmp_path / "coats.json")
    again = ToolPath.read(tmp_path / "coats.json")
    assert [(s.coat, s.wait_before_s) for s in again.strokes] == [(1, 0.0), (2, 90.0)]
    turned = again.strokes[1].reversed().part(0, 3)
    assert (turned.coat, turned.wait_before_s) == (2, 90.0)
    for bad in ({"coat": 0}, {"wait_before_s": -1.0}, {"wait_before_s": np.nan}):
        with pytest.raises(InputRefusedError, match=r"coat .* wait_before_s"):
            replace(path.strokes[0], **bad)


def test_a_second_write_of_what_was_read_is_the_same_file(tmp_path):
    make_toolpath().write(tmp_path / "a.json")
    ToolPath.read(tmp_path / "a.json").write(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    make_trajectory().write(tmp_path / "c.json")
    JointTrajectory.read(tmp_path / "c.json").write(tmp_path / "d.json")
    assert (tmp_path / "c.json").read_bytes() == (tmp_path / "d.json").read_bytes()


def test_moving_a_tool_path_keeps_what_does_not_move():
    path = make_toolpath()
    T = transform_from_xyz_rpy([0.4, -0.2, 0.1], [0.3, -0.5, 1.2])
    moved = path.transformed(T, "base_link")
    assert moved.frame == "base_link"
    assert moved.length_m == pytest.approx(path.length_m)
    assert moved.duration_s == pytest.approx(path.duration_s)
    for ours, theirs in zip(path.strokes, moved.strokes, strict=True):
        assert theirs.frames == pytest.approx(T @ ours.frames)


def test_the_dwell_of_a_stroke_is_the_time_it_is_on():
    stroke = make_stroke(np.random.default_rng(1), 9)
    always = Stroke(**{**vars(stroke), "on": np.ones(9, bool)})
    assert always.dwell_s.sum() == pytest.approx(always.times_s[-1])
    assert stroke.reversed().dwell_s[::-1] == pytest.approx(stroke.dwell_s)


@pytest.mark.parametrize(
    ("field", "value", "fact"),
    [
        ("speed_m_per_s", [0.1, -0.2], r"speed_m_per_s\[1\] is -0\.2, must be > 0"),
        ("process_value", [-1.0, 0.0], r"process_value\[0\] is -1, must be >= 0"),
        ("tool_axis", [[0, 0, 1], [0, 0, 2]], r"tool_axis\[1\] has length 2"),
        ("position_m", [[0, 0, 0], [np.nan, 0, 0]], r"position_m\[1, 0\] is not finite"),
        ("position_m", [[0, 0, 0]], r"1|shape"),
        ("on", [True], r"on has shape"),
    ],
)
def test_a_stroke_that_cannot_be_is_refused(field, value, fact):
    good = vars(make_stroke(np.random.default_rng(0), 2))
    with pytest.raises(InputRefusedError, match=fact):
        Stroke(**{**good, field: value})


def test_a_trajectory_comes_back(tmp_path):
    trajectory = make_trajectory()
    trajectory.write(tmp_path / "trajectory.json")
    again = JointTrajectory.read(tmp_path / "trajectory.json")
    for name in ("time_s", "position_rad", "velocity_rad_per_s", "acceleration_rad_per_s2"):
        assert getattr(again, name) == pytest.approx(getattr(trajectory, name), abs=1e-6), name
    for name in ("joint_names", "segments", "events", "unreached", "tool_frame", "base_frame"):
        assert getattr(again, name) == getattr(trajectory, name), name


def test_a_trajectory_between_samples_is_the_hermite_spline():
    trajectory = make_trajectory()
    position, velocity = trajectory.sample(trajectory.time_s)
    assert position == pytest.approx(trajectory.position_rad) and velocity == pytest.approx(
        trajectory.velocity_rad_per_s
    )
    t = np.linspace(0.0, 2.0, 333)
    position, velocity = trajectory.sample(t)
    scale = np.linspace(0.1, 1.0, 6)
    assert position == pytest.approx(np.outer(np.sin(t), scale), abs=1e-6), "order h^4 of a smooth curve"
    assert velocity == pytest.approx(np.outer(np.cos(t), scale), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"time_s": np.r_[np.linspace(0, 1.9, 20), 1.9]}, "strictly increasing"),
        ({"position_rad": np.zeros((21, 5))}, "position_rad has shape"),
        ({"segments": [Segment(kind="approach", i0=0, i1=21)]}, r"outside 0\.\.20"),
    ],
)
def test_a_trajectory_that_cannot_be_is_refused(change, fact):
    with pytest.raises(InputRefusedError, match=fact):
        JointTrajectory(**{**vars(make_trajectory()), **change})


FAULTS = {
    "version": lambda d: d.update(version=2),
    "format": lambda d: d.update(format="something else"),
    "unknown key": lambda d: d.update(colour="red"),
    "missing key": lambda d: d.pop("frame" if "frame" in d else "base_frame"),
    "wrong type": lambda d: d.update(**{"strokes" if "strokes" in d else "segments": "none"}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("make", [make_toolpath, make_trajectory])
def test_a_file_of_another_shape_is_refused_with_its_place(tmp_path, make, fault):
    path = tmp_path / "file.json"
    good = make()
    good.write(path)
    document = read_json(path)
    FAULTS[fault](document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputRefusedError, match=r"file\.json: at \$"):
        type(good).read(path)


@pytest.mark.parametrize("cut", [0, 1, 200, -2])
def test_a_cut_file_is_refused(tmp_path, cut):
    path = tmp_path / "file.json"
    make_toolpath().write(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputRefusedError, match="not readable as JSON"):
        ToolPath.read(path)
    with pytest.raises(InputRefusedError, match="no such file"):
        JointTrajectory.read(tmp_path / "none.json")


def test_a_plan_comes_back_and_a_cut_archive_is_refused(tmp_path):
    plan = Plan(toolpath=make_toolpath(), fields={"visits": np.arange(4.0)}, figures={"length_m": 1.5})
    plan.write(tmp_path)
    again = Plan.read(tmp_path)
    assert np.array_equal(again.fields["visits"], np.arange(4.0)) and again.figures == {"length_m": 1.5}
    whole = (tmp_path / "fields.npz").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "fields.npz").write_bytes(whole[:cut])
        with pytest.raises(InputRefusedError, match=r"fields\.npz"):
            Plan.read(tmp_path)


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "evil.npz", a=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(InputRefusedError):
        read_npz(tmp_path / "evil.npz")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "figures.json"
    write_json(path, {"a": 1})

    def fail(aside):
        aside.write_text("half")
        raise RuntimeError("power gone")

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


@pytest.fixture
def job(tmp_path) -> JobFolder:
    config = JobConfig(
        format="grind_spray_cell/job", version=1, process="spray", recipe="spray_50um", cell="default", seed=3
    )
    return JobFolder.create(tmp_path / "job", config)


def finish_scan(job: JobFolder) -> None:
    write_npz(job.step("scan") / "data.npz", a=np.arange(3))
    job.finish("scan", [job.path / "job.yaml"], 1.25, {"measured_area_fraction": 0.98})


def test_a_step_is_finished_only_with_its_manifest(job):
    assert job.config.seed == 3
    assert not any(job.is_finished(step) for step in STEPS)
    write_npz(job.step("scan") / "data.npz", a=np.arange(3))
    assert not job.is_finished("scan"), "outputs alone are half a step"
    finish_scan(job)
    assert job.is_finished("scan") and not job.is_finished("plan")
    assert job.figures("scan") == {"measured_area_fraction": 0.98}
    manifest = read_json(job.step("scan") / "manifest.json")
    validate(manifest, "manifest", "here")
    assert manifest["seed"] == 3 and set(manifest["outputs"]) == {"scan/data.npz"}
    assert set(manifest["inputs"]) == {"job.yaml"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: (job.step("scan") / "data.npz").unlink(),
        lambda job: (job.step("scan") / "data.npz").write_bytes(b"other"),
        lambda job: (job.path / "job.yaml").write_text((job.path / "job.yaml").read_text() + "# changed\n"),
        lambda job: (job.step("scan") / "manifest.json").write_text("{"),
        lambda job: (job.step("scan") / "manifest.json").write_text("{}"),
    ],
)
def test_a_changed_input_or_output_undoes_the_step(job, spoil):
    finish_scan(job)
    spoil(job)
    assert not job.is_finished("scan")


def test_clearing_a_step_clears_what_follows(job):
    finish_scan(job)
    write_json(job.step("motion") / "x.json", {})
    write_json(job.step("inspection") / "x.json", {})
    job.clear("motion")
    assert job.is_finished("scan")
    assert not job.step("motion").exists() and not job.step("inspection").exists()


def test_cycles_have_folders_of_their_own_and_go_with_what_they_rest_on(job):
    second = job.in_cycle(2)
    assert second.step("plan") == job.path / "cycle_2" / "plan" and second.step("scan") == job.step("scan")
    assert job.at("cycle_2/plan") == (second, "plan") and job.at("plan") == (job, "plan")
    assert JobFolder.of_step(job.path, second.step("inspection")) == second
    assert JobFolder.of_step(job.path, job.step("inspection")) == job
    for cycle in (job, second):
        write_json(cycle.step("plan") / "x.json", {})
        cycle.finish("plan", [job.path / "job.yaml"], 1.0, {})
    assert job.cycles == [job, second] and second.is_finished("plan")
    second.clear("plan")
    assert job.is_finished("plan") and not second.is_finished("plan")
    second.finish("plan", [], 1.0, {})
    job.clear("plan")
    assert not (job.path / "cycle_2").exists() and job.cycles == [job]


def test_what_the_simulator_keeps_is_in_no_manifest(job):
    write_json(job.step("execution") / "journal.json", {})
    write_json(job.step("execution") / "sim_state.json", {"time_s": 1.0})
    job.finish("execution", [], 1.0, {})
    write_json(job.step("execution") / "sim_state.json", {"time_s": 2.0})
    assert job.is_finished("execution")


def test_a_used_folder_is_no_new_job(job):
    with pytest.raises(ConfigurationError, match="exists and is not empty"):
        JobFolder.create(job.path, job.config)
    with pytest.raises(ValueError):
        job.step("scann")


def test_the_state_is_kept(job):
    assert job.read_state() == {}
    job.write_state("running", "plan", "laying strokes", progress=0.5)
    state = job.read_state()
    assert (state["status"], state["step"], state["progress"]) == ("running", "plan", 0.5)


def test_every_error_has_an_exit_code():
    # other rooms may add leaves of their own
    leaves = [
        e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, CellError) and e is not CellError
    ]
    assert len(leaves) >= 8
    assert {leaf.exit_code for leaf in leaves} == {2, 3, 4, 5}
