"""Which files of a batch there is room for."""

import pytest

from sorter.model import Candidate
from sorter.room import BLOCK, NAMES_EACH, Room


def candidates(*sizes):
    return [Candidate("/in", str(number), 1, number, size, 3, 4) for number, size in enumerate(sizes)]


def sizes(found):
    return [one.size for one in found]


@pytest.mark.parametrize(
    ("room", "batch", "expected"),
    [
        (2 * BLOCK, [BLOCK, BLOCK], [BLOCK, BLOCK]),
        (2 * BLOCK - 1, [BLOCK, BLOCK], [BLOCK]),
        (BLOCK, [1, 1], [1]),
        (BLOCK, [BLOCK + 1, BLOCK], [BLOCK]),
        (0, [0, 1], [0]),
        (-1, [0], []),
    ],
    ids=["all", "the first", "whole blocks", "past one too large", "an empty one", "none"],
)
def test_what_fits_is_taken_in_order(room, batch, expected):
    assert sizes(Room(room, 1000).fitting(candidates(*batch))) == expected


def test_every_file_needs_names_too():
    assert sizes(Room(1 << 30, 2 * NAMES_EACH).fitting(candidates(1, 2, 3))) == [1, 2]


@pytest.mark.parametrize(
    ("room", "expected"),
    [(Room(0, NAMES_EACH), True), (Room(-1, 10), False), (Room(1, NAMES_EACH - 1), False)],
)
def test_there_is_room_at_the_floor_but_not_below_it(room, expected):
    assert bool(room) is expected
