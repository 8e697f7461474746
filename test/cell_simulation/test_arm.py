import numpy as np
import pytest
from arm_motions import ROBOT, run, wave

from cell_core.errors import LimitError
from cell_simulation.arm import TICK_S, Arm


def test_follows_the_hermite_spline_within_a_milliradian() -> None:
    arm = Arm(ROBOT)
    t, q, v, a = wave()
    arm.accept(ROBOT.joint_names, t, q, v, a)
    positions, errors = run(arm)
    assert arm.status == "done"
    assert 4.0 <= arm.path_time_s < 4.3
    assert max(errors) < 1e-3
    assert max(errors) > 1e-6  # a servo lags; one that does not is no servo
    ticks = np.arange(1, 1 + round(4.0 / TICK_S)) * TICK_S
    wanted = np.column_stack([np.interp(ticks, t, q[:, i]) for i in range(6)])
    assert np.abs(positions[: len(ticks)] - wanted).max() < 2e-3
    assert arm.position_rad == pytest.approx(q[-1], abs=6e-4)


def test_any_joint_order_is_taken() -> None:
    arm = Arm(ROBOT)
    t, q, v, a = wave(2.0)
    arm.accept(ROBOT.joint_names[::-1], t, q[:, ::-1], v[:, ::-1], a[:, ::-1])
    run(arm)
    assert arm.status == "done"
    assert arm.position_rad == pytest.approx(ROBOT.home_rad, abs=6e-4)


def broken(what: str):
    t, q, v, a = (np.array(x) for x in wave())
    names = list(ROBOT.joint_names)
    if what == "joints":
        names[2] = "joint_9"
    if what == "start":
        q = q + 0.02
    if what == "time":
        t[5] = t[4]
    if what == "velocity":
        v[40, 1] = 4.0
    if what == "jump":
        q[40:, 0] += 1.0
    if what == "acceleration":
        a[10, 3] = 50.0
    if what == "position":
        q[40, 1] = ROBOT.upper_rad[1] + 0.2
    if what == "nan":
        q[7, 0] = np.nan
    if what == "shape":
        v = v[:-1]
    if what == "moving end":
        v[-1, 0] = 0.3
    return names, t, q, v, a


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("joints", "joint_9"),
        ("start", "start is off"),
        ("time", "must increase"),
        ("velocity", r"sample 40, joint_2: speed 4\.0"),
        ("jump", "half way"),
        ("acceleration", r"joint_4: acceleration 50\.0"),
        ("position", "joint_2: position"),
        ("nan", "not finite"),
        ("shape", "velocities has shape"),
        ("moving end", "at rest"),
    ],
)
def test_refuses_what_a_controller_refuses(what: str, says: str) -> None:
    arm = Arm(ROBOT)
    with pytest.raises(LimitError, match=says):
        arm.accept(*broken(what))
    assert arm.status == "idle"
    arm.advance()
    assert np.array_equal(arm.position_rad, ROBOT.home_rad)


def test_refuses_a_second_trajectory_while_one_runs() -> None:
    arm = Arm(ROBOT)
    arm.accept(ROBOT.joint_names, *wave())
    with pytest.raises(LimitError, match="another is running"):
        arm.accept(ROBOT.joint_names, *wave())


def test_stop_brakes_on_the_path_within_the_limits() -> None:
    arm = Arm(ROBOT)
    t, q, v, a = wave(2.0, 0.6)
    arm.accept(ROBOT.joint_names, t, q, v, a)
    for _ in range(round(0.5 / TICK_S)):
        arm.advance()
    speed = np.abs(arm.velocity_rad_per_s)
    assert speed.max() > 0.5
    arm.stop("test")
    start = arm.path_time_s
    before, accelerations = arm.velocity_rad_per_s, []
    for _ in range(round(1.0 / TICK_S)):
        arm.advance()
        accelerations.append((arm.velocity_rad_per_s - before) / TICK_S)
        before = arm.velocity_rad_per_s
    assert arm.status == "aborted"
    assert arm.abort_reason == "test"
    assert np.abs(arm.velocity_rad_per_s).max() < 1e-4
    assert np.all(np.abs(accelerations) < 2.0 * ROBOT.acceleration_rad_per_s2)
    assert 0.0 < arm.path_time_s - start < 0.5
    wanted = [np.interp(arm.path_time_s, t, q[:, i]) for i in range(6)]
    assert arm.position_rad == pytest.approx(wanted, abs=2e-3)
    arm.accept(ROBOT.joint_names, t[:2], np.tile(arm.position_rad, (2, 1)), np.zeros((2, 6)))
    assert arm.status == "running"
