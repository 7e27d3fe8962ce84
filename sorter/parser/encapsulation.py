"""Which fragments of encapsulated pixel data make which frame (PS3.5 A.4 and Annex A.4, Table A.4-1).

The offset tables say so, where they are right. Where they are missing or wrong only what cannot be
misunderstood counts: one fragment a frame, one frame, or codestreams that begin and end visibly.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from itertools import pairwise

from sorter.parser.codestream import END, Undecodable
from sorter.parser.grammar import Buffer

Span = tuple[int, int]  # offset and length of a fragment's value
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")


def group_frames(
    data: Buffer,
    items: Sequence[Span],
    count: int,
    *,
    extended: Sequence[int] = (),
    single: bool = False,
) -> list[list[Span]]:
    """The fragments of each of ``count`` frames, in order.

    Parameters
    ----------
    data
        The stream that ``items`` refer to.
    items
        (offset, length) of every item, the Basic Offset Table first.
    count
        Number of Frames as declared.
    extended
        The Extended Offset Table (7FE0,0001), where there is one.
    single
        The transfer syntax allows one fragment a frame only (RLE, PS3.5 A.4.2).

    Raises
    ------
    Undecodable
        More or fewer frames are present than declared, or the fragments cannot be told apart.
    """
    spans = [span for span in items[1:] if span[1]]
    if not spans:
        raise Undecodable("encapsulated pixel data without a frame")
    if len(spans) == count:
        return [[span] for span in spans]
    if single or len(spans) < count:
        raise Undecodable(f"{count} frames are declared, {len(spans)} fragments are present")
    basic = _basic_offsets(data, items[0])
    for offsets in (list(extended), basic):
        if starts := _hits(spans, items, offsets):
            return _cut(spans, starts, count)
    beginning = [number for number in range(len(spans)) if _begins(data, spans, number)]
    if len(beginning) > 1 and beginning[0] == 0:
        return _cut(spans, beginning, count)
    if count == 1:
        return [spans]
    raise Undecodable("the fragments of the frames cannot be told apart")


def _begins(data: Buffer, spans: Sequence[Span], number: int) -> bool:
    """Whether a fragment visibly begins a codestream, the one before having ended."""
    offset, _ = spans[number]
    if not data[offset : offset + 8].startswith(_STARTS):
        return False
    if number == 0:
        return True
    before, length = spans[number - 1]
    return END in data[before + max(0, length - 10) : before + length]


def _basic_offsets(data: Buffer, table: Span) -> list[int]:
    offset, length = table
    return list(struct.unpack_from(f"<{length // 4}L", data, offset))


def _hits(spans: Sequence[Span], items: Sequence[Span], offsets: Sequence[int]) -> list[int]:
    """The numbers of the fragments that the offsets point at; empty where one points elsewhere."""
    base = items[0][0] + items[0][1] + 8  # offsets count from the tag of the first fragment's item
    numbers = {offset - base: number for number, (offset, _) in enumerate(spans)}
    found = [numbers.get(offset, -1) for offset in offsets]
    rising = all(a < b for a, b in pairwise(found))
    return found if found and found[0] == 0 and rising else []


def _cut(spans: Sequence[Span], starts: Sequence[int], count: int) -> list[list[Span]]:
    if len(starts) != count:
        raise Undecodable(f"{count} frames are declared, {len(starts)} are present")
    return [list(spans[a:b]) for a, b in pairwise([*starts, len(spans)])]


def release(data: Buffer, offset: int, length: int) -> None:
    """Let the memory go that a mapped file takes for bytes that were read; they stay in the page cache."""
    if isinstance(data, mmap.mmap):
        begin = offset - offset % mmap.PAGESIZE
        data.madvise(mmap.MADV_DONTNEED, begin, offset + length - begin)
