import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_simulation import predict

GUN = {
    "a_m": 0.125, "b_m": 0.035, "beta_1": 2.0, "beta_2": 2.0, "reference_standoff_m": 0.2,
    "solids_volume_fraction": 0.45, "transfer_efficiency": 0.65, "on_delay_s": 0.03, "name": "test gun",
}  # fmt: skip
PAD = {
    "kind": "pad", "radius_m": 0.04, "stiffness_pa_per_m": 2e7, "preston_per_pa": 1e-9, "motion": "orbital",
    "rpm": 10000.0, "orbit_radius_m": 0.0025,
}  # fmt: skip
FLOW = 5e-6


def plate() -> Surface:
    return Surface(
        vertices_m=[[-0.2, -0.15, 0], [0.2, -0.15, 0], [0.2, 0.15, 0], [-0.2, 0.15, 0], [0, 0, 0]],
        triangles=[[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]],
    )


def stroke(y: float, z: float, value: float, speed=0.25, on=None) -> Stroke:
    n = 41
    x = np.linspace(-0.15, 0.15, n)
    return Stroke(
        kind="area",
        position_m=np.column_stack([x, np.full(n, y), np.full(n, z)]),
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, speed),
        process_value=np.full(n, value),
        on=np.ones(n, bool) if on is None else on(x),
    )


def test_sprayed_raster_has_the_closed_form_mean() -> None:
    spacing = 0.093
    strokes = [stroke(y, 0.2, FLOW) for y in spacing * np.arange(-1, 2)]
    path = ToolPath(process="spray", strokes=strokes, tool=GUN, surface={})
    surface = plate()
    film = predict(surface, path, seed=2)
    assert film.shape == (5,)
    expected = 0.65 * 0.45 * FLOW / (0.25 * spacing)
    assert film[4] == pytest.approx(expected, rel=0.03)
    assert np.array_equal(film, predict(surface, path, seed=2))


def test_switch_lies_half_way_between_samples() -> None:
    path = ToolPath(process="spray", strokes=[stroke(0.0, 0.2, FLOW, on=lambda x: x > 0.1)], tool=GUN, surface={})
    assert predict(plate(), path)[4] < 1e-9


def test_ground_stripe_is_preston() -> None:
    path = ToolPath(process="grind", strokes=[stroke(0.0, 0.0, 40.0, speed=0.1)], tool=PAD, surface={})
    seen: list[float] = []
    depth = predict(plate(), path, progress=lambda fraction, _: seen.append(fraction))
    v_rel = 10000.0 * 2.0 * np.pi / 60.0 * 0.0025
    expected = 1e-9 * 40.0 / (np.pi * 0.04**2) * v_rel * 0.08 / 0.1
    assert depth[4] == pytest.approx(expected, rel=0.02)
    assert depth[:4].max() == 0.0
    assert seen == [0.0, 1.0]


@pytest.mark.parametrize(("key", "value"), [("a_m", None), ("beta_2", -1.0), ("b_m", 0.0), ("a_m", "wide")])
def test_tool_block_without_a_needed_number_is_refused(key: str, value: object) -> None:
    tool = {**GUN, key: value}
    with pytest.raises(InputRefusedError, match=key):
        predict(plate(), ToolPath(process="spray", strokes=[stroke(0.0, 0.2, FLOW)], tool=tool, surface={}))


def test_unknown_pad_motion_is_refused() -> None:
    path = ToolPath(process="grind", strokes=[stroke(0.0, 0.0, 40.0)], tool={**PAD, "motion": "jet"}, surface={})
    with pytest.raises(InputRefusedError, match="jet"):
        predict(plate(), path)
