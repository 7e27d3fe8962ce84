"""Whatever the bytes, reading them ends, stays in bounds and says no in one way."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from sorter.parser.codecs import Family, frame
from sorter.parser.codestream import Undecodable, read_jpeg, read_jpeg2000
from sorter.parser.encapsulation import group_frames
from sorter.parser.frames import native_bytes
from sorter.parser.pixelmodule import PixelModule

JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
MARKERS = [b"\xff\xd8", b"\xff\xc0", b"\xff\xda", b"\xff\xff", b"\xff\x4f\xff\x51", b"\xff\x52",
           b"\xff\x90", b"\0\0", JP2, b"\0\0\0\0", b"\0\0\0\1abcd", b"jp2c"]  # fmt: skip
STREAMS = st.lists(st.one_of(st.sampled_from(MARKERS), st.binary(max_size=20)), max_size=20).map(b"".join)


@given(STREAMS)
@example(JP2 + b"\0\0\0\0xxxx")
def test_reading_a_codestream_head_ends_and_refuses_in_one_way(data):
    for read in (read_jpeg, read_jpeg2000):
        try:
            stream = read(data)
        except Undecodable:
            continue
        assert stream.components >= 0


def packed(plane: bytes) -> bytes:
    """PackBits as a writer does it: literal runs, and repeated bytes where two or more are equal."""
    out, pos = b"", 0
    while pos < len(plane):
        run = 1
        while run < 128 and plane[pos : pos + run + 1] == plane[pos : pos + 1] * (run + 1):
            run += 1
        if run > 1:
            out += bytes([257 - run, plane[pos]])
        else:
            out += bytes([0, plane[pos]])
        pos += run
    return out + b"\x80" * (len(out) % 2)


@given(
    st.data(),
    st.sampled_from([8, 16, 32]),
    st.sampled_from([1, 3]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.booleans(),
)
def test_rle_gives_back_every_pixel(data, allocated, samples, rows, columns, signed):
    depth = allocated // 8
    raw = data.draw(
        st.binary(min_size=depth * samples * rows * columns, max_size=depth * samples * rows * columns)
    )
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    module = PixelModule(rows, columns, samples, photometric, 0, allocated, allocated, signed, 1)
    expected = np.frombuffer(raw, module.dtype).reshape(module.shape)
    cells = np.frombuffer(raw, "u1").reshape(rows * columns, samples, depth)
    planes = [packed(cells[:, s, d].tobytes()) for s in range(samples) for d in reversed(range(depth))]
    header, at = [len(planes)], 64
    for plane in planes:
        header.append(at)
        at += len(plane)
    encoded = np.array(header + [0] * (16 - len(header)), "<u4").tobytes() + b"".join(planes)
    assert np.array_equal(expected, frame(encoded, Family.RLE, module).decode())


@given(st.binary(max_size=200))
def test_rle_refuses_in_one_way(data):
    module = PixelModule(4, 4, 1, "MONOCHROME2", 0, 8, 8, False, 1)
    try:
        assert frame(data, Family.RLE, module).decode().shape == (4, 4)
    except Undecodable as refused:
        assert str(refused)


@given(st.lists(st.lists(st.integers(0, 1), min_size=7, max_size=7), min_size=1, max_size=9))
def test_cells_of_one_bit_are_packed_without_gaps_between_frames(frames):
    arrays = [np.array(one, "u1").reshape(1, 7) for one in frames]
    expected = np.packbits(np.array(frames, "u1").reshape(-1), bitorder="little").tobytes()
    assert expected == b"".join(bytes(piece) for piece in native_bytes(arrays, 1))


@given(
    st.lists(
        st.sampled_from([b"\xff\xd8\xff\xe0ab", b"xx\xff\xd9", b"\xff\xd8\xff\xe0\xff\xd9", b""]), max_size=8
    ),
    st.integers(1, 8),
    st.binary(max_size=12),
)
def test_frames_are_all_the_fragments_in_order_or_none(fragments, count, table):
    data, items = b"", []
    for value in (table, *fragments):
        data += bytes(8)
        items.append((len(data), len(value)))
        data += value
    try:
        frames = group_frames(data, items, count)
    except Undecodable:
        return
    assert count == len(frames)
    spans = [span for one in frames for span in one]
    assert [span for span in items[1:] if span[1]] == spans
    assert all(a < b for a, b in pairwise(spans))
