"""A round hands out each candidate once, as long as there is room, and knows what waits for some."""

from types import SimpleNamespace

import pytest

from sorter import rounds
from sorter.intake import Batches
from sorter.model import Candidate, Kind, Outcome, Reason
from sorter.observer.settle import Settler
from sorter.room import BLOCK, Room
from sorter.rounds import Round


def candidate(name, blocks=1):
    return Candidate("/in", name, 1, 2, blocks * BLOCK, 0, 0, "/in")


def names(batches):
    return [[one.name for one in batch] for batch in batches]


@pytest.fixture
def settler():
    return Settler(1.0, 60.0)


@pytest.fixture
def make(settler):
    """Makes rounds on a disk that takes so many blocks above its floor."""

    def made(blocks, stopping=lambda: False):
        intake = SimpleNamespace(room=lambda under_way: Room(blocks * BLOCK - under_way, 1000))
        return Round(intake, settler, stopping)

    return made


def waiting(settler):
    return [(one.candidate.name, one.reason) for one in settler.waiting(0.0)]


def test_a_candidate_is_handed_out_once_in_a_round(make):
    given = [candidate("a"), candidate("b"), candidate("a")]
    one = make(100)
    assert names(one.batches(given, Batches())) == [["a", "b"]]
    assert names(one.batches([candidate("b"), candidate("c")], Batches())) == [["c"]]


def test_what_is_larger_than_the_room_waits_and_the_rest_of_its_batch_comes_in(make, settler):
    one = make(2)
    assert names(one.batches([candidate("large", 3), candidate("small")], Batches())) == [["small"]]
    assert (waiting(settler), one.full) == ([("large", Reason.NO_SPACE)], False)


def test_what_does_not_fit_beside_the_batch_under_way_ends_the_round_and_does_not_wait(make, settler):
    one = make(2)
    assert names(one.batches([candidate("a", 2), candidate("b", 2)], Batches(files=1))) == [["a"]]
    assert (waiting(settler), one.full) == ([], True)


def test_what_has_landed_is_no_longer_under_way(make):
    one = make(2)
    batches = one.batches([candidate("a", 2), candidate("b", 2)], Batches(files=1))
    (first,) = next(batches)
    one.landed(Outcome(first, Kind.DUPLICATE))
    assert (names(batches), one.full) == ([["b"]], False)


def test_more_files_without_room_than_may_wait_end_the_round(make, settler, monkeypatch):
    monkeypatch.setattr(rounds, "MOST_SET_ASIDE", 1)
    one = make(2)
    assert names(one.batches([candidate("a", 3), candidate("b", 3)], Batches())) == []
    assert (waiting(settler), one.full) == ([], True)


def test_below_the_floor_nothing_is_handed_out_and_nothing_waits(make, settler):
    one = make(-1)
    assert names(one.batches([candidate("a")], Batches())) == []
    assert (waiting(settler), one.full) == ([], True)


def test_a_round_that_is_told_to_stop_hands_out_no_more(make):
    one = make(100, stopping=lambda: True)
    assert names(one.batches([candidate("a"), candidate("b")], Batches(files=1))) == [["a"]]
