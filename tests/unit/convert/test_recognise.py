"""Formats are recognised by content."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile

import pytest

from sorter.convert.recognise import Format, recognise


def zipped(names=("a",)):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return stream.getvalue()


def tarred(form):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as file:
        file.addfile(tarfile.TarInfo("a"))
    return stream.getvalue()


def old_tar():
    """As before POSIX: no mark at all."""
    block = bytearray(512)
    block[:5], block[100:108], block[124:136] = b"a.dcm", b"0000644\0", b"00000000000\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def analyze(order="<", **changes):
    header = {"length": 348, "dimensions": 3, "datatype": 4, "bits": 16} | changes
    content = bytearray(348)
    struct.pack_into(f"{order}l", content, 0, header["length"])
    struct.pack_into(f"{order}8h", content, 40, header["dimensions"], 4, 5, 6, 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", content, 70, header["datatype"], header["bits"])
    return bytes(content)


def nifti1(order, magic):
    return analyze(order)[:344] + magic


def nifti2(order, magic):
    return struct.pack(f"{order}l", 540) + magic + bytes(528)


def bmp(header):
    return b"BM" + bytes(8) + struct.pack("<LL", 54, header) + bytes(36)


KNOWN = [
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"\xff\xd8\xff\xe0", Format.JPEG),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0\x08\0\0\0", Format.TIFF),
    (b"GIF89a", Format.GIF),
    (b"GIF87a", Format.GIF),
    (bmp(40), Format.BMP),
    (bmp(124), Format.BMP),
    (zipped(), Format.ZIP),
    (zipped(()), Format.ZIP),
    (gzip.compress(b"x", mtime=0), Format.GZIP),
    (bz2.compress(b"x"), Format.BZIP2),
    (lzma.compress(b"x"), Format.XZ),
    *((tarred(form), Format.TAR) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
    (old_tar(), Format.TAR),
    *((nifti1(order, magic), Format.NIFTI1) for order in "<>" for magic in (b"n+1\0", b"ni1\0")),
    *((nifti2(order, b"n+2\0\r\n\x1a\n"), Format.NIFTI2) for order in "<>"),
    (nifti2("<", b"ni2\0\r\n\x1a\n"), Format.NIFTI2),
    (analyze("<"), Format.ANALYZE),
    (analyze(">"), Format.ANALYZE),
]
UNKNOWN = {
    "nothing": b"",
    "text": b"Patient: Doe\n" * 100,
    "zeros": bytes(1000),
    "DICOM": bytes(128) + b"DICM" + bytes(400),
    "DICOM with the preamble of a TIFF": b"II*\0".ljust(128, b"\0") + b"DICM" + bytes(400),
    "two letters": b"BM",
    "a word that begins as BMP does": b"BMW is a maker of cars, and this is a text about it",
    "a TIFF to be": b"II*",
    "a cut NIfTI": nifti1("<", b"n+1\0")[:347],
    "an Analyze header of no dimension": analyze(dimensions=0),
    "an Analyze header whose bits do not fit": analyze(bits=8),
    "a tar with another checksum": b"b" + old_tar()[1:],
    "bzip2 without a block": b"BZh9 is no bzip2",
}


@pytest.mark.parametrize(("content", "expected"), KNOWN)
def test_known_formats_are_recognised(content, expected):
    assert recognise(content, len(content)) == expected


@pytest.mark.parametrize("name", UNKNOWN)
def test_others_are_not(name):
    content = UNKNOWN[name]
    assert recognise(content, len(content)) is None


def test_a_large_file_is_no_analyze_header_however_it_begins():
    assert recognise(analyze(), 1_000_000) is None
