"""Conversion, whatever the file says: a clear refusal, or values and places that are right."""

import io
import itertools
import warnings

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from made_volumes import SHAPE, turned, volume, voxels

from sorter.convert import nifti
from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts, as_written, decimal
from sorter.convert.options import Options
from sorter.convert.series import series
from sorter.convert.uids import Uids, uid
from sorter.convert.values import scale

FACTS = Facts({"PatientID": "P1"})


def content_of(kind):
    pair = volume(voxels(), turned(25), kind=kind)
    files = pair.make_file_map({"header": io.BytesIO(), "image": io.BytesIO()})
    whole = io.BytesIO()
    files["image"].fileobj = files.get("header", files["image"]).fileobj = whole
    pair.to_file_map(files)
    return whole.getvalue()


WHOLE = [content_of(nib.Nifti1Image), content_of(nib.Nifti2Image)]


def instances(content):
    known = nifti.read(content, None)
    made = series(known, FACTS, Options(), Uids(FACTS, Options(), "0" * 64), [].append)
    return [pydicom.dcmread(io.BytesIO(one)) for _, one in itertools.islice(made, 20)]


@settings(max_examples=300, deadline=None)
@given(
    whole=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.integers(0, 539), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.one_of(st.none(), st.integers(0, 4000)),
)
def test_a_damaged_header_is_refused_or_understood_but_nothing_else(whole, changes, cut):
    damaged = bytearray(whole)
    for place, value in changes:
        damaged[place] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left to chance silently
        try:
            made = instances(bytes(damaged[:cut]))
        except ConversionError:
            return
    for dataset in made:
        assert np.isfinite([float(one) for one in dataset.ImagePositionPatient]).all()
        assert dataset.pixel_array.size == dataset.Rows * dataset.Columns * dataset.SamplesPerPixel


@settings(max_examples=200, deadline=None)
@given(
    npst.arrays(
        st.sampled_from(["i1", "u1", "<i2", ">u2", "<i4", ">i4", "<u4", "<i8", "<u8"]).map(np.dtype),
        npst.array_shapes(min_dims=3, max_dims=3, max_side=4),
    )
)
def test_integers_are_exact_or_it_is_said(data):
    found = scale(data)
    said = [round(float(one) * found.slope + found.intercept) for one in found.stored(data).ravel()]
    if not any("rounded" in note for note in found.notes):
        assert said == [int(one) for one in data.ravel()]


@settings(max_examples=200, deadline=None)
@given(
    npst.arrays(
        st.sampled_from(["<f4", ">f4", "<f8"]).map(np.dtype),
        npst.array_shapes(min_dims=3, max_dims=3, max_side=4),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    )
)
def test_floats_are_within_8e_6_of_their_range(data):
    try:
        found = scale(data)
    except ConversionError:
        assert float(data.max()) - float(data.min()) < 1e-30
        return
    values = data.astype(np.float64)
    said = found.stored(data) * found.slope + found.intercept
    # A decimal string has 10 digits or more.
    allowed = 8e-6 * (values.max() - values.min()) + 1e-9 * np.abs(values).max()
    assert np.abs(said - values).max() <= allowed


@given(st.floats(-1e300, 1e300))
def test_a_decimal_string_has_16_characters_at_most_and_says_what_is_counted_with(value):
    text = str(decimal(value))
    assert len(text) <= 16
    assert float(text) == as_written(value)
    assert as_written(value) == pytest.approx(value, rel=1e-8, abs=1e-300)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_uids_are_legal_and_differ_where_words_do(one, other):
    made = uid(Options().namespace, one)
    assert pydicom.uid.UID(made).is_valid
    assert (uid(Options().namespace, other) == made) == (one == other)


def test_undamaged_content_is_understood():
    assert [len(instances(whole)) for whole in WHOLE] == [SHAPE[2]] * 2
