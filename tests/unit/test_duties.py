"""Duties are called when they are due, and one that fails harms neither the daemon nor the others."""

import time

import pytest
from structlog.testing import capture_logs

from sorter.duties import Duties
from sorter.errors import IndexUnusableError


class Counting:
    """Notes every call; wants to be called again at ``again``."""

    def __init__(self, again=None, **failing):
        self.calls, self.again, self.failing = [], again, failing

    def _called(self, name, result=None):
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]
        return result

    def note(self, outcomes):
        self._called("note")

    def work(self, now):
        return self._called("work", self.again)

    def report(self):
        return self._called("report", {f"key{id(self)}": 1})

    def close(self):
        self._called("close")


def test_each_works_once_at_the_start_and_then_only_after_a_batch():
    duty = Counting()
    duties = Duties([duty])
    for _ in range(2):
        duties.work()
    assert (duty.calls, duties.next_due()) == (["work"], None)
    duties.note([])
    for _ in range(2):
        duties.work()
    assert duty.calls == ["work", "note", "work"]


def test_one_that_wants_to_be_called_at_a_time_is_not_called_before():
    duty = Counting(again=time.monotonic() + 60)
    duties = Duties([duty, Counting()])
    for _ in range(2):
        duties.work()
    assert (duty.calls, duties.next_due()) == (["work"], duty.again)


def test_one_whose_time_has_come_works_again():
    duty = Counting(again=1.0)
    duties = Duties([duty])
    for _ in range(3):
        duties.work()
    assert duty.calls == ["work"] * 3


@pytest.mark.parametrize("call", ["note", "work", "report", "close"])
def test_a_duty_that_fails_is_logged_once_without_its_words_and_the_others_go_on(call):
    failing, other = Counting(**{call: ValueError("Canary")}), Counting()
    duties = Duties([failing, other])
    with capture_logs() as lines:
        for _ in range(3):
            duties.note([])
            duties.work()
            report = duties.report()
            duties.close()
    assert [(one["event"], one["name"]) for one in lines] == [("duty_failed", "Counting")]
    assert "Canary" not in repr(lines)
    assert other.calls == ["note", "work", "report", "close"] * 3
    assert f"key{id(other)}" in report


def test_trouble_with_the_archive_or_the_index_ends_the_daemon():
    with pytest.raises(IndexUnusableError):
        Duties([Counting(work=IndexUnusableError("gone"))]).work()


def test_at_the_end_every_duty_is_closed_whatever_one_raises():
    other = Counting()
    with capture_logs() as lines:
        Duties([Counting(close=IndexUnusableError("gone")), other]).close()
    assert (other.calls, [one["event"] for one in lines]) == (["close"], ["duty_failed"])
