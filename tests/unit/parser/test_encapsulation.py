"""Facts about which fragments make which frame."""

from __future__ import annotations

import struct

import pytest

from sorter.parser.codestream import Undecodable
from sorter.parser.encapsulation import group_frames

SOI, EOI = b"\xff\xd8\xff\xe0", b"\xff\xd9"
WHOLE, HEAD, TAIL = SOI + b"body" + EOI, SOI + b"body", b"more" + EOI


def laid_out(fragments: list[bytes], offsets: list[int] = ()) -> tuple[bytes, list[tuple[int, int]]]:  # type: ignore[assignment]
    data, items = b"", []
    for value in (struct.pack(f"<{len(offsets)}L", *offsets), *fragments):
        data += struct.pack("<HHL", 0xFFFE, 0xE000, len(value))
        items.append((len(data), len(value)))
        data += value
    return data, items


def frames(fragments: list[bytes], count: int, offsets: list[int] = (), **options: object) -> list[bytes]:  # type: ignore[assignment]
    data, items = laid_out(fragments, offsets)
    spans = group_frames(data, items, count, **options)
    return [b"".join(data[at : at + length] for at, length in one) for one in spans]


def test_one_fragment_a_frame_needs_no_table():
    assert frames([WHOLE, TAIL], 2) == [WHOLE, TAIL]


def test_the_basic_offset_table_tells_frames_apart():
    assert frames([HEAD, TAIL, WHOLE], 2, [0, 34 - 0]) == [HEAD + TAIL, WHOLE]


def test_the_extended_offset_table_counts_before_the_basic_one():
    assert frames([HEAD, TAIL, WHOLE], 2, [0, 34], extended=[0, 16]) == [HEAD, TAIL + WHOLE]


def test_a_table_that_points_nowhere_is_ignored():
    assert frames([HEAD, TAIL, WHOLE], 2, [0, 35]) == [HEAD + TAIL, WHOLE]
    assert frames([HEAD, TAIL, WHOLE], 2, [0, 0]) == [HEAD + TAIL, WHOLE]
    assert frames([HEAD, TAIL, WHOLE], 2, [16, 34]) == [HEAD + TAIL, WHOLE]


def test_codestreams_that_begin_and_end_visibly_need_no_table():
    assert frames([HEAD, TAIL, WHOLE, HEAD, TAIL], 3) == [HEAD + TAIL, WHOLE, HEAD + TAIL]


def test_a_start_marker_within_a_codestream_begins_no_frame():
    assert frames([HEAD, HEAD, TAIL], 1) == [HEAD + HEAD + TAIL]


def test_empty_fragments_are_no_frames():
    assert frames([WHOLE, b"", WHOLE], 2) == [WHOLE, WHOLE]


@pytest.mark.parametrize(
    ("fragments", "count", "offsets"),
    [
        ([], 1, []),
        ([b""], 1, []),
        ([WHOLE], 2, []),
        ([WHOLE, WHOLE], 1, []),
        ([WHOLE, WHOLE, WHOLE], 2, []),
        ([HEAD, TAIL, WHOLE], 1, [0, 34]),
        ([b"a", b"b", b"c"], 2, []),
    ],
)
def test_more_fewer_or_unclear_frames_are_refused(fragments, count, offsets):
    with pytest.raises(Undecodable):
        frames(fragments, count, offsets)


def test_a_syntax_of_one_fragment_a_frame_has_no_other():
    with pytest.raises(Undecodable):
        frames([HEAD, TAIL, WHOLE], 2, [0, 34], single=True)
