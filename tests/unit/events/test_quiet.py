"""Groups that go quiet, and the memory of what was reported of them."""

import json
import os
import stat

import pytest

from sorter.events.quiet import Memory, Quiet
from sorter.index.events import News


def one(last, first=None, count=1):
    return News(count, first or last, last)


def test_a_group_is_due_when_nothing_has_arrived_for_long_enough():
    quiet = Quiet()
    quiet.note({"a": one(1)}, 1, now=100.0)
    assert quiet.due(109.9, 10) == []
    assert quiet.due(110.0, 10) == ["a"]


def test_what_arrives_meanwhile_starts_the_wait_anew():
    quiet = Quiet()
    quiet.note({"a": one(1)}, 1, now=100.0)
    quiet.note({"a": one(2)}, 2, now=105.0)
    assert quiet.due(110.0, 10) == []
    assert quiet.next_due(10) == 115.0


def test_reported_rows_are_not_reported_again():
    quiet = Quiet()
    quiet.note({"a": one(3)}, 3, now=0.0)
    quiet.done("a", 3)
    again = Quiet(quiet.mark, quiet.reported)
    again.note({"a": one(3)}, 3, now=0.0)
    assert len(again) == 0


def test_the_mark_stays_below_the_first_row_of_a_group_that_is_open():
    quiet = Quiet()
    quiet.note({"a": one(9, 5), "b": one(8, 2)}, 9, now=0.0)
    quiet.done("a", 9)
    assert (quiet.mark, quiet.reported) == (1, {"a": 9})
    quiet.done("b", 8)
    assert (quiet.mark, quiet.reported) == (9, {})


def test_rows_of_no_group_move_the_mark_too():
    quiet = Quiet()
    quiet.note({"a": one(2)}, 50, now=0.0)
    quiet.done("a", 2)
    assert (quiet.mark, quiet.seen) == (50, 50)


def test_a_group_that_is_put_off_is_due_later_and_at_once_counts_anew_when_something_arrives():
    quiet = Quiet()
    quiet.note({"a": one(1)}, 1, now=0.0)
    quiet.put_off("a", 50.0)
    assert (quiet.due(49.0, 10), quiet.due(50.0, 10)) == ([], ["a"])
    quiet.note({"a": one(2)}, 2, now=20.0)
    assert quiet.next_due(10) == 30.0


def test_a_restart_knows_what_was_reported(tmp_path):
    memory, quiet = Memory(tmp_path / "state.json"), Quiet()
    quiet.note({"a": one(9, 5), "b": one(8, 2)}, 9, now=0.0)
    quiet.done("a", 9)
    memory.save(quiet, "origin")
    again = memory.load("origin", newest=9)
    again.note({"a": one(9, 2), "b": one(8, 2)}, 9, now=0.0)
    assert again.due(0.0, 0) == ["b"]


def test_an_archive_that_was_there_before_counts_as_reported(tmp_path):
    assert Memory(tmp_path / "state.json").load("origin", newest=1000).mark == 1000


def test_an_index_that_was_built_anew_counts_as_reported(tmp_path):
    memory = Memory(tmp_path / "state.json")
    memory.save(Quiet(5), "old")
    assert memory.load("new", newest=1000).mark == 1000


@pytest.mark.parametrize("text", ["", "[]", "{", '{"origin": "origin"}', '{"origin": "origin", "mark": "x"}'])
def test_a_damaged_memory_counts_as_none(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text(text)
    assert Memory(path).load("origin", newest=7).mark == 7


def test_the_memory_is_readable_by_its_owner_only_and_leaves_no_draft(tmp_path):
    Memory(tmp_path / "state.json").save(Quiet(1), "origin")
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"origin": "origin", "mark": 1, "reported": {}}


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_memory_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch, call):
    path = tmp_path / "state.json"
    Memory(path).save(Quiet(1), "origin")

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="space"):
        patch.setattr(os, call, full)
        Memory(path).save(Quiet(2), "origin")
    assert json.loads(path.read_text())["mark"] == 1
    assert list(tmp_path.iterdir()) == [path]
