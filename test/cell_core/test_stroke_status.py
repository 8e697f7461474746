"""What a journal tells of the strokes of a run, wherever it breaks off."""

import json

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.resume import Journal, last_attempt
from cell_core.stroke_status import acted_until_s, checked_choice, question, stroke_statuses

SPANS = [(1.0, 3.0), (3.5, 5.5), (9.0, 11.0), (11.1, 13.0)]
"""When each stroke begins and ends on the path's clock [s]."""


def _write(folder, *, stop_s=None, ahead_s=1.0):
    """A journal as a run leaves it: begins ahead, ends and progress behind, a stop or a done."""
    journal = Journal(folder / "journal.jsonl")
    journal.append("start", attempt=0, strokes=len(SPANS))
    journal.append("running", zero_s=50.0)
    begun = ended = 0
    for path_s in np.arange(0.0, 13.5, 0.5):
        if stop_s is not None and path_s >= stop_s:
            journal.append("stopped", path_time_s=stop_s, confirmed=True)
            return journal
        while begun < len(SPANS) and SPANS[begun][0] <= path_s + ahead_s:
            journal.append("begin", stroke=begun, path_time_s=SPANS[begun][0])
            begun += 1
        while ended < begun and SPANS[ended][1] <= path_s:
            journal.append("end", stroke=ended, path_time_s=SPANS[ended][1])
            ended += 1
        journal.append("progress", path_time_s=float(path_s))
    journal.append("done")
    return journal


def _statuses(entries):
    attempt = last_attempt(entries)
    return None if attempt is None else stroke_statuses(entries, stop_s=attempt.stop_s if attempt.known else None)


@pytest.mark.parametrize("stop_s", [None, 4.0, 12.0])
def test_a_journal_cut_at_any_byte_says_done_only_of_what_was_and_untouched_only_of_what_was_not(tmp_path, stop_s):
    whole = _write(tmp_path, stop_s=stop_s).path.read_bytes()
    cut = Journal(tmp_path / "cut.jsonl")
    known_done: set[int] = set()
    seen = set()
    for n in range(len(whole) + 1):
        cut.path.write_bytes(whole[:n])
        entries = cut.read()
        on_disk = [json.loads(line) for line in whole[:n].decode().split("\n") if line.endswith("}")]
        assert entries == on_disk
        found = _statuses(entries)
        if found is None:
            assert not any(e["event"] == "begin" for e in on_disk)
            continue
        begun = {e["stroke"] for e in on_disk if e["event"] == "begin"}
        ended = {e["stroke"] for e in on_disk if e["event"] == "end"}
        stopped = any(e["event"] in ("stopped", "done") for e in on_disk)
        parts = (found.done, found.half_done, found.unknown, found.untouched)
        assert sorted(k for part in parts for k in part) == list(range(len(SPANS)))
        # what is done stays done; nobody says done of a stroke whose end is not written
        assert known_done <= set(found.done) <= (ended if not stopped or stop_s is not None else begun)
        known_done = set(found.done)
        if not stopped:
            assert set(found.unknown) == begun - ended and not found.half_done
            assert set(found.untouched) == set(range(len(SPANS))) - begun
        else:
            assert not found.unknown
        seen.add(tuple(len(part) for part in parts))
    assert len(seen) > 1


def test_a_known_stop_tells_half_done_from_not_yet_begun(tmp_path):
    found = _statuses(_write(tmp_path, stop_s=4.0).read())
    assert (found.done, found.half_done, found.untouched) == ((0,), (1,), (2, 3))
    (tmp_path / "b").mkdir()
    # the third stroke's begin is on disk already, but the gun never came on
    found = _statuses(_write(tmp_path / "b", stop_s=8.5).read())
    assert (found.done, found.half_done, found.untouched) == ((0, 1), (), (2, 3))
    assert found.text == "strokes 1-2 done, 3-4 untouched"


def test_an_unconfirmed_stop_is_no_known_stop(tmp_path):
    journal = _write(tmp_path, stop_s=4.0)
    entries = journal.read()
    entries[-1]["confirmed"] = False
    attempt = last_attempt(entries)
    assert attempt.told == "unconfirmed" and _statuses(entries).unknown == (1,)


def test_a_log_that_acted_longer_than_the_journal_says_leaves_nothing_untouched(tmp_path):
    journal = _write(tmp_path)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:6]))
    time_s = 50.0 + np.arange(0.0, 13.0, 0.01)
    log = {"time_s": time_s, "on": time_s < 62.9, "process_value": np.ones(len(time_s))}
    acted_s = acted_until_s(log, 50.0)
    assert acted_s == pytest.approx(12.89, abs=0.011)
    found = stroke_statuses(journal.read(), stop_s=None, acted_s=acted_s)
    assert found.untouched == () and found.unknown == (0, 1, 2, 3)
    assert acted_until_s(None, 50.0) == 0.0 and acted_until_s(log, None) == float("inf")


def test_the_question_names_the_strokes_and_the_choices_there_are(tmp_path):
    journal = _write(tmp_path)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(line for line in lines if b"done" not in line and b'"end"' not in line))
    found = _statuses(journal.read())
    asked = question(found, "grind")
    assert "1-4 perhaps half done" in asked and "'rescan'" in asked and "'rescan'" not in question(found, "spray")
    assert checked_choice(" Leave ", "spray") == "leave"
    with pytest.raises(InputRefusedError, match="'rescan': must be one of leave, again"):
        checked_choice("rescan", "spray")
