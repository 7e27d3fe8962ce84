"""A file whose frames are decoded in shares is the file that one worker would have made, byte for byte."""

import hashlib
import io
import os

import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from support import bundled

from sorter.model import Pixels
from sorter.parser.elements import walk
from sorter.parser.frames import Kept
from sorter.parser.pixels import transcode
from sorter.parser.shares import decode_share, draft


def saved(dataset):
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def frames_of(name, count):
    """A file with the one frame of another so many times."""
    dataset = pydicom.dcmread(bundled(name))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData, dataset.NumberOfFrames = encapsulate([frame] * count), count
    dataset["PixelData"].is_undefined_length = True
    return saved(dataset)


def one_bit(count, *, rows, columns):
    """RLE frames of cells of one bit, each another pattern; a frame may end within a byte."""
    dataset = pydicom.dcmread(bundled("MR_small_RLE.dcm"))
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, count
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    size = (rows * columns + 7) // 8
    frames = []
    for number in range(count):
        packed = bytes((number * 37 + at * 11) % 256 for at in range(size))
        segment = bytes([size - 1]) + packed
        segment += bytes(len(segment) % 2)
        frames.append((1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + segment)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    return saved(dataset)


def at_once(data):
    out = io.BytesIO()
    digest = transcode(walk(data, frozenset()), out, source_sha256="a1" * 32)
    return out.getvalue(), digest


def in_shares(data, folder, most):
    """(the file, digest of its frames, number of shares), the last share decoded first."""
    (folder / "source").write_bytes(data)
    with (folder / "source").open("rb") as source, (folder / "native").open("w+b") as out:
        drafted = draft(walk(data, frozenset()), out, source_sha256="a1" * 32, most=most)
        out.flush()
        for share in reversed(drafted.shares):
            decode_share(share, source.fileno(), out.fileno())
        digest = hashlib.sha256()
        for share in drafted.shares:
            digest.update(os.pread(out.fileno(), share.length, share.offset))
        os.pwrite(out.fileno(), digest.hexdigest().encode(), drafted.hole)
    return (folder / "native").read_bytes(), digest.hexdigest(), len(drafted.shares)


@pytest.mark.parametrize(
    ("data", "most", "shares"),
    [
        (lambda: frames_of("MR_small_jp2klossless.dcm", 7), 3 * 64 * 64 * 2, 3),
        (lambda: frames_of("MR_small_jp2klossless.dcm", 7), 1, 7),
        (lambda: bundled("SC_rgb_rle_2frame.dcm").read_bytes(), 1, 2),
        (lambda: bundled("rtdose_rle.dcm").read_bytes(), 4000, 2),
        (lambda: one_bit(19, rows=3, columns=5), 1, 3),
        (lambda: one_bit(19, rows=3, columns=5), 1 << 20, 1),
    ],
)
def test_shares_in_any_order_make_the_same_file_as_one_worker(tmp_path, data, most, shares):
    assert (*at_once(data()), shares) == in_shares(data(), tmp_path, most)


def test_a_frame_that_cannot_be_decoded_keeps_the_pixels(tmp_path):
    dataset = pydicom.dcmread(bundled("rtdose_rle.dcm"))
    frames = list(generate_frames(dataset.PixelData, number_of_frames=15))
    frames[9] = frames[9][:64] + b"\x80" * (len(frames[9]) - 64)  # PackBits that say nothing
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    with pytest.raises(Kept) as caught:
        in_shares(saved(dataset), tmp_path, 1)
    assert (caught.value.state, caught.value.note) == (
        Pixels.KEPT_UNDECODABLE,
        "an RLE segment has another size than declared",
    )


def test_what_was_written_otherwise_than_it_was_decoded_keeps_the_pixels(tmp_path, monkeypatch):
    real = os.pwrite

    def flip(fd, data, offset):
        damaged = bytearray(data)
        damaged[0] ^= 1
        return real(fd, damaged, offset)

    monkeypatch.setattr(os, "pwrite", flip)
    with pytest.raises(Kept, match="read-back differs"):
        in_shares(frames_of("MR_small_jp2klossless.dcm", 2), tmp_path, 1)


def test_frames_that_contradict_the_dataset_are_found_before_the_first_is_decoded(tmp_path):
    dataset = pydicom.dcmread(bundled("MR_small_jp2klossless.dcm"))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    cut = frame[:-20]
    dataset.PixelData, dataset.NumberOfFrames = encapsulate([frame, cut]), 2
    dataset["PixelData"].is_undefined_length = True
    with pytest.raises(Kept, match="no end"):
        draft(walk(saved(dataset), frozenset()), io.BytesIO(), source_sha256="0" * 64, most=1)
