"""Text for terminals: one line whatever it holds, and a count with its noun."""

import pytest

from sorter.cli.text import counted, printable


@pytest.mark.parametrize(("count", "expected"), [(0, "0 files"), (1, "1 file"), (1204, "1,204 files")])
def test_a_count_has_the_number_of_its_noun(count, expected):
    assert counted(count, "file") == expected


def test_no_character_ends_the_line_or_moves_the_cursor():
    assert printable("a\nb\x1b[2J\u202eé") == "a\\x0ab\\x1b[2J\\x202eé"
