from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cell_core.errors import InputRefusedError, InterlockError, LimitError
from cell_core.surface import Surface
from cell_core.trajectory import ProcessEvent
from cell_simulation import SimulatedCell, ToolErrors
from robot_description import load_cell

CELL = load_cell("default")
ROBOT = CELL.robot
SWEEP_S = 1.6


def plate(size_x: float, size_y: float, spacing: float) -> Surface:
    x = np.linspace(-size_x / 2, size_x / 2, round(size_x / spacing) + 1)
    y = np.linspace(-size_y / 2, size_y / 2, round(size_y / spacing) + 1)
    X, Y = (a.ravel() for a in np.meshgrid(x, y, indexing="ij"))
    n = len(y)
    i = (np.arange(len(x) - 1)[:, None] * n + np.arange(n - 1)).ravel()
    return Surface(
        vertices_m=np.column_stack([X, Y, 0.0 * X]),
        triangles=np.concatenate([np.column_stack([i, i + n, i + n + 1]), np.column_stack([i, i + n + 1, i + 1])]),
    )


def before_the_tool(process: str, distance_m: float, **options: Any) -> SimulatedCell:
    """Return a cell whose part is a plate that faces the tool at home, so far along the tool axis from its TCP."""
    tool = next(t for t in CELL.tools if t.process == process)
    T = ROBOT.forward(ROBOT.home_rad, tool.tcp_frame) @ np.diag([1.0, -1.0, -1.0, 1.0])
    T[:3, 3] -= distance_m * T[:3, 2]
    sim = SimulatedCell(CELL, plate(0.5, 0.5, 0.01), T, **{"seed": 1, "errors": ToolErrors.none(), **options})
    sim.select_tool(process)
    return sim


def send_turn(sim: SimulatedCell) -> None:
    """Move the tool 50 mm along its x axis and back, keeping its attitude to first order."""
    t = np.linspace(0.0, SWEEP_S, 33)
    w = np.pi / SWEEP_S
    tool = next(tool for tool in CELL.tools if tool.process == sim.tool_state().tool)
    T, step = ROBOT.forward(sim.position_rad, tool.tcp_frame), 1e-6
    moved = (ROBOT.forward(sim.position_rad + step * np.eye(6), tool.tcp_frame) - T) / step
    turned = moved[:, :3, :3] @ T[:3, :3].T
    jacobian = np.vstack([moved[:, :3, 3].T, turned[:, 2, 1], turned[:, 0, 2], turned[:, 1, 0]])
    turn = np.linalg.solve(jacobian, np.concatenate([0.05 * T[:3, 0], np.zeros(3)]))
    q = sim.position_rad + np.outer(np.sin(w * t) ** 2, turn)
    v = np.outer(2 * w * np.sin(w * t) * np.cos(w * t), turn)
    v[[0, -1]] = 0.0
    sim.accept_trajectory(ROBOT.joint_names, t, q, v, None)


def finish(sim: SimulatedCell) -> None:
    while sim.trajectory_status()[0] == "running":
        sim.step(0.1)
    sim.step(0.1)


ON_OFF = [ProcessEvent(time_s=0.2, name="on"), ProcessEvent(time_s=1.2, name="off")]
PRESS = [ProcessEvent(time_s=0.0, name="set_force_n", value=40.0)]


def test_sprayed_volume_is_flow_times_time_open() -> None:
    sim = before_the_tool("spray", 0.2)
    sim.arm(True)
    sim.schedule_events(ON_OFF)
    send_turn(sim)
    finish(sim)
    gun = next(t.config for t in CELL.tools if t.process == "spray")
    dry = gun.flow_m3_per_s * gun.solids_volume_fraction * gun.transfer_efficiency
    assert sim.spray_balance.emitted_m3 == pytest.approx(dry * 1.0, rel=2e-3)
    truth = sim.truth()
    assert truth.frame == "part"
    volume = float(truth.fields["change_m"] @ truth.vertex_areas_m2)
    assert volume == pytest.approx(sim.spray_balance.landed_m3, rel=1e-9)
    assert sim.spray_balance.landed_m3 == pytest.approx(sim.spray_balance.emitted_m3, rel=1e-6)
    log = sim.executed_log()
    assert log["on"].sum() * 0.004 == pytest.approx(1.0, abs=0.009)
    assert log["T_base_tcp"].shape == (len(log["time_s"]), 4, 4)
    assert log["process_value"].max() == pytest.approx(gun.flow_m3_per_s)


def test_lockstep_asks_whether_the_arm_still_moves() -> None:
    sim = before_the_tool("spray", 0.2)
    assert not sim.is_moving
    send_turn(sim)
    assert sim.is_moving
    finish(sim)
    sim.step(2.0)
    assert not sim.is_moving


@pytest.mark.parametrize("process", ["spray", "grind"])
def test_result_does_not_depend_on_how_time_is_cut(process: str) -> None:
    changes = []
    for step_s in (0.5, 0.004, 0.0137):
        sim = before_the_tool(process, 0.2 if process == "spray" else 0.0)
        sim.arm(True)
        sim.schedule_events([*PRESS, *ON_OFF])
        send_turn(sim)
        while sim.time_s < 2.4 - 1e-9:
            sim.step(min(step_s, 2.4 - sim.time_s))
        changes.append(sim.truth().fields["change_m"])
    assert changes[0].max() > 1e-7
    assert np.array_equal(changes[0], changes[1])
    assert np.array_equal(changes[0], changes[2])


@pytest.mark.parametrize("arm", ["mujoco", "servo"])
def test_ground_volume_is_preston(arm: str) -> None:
    sim = before_the_tool("grind", 0.0005, arm=arm)
    pad = next(t.config for t in CELL.tools if t.process == "grind")
    sim.arm(True)
    sim.schedule_events([*PRESS, *ON_OFF])
    send_turn(sim)
    sim.step(1.0)
    state = sim.tool_state()
    assert state.on
    # 0.8 s after it was switched on a first-order spindle of 0.5 s to 98 % lacks two thousandths
    assert state.spindle_rpm == pytest.approx(pad.rpm * (1.0 - 0.02 ** (0.8 / pad.spin_up_s)), rel=1e-6)
    assert state.force_n == pytest.approx(40.0, abs=1.0)
    assert state.force_setpoint_n == 40.0
    finish(sim)
    truth = sim.truth()
    v_rel = pad.rpm * 2.0 * np.pi / 60.0 * pad.orbit_radius_m
    pressed_s = 1.2 - 0.2 - pad.spin_up_s
    removed = float(truth.fields["change_m"] @ truth.vertex_areas_m2)
    assert removed == pytest.approx(pad.preston_per_pa * 40.0 * v_rel * pressed_s, rel=0.06)
    assert sim.tool_state().force_n == 0.0
    log = sim.executed_log()
    pressed = log["process_value"] > 35.0
    # the friction of this specimen differs from the tool file's by up to a fifth
    load = log["spindle_power_w"][pressed].mean() - ToolErrors().idle_power_w
    assert load == pytest.approx(pad.friction * 40.0 * v_rel, rel=0.25)
    assert np.all(log["spindle_power_w"][~log["on"] & (log["time_s"] < 0.15)] == 0.0)


def test_a_typical_device_holds_its_force_and_the_arm_feels_it() -> None:
    errors, moved, forces, told = [], [], [], []
    for force in (0.0, 20.0):
        sim = before_the_tool("grind", 0.0005, errors=ToolErrors())
        sim.arm(True)
        sim.schedule_events([ProcessEvent(time_s=0.0, name="set_force_n", value=force), *ON_OFF])
        send_turn(sim)
        sim.step(0.9)
        while sim.time_s < 1.15:
            sim.step(0.002)
            forces.append(sim.contact_force_n)
            told.append(sim.tool_state().force_n)
            errors.append(sim.trajectory_status()[2])
        moved.append(sim.position_rad)
    n = len(forces) // 2
    assert max(forces[:n]) == 0.0
    pressed, heard = np.array(forces[n:]), np.array(told[n:])
    assert abs(pressed.mean() - 20.0) < 0.5
    assert 0.02 < pressed.std() < 0.6
    # the sensor is off by its bias and its own noise, and never tells the truth exactly
    assert 0.01 < np.abs(heard - pressed).mean() < 1.0
    # 20 N on an arm that yields by some micrometres per newton, and never a millimetre
    felt = ROBOT.forward(moved[1], "sander_tcp")[:3, 3] - ROBOT.forward(moved[0], "sander_tcp")[:3, 3]
    assert 1e-7 < np.linalg.norm(felt) < 3e-4


def test_a_pad_near_the_part_is_felt_though_nothing_presses() -> None:
    # the plate stands 13 mm behind the pad's face: the slide is at its end, and the arm presses it in
    sim = before_the_tool("grind", -0.013)
    sim.step(0.2)
    assert sim.contact_force_n > 20.0
    assert sim.truth().fields["removed_depth_m"].max() == 0.0


@pytest.mark.parametrize("fault", ["interlock_closed", "ventilation_on", "purge_ok"])
@pytest.mark.parametrize("process", ["spray", "grind"])
def test_bad_safety_input_turns_the_process_off_at_once(process: str, fault: str) -> None:
    sim = before_the_tool(process, 0.2 if process == "spray" else 0.0)
    sim.arm(True)
    sim.schedule_events([*PRESS, ProcessEvent(time_s=0.1, name="on")])
    send_turn(sim)
    sim.step(0.8)
    assert sim.tool_state().on
    sim.set_safety(**{fault: False})
    state = sim.tool_state()
    assert not state.on
    assert not state.armed
    assert state.flow_m3_per_s == 0.0
    assert state.force_setpoint_n == 0.0
    sim.step(0.04)
    before = sim.truth().fields["change_m"]
    finish(sim)
    assert np.array_equal(before, sim.truth().fields["change_m"])
    assert sim.trajectory_status()[0] == ("aborted" if fault == "interlock_closed" else "done")
    with pytest.raises(InterlockError, match="cannot be armed"):
        sim.arm(True)
    sim.set_safety(**{fault: True})
    assert not sim.tool_state().armed
    sim.arm(True)


def test_device_ignores_on_unless_armed() -> None:
    sim = before_the_tool("spray", 0.2)
    sim.schedule_events(ON_OFF)
    send_turn(sim)
    finish(sim)
    assert sim.spray_balance.emitted_m3 == 0.0
    assert not sim.executed_log()["on"].any()


def test_stop_turns_off_then_brakes() -> None:
    sim = before_the_tool("spray", 0.2)
    sim.arm(True)
    sim.schedule_events(ON_OFF)
    send_turn(sim)
    sim.step(0.6)
    assert sim.tool_state().on
    sim.stop("operator")
    assert not sim.tool_state().on
    assert sim.tool_state().flow_m3_per_s == 0.0
    assert sim.trajectory_status()[0] == "running"
    sim.step(1.0)
    assert sim.trajectory_status()[0] == "aborted"
    assert sim.abort_reason == "operator"
    assert np.abs(sim.velocity_rad_per_s).max() < 1e-4
    emitted = sim.spray_balance.emitted_m3
    sim.step(1.0)
    assert sim.spray_balance.emitted_m3 == emitted


def test_process_never_outlives_its_trajectory() -> None:
    sim = before_the_tool("spray", 0.2)
    sim.arm(True)
    sim.schedule_events([ProcessEvent(time_s=0.2, name="on")])
    send_turn(sim)
    finish(sim)
    assert not sim.tool_state().on
    assert sim.tool_state().flow_m3_per_s == 0.0


def test_events_come_at_their_instant_not_at_a_tick() -> None:
    emitted = []
    for off_s in (1.0, 1.001):
        sim = before_the_tool("spray", 0.2)
        sim.arm(True)
        sim.schedule_events([ProcessEvent(time_s=0.2, name="on"), ProcessEvent(time_s=off_s, name="off")])
        send_turn(sim)
        finish(sim)
        emitted.append(sim.spray_balance.emitted_m3)
    assert emitted[1] / emitted[0] == pytest.approx(0.801 / 0.8, abs=2e-4)


def test_refusals() -> None:
    sim = before_the_tool("spray", 0.2)
    with pytest.raises(LimitError, match="unknown"):
        sim.schedule_events([ProcessEvent(time_s=0.0, name="explode")])  # pyright: ignore[reportArgumentType]
    with pytest.raises(LimitError, match="finite"):
        sim.schedule_events([ProcessEvent(time_s=float("nan"), name="on")])
    with pytest.raises(LimitError, match="cell has none"):
        sim.select_tool("weld")  # pyright: ignore[reportArgumentType]
    with pytest.raises(LimitError, match="duration"):
        sim.step(-1.0)
    sim.arm(True)
    sim.schedule_events(ON_OFF)
    send_turn(sim)
    sim.step(0.5)
    with pytest.raises(InterlockError, match="spray is on"):
        sim.select_tool("grind")
    sim.set_safety(interlock_closed=False)
    finish(sim)
    with pytest.raises(LimitError, match="interlock"):
        send_turn(sim)


def test_state_survives_in_a_file_and_only_for_the_same_part(tmp_path: Path) -> None:
    sim = before_the_tool("spray", 0.2)
    sim.arm(True)
    sim.schedule_events(ON_OFF)
    send_turn(sim)
    finish(sim)
    sim.save_state(tmp_path / "state.npz")
    other = before_the_tool("spray", 0.2)
    other.load_state(tmp_path / "state.npz")
    assert np.array_equal(other.truth().fields["change_m"], sim.truth().fields["change_m"])
    with pytest.raises(InputRefusedError, match="another part or of another pose"):
        before_the_tool("spray", 0.21).load_state(tmp_path / "state.npz")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(InputRefusedError, match=r"bad\.npz"):
        other.load_state(tmp_path / "bad.npz")


def test_camera_sees_the_part_from_the_arm() -> None:
    T = ROBOT.forward(ROBOT.home_rad, CELL.config.camera.optical_frame) @ np.diag([1.0, -1.0, -1.0, 1.0])
    T[:3, 3] -= 0.45 * T[:3, 2]
    sim = SimulatedCell(CELL, plate(0.3, 0.3, 0.01), T, seed=1)
    sim.step(0.5)
    frame = sim.render_depth()
    h, w = frame.depth_m.shape
    assert frame.stamp_s == pytest.approx(0.5)
    assert frame.T_base_camera == pytest.approx(ROBOT.forward(sim.position_rad, CELL.config.camera.optical_frame))
    middle = frame.depth_m[h // 2 - 20 : h // 2 + 20, w // 2 - 20 : w // 2 + 20]
    assert np.median(middle[middle > 0.0]) == pytest.approx(0.45, abs=1e-4)
