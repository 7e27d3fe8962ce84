"""Facts about fingerprints: the same instance in any encoding, and nothing else."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset as PydicomDataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sorter.parser.elements import Unparsable, walk
from sorter.parser.fingerprint import fingerprint
from sorter.parser.pixels import transcode

SHARED = Path(os.environ.get("SORTER_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))


def bundled(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not bundled with this pydicom")
    return Path(str(path)).read_bytes()


def shared(name: str) -> bytes:
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not in SORTER_TEST_DATA or ../shared/data")
    return (SHARED / name).read_bytes()


def native(data: bytes) -> bytes:
    out = io.BytesIO()
    transcode(walk(data, frozenset()), out, source_sha256="0" * 64)
    return out.getvalue()


def edited(name: str, **values: object) -> bytes:
    ds, out = pydicom.dcmread(io.BytesIO(bundled(name))), io.BytesIO()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(out)
    return out.getvalue()


MR = ("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
      "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm")  # fmt: skip


@pytest.mark.parametrize("name", MR[1:])
def test_one_instance_has_one_fingerprint_in_every_transfer_syntax(name):
    assert fingerprint(bundled("MR_small.dcm")) == fingerprint(bundled(name))


@pytest.mark.parametrize(
    ("encoded", "twin"), [("rtdose_rle.dcm", "rtdose.dcm"), ("rtdose_expb.dcm", "rtdose.dcm")]
)
def test_multi_frame_twins_have_one_fingerprint(encoded, twin):
    assert fingerprint(bundled(twin)) == fingerprint(bundled(encoded))


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "GDCMJ2K_TextGBR.dcm",
     "JPGExtended.dcm", "SC_rgb_jpeg.dcm", "JPEGLSNearLossless_08.dcm"],
)  # fmt: skip
def test_a_source_and_what_it_was_transcoded_to_have_one_fingerprint(name):
    assert fingerprint(bundled(name)) == fingerprint(native(bundled(name)))


@pytest.mark.parametrize(
    ("keyword", "tag", "value"),
    [
        ("PatientID", "(0010,0020)", "other"),
        ("StudyDescription", "(0008,1030)", "x"),
        ("EchoTime", "(0018,0081)", "9"),
    ],
)
def test_a_conflict_can_say_which_element_differs(keyword, tag, value):
    one, other = fingerprint(bundled("MR_small.dcm")), fingerprint(edited("MR_small.dcm", **{keyword: value}))
    differing = {t for t in {*one.elements, *other.elements} if one.elements.get(t) != other.elements.get(t)}
    assert {tag} == differing
    assert one.header_sha256 != other.header_sha256
    assert one.pixel_sha256 == other.pixel_sha256


def test_other_pixels_make_another_pixel_digest_only():
    source = bundled("MR_small.dcm")
    at = walk(source, frozenset()).pixel_data.value + 99
    changed = source[:at] + bytes([source[at] ^ 1]) + source[at + 1 :]
    one, other = fingerprint(source), fingerprint(changed)
    assert one.header_sha256 == other.header_sha256
    assert one.pixel_sha256 != other.pixel_sha256


def test_the_same_samples_in_another_colour_space_are_not_the_same_instance():
    rgb, ybr = bundled("SC_rgb_rle.dcm"), edited("SC_rgb_rle.dcm", PhotometricInterpretation="YBR_FULL")
    assert fingerprint(rgb).pixel_sha256 == fingerprint(ybr).pixel_sha256
    assert fingerprint(rgb).header_sha256 != fingerprint(ybr).header_sha256


def test_planar_configuration_does_not_matter():
    ds, out = pydicom.dcmread(io.BytesIO(native(bundled("SC_rgb_rle.dcm")))), io.BytesIO()
    ds.PixelData = ds.pixel_array.transpose(2, 0, 1).tobytes()
    ds.PlanarConfiguration = 1
    ds.save_as(out)
    assert fingerprint(bundled("SC_rgb_rle.dcm")) == fingerprint(out.getvalue())


def nested(syntax: str, *, undefined: bool = False, pad: bytes = b"") -> bytes:
    """A file with binary and text values in nested sequences."""
    ds, item, inner = PydicomDataset(), PydicomDataset(), PydicomDataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66", "1.2.3"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.4", "1.2.3.5"
    inner.CodeValue, inner.SelectorUSValue, inner.SelectorFDValue = "A" + pad.decode(), [1, 258], 0.1
    inner.SelectorATValue = 0x00100020
    item.ConceptNameCodeSequence = Sequence([inner, inner])
    ds.ContentSequence = Sequence([item, PydicomDataset()])
    # pydicom writes OW as it is given
    ds.add_new(0x00291010, "OW", b"\2\1\4\3" if syntax == ExplicitVRBigEndian else b"\1\2\3\4")
    for one in (ds, item):
        for element in one:
            if element.VR == "SQ":
                element.is_undefined_length = undefined
                for each in element.value:
                    each.is_undefined_length_sequence_item = undefined
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("pad", [b"", b" "])
def test_sequences_count_by_what_they_hold(syntax, undefined, pad):
    expected = fingerprint(nested(ExplicitVRLittleEndian))
    assert expected == fingerprint(nested(syntax, undefined=undefined, pad=pad))


def test_a_value_deep_in_a_sequence_counts():
    one = nested(ExplicitVRLittleEndian)
    other = one.replace(b"\1\0\2\1", b"\1\0\3\1")
    assert one != other
    assert fingerprint(one).header_sha256 != fingerprint(other).header_sha256


def test_a_trailing_zero_of_a_binary_value_is_no_padding():
    ds = edited("MR_small.dcm", SmallestImagePixelValue=1)
    longer = ds.replace(b"\x28\0\x06\1SS\2\0\1\0", b"\x28\0\x06\1SS\4\0\1\0\0\0")
    assert len(ds) + 2 == len(longer)
    assert fingerprint(ds).header_sha256 != fingerprint(longer).header_sha256


def test_pixels_that_no_decoder_takes_still_tell_files_apart():
    one = edited("MR_small_RLE.dcm", Rows=65)
    at = walk(one, frozenset()).pixel_data.items[1][0] + 500
    other = one[:at] + bytes([one[at] ^ 1]) + one[at + 1 :]
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one).pixel_sha256 != fingerprint(other).pixel_sha256


def test_a_file_without_pixels_has_a_fingerprint():
    plan = bundled("rtplan.dcm")
    assert fingerprint(plan).pixel_sha256 == fingerprint(nested(ExplicitVRLittleEndian)).pixel_sha256


def test_a_truncated_file_has_none():
    with pytest.raises(Unparsable):
        fingerprint(bundled("MR_small.dcm")[:-100])


LOSSLESS = (
    "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
    "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
    "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
    "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80",
    "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70",
    "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57",
    "LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1",
    "LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2",
    "RLELosslessTransferSyntax_1.2.840.10008.1.2.5",
)
LOSSY = (
    "JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91",
    "JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81",
    "JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50",
    "JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51",
)


@pytest.mark.parametrize("variant", LOSSLESS)
def test_a_real_ct_slice_with_private_elements_is_one_instance_in_every_lossless_syntax(variant):
    expected = fingerprint(shared("cornerstone3D/CTImage.dcm"))
    assert expected == fingerprint(shared(f"cornerstone3D/CTImage.dcm_{variant}.dcm"))


@pytest.mark.parametrize("variant", LOSSY)
def test_a_lossy_variant_is_another_instance(variant):
    one, other = (fingerprint(shared(f"cornerstone3D/CTImage.dcm{v}")) for v in ("", f"_{variant}.dcm"))
    assert one.pixel_sha256 != other.pixel_sha256
    assert one.header_sha256 != other.header_sha256


@pytest.mark.parametrize("kind", ["RLE", "jpeg_2k_lossless", "jpeg_ls_lossless", "big_endian"])
def test_a_real_multi_frame_mr_is_one_instance_in_every_lossless_syntax(kind):
    expected = fingerprint(shared("pydicom-data/emri_small.dcm"))
    assert expected == fingerprint(shared(f"pydicom-data/emri_small_{kind}.dcm"))


@pytest.mark.parametrize("kind", ["expb", "rle", "deflate", "j2k"])
def test_cells_of_one_bit_have_one_pixel_digest(kind):
    expected = fingerprint(shared("pydicom-data/liver_nonbyte_aligned.dcm")).pixel_sha256
    name = f"pydicom-data/liver_nonbyte_aligned_{kind}.dcm"
    if kind == "expb":
        expected, name = (
            fingerprint(shared("pydicom-data/liver.dcm")).pixel_sha256,
            "pydicom-data/liver_expb.dcm",
        )
    assert expected == fingerprint(shared(name)).pixel_sha256
