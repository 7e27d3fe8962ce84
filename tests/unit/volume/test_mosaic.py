"""Siemens mosaics: tiles to slices, in the direction that the CSA header gives the normal."""

import io
import struct
import sys

import numpy as np
import pydicom
import pytest
from slice_samples import AXIAL, COLUMNS, ROWS, SPACING, one_slice, values, write

from sorter import volume
from sorter.volume import VolumeError
from sorter.volume.mosaic import csa, layout

SLICES, SIDE, STEP = 5, 3, 3.0


def csa_header(**tags):
    """A CSA header of version 2 (https://nipy.org/nibabel/dicom/siemens_csa.html)."""
    out = b"SV10\4\3\2\1" + struct.pack("<II", len(tags), 77)
    for name, items in tags.items():
        out += struct.pack("<64si4siii", name.encode(), len(items), b"FD", 4, len(items), 77)
        for item in items:
            text = str(item).encode() + b"\0"
            out += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return out


def mosaic(header, *, position=(0.0, 0.0, 0.0), **more):
    """The bytes of a mosaic of 3 x 3 tiles, of which 5 are slices; with a CSA header where one is given."""
    pixels = np.zeros((SIDE * ROWS, SIDE * COLUMNS), "<u2")
    for k in range(SLICES):
        top, left = k // SIDE * ROWS, k % SIDE * COLUMNS
        pixels[top : top + ROWS, left : left + COLUMNS] = values(k + 1)
    kinds = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    data = one_slice(1, position, pixels=pixels, ImageType=kinds, SpacingBetweenSlices=STEP, **more)
    dataset = pydicom.dcmread(io.BytesIO(data))
    if header:
        block = dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", header + b"\0" * (len(header) % 2))
    else:
        dataset.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", SLICES)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def volume_of(folder, data):
    (found,) = volume.read(write(folder, [data]))
    return found


def slices(*marks):
    return np.stack([values(mark)[::-1].T for mark in marks], axis=2)


@pytest.mark.parametrize(
    "header", [csa_header(NumberOfImagesInMosaic=[SLICES]), b""], ids=["CSA", "group 0019"]
)
def test_tiles_are_slices_and_the_empty_ones_are_none(tmp_path, header):
    found = volume_of(tmp_path, mosaic(header))
    np.testing.assert_array_equal(found.array, slices(1, 2, 3, 4, 5))
    assert (found.spacing, found.flags) == ((SPACING[1], SPACING[0], STEP), ())


def test_the_position_is_that_of_a_tile_and_not_of_the_whole_picture(tmp_path):
    found = volume_of(tmp_path, mosaic(b"", position=(-50.0, -40.0, 7.0)))
    x, y, z, _ = found.affine @ (0, ROWS - 1, 0, 1)
    corner = (-50 + SPACING[1] * COLUMNS * (SIDE - 1) / 2, -40 + SPACING[0] * ROWS * (SIDE - 1) / 2, 7)
    np.testing.assert_allclose((-x, -y, z), corner, atol=1e-6)


@pytest.mark.parametrize(("sign", "expected"), [(1, (1, 2, 3, 4, 5)), (-1, (5, 4, 3, 2, 1))])
def test_the_normal_of_the_csa_header_says_which_way_the_slices_go(tmp_path, sign, expected):
    header = csa_header(NumberOfImagesInMosaic=[SLICES], SliceNormalVector=[0.0, 0.0, float(sign)])
    found = volume_of(tmp_path, mosaic(header, orientation=AXIAL))
    np.testing.assert_array_equal(found.array, slices(*expected))
    first = found.affine @ (0, 0, expected.index(1), 1)
    last = found.affine @ (0, 0, expected.index(5), 1)
    assert last[2] - first[2] == pytest.approx(sign * STEP * (SLICES - 1))


def test_a_damaged_csa_header_is_none():
    dataset = pydicom.dcmread(io.BytesIO(mosaic(b"SV10" + b"\xff" * 40)))
    assert csa(dataset) == {}
    with pytest.raises(VolumeError, match="does not say where its slices are"):
        layout(dataset)


def test_tiles_that_do_not_fit_are_an_error():
    dataset = pydicom.dcmread(io.BytesIO(mosaic(csa_header(NumberOfImagesInMosaic=[20]))))
    with pytest.raises(VolumeError, match="is a mosaic of 12 x 18 pixels: 20 slices do not fit evenly"):
        layout(dataset)


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel.nicom", None)
    paths = write(tmp_path, [mosaic(csa_header(NumberOfImagesInMosaic=[SLICES]))])
    with pytest.raises(VolumeError, match=r"needs nibabel: install sorter\[formats\]"):
        volume.read(paths)
