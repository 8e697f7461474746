"""The campaign of faults: some of each sort are survived, and its judge sees what is unsafe."""

import pytest
from bench_faults import Bench, Outcome
from bench_pauses import spray_task
from faulty_rig import KINDS, FaultyRig

from cell_simulation.tools import ToolIO


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(spray_task(0.1, 0.02))


def lost(outcome: Outcome) -> list[str]:
    return [*outcome.complaints, *outcome.unsafe]


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("interlock opens", 1),
        ("joint states freeze", 5),
        ("controller silent", 14),
        ("disk full", 20),
        ("power lost", 21),
        ("operator pauses", 17),
        ("wall clock jumps", 19),
    ],
)
def test_a_fault_is_survived(bench: Bench, kind: str, seed: int) -> None:
    outcome = bench.inject(kind, seed)
    assert lost(outcome) == []
    assert bool(outcome.said) == bool(KINDS[kind].says)


def test_a_device_that_goes_on_with_an_open_interlock_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep_on(self: ToolIO, time_s: float, **inputs: bool | None) -> bool:
        self.interlock_closed = bool(inputs.get("interlock_closed", True))
        return False

    monkeypatch.setattr(ToolIO, "set_safety", keep_on)
    monkeypatch.setattr(ToolIO, "arm", lambda self, arm, time_s: setattr(self, "armed", True))
    outcome = bench.inject("interlock opens", 1)
    assert any("process on with a safety input missing" in words for words in outcome.unsafe)


def test_a_fault_that_nobody_notices_is_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaultyRig, "fault", lambda self, motion, process: None)
    assert lost(bench.inject("joint state NaN", 6))
