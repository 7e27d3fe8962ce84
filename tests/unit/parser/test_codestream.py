"""Facts about what is read from the head of a codestream."""

from __future__ import annotations

import struct

import pytest

from sorter.parser.codestream import Codestream, Undecodable, read_jpeg, read_jpeg2000, repair_scan


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(
    sof: int = 0xC0, ids: bytes = b"\1\2\3", app: bytes = b"", scan: bytes = b"\0\x3f\0", rows: int = 4
) -> bytes:
    components = b"".join(bytes([one, 0x11, 0]) for one in ids)
    frame = segment(sof, struct.pack(">BHHB", 8, rows, 5, len(ids)) + components)
    sos = segment(0xDA, bytes([len(ids)]) + b"".join(bytes([one, 0]) for one in ids) + scan)
    return b"\xff\xd8" + app + frame + sos + b"entropy\xff\xd9"


def j2k(
    *,
    size: tuple[int, ...] = (7, 5, 2, 1, 7, 5, 0, 0),
    parts: bytes = b"\x07\1\1" * 3,
    mct: int = 1,
    wavelet: int = 1,
) -> bytes:
    siz = segment(0x51, struct.pack(">H8LH", 0, *size, len(parts) // 3) + parts)
    cod = segment(0x52, bytes([0, 0, 0, 1, mct, 5, 4, 4, 0, wavelet]))
    return b"\xff\x4f" + siz + cod + b"\xff\x90"


def jp2(codestream: bytes, box: bytes = b"\0\0\0\x0cabcdWXYZ") -> bytes:
    return b"\0\0\0\x0cjP  \r\n\x87\n" + box + struct.pack(">L4s", 8 + len(codestream), b"jp2c") + codestream


def test_a_jpeg_frame_header_gives_size_components_and_precision():
    stream = read_jpeg(jpeg())
    assert (stream.rows, stream.columns, stream.components, stream.precision) == (4, 5, 3, 8)


@pytest.mark.parametrize(
    ("sof", "lossy"), [(0xC0, True), (0xC1, True), (0xC2, True), (0xC3, False), (0xCA, True)]
)
def test_dct_is_lossy_and_prediction_is_not(sof, lossy):
    assert lossy == read_jpeg(jpeg(sof)).lossy


@pytest.mark.parametrize(("near", "lossy"), [(0, False), (2, True)])
def test_jpeg_ls_is_lossy_where_it_allows_an_error(near, lossy):
    assert lossy == read_jpeg(jpeg(0xF7, scan=bytes([near, 0, 0]))).lossy


def test_colour_is_read_from_identifiers_jfif_and_adobe():
    adobe = b"Adobe\0d\0\0\0\0"
    assert read_jpeg(jpeg(ids=b"RGB")).rgb_ids
    assert not read_jpeg(jpeg()).rgb_ids
    assert read_jpeg(jpeg(app=segment(0xE0, b"JFIF\0\1\1"))).jfif
    assert read_jpeg(jpeg(app=segment(0xEE, adobe + b"\1"))).transformed is True
    assert read_jpeg(jpeg(app=segment(0xEE, adobe + b"\0"))).transformed is False
    assert read_jpeg(jpeg()).transformed is None


def test_fill_bytes_before_a_marker_are_stepped_over():
    assert read_jpeg(jpeg(app=b"\xff\xff\xff")).rows == 4


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", jpeg()[:20], b"\xff\xd8\xff\xd9", jpeg()[2:],
                                  jpeg(app=segment(0xC0, b"\x08" + bytes(8))), jpeg(app=b"\xff\xe0\0\0"),
                                  b"\xff\xd8" + segment(0xDA, bytes(10))])  # fmt: skip
def test_what_is_no_whole_jpeg_is_refused(data):
    with pytest.raises(Undecodable):
        read_jpeg(data)


def test_a_sequential_scan_gets_the_spectral_selection_it_must_have():
    wrong = jpeg(scan=b"\0\0\0")
    assert jpeg() == repair_scan(wrong, read_jpeg(wrong))
    assert jpeg() == repair_scan(jpeg(), read_jpeg(jpeg()))


def test_a_progressive_scan_is_left_as_it_is():
    scan = jpeg(0xC2, scan=b"\0\0\1")
    assert scan == repair_scan(scan, read_jpeg(scan))


@pytest.mark.parametrize("wrap", [bytes, jp2])
def test_a_jpeg_2000_header_gives_size_components_precision_and_style(wrap):
    expected = Codestream(4, 5, 3, 8, signed=False, lossy=False, transformed=True)
    assert expected == read_jpeg2000(wrap(j2k()))


def test_sign_and_irreversible_wavelet_are_read():
    stream = read_jpeg2000(j2k(parts=b"\x8b\1\1", mct=0, wavelet=0))
    assert (stream.precision, stream.signed, stream.lossy, stream.transformed) == (12, True, True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        j2k()[:30],
        j2k()[:60],
        j2k(parts=b""),
        j2k(parts=b"\x07\1\1\x0b\1\1"),
        j2k(size=(7, 5, 7, 1, 7, 5, 0, 0)),
        j2k(size=(7, 5, 2, 1, 0, 5, 0, 0)),
        j2k(size=(65000, 65000, 0, 0, 1, 1, 0, 0)),
        j2k().replace(b"\xff\x52", b"\xff\x90"),
        jp2(j2k(), box=b"\0\0\0\0abcd"),
        jp2(j2k(), box=b"\0\0\0\1abcd" + bytes(8)),
        jp2(j2k(), box=b"\0\0\0\1abcd" + b"\xff" * 8),
        jp2(b"")[:-8],
    ],
)
def test_what_is_no_whole_jpeg_2000_is_refused_and_never_read_for_ever(data):
    with pytest.raises(Undecodable):
        read_jpeg2000(data)
