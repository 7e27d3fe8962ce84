"""One truth table that every decoder runs: what comes out of a frame, and what none may let through."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from sorter.model import Pixels
from sorter.parser.codecs import SYNTAXES, Family, frame
from sorter.parser.codestream import Undecodable
from sorter.parser.elements import walk
from sorter.parser.frames import decode
from sorter.parser.pixelmodule import PixelModule
from sorter.parser.pixels import FAMILIES, Kept, plan, transcode, verify

# file, family, Photometric Interpretation once native
TABLE = [
    ("MR_small_jp2klossless.dcm", Family.JPEG2000, "MONOCHROME2"),
    ("693_J2KI.dcm", Family.JPEG2000, "MONOCHROME2"),
    ("J2K_pixelrep_mismatch.dcm", Family.JPEG2000, "MONOCHROME2"),  # unsigned codestream, signed dataset
    ("GDCMJ2K_TextGBR.dcm", Family.JPEG2000, "RGB"),  # YBR_RCT, in a JP2 file
    ("examples_jpeg2k.dcm", Family.JPEG2000, "RGB"),  # YBR_RCT
    ("SC_rgb_gdcm_KY.dcm", Family.JPEG2000, "RGB"),
    ("JPEG2000.dcm", Family.JPEG2000, "MONOCHROME2"),
    ("MR_small_jpeg_ls_lossless.dcm", Family.JPEG_LS, "MONOCHROME2"),
    ("JPEGLSNearLossless_08.dcm", Family.JPEG_LS, "MONOCHROME2"),
    ("JPEGLSNearLossless_16.dcm", Family.JPEG_LS, "MONOCHROME2"),
    ("SC_rgb_jls_lossy_line.dcm", Family.JPEG_LS, "RGB"),
    ("SC_rgb_jls_lossy_sample.dcm", Family.JPEG_LS, "RGB"),
    ("JPGExtended.dcm", Family.JPEG, "MONOCHROME2"),  # 12 bits
    ("SC_rgb_jpeg_gdcm.dcm", Family.JPEG, "RGB"),  # lossless
    ("SC_rgb_jpeg_dcmtk.dcm", Family.JPEG, "RGB"),  # YBR_FULL
    ("SC_rgb_jpeg_lossy_gdcm.dcm", Family.JPEG, "RGB"),  # YBR_FULL without JFIF
    ("SC_rgb_dcmtk_+eb+cr.dcm", Family.JPEG, "RGB"),  # component identifiers spell RGB
    ("SC_rgb_dcmtk_+eb+cy+s2.dcm", Family.JPEG, "RGB"),  # YBR_FULL_422
    ("SC_rgb_dcmtk_+eb+cy+s4.dcm", Family.JPEG, "RGB"),
    ("SC_jpeg_no_color_transform_2.dcm", Family.JPEG, "RGB"),  # Adobe's marker says RGB
    ("SC_rgb_jpeg.dcm", Family.JPEG, "RGB"),  # the dataset is in implicit VR
    ("SC_rgb_small_odd_jpeg.dcm", Family.JPEG, "RGB"),  # an odd number of bytes
    ("examples_ybr_color.dcm", Family.JPEG, "RGB"),  # 30 frames
    ("MR_small_RLE.dcm", Family.RLE, "MONOCHROME2"),
    ("SC_rgb_rle.dcm", Family.RLE, "RGB"),
    ("SC_rgb_rle_16bit_2frame.dcm", Family.RLE, "RGB"),
    ("SC_rgb_rle_32bit.dcm", Family.RLE, "RGB"),
    ("rtdose_rle.dcm", Family.RLE, "MONOCHROME2"),  # 15 frames of 32 bits
]
# The same pixels, encoded without loss and native.
TWINS = [
    ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
    ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
    ("MR_small_RLE.dcm", "MR_small.dcm"),
    ("rtdose_rle.dcm", "rtdose.dcm"),
]


def bundled(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not bundled with this pydicom")
    return Path(str(path)).read_bytes()


def shared(name: str) -> bytes:
    root = Path(os.environ.get("SORTER_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / name).is_file():
        pytest.skip(f"{name} is not in SORTER_TEST_DATA or ../shared/data")
    return (root / name).read_bytes()


def native(data: bytes) -> bytes:
    dataset, out = walk(data, frozenset()), io.BytesIO()
    assert plan(dataset, frozenset(FAMILIES)) == Pixels.TRANSCODED
    digest = transcode(dataset, out, source_sha256="0" * 64)
    verify(out.getvalue(), digest)
    return out.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return pydicom.dcmread(io.BytesIO(data), force=True).pixel_array


def first_frame(name: str) -> tuple[bytes, Family, PixelModule]:
    ds = pydicom.dcmread(io.BytesIO(bundled(name)))
    data = next(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1) or 1)))
    module = PixelModule(
        rows=ds.Rows, columns=ds.Columns, samples=ds.SamplesPerPixel, frames=1,
        photometric=ds.PhotometricInterpretation, planar=ds.get("PlanarConfiguration", 0),
        allocated=ds.BitsAllocated, stored=ds.BitsStored, signed=bool(ds.PixelRepresentation),
    )  # fmt: skip
    return data, SYNTAXES[ds.file_meta.TransferSyntaxUID], module


@pytest.mark.parametrize(("name", "family", "photometric"), TABLE)
def test_native_pixels_equal_what_pydicom_reads_from_the_source(name, family, photometric):
    source = bundled(name)
    stored = native(source)
    expected, actual = pixels(source), pixels(stored)
    assert family == SYNTAXES[walk(source, frozenset()).transfer_syntax_uid]
    assert expected.dtype == actual.dtype
    assert np.array_equal(expected, actual)
    assert photometric == pydicom.dcmread(io.BytesIO(stored)).PhotometricInterpretation


@pytest.mark.parametrize(("encoded", "twin"), TWINS)
def test_lossless_files_give_the_pixels_of_their_native_twin(encoded, twin):
    assert np.array_equal(pixels(bundled(twin)), pixels(native(bundled(encoded))))


ONE_PER_FAMILY = [
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPGExtended.dcm",
    "MR_small_RLE.dcm",
]


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
@pytest.mark.parametrize("change", [{"rows": 63}, {"columns": 65}, {"samples": 3, "photometric": "RGB"}])
def test_no_decoder_sees_a_frame_of_another_size_than_declared(name, change):
    data, family, module = first_frame(name)
    with pytest.raises(Undecodable):
        frame(data, family, replace(module, **change)).decode()


@pytest.mark.parametrize("name", ONE_PER_FAMILY[:3])  # RLE copies cells as they are, unused bits included
def test_no_decoder_takes_a_frame_whose_values_need_more_bits_than_are_stored(name):
    data, family, module = first_frame(name)
    with pytest.raises(Undecodable):
        frame(data, family, replace(module, stored=4)).decode()


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_the_empty_frame_and_the_head_of_a_frame_are_refused(name):
    data, family, module = first_frame(name)
    for cut in (0, 1, 20, 63):
        with pytest.raises((Undecodable, Kept)):
            decode(frame(data[:cut], family, module))


def test_a_frame_that_is_another_codec_is_refused():
    data, _, module = first_frame("MR_small_RLE.dcm")
    for family in (Family.JPEG, Family.JPEG2000, Family.HTJ2K, Family.JPEG_LS):
        with pytest.raises(Undecodable):
            frame(data, family, module)


def test_a_sequential_scan_with_a_wrong_spectral_selection_is_repaired():
    stored = pydicom.dcmread(io.BytesIO(native(bundled("JPEG-lossy.dcm"))))
    assert stored.pixel_array.shape == (1024, 256)
    assert 0 < int(stored.pixel_array.max()) < 1 << stored.BitsStored


def test_a_codestream_with_more_tiles_than_can_be_is_kept_as_it_came():
    with pytest.raises(Kept) as kept:
        native(bundled("JPEG2000-embedded-sequence-delimiter.dcm"))
    assert kept.value.state == Pixels.KEPT_UNDECODABLE


@pytest.mark.parametrize(
    "process", ["6_8TransferSyntax_1.2.840.10008.1.2.4.53", "10_12TransferSyntax_1.2.840.10008.1.2.4.55"]
)
def test_retired_progressive_processes_decode_like_the_sequential_one(process):
    sequential = "CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm"
    expected = pixels(native(shared(f"cornerstone3D/{sequential}")))
    actual = pixels(native(shared(f"cornerstone3D/CTImage.dcm_JPEGProcess{process}.dcm")))
    assert np.array_equal(expected, actual)


@pytest.mark.parametrize("stem", ["liver", "liver_nonbyte_aligned"])
@pytest.mark.parametrize("kind", ["rle", "deflate", "j2k"])
def test_cells_of_one_bit_run_on_across_frames_as_in_the_native_twin(stem, kind):
    expected = pydicom.dcmread(io.BytesIO(shared(f"pydicom-data/{stem}.dcm"))).PixelData
    actual = pydicom.dcmread(io.BytesIO(native(shared(f"pydicom-data/{stem}_{kind}.dcm")))).PixelData
    assert expected == actual


@pytest.mark.parametrize(
    ("name", "shape"), [("HTJ2KLossless_08_RGB", (480, 640, 3)), ("HTJ2K_08_RGB", (480, 640, 3))]
)
def test_htj2k_decodes(name, shape):
    source = shared(f"pydicom-data/{name}.dcm")
    assert shape == pixels(source).shape
    assert np.array_equal(pixels(source), pixels(native(source)))
