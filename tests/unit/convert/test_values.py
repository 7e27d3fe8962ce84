"""Which stored values say the voxels."""

import numpy as np
import pytest
from made_volumes import voxels

from sorter.convert.errors import ConversionError
from sorter.convert.facts import decimal
from sorter.convert.values import scale


def said(found, data):
    """The values that DICOM says."""
    return found.stored(data).astype(np.float64) * found.slope + found.intercept


@pytest.mark.parametrize(
    ("dtype", "low", "high", "stored"),
    [
        ("uint8", 0, 255, np.uint8),
        ("int8", -128, 127, np.int16),
        ("int16", -32768, 32767, np.int16),
        ("uint16", 0, 65535, np.uint16),
        (">i2", -5, 5, np.int16),
        ("int32", -32768, 32767, np.int16),
        ("uint32", 0, 65535, np.uint16),
        ("int32", 1_000_000, 1_065_535, np.uint16),
        ("int64", -(2**40), -(2**40) + 65535, np.uint16),
        ("uint64", 2**40, 2**40 + 65535, np.uint16),
        ("float32", -32768, 32767, np.int16),
    ],
)
def test_whole_numbers_that_fit_are_exact(dtype, low, high, stored):
    data = np.rint(voxels("float64", low=low, high=high)).astype(dtype)
    found = scale(data)
    assert (stored, 1.0) == (found.dtype, found.slope)
    assert np.array_equal(said(found, data), data.astype(np.float64))


def test_a_common_step_keeps_wide_integers_exact():
    data = np.array([[[-7_000_000, 0, 7_000_000, 14_000_000]]], np.int32)
    found = scale(data)
    assert np.array_equal(said(found, data), data)
    assert "exactly" in found.notes[0]


def test_integers_over_the_whole_of_64_bits_do_not_overflow():
    data = np.array([[[-(2**63), 2**63 - 1, 0, 5]]], np.int64)
    found = scale(data)
    assert np.abs(said(found, data) - data.astype(np.float64)).max() < 2.0**64 / 65535


def test_wide_integers_that_do_not_fit_are_rounded_and_it_is_said():
    data = np.array([[[0, 1, 2, 1_000_000]]], np.int32)
    found = scale(data)
    assert np.abs(said(found, data) - data).max() < 1_000_000 * 8e-6
    assert "rounded" in found.notes[0]


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
@pytest.mark.parametrize(("low", "high"), [(-1.5, 2.25), (1e-9, 3e-9), (-1e30, 1e30), (1000.1, 1000.2)])
def test_floats_are_within_8e_6_of_their_range(dtype, low, high):
    data = voxels(dtype, low=low, high=high)
    found = scale(data)
    spread = float(data.max()) - float(data.min())
    assert 8e-6 * spread > np.abs(said(found, data) - data.astype(np.float64)).max()


def test_nan_becomes_the_minimum_and_infinities_the_ends():
    data = np.array([[[np.nan, -np.inf, np.inf, -2.5, 7.25]]], np.float32)
    found = scale(data)
    assert pytest.approx(said(found, data).ravel().tolist(), abs=1e-4) == [-2.5, -2.5, 7.25, -2.5, 7.25]
    assert "NaN" in found.notes[0]


def test_nothing_finite_is_zero():
    assert said(scale(np.full((1, 1, 2), np.nan)), np.full((1, 1, 2), np.nan)).ravel().tolist() == [0.0, 0.0]


def test_a_constant_is_itself():
    data = np.full((2, 2, 2), 0.1, np.float64)
    assert said(scale(data), data).ravel().tolist() == [0.1] * 8


def test_slope_and_intercept_of_the_file_are_kept_for_integers():
    found = scale(voxels("int16"), (0.25, -1024.0))
    assert (np.int16, 0.25, -1024.0) == (found.dtype, found.slope, found.intercept)


def test_slope_and_intercept_of_the_file_hold_for_wide_integers_and_floats():
    wide = np.array([[[100_000, 100_001, 160_000]]], np.int32)
    assert np.array_equal(said(scale(wide, (2.0, 5.0)), wide), wide * 2.0 + 5)
    real = np.array([[[0.25, 1.5, 4.0]]], np.float32)
    assert (real * -2.0 + 5).ravel().tolist() == pytest.approx(
        said(scale(real, (-2.0, 5.0)), real).ravel().tolist(), abs=1e-4
    )


def test_slope_and_intercept_are_what_a_decimal_string_says():
    found = scale(voxels("float32", low=-1 / 3, high=2 / 3))
    assert (found.slope, found.intercept) == (
        float(str(decimal(found.slope))),
        float(str(decimal(found.intercept))),
    )


def test_complex_numbers_have_no_counterpart():
    with pytest.raises(ConversionError):
        scale(np.zeros((2, 2, 2), np.complex64))


def test_a_range_beyond_decimal_strings_is_refused():
    with pytest.raises(ConversionError, match="range"):
        scale(np.array([[[-1.7e308, 1.7e308, 0.5]]]))
