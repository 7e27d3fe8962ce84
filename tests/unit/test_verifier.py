"""Background verification: every file in its turn, what is wrong once, and never in the way."""

import os
import sqlite3
import threading
import time

import pytest
from inline import config, inline, rows
from structlog.testing import capture_logs
from support import dicom, drop

from sorter.intake import Intake
from sorter.rescan import backfill
from sorter.verification import Verifier
from sorter.verification import background as module

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No waiting for anything but the thread."""
    monkeypatch.setattr(module, "SLOWEST", 1 << 30)
    monkeypatch.setattr(module, "BUSY", 0.0)
    monkeypatch.setattr(module, "IDLE", 0.02)


@pytest.fixture
def found(tmp_path):
    for number in range(1, 6):
        drop(tmp_path / "in", f"{number}.dcm", dicom(number))
    found = config(tmp_path)
    backfill(found)
    return found


def paths(found):
    return [path for (path,) in rows(found, "SELECT path FROM instances ORDER BY id")]


def until(verifier, is_so, seconds=10.0):
    """Let it work until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        verifier.work(time.monotonic())
        time.sleep(0.005)


class Running:
    """A Verifier at work, closed at the end; what it told and logged."""

    def __init__(self, found, **more):
        self.told = []
        self.intake = Intake(found)
        self.verifier = Verifier(self.intake, lambda event, facts: self.told.append((event, facts)), **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.verifier.close()
        self.intake.close()

    def state(self):
        return self.verifier.report()["verification"]


def unread(found):
    return rows(found, "SELECT count(*) FROM instances WHERE verified_at IS NULL")[0][0]


def test_every_file_is_read_once_and_its_row_says_when(found):
    with Running(found, first_read_seconds=-1) as running:
        until(running.verifier, lambda: unread(found) == 0)
        stamps = rows(found, "SELECT verified_at FROM instances")
        time.sleep(0.1)
        running.verifier.work(time.monotonic())
        assert rows(found, "SELECT verified_at FROM instances") == stamps
        state = running.state()
    assert (state["verified"], state["problems"], state["interval_days"]) == (5, 0, 30.0)
    assert state["last_at"]
    assert running.told == []


def test_what_was_just_stored_is_not_read_yet(found):
    with Running(found) as running:
        for _ in range(20):
            running.verifier.work(time.monotonic())
            time.sleep(0.005)
        assert unread(found) == 5


def test_after_the_interval_the_longest_unread_is_read_first(found):
    connection = sqlite3.connect(found.index_location)
    connection.execute("UPDATE instances SET verified_at = '2020-01-0' || id || 'T00:00:00+00:00'")
    connection.execute("UPDATE instances SET verified_at = '2999-01-01T00:00:00+00:00' WHERE id = 2")
    connection.commit()
    connection.close()
    with Running(found, first_read_seconds=-1) as running:
        assert [row.id for row in running.verifier._due()] == [1, 3, 4, 5]
        until(running.verifier, lambda: running.state()["verified"] == 4)
        assert running.verifier._due() == []


def test_a_problem_is_told_once_logged_without_its_path_and_recorded(found):
    gone, damaged = paths(found)[:2]
    (found.archive / gone).unlink()
    file = found.archive / damaged
    file.chmod(0o644)
    with file.open("r+b") as out:
        out.seek(-1, os.SEEK_END)
        out.write(b"\xff")
    with capture_logs() as lines, Running(found, first_read_seconds=-1) as running:
        until(running.verifier, lambda: unread(found) == 0)
        until(running.verifier, lambda: running.state()["problems"] == 2)
    assert [
        (event, sorted((one["path"], one["problem"]) for one in facts["instances"]))
        for event, facts in running.told
    ] == [("verification", sorted([(gone, "missing"), (damaged, "damaged")]))]
    logged = [line for line in lines if line["event"] == "verify_problem"]
    assert sorted(line["kind"] for line in logged) == ["damaged", "missing"]
    assert gone not in repr(lines) and damaged not in repr(lines)
    with Running(found, first_read_seconds=-1) as again:
        connection = sqlite3.connect(found.index_location)
        connection.execute("UPDATE instances SET verified_at = NULL")
        connection.commit()
        connection.close()
        until(again.verifier, lambda: unread(found) == 0)
    assert again.told == []


def test_a_file_that_is_back_when_it_is_recorded_is_no_problem(found):
    path = found.archive / paths(found)[0]
    path.rename(path.with_suffix(".away"))
    with Running(found, first_read_seconds=-1) as running:
        verifier = running.verifier
        verifier.work(time.monotonic())
        until_handed_over = time.monotonic() + 10
        while verifier._found.empty() and time.monotonic() < until_handed_over:
            time.sleep(0.005)
        path.with_suffix(".away").rename(path)
        until(verifier, lambda: unread(found) == 0)
    assert running.told == []


def test_reading_waits_while_files_are_brought_in(found, monkeypatch):
    monkeypatch.setattr(module, "BUSY", 60.0)
    with Running(found, first_read_seconds=-1) as running:
        running.verifier.note([object()])
        for _ in range(20):
            running.verifier.work(time.monotonic())
            time.sleep(0.005)
        assert unread(found) == 5
        began = time.monotonic()
    assert time.monotonic() - began < 2, "and it ends at once all the same"


def test_reading_keeps_the_pace_that_the_interval_asks_for(found, monkeypatch):
    size = rows(found, "SELECT sum(size) FROM instances")[0][0]
    monkeypatch.setattr(module, "SLOWEST", size * 2)
    began = time.monotonic()
    with Running(found, first_read_seconds=-1) as running:
        until(running.verifier, lambda: unread(found) == 0)
    assert 0.4 < time.monotonic() - began < 5


def test_an_interval_of_zero_reads_nothing(found):
    off = found.model_copy(update={"verify_interval": 0.0})
    before = threading.active_count()
    with Running(off) as running:
        assert running.verifier.work(0.0) is None
        assert (running.verifier.report(), threading.active_count()) == ({}, before)


def test_a_file_that_may_not_be_read_does_not_hold_up_the_others(found, monkeypatch):
    real = module.look

    def look(root, row, **more):
        if row.id == 1:
            return module.Look(row, module_wrong(), "to be readable", "EACCES")
        return real(root, row, **more)

    monkeypatch.setattr(module, "look", look)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    with Running(found, first_read_seconds=-1) as running:
        until(running.verifier, lambda: unread(found) == 1)


def module_wrong():
    from sorter.verification import Wrong

    return Wrong.UNREADABLE
