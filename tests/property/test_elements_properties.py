"""Whatever the bytes are, the walk accepts or refuses; it never fails in another way."""

import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from sorter.model import Reason
from sorter.parser.elements import Limits, Unparsable, top_level, walk
from sorter.parser.header import check_uids, is_dicomdir, read_header, wanted_tags

WANTED = wanted_tags()
SMALL = Limits(depth=8, inflated=1 << 22, free=1 << 20, value=1 << 16)
REASONS = {Reason.NOT_DICOM, Reason.TRUNCATED, Reason.MALFORMED, Reason.TOO_LARGE}
NAMES = ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "test-SR.dcm",
         "rtplan.dcm", "image_dfl.dcm", "DICOMDIR"]  # fmt: skip
FILES = [Path(get_testdata_file(name, download=False)).read_bytes() for name in NAMES]

bits = st.tuples(st.integers(0, 1 << 20), st.integers(0, 255))
lengths = st.sampled_from(
    [0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, 0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE]
)


def explore(data):
    """Walk, and if that is accepted, use all of it; says what came out."""
    try:
        dataset = walk(data, WANTED, limits=SMALL)
    except Unparsable as refused:
        assert refused.reason in REASONS
        return None
    places = list(top_level(dataset))
    ends = [dataset.start] + [end for *_, end in places]
    assert [start for _, _, start, _, _ in places] == ends[:-1]
    assert ends[-1] <= len(dataset.data)
    assert not dataset.data[ends[-1] :].strip(b"\0")
    if pixels := dataset.pixel_data:
        assert all(pixels.value < at <= at + length <= pixels.end - 8 for at, length in pixels.items)
    header = read_header(dataset)
    check_uids(header)
    is_dicomdir(dataset)
    for value in header.values.values():
        str(value).encode("utf-8")
    return dataset


@given(st.binary(max_size=600))
def test_random_bytes_are_not_dicom(data):
    assert explore(data) is None


@given(st.binary(max_size=300))
def test_random_bytes_after_a_prefix_are_accepted_or_refused(data):
    explore(b"\0" * 128 + b"DICM" + data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FILES), st.lists(bits, min_size=1, max_size=6))
def test_mutated_bytes_are_accepted_or_refused(data, changes):
    changed = bytearray(data)
    for at, value in changes:
        changed[at % min(len(data), 6000)] = value
    explore(bytes(changed))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FILES), st.integers(132, 4000), lengths)
def test_mutated_lengths_and_tags_are_accepted_or_refused(data, at, number):
    at = at % (len(data) - 4)
    explore(data[:at] + struct.pack("<L", number) + data[at + 4 :])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FILES), st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_a_stream_with_a_piece_missing_or_twice_is_accepted_or_refused(data, first, second):
    first, second = first % len(data), second % len(data)
    explore(data[:first] + data[second:])


@settings(deadline=None)
@given(st.sampled_from(FILES), st.integers(0, 64))
def test_zeros_at_the_end_change_nothing(data, zeros):
    plain, padded = explore(data), explore(data + b"\0" * zeros)
    assert list(top_level(padded)) == list(top_level(plain))
