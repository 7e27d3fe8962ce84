"""Facts about plan, transcode and verify."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import mmap
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset as PydicomDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, RLELossless

from sorter.model import Pixels
from sorter.parser.elements import EXPLICIT_LITTLE, top_level, walk
from sorter.parser.pixels import FAMILIES, Kept, Provenance, plan, provenance, transcode, verify

ALL = frozenset(FAMILIES)
SHARED = Path(os.environ.get("SORTER_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))


def bundled(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not bundled with this pydicom")
    return Path(str(path)).read_bytes()


def read(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data), force=True)


def saved(ds: PydicomDataset) -> bytes:
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def edited(name: str, **values: object) -> bytes:
    ds = read(bundled(name))
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return saved(ds)


def native(data: bytes) -> tuple[bytes, str]:
    out = io.BytesIO()
    digest = transcode(walk(data, frozenset()), out, source_sha256="a1" * 32)
    verify(out.getvalue(), digest)
    return out.getvalue(), digest


def kept(data: bytes, families: frozenset[str] = ALL) -> Pixels:
    """The state in which ``data`` stay as they came."""
    with pytest.raises(Kept) as caught:
        dataset = walk(data, frozenset())
        plan(dataset, families)
        transcode(dataset, io.BytesIO(), source_sha256="a1" * 32)
    assert caught.value.note
    return caught.value.state


def raw_elements(data: bytes) -> dict[int, bytes]:
    return {tag: data[start:end] for tag, _, start, _, end in top_level(walk(data, frozenset()))}


# -- plan ---------------------------------------------------------------------------------------------------


def test_native_files_and_files_without_pixels_need_nothing():
    assert plan(walk(bundled("MR_small.dcm"), frozenset()), ALL) == Pixels.NATIVE
    assert plan(walk(bundled("MR_small_bigendian.dcm"), frozenset()), ALL) == Pixels.NATIVE
    assert plan(walk(bundled("image_dfl.dcm"), frozenset()), ALL) == Pixels.NATIVE
    assert plan(walk(bundled("rtplan.dcm"), frozenset()), ALL) == Pixels.NONE


def test_a_family_that_is_not_named_stays_encapsulated():
    assert kept(bundled("MR_small_RLE.dcm"), ALL - {"rle"}) == Pixels.KEPT_CONFIG
    assert plan(walk(bundled("MR_small_RLE.dcm"), frozenset()), frozenset({"rle"})) == Pixels.TRANSCODED


def with_syntax(data: bytes, uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    head = b"\2\0\x10\0UI"
    at = data.index(head)
    (length,) = struct.unpack_from("<H", data, at + 6)
    return data[:at] + head + struct.pack("<H", len(value)) + value + data[at + 8 + length :]


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102.1", "1.2.840.10008.1.2.7.1"]
)
def test_video_stays_as_it_came(uid):
    assert kept(with_syntax(bundled("MR_small_RLE.dcm"), uid)) == Pixels.KEPT_VIDEO


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.110", "1.2.3.4"])
def test_a_transfer_syntax_without_decoder_stays_as_it_came(uid):
    assert kept(with_syntax(bundled("MR_small_RLE.dcm"), uid)) == Pixels.KEPT_UNDECODABLE


def test_a_signed_file_stays_as_it_came():
    ds = read(bundled("MR_small_RLE.dcm"))
    ds.DigitalSignaturesSequence = Sequence([PydicomDataset()])
    assert kept(saved(ds)) == Pixels.KEPT_SIGNED


def test_native_pixel_data_beyond_4_gib_stay_encapsulated():
    assert kept(edited("MR_small_RLE.dcm", Rows=65535, Columns=65535)) == Pixels.KEPT_TOO_LARGE


@pytest.mark.parametrize(
    "missing", ["Rows", "BitsAllocated", "BitsStored", "PhotometricInterpretation", "SamplesPerPixel"]
)
def test_a_file_that_does_not_describe_its_pixels_stays_as_it_came(missing):
    ds = read(bundled("MR_small_RLE.dcm"))
    del ds[missing]
    data = io.BytesIO()
    ds.save_as(data)
    assert kept(data.getvalue()) == Pixels.KEPT_UNDECODABLE


def test_native_pixel_data_in_an_encapsulated_syntax_are_not_believed():
    native_data = read(bundled("MR_small.dcm"))
    native_data["PixelData"].is_undefined_length = False
    data = saved(native_data).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)
    assert kept(data) == Pixels.KEPT_UNDECODABLE


# -- splicing -----------------------------------------------------------------------------------------------


def test_every_element_that_does_not_describe_the_encoding_is_copied_byte_for_byte():
    source = bundled("SC_rgb_jpeg_dcmtk.dcm")
    before, after = raw_elements(source), raw_elements(native(source)[0])
    changed = {0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114, 0x7FE00010}
    assert {tag: v for tag, v in before.items() if tag not in changed} == {
        tag: v for tag, v in after.items() if tag not in changed
    }


def test_elements_stay_in_order_of_their_tags():
    tags = list(raw_elements(native(edited("MR_small_jpeg_ls_lossless.dcm"))[0]))
    assert sorted(tags) == tags
    tags = list(raw_elements(native(edited("SC_rgb_dcmtk_+eb+cr.dcm"))[0]))
    assert sorted(tags) == tags


def test_the_same_source_gives_the_same_bytes():
    source = bundled("SC_rgb_rle_2frame.dcm")
    assert native(source) == native(source)


def test_the_instance_keeps_its_identity():
    source, stored = read(bundled("examples_jpeg2k.dcm")), read(native(bundled("examples_jpeg2k.dcm"))[0])
    assert source.SOPInstanceUID == stored.SOPInstanceUID == stored.file_meta.MediaStorageSOPInstanceUID
    assert source.SOPClassUID == stored.SOPClassUID == stored.file_meta.MediaStorageSOPClassUID


def test_the_pixel_digest_is_of_the_bytes_as_written_without_padding():
    stored, digest = native(bundled("SC_rgb_small_odd_jpeg.dcm"))
    ds = read(stored)
    assert (len(ds.PixelData), ds.PixelData[27]) == (28, 0)
    assert hashlib.sha256(ds.PixelData[:27]).hexdigest() == digest


def test_offset_tables_and_group_lengths_that_would_lie_are_gone():
    ds = read(bundled("SC_rgb_rle_2frame.dcm"))
    frames = list(generate_frames(ds.PixelData, number_of_frames=2))
    ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    source = saved(ds)
    at = raw_starts(source)
    source = (
        source[: at[0x00280002]] + struct.pack("<HH2sHL", 0x28, 0, b"UL", 4, 99) + source[at[0x00280002] :]
    )
    after = raw_elements(native(source)[0])
    assert not {0x00280000, 0x7FE00001, 0x7FE00002} & set(after)
    assert np.array_equal(
        read(bundled("SC_rgb_rle_2frame.dcm")).pixel_array, read(native(source)[0]).pixel_array
    )


def raw_starts(data: bytes) -> dict[int, int]:
    return {tag: start for tag, _, start, _, _ in top_level(walk(data, frozenset()))}


@pytest.mark.parametrize(
    ("name", "vr"), [("SC_rgb_rle.dcm", "OB"), ("MR_small_RLE.dcm", "OW"), ("rtdose_rle.dcm", "OW")]
)
def test_the_vr_of_native_pixel_data_follows_bits_allocated(name, vr):
    stored = native(bundled(name))[0]
    assert vr == walk(stored, frozenset()).pixel_data.vr


def test_a_lossy_source_is_marked_as_lossy_with_ratio_and_method():
    ds = read(bundled("JPGExtended.dcm"))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in ds:
            del ds[keyword]
    stored = read(native(saved(ds))[0])
    assert (stored.LossyImageCompression, stored.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    encoded = len(next(generate_frames(ds.PixelData, number_of_frames=1)))
    assert round(1024 * 256 * 2 / encoded, 2) == float(stored.LossyImageCompressionRatio)


def test_a_lossy_source_keeps_the_ratio_and_method_it_declares():
    data = edited("JPGExtended.dcm", LossyImageCompression="01", LossyImageCompressionRatio=["7", "8"],
                  LossyImageCompressionMethod=["A", "B"])  # fmt: skip
    stored = read(native(data)[0])
    assert (stored.LossyImageCompressionRatio, stored.LossyImageCompressionMethod) == ([7, 8], ["A", "B"])


def test_a_missing_method_is_added_to_the_ratio_of_one_step_but_not_of_two():
    one = read(native(edited("JPGExtended.dcm", LossyImageCompressionRatio="76"))[0])
    two = read(native(edited("JPGExtended.dcm", LossyImageCompressionRatio=["7", "8"]))[0])
    assert one.LossyImageCompressionRatio == 76
    assert one.LossyImageCompressionMethod == "ISO_10918_1"
    assert "LossyImageCompressionMethod" not in two


def test_a_lossless_source_is_not_marked_as_lossy():
    assert "LossyImageCompression" not in read(native(bundled("MR_small_jpeg_ls_lossless.dcm"))[0])


def test_reversible_ybr_full_is_not_converted():
    stored = read(native(edited("SC_rgb_rle.dcm", PhotometricInterpretation="YBR_FULL"))[0])
    assert stored.PhotometricInterpretation == "YBR_FULL"
    source = read(bundled("SC_rgb_rle.dcm")).pixel_array
    assert source.tobytes() == stored.PixelData[: source.size]


def test_a_dataset_in_implicit_vr_stays_in_implicit_vr():
    assert walk(native(bundled("SC_rgb_jpeg.dcm"))[0], frozenset()).transfer_syntax_uid == "1.2.840.10008.1.2"


class Stingy(io.BytesIO):
    """Takes at most 1000 bytes at a time, as an unbuffered file may."""

    def write(self, data):
        return super().write(memoryview(data)[:1000])


def test_a_file_that_takes_less_than_it_is_given_gets_every_byte():
    source, out = bundled("SC_rgb_rle_2frame.dcm"), Stingy()
    transcode(walk(source, frozenset()), out, source_sha256="a1" * 32)
    assert native(source)[0] == out.getvalue()


class Full(io.BytesIO):
    """A full disk."""

    def write(self, data):
        raise OSError(28, "No space left on device")


def test_trouble_with_the_output_is_not_trouble_with_the_source():
    with pytest.raises(OSError, match="No space"):
        transcode(walk(bundled("MR_small_RLE.dcm"), frozenset()), Full(), source_sha256="a1" * 32)


class Sink(io.RawIOBase):
    """Forgets what it is given, but counts it."""

    position = 0

    def tell(self):
        return self.position

    def seek(self, offset, whence=0):
        self.position = offset
        return offset

    def write(self, data):
        self.position += len(data)
        return len(data)


def test_memory_is_a_few_frames_however_many_there_are(codestream):
    dataset = walk(with_frames([codestream] * 200, 200, has_bot=False), frozenset())
    transcode(dataset, Sink(), source_sha256="a1" * 32)
    tracemalloc.start()
    try:
        transcode(dataset, Sink(), source_sha256="a1" * 32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    native_frame = 64 * 64 * 2
    assert 10 * native_frame > peak - 200 * 200  # less what is noted of each fragment


def test_a_mapped_file_gives_the_same_as_its_bytes(tmp_path):
    (tmp_path / "source").write_bytes(bundled("SC_rgb_rle_2frame.dcm"))
    with (tmp_path / "source").open("rb") as source, (tmp_path / "native").open("w+b", buffering=0) as out:
        mapped = mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ)
        digest = transcode(walk(mapped, frozenset()), out, source_sha256="a1" * 32)
        verify(mmap.mmap(out.fileno(), 0, prot=mmap.PROT_READ), digest)
    assert native(bundled("SC_rgb_rle_2frame.dcm"))[0] == (tmp_path / "native").read_bytes()


# -- frames -------------------------------------------------------------------------------------------------


def with_frames(frames: list[bytes], declared: int | None, *, has_bot: bool, fragments: int = 1) -> bytes:
    ds = read(bundled("MR_small_jp2klossless.dcm"))
    ds.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=has_bot)
    ds["PixelData"].is_undefined_length = True
    if declared is not None:
        ds.NumberOfFrames = declared
    return saved(ds)


@pytest.fixture(scope="module")
def codestream() -> bytes:
    ds = read(bundled("MR_small_jp2klossless.dcm"))
    return next(generate_frames(ds.PixelData, number_of_frames=1))


@pytest.mark.parametrize("has_bot", [True, False])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_are_told_apart_with_and_without_a_basic_offset_table(codestream, has_bot, fragments):
    stored = read(native(with_frames([codestream] * 4, 4, has_bot=has_bot, fragments=fragments))[0])
    expected = read(bundled("MR_small.dcm")).pixel_array
    assert stored.pixel_array.shape == (4, 64, 64)
    assert all(np.array_equal(expected, one) for one in stored.pixel_array)


@pytest.mark.parametrize(("present", "declared"), [(1, 3), (2, 3), (3, 2), (2, 1), (2, None)])
@pytest.mark.parametrize("has_bot", [True, False])
def test_another_number_of_frames_than_declared_is_never_made_right_silently(
    codestream, present, declared, has_bot
):
    data = with_frames([codestream] * present, declared, has_bot=has_bot)
    assert kept(data) == Pixels.KEPT_UNDECODABLE


def test_a_single_frame_in_many_fragments_is_one_frame(codestream):
    stored = read(native(with_frames([codestream], None, has_bot=True, fragments=9))[0])
    assert np.array_equal(read(bundled("MR_small.dcm")).pixel_array, stored.pixel_array)


def test_a_damaged_frame_keeps_all_frames_as_they_came(codestream):
    damaged = codestream[:200] + bytes(len(codestream) - 200)
    assert (
        kept(with_frames([codestream, b"\xff\x4f" + bytes(80)], 2, has_bot=True)) == Pixels.KEPT_UNDECODABLE
    )
    with pytest.raises(Kept):
        native(with_frames([damaged[:180], codestream], 2, has_bot=False))


@pytest.mark.parametrize("error", [RuntimeError, ValueError, MemoryError])
def test_whatever_a_decoder_raises_is_a_verdict_without_its_words(monkeypatch, error):
    def broken(*_args, **_options):
        raise error("Doe^Jane")

    monkeypatch.setattr("sorter.parser.codecs._openjpeg", broken)
    with pytest.raises(Kept) as caught:
        native(bundled("MR_small_jp2klossless.dcm"))
    expected = Pixels.KEPT_DECODER_CRASHED if error is MemoryError else Pixels.KEPT_UNDECODABLE
    assert expected == caught.value.state
    assert "Doe" not in caught.value.note


# -- icons and nesting --------------------------------------------------------------------------------------


def icon_of(ds: PydicomDataset) -> PydicomDataset:
    icon = PydicomDataset()
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
                    "BitsStored", "HighBit", "PixelRepresentation"):  # fmt: skip
        setattr(icon, keyword, ds[keyword].value)
    icon.PixelData = ds.PixelData
    icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
    return icon


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_an_encapsulated_icon_becomes_native_too(name):
    ds = read(bundled(name))
    ds.IconImageSequence = Sequence([icon_of(ds)])
    source = saved(ds)
    assert walk(source, frozenset()).icon
    stored = native(source)[0]
    assert walk(stored, frozenset()).icon is None
    assert read(bundled("MR_small.dcm")).pixel_array.tobytes() == read(stored).IconImageSequence[0].PixelData


def test_an_icon_that_cannot_be_decoded_keeps_the_file_as_it_came():
    ds = read(bundled("MR_small_RLE.dcm"))
    icon = icon_of(ds)
    icon.Rows = 65
    ds.IconImageSequence = Sequence([icon])
    assert kept(saved(ds)) == Pixels.KEPT_UNDECODABLE


def test_encapsulated_pixel_data_in_any_other_sequence_keep_the_file_as_it_came():
    ds = read(bundled("MR_small_RLE.dcm"))
    ds.ReferencedImageSequence = Sequence([icon_of(ds)])
    assert kept(saved(ds)) == Pixels.KEPT_UNDECODABLE


# -- File Meta Information ----------------------------------------------------------------------------------


def test_a_transcoded_file_remembers_its_source():
    stored, digest = native(bundled("MR_small_RLE.dcm"))
    expected = Provenance("a1" * 32, RLELossless, digest)
    assert expected == provenance(walk(stored, frozenset()))


def test_a_file_that_was_not_transcoded_remembers_nothing():
    assert provenance(walk(bundled("MR_small.dcm"), frozenset())) is None


def test_damaged_private_information_of_ours_is_not_believed():
    stored, digest = native(bundled("MR_small_RLE.dcm"))
    assert provenance(walk(stored.replace(digest.encode(), b"X" * 64), frozenset())) is None
    assert provenance(walk(stored.replace(b'{"source_sha256"', b'["source_sha256"'), frozenset())) is None


def test_file_meta_information_is_whole_and_names_sorter():
    source, stored = read(bundled("MR_small_RLE.dcm")), native(bundled("MR_small_RLE.dcm"))[0]
    meta = read(stored).file_meta
    assert meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert meta.ImplementationVersionName == "SORTER_0_1"
    assert source.file_meta.SourceApplicationEntityTitle == meta.SourceApplicationEntityTitle
    assert walk(stored, frozenset()).start == 132 + 12 + meta.FileMetaInformationGroupLength
    assert bundled("MR_small_RLE.dcm")[:132] == stored[:132]


def test_private_information_of_others_travels_inside_ours():
    ds = read(bundled("MR_small_RLE.dcm"))
    ds.file_meta.PrivateInformationCreatorUID = "1.2.3"
    ds.file_meta.PrivateInformation = b"\0\1even"
    facts = json.loads(read(native(saved(ds))[0]).file_meta.PrivateInformation)
    assert facts["carried_creator_uid"] == "1.2.3"
    assert base64.b64decode(facts["carried_information"]) == b"\0\1even"


# -- verification -------------------------------------------------------------------------------------------


def test_a_flipped_bit_on_the_way_to_the_disk_is_found():
    stored, digest = native(bundled("MR_small_RLE.dcm"))
    at = walk(stored, frozenset()).pixel_data.value + 1000
    damaged = stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :]
    with pytest.raises(Kept, match="read-back differs"):
        verify(damaged, digest)


def test_a_file_cut_short_on_the_way_to_the_disk_is_found():
    stored, digest = native(bundled("MR_small_RLE.dcm"))
    with pytest.raises(Kept, match="read-back"):
        verify(stored[:-2], digest)


def test_a_header_that_does_not_fit_its_pixels_is_found():
    stored, digest = native(bundled("MR_small_RLE.dcm"))
    at = raw_starts(stored)[0x00280010] + 8
    damaged = stored[:at] + struct.pack("<H", 32) + stored[at + 2 :]
    with pytest.raises(Kept, match="read-back"):
        verify(damaged, digest)


def test_an_encapsulated_file_is_not_a_native_one():
    with pytest.raises(Kept):
        verify(bundled("MR_small_RLE.dcm"), "0" * 64)


# -- real files ---------------------------------------------------------------------------------------------


def census() -> list[dict[str, str]]:
    if not (SHARED / "census.csv").is_file():
        return []
    with (SHARED / "census.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["decode"] == "ok"]
    return [
        row
        for row in rows
        if row["transfer_syntax"].startswith(("1.2.840.10008.1.2.4", "1.2.840.10008.1.2.5"))
    ]


def test_every_real_file_that_pydicom_decodes_becomes_native_with_equal_pixels():
    rows = census()
    if not rows:
        pytest.skip("no census.csv in SORTER_TEST_DATA or ../shared/data")
    expected = {row["path"]: row["pixel_sha1"] for row in rows}
    actual = {
        path: hashlib.sha1(read(native((SHARED / path).read_bytes())[0]).pixel_array.tobytes()).hexdigest()
        for path in expected
    }
    assert expected == actual


def test_what_sorter_made_native_can_be_compressed_again_without_loss():
    ds = read(native(bundled("MR_small_RLE.dcm"))[0])
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    assert np.array_equal(read(bundled("MR_small.dcm")).pixel_array, read(native(saved(ds))[0]).pixel_array)
