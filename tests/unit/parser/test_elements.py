"""The structural walk accepts what is one whole DICOM stream, and nothing else."""

import csv
import gzip
import io
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, RawDataStorage

from sorter.model import Reason
from sorter.parser.elements import Limits, Unparsable, top_level, walk

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
WANTED = frozenset((0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00100020))
PADDING = 0xFFFCFFFC
DATA = Path(os.environ.get("SORTER_TEST_DATA", Path(__file__).parents[4] / "shared/data"))


def instance(syntax=EXPLICIT, *, prefix=True, sop_class=CTImageStorage, pixels=True, **more):
    """A small whole instance, as bytes."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.5"
    ds.PatientID, ds.Rows, ds.Columns, ds.BitsAllocated = "ID", 4, 4, 8
    ds.PixelRepresentation = 0
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    if pixels:
        encapsulated = syntax not in (IMPLICIT, EXPLICIT, BIG, DEFLATED)
        ds.PixelData = (
            encapsulate([b"\xff\xd8frame1\xff\xd9", b"frame2"]) if encapsulated else bytes(range(16))
        )
        ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = sop_class, "1.2.3.4"
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue() if prefix else stream.getvalue()[132:]


def bare(syntax, **more):
    """The dataset of an instance alone, without preamble and File Meta Information."""
    data = instance(syntax, **more)
    return data[walk(data, WANTED).start :]


def element(tag, vr, value):
    """One explicit little endian element."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HL", 0, len(value)) if long else struct.pack("<H", len(value))) + value


def refusal(data, **limits):
    """The reason for which the walk refuses."""
    with pytest.raises(Unparsable) as caught:
        walk(data, WANTED, limits=Limits(**limits))
    return caught.value.reason


def accepted(data):
    """Whether the walk accepts it as an instance."""
    try:
        found = walk(data, WANTED).elements
    except Unparsable:
        return False
    return all(found.get(tag) for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E))


def content_end(data):
    """The length to which the (inflated) stream can be cut without losing more than padding."""
    return max(end for tag, *_, end in top_level(walk(data, WANTED)) if tag != PADDING)


# What is whole


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG, RLE])
def test_a_whole_instance_of_each_transfer_syntax_is_accepted(syntax):
    dataset = walk(instance(syntax), WANTED)
    assert dataset.transfer_syntax_uid == syntax
    assert (dataset.implicit, dataset.big_endian) == (syntax == IMPLICIT, syntax == BIG)
    assert dataset.elements[0x00100020].value == b"ID"
    assert dataset.elements[0x00100020].vr == ("" if syntax == IMPLICIT else "LO")
    assert dataset.pixel_data.encapsulated == (syntax in (JPEG, RLE))
    assert not dataset.unusual


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_bare_dataset_shows_its_own_transfer_syntax(syntax):
    dataset = walk(bare(syntax), WANTED)
    assert (dataset.transfer_syntax_uid, dataset.start, dict(dataset.meta)) == (syntax, 0, {})


def test_a_file_without_preamble_but_with_file_meta_information_is_accepted():
    assert walk(instance(prefix=False), WANTED).transfer_syntax_uid == EXPLICIT


def test_the_items_of_encapsulated_pixel_data_are_the_offset_table_and_the_fragments():
    data = instance(JPEG)
    pixels = walk(data, WANTED).pixel_data
    assert [data[at : at + length] for at, length in pixels.items[1:]] == [
        b"\xff\xd8frame1\xff\xd9",
        b"frame2",
    ]
    assert pixels.items[0][1] == 8
    assert (pixels.value - pixels.start, pixels.end) == (12, len(data))


def test_the_extent_of_native_pixel_data_is_known():
    data = instance()
    pixels = walk(data, WANTED).pixel_data
    assert data[pixels.value : pixels.end] == bytes(range(16))
    assert pixels.items == ()


def test_zeros_and_data_set_trailing_padding_may_follow():
    data = instance()
    padding = element(PADDING, b"OB", b"\1" * 6)
    for tail in (b"\0", b"\0" * 7, b"\0" * 500, padding, padding + b"\0" * 9):
        assert accepted(data + tail)


def test_anything_else_that_follows_is_refused():
    for tail in (b"\n", b"junk", b"\0" * 500 + b"x", b"</html>" * 9):
        assert not accepted(instance() + tail)


def test_a_wrong_group_length_of_the_file_meta_information_does_not_matter():
    data = instance()
    for length in (0, 10, 0xFFFFFFFF):
        changed = data[:140] + struct.pack("<L", length) + data[144:]
        assert walk(changed, WANTED).start == walk(data, WANTED).start


def test_a_stream_that_contradicts_its_transfer_syntax_is_read_as_what_it_is():
    data = instance(IMPLICIT).replace(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.99")
    dataset = walk(data, WANTED)
    assert (dataset.implicit, dataset.unusual) == (True, True)
    assert dataset.elements[0x00100020].value == b"ID"


def test_a_vr_of_the_future_has_the_long_form():
    future = element(0x00091001, b"OB", b"12345678").replace(b"OB", b"ZZ")
    data = instance() + b""
    start = data.index(b"\x10\0\x20\0LO")
    dataset = walk(data[:start] + future + data[start:], WANTED)
    assert dataset.unusual
    assert (0x00091001, "ZZ") in [(tag, vr) for tag, vr, *_ in top_level(dataset)]


def test_sequences_of_undefined_length_are_followed_to_their_delimiters():
    inner = Dataset()
    inner.CodeValue = "1"
    outer = Dataset()
    outer.ConceptNameCodeSequence = [inner, inner]
    for item in (inner, outer):
        item.is_undefined_length_sequence_item = True
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        ds = dcmread(io.BytesIO(instance(syntax)))
        ds.AnatomicRegionSequence = [outer]
        ds["AnatomicRegionSequence"].is_undefined_length = True
        outer["ConceptNameCodeSequence"].is_undefined_length = True
        stream = io.BytesIO()
        ds.save_as(stream)
        data = stream.getvalue()
        assert [tag for tag, *_ in top_level(walk(data, WANTED))] == sorted(int(tag) for tag in ds._dict)
        assert (
            refusal(data[: data.rindex(b"\xdd\xe0" if syntax != BIG else b"\xe0\xdd") - 2])
            == Reason.TRUNCATED
        )


@pytest.mark.parametrize("inner", [b"\x08\0\0\x01\2\0\0\x001 ", b"\x08\0\0\x01SH\2\x001 "])
def test_an_unknown_element_of_undefined_length_holds_implicit_or_explicit_items(inner):
    items = (
        b"\xfe\xff\0\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\r\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    unknown = b"\x09\0\1\x10UN\0\0\xff\xff\xff\xff" + items
    data = instance()
    start = data.index(b"\x10\0\x20\0LO")
    assert accepted(data[:start] + unknown + data[start:])
    assert not accepted(data[:start] + unknown[:-8] + data[start:])


def test_signatures_and_an_encapsulated_icon_are_noted():
    plain = walk(instance(JPEG), WANTED)
    assert (plain.signed, plain.icon) == (False, None)
    signature = element(0xFFFAFFFA, b"SQ", b"")
    assert walk(instance(JPEG) + signature, WANTED).signed
    data = instance(JPEG)
    pixels = data[data.index(b"\xe0\x7f\x10\0") :]
    item = b"\xfe\xff\0\xe0" + struct.pack("<L", len(pixels)) + pixels
    icon = element(0x00880200, b"SQ", item)
    at = data.index(b"\xe0\x7f\x10\0")
    assert walk(data[:at] + icon + data[at:], WANTED).icon == (at, at + len(icon))


# What is not


JUNK = {
    "empty": b"",
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
    "ELF": b"\x7fELF\2\1\1" + b"\0" * 500,
    "HTML": b"<!DOCTYPE html><html></html>" * 20,
    "text": b"patient notes\n" * 40,
    "zeros": b"\0" * 4096,
    "a preamble": b"\0" * 128 + b"DIC",
    "little endian 8": b"\x08\0" * 400,
    "little endian 2": b"\x02\0" * 400,
    "group 2 and random": b"\x02\0\0\0UL\4\0" + zlib.compress(bytes(range(256)) * 9),
    "a JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)),
    "gzip": gzip.compress(b"x" * 900),
}


@pytest.mark.parametrize("data", JUNK.values(), ids=JUNK)
def test_what_is_no_dicom_is_told_so(data):
    assert refusal(data) == Reason.NOT_DICOM


def test_a_bare_dataset_without_the_four_uids_or_out_of_order_is_not_dicom():
    data = bare(EXPLICIT)
    end = data.index(b"\x10\0\x20\0LO")
    assert refusal(data[:end]) == Reason.NOT_DICOM
    assert refusal(data[end:]) == Reason.NOT_DICOM


def test_a_prefix_without_elements_is_truncated():
    data = instance()
    start = walk(data, WANTED).start
    for end in (132, start, start + 7):
        assert refusal(data[:end]) == Reason.TRUNCATED
    assert refusal(data[:start] + b"\0" * 64) == Reason.TRUNCATED


def test_a_delimiter_at_top_level_is_malformed():
    data = instance()
    at = data.index(b"\xe0\x7f\x10\0")
    for delimiter in (b"\xfe\xff\r\xe0", b"\xfe\xff\xdd\xe0", b"\xfe\xff\0\xe0"):
        assert refusal(data[:at] + delimiter + b"\0" * 4 + data[at:]) == Reason.MALFORMED


def test_nesting_is_limited():
    def nested(levels):
        opening = b"\x40\0\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * levels
        return opening + b"\xfe\xff\r\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * levels

    data = instance()
    at = data.index(b"\xe0\x7f\x10\0")
    assert accepted(data[:at] + nested(64) + data[at:])
    for levels in (65, 200, 20_000):
        assert refusal(data[:at] + nested(levels) + data[at:]) == Reason.MALFORMED


def test_a_wanted_value_beyond_the_limit_is_too_large():
    data = instance(IMPLICIT, PatientID="x" * 5000)
    assert len(walk(data, WANTED).elements[0x00100020].value) == 5000
    assert refusal(data, value=4999) == Reason.TOO_LARGE


def test_a_length_of_2_gib_in_a_small_file_is_truncation():
    assert refusal(instance() + b"\xfc\xff\xfc\xffOB\0\0\xff\xff\xff\x7f") == Reason.TRUNCATED


# Cuts


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG, RLE])
def test_an_instance_cut_anywhere_is_never_accepted(syntax, prefix):
    data = instance(syntax, prefix=prefix)
    end = len(data.rstrip(b"\0")) if syntax == DEFLATED else len(data)
    assert [cut for cut in range(end) if accepted(data[:cut])] == []


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_bare_dataset_cut_anywhere_is_never_accepted(syntax):
    data = bare(syntax)
    assert [cut for cut in range(len(data)) if accepted(data[:cut])] == []


BUNDLED = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_padded.dcm",
    "image_dfl.dcm",
    "JPEG2000.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg.dcm",
    "SC_rgb_rle_2frame.dcm",
    "examples_jpeg2k.dcm",
    "examples_ybr_color.dcm",
    "JPEGLSNearLossless_16.dcm",
    "rtdose.dcm",
    "rtplan.dcm",
    "rtstruct.dcm",
    "test-SR.dcm",
    "reportsi.dcm",
]


def bundled(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not bundle {name}")
    return Path(path).read_bytes()


# PS3.3 demands none of these of a plan: its Dose References; its fractions (but then its beams); and what
# comes after the beams, Patient Setup to Approval Status.
OPTIONAL_END = {"rtplan.dcm": [0x300A0010, 0x300A0070, 0x300A0180, 0x300C0002, 0x300C0060, 0x300E0002]}


@pytest.mark.parametrize("name", BUNDLED)
def test_a_real_file_cut_at_every_64th_offset_is_never_accepted(name):
    data = bundled(name)
    dataset = walk(data, WANTED)
    end = len(data) - 8 if dataset.data is not data else content_end(data)
    allowed = {start for tag, _, start, *_ in top_level(dataset) if tag in OPTIONAL_END.get(name, ())}
    cuts = {*range(0, end, max(64, end // 2000 // 64 * 64)), *range(max(0, end - 64), end)}
    assert [cut for cut in sorted(cuts - allowed) if accepted(data[:cut])] == []


@pytest.mark.parametrize("name", ["CT_small.dcm", "rtdose.dcm", "rtstruct.dcm", "rtplan.dcm", "test-SR.dcm"])
def test_a_real_file_cut_between_two_elements_is_accepted_only_if_all_it_lost_is_optional(name):
    data = bundled(name)
    places = [(tag, start) for tag, _, start, *_ in top_level(walk(data, WANTED)) if tag != PADDING]
    assert [tag for tag, start in places if accepted(data[:start])] == OPTIONAL_END.get(name, [])


@pytest.mark.parametrize(
    ("sop_class", "accepted_without"),
    [(CTImageStorage, False), (RawDataStorage, True), ("1.2.3.4.5.6", True)],
)
def test_pixel_data_are_needed_by_image_classes_and_where_bits_allocated_describe_them(
    sop_class, accepted_without
):
    assert accepted(instance(sop_class=sop_class, pixels=True))
    assert accepted(instance(sop_class=sop_class, pixels=False)) is False
    undescribed = instance(sop_class=sop_class, pixels=False)
    undescribed = undescribed.replace(element(0x00280100, b"US", b"\x08\0"), b"")
    assert accepted(undescribed) == accepted_without


# Bombs


def test_a_deflated_stream_is_inflated_within_limits_only():
    data = instance(DEFLATED, PixelData=b"\0" * 4_000_000, pixels=False)
    assert len(walk(data, WANTED).data) > 4_000_000
    assert refusal(data, inflated=1_000_000) == Reason.TOO_LARGE
    assert refusal(data, free=0) == Reason.TOO_LARGE


def test_a_corrupt_deflated_stream_is_refused():
    data = instance(DEFLATED)
    start = walk(instance(DEFLATED), WANTED).start
    assert refusal(data[:start] + b"\xff" * 50) == Reason.MALFORMED
    assert refusal(data + b"junk after the end") == Reason.MALFORMED


def test_bombs_are_refused_within_512_mib_of_memory():
    program = """
        import resource, zlib
        resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
        from sorter.parser.elements import Unparsable, walk
        meta = b"\\0" * 128 + b"DICM\\2\\0\\x10\\0UI\\x16\\x001.2.840.10008.1.2.1.99"
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = b"".join(deflate.compress(b"\\0" * (1 << 20)) for _ in range(1024)) + deflate.flush()
        assert 1_000_000 < len(bomb) < 1_100_000
        sparse = meta.replace(b"1.99", b"1\\0\\0\\0") + b"\\x08\\0\\1\\0OB\\0\\0\\xff\\xff\\xff\\x7f"
        for data in (meta + bomb, sparse):
            try:
                walk(data, frozenset())
            except Unparsable as refused:
                print(refused.reason.value)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout.split(), run.stderr) == (["too_large", "truncated"], "")


# Real files


def census():
    if not (DATA / "census.csv").exists():
        pytest.skip("the real test data are not there: set SORTER_TEST_DATA")
    with (DATA / "census.csv").open() as rows:
        return list(csv.DictReader(rows))


def test_no_other_format_among_the_real_files_is_taken_for_dicom():
    others = [row["path"] for row in census() if not row["kind"].startswith(("dicom", "other(not DICOM?)"))]
    assert len(others) > 100
    assert {refusal((DATA / path).read_bytes()) for path in others} == {Reason.NOT_DICOM}


def test_the_walk_finds_the_same_elements_as_pydicom_in_the_real_files():
    walked = 0
    for row in census()[::3]:
        if not row["kind"].startswith("dicom"):
            continue
        data = (DATA / row["path"]).read_bytes()
        data = gzip.decompress(data) if row["kind"] == "dicom.gz" else data
        try:
            dataset = walk(data, WANTED)
        except Unparsable:
            continue
        ds = dcmread(io.BytesIO(data), force=True)
        expected = {int(tag): ds.get_item(tag).value for tag in ds._dict if int(tag) in WANTED}
        walked += 1
        assert {int(tag) for tag in ds._dict} == {tag for tag, *_ in top_level(dataset)}, row["path"]
        assert {t: value or b"" for t, value in expected.items()} == {
            tag: found.value for tag, found in dataset.elements.items()
        }, row["path"]
    assert walked > 350


def test_the_real_files_that_are_refused_are_those_without_pixel_data_and_those_cut_short():
    refused = {}
    for row in census():
        if row["kind"] == "dicom":
            try:
                walk((DATA / row["path"]).read_bytes(), WANTED)
            except Unparsable as refusal:
                refused[row["path"]] = (refusal.reason, row["has_pixel"])
    cut_short = {"MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm", "rtplan_truncated.dcm"}
    assert {reason for reason, _ in refused.values()} == {Reason.TRUNCATED}
    assert {path.rsplit("/", 1)[-1] for path, (_, pixels) in refused.items() if pixels == "yes"} <= cut_short
