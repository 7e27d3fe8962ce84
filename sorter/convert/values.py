"""Which stored values and which rescale say the voxels of a volume. Pure.

Integers of up to 16 bits stay as they are. Wider ones become 16 bits by an offset and a common step, where
that is exact. Everything else is spread over 0 to 65535 with one slope and intercept for the whole file, so
that no value is off by more than half a step, 7.7e-6 of the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sorter.convert.errors import ConversionError
from sorter.convert.facts import as_written

Array = NDArray[Any]
Integer = type[np.integer[Any]]
_STEPS = 65535
# By bytes: unsigned, signed.
_NARROW: dict[int, tuple[Integer, Integer]] = {1: (np.uint8, np.int16), 2: (np.uint16, np.int16)}


@dataclass(frozen=True, slots=True)
class Scale:
    """How voxels are stored; value = stored * slope + intercept.

    Parameters
    ----------
    dtype
        ``uint8``, ``uint16`` or ``int16``.
    slope, intercept
        Rescale Slope and Intercept, exactly as a decimal string says them.
    offset, step
        For integers: stored = (voxel - offset) / step.
    spread
        Voxels are not integers: stored is what lies nearest to (value - intercept) / slope.
    given
        Slope and intercept of the file itself: value = voxel * slope + intercept.
    lowest, highest
        Smallest and largest value where these were looked for, else ``None``.
    notes
        What is to be said about it.
    """

    dtype: Integer
    slope: float = 1.0
    intercept: float = 0.0
    offset: int = 0
    step: int = 1
    spread: bool = False
    given: tuple[float, float] = (1.0, 0.0)
    lowest: float | None = None
    highest: float | None = None
    notes: tuple[str, ...] = ()

    def stored(self, voxels: Array) -> Array:
        """The stored values of some voxels, in the machine's order of bytes."""
        if not self.spread:
            if self.offset or self.step != 1:
                voxels = _distance(voxels, self.offset) // np.uint64(self.step)
            return voxels.astype(self.dtype, copy=False)
        values = _real(voxels, self.given)
        values -= self.intercept
        values /= self.slope
        with np.errstate(invalid="ignore"):
            np.rint(values, out=values)
        first, last = self._step_of(self.lowest), self._step_of(self.highest)
        np.clip(values, first, last, out=values)
        values[np.isnan(values)] = first
        return values.astype(self.dtype)

    def _step_of(self, value: float | None) -> int:
        assert value is not None  # spread values were looked at
        limits = np.iinfo(self.dtype)
        return min(max(round((value - self.intercept) / self.slope), int(limits.min)), int(limits.max))


def scale(voxels: Array, given: tuple[float, float] = (1.0, 0.0)) -> Scale:
    """How to store these voxels.

    Parameters
    ----------
    voxels
        As they lie in the file, any real dtype; the last axes are gone through one by one, to spare memory.
    given
        Slope and intercept of the file.

    Raises
    ------
    ConversionError
        The numbers are complex, or their range is beyond decimal strings.
    """
    kind, width = voxels.dtype.kind, voxels.dtype.itemsize
    if kind in "iu" and width <= 2:
        unsigned, signed = _NARROW[width]
        return _rescaled(Scale(signed if kind == "i" else unsigned), given)
    if kind in "iu":
        return _wide(voxels, given)
    if kind != "f":
        raise ConversionError(
            "its numbers are of a kind that has no counterpart in DICOM, such as complex ones"
        )
    return _floats(voxels, given)


def _wide(voxels: Array, given: tuple[float, float]) -> Scale:
    """Of integers with 32 or 64 bits."""
    low, high = int(voxels.min()), int(voxels.max())
    for dtype in (np.int16, np.uint16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return _rescaled(Scale(dtype), given)
    step = _common_step(voxels, low) if high - low > _STEPS else 1
    if (high - low) // step <= _STEPS and _exact(low) and _exact(step):
        slope, intercept = given
        combined = (slope * step, slope * low + intercept)
        note = f"integers beyond 16 bits are stored exactly, with offset and a step of {step}"
        return _rescaled(Scale(np.uint16, offset=low, step=step, notes=(note,)), combined)
    found = _spread(*_range_of((low, high), given), given)
    loss = f"integers beyond 16 bits are rounded to {_STEPS + 1} steps over their range; exact with kind pmap"
    return _with_note(found, loss)


def _floats(voxels: Array, given: tuple[float, float]) -> Scale:
    low, high, missing, whole = _survey(voxels)
    notes = ("NaN became the smallest value, infinities the smallest and the largest",) if missing else ()
    if low > high:  # nothing finite at all
        low = high = 0.0
    if whole and given == (1.0, 0.0):
        for dtype in (np.int16, np.uint16):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return Scale(dtype, spread=True, lowest=low, highest=high, notes=notes)
    found = _spread(*_range_of((low, high), given), given)
    return _with_note(found, *notes)


def _spread(low: float, high: float, given: tuple[float, float]) -> Scale:
    slope = as_written((high - low) / _STEPS) if np.isfinite(high - low) else 0.0
    intercept = as_written(low) if np.isfinite(low) else 0.0
    if high == low:
        slope = 1.0
    if not slope > 0:
        raise ConversionError("the range of its values is beyond what DICOM's decimal strings can say")
    found = Scale(np.uint16, slope, intercept, spread=True, given=given, lowest=low, highest=high)
    if abs(intercept - low) > 1e-7 * (high - low) > 0:
        return _with_note(
            found, "values lie closer together than decimal strings can say; exact with kind pmap"
        )
    return found


def _rescaled(plain: Scale, given: tuple[float, float]) -> Scale:
    """With the slope and intercept of the file, as decimal strings can say them."""
    slope, intercept = (as_written(one) for one in given)
    return Scale(plain.dtype, slope, intercept, plain.offset, plain.step, notes=plain.notes)


def _with_note(found: Scale, *notes: str) -> Scale:
    return Scale(
        found.dtype,
        found.slope,
        found.intercept,
        spread=True,
        given=found.given,
        lowest=found.lowest,
        highest=found.highest,
        notes=(*found.notes, *notes),
    )


def _range_of(ends: tuple[float, float], given: tuple[float, float]) -> tuple[float, float]:
    slope, intercept = given
    low, high = sorted(one * slope + intercept for one in ends)
    return low, high


def _real(voxels: Array, given: tuple[float, float]) -> Array:
    slope, intercept = given
    values = voxels.astype(np.float64)
    if given != (1.0, 0.0):
        values *= slope
        values += intercept
    return values


def _survey(voxels: Array) -> tuple[float, float, bool, bool]:
    """Smallest and largest finite value, whether others are missing, whether all are whole numbers."""
    low, high, missing, whole = np.inf, -np.inf, False, True
    for slab in _slabs(voxels):
        finite = slab[np.isfinite(slab)]
        missing = missing or finite.size != slab.size
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            whole = whole and bool((finite == np.rint(finite)).all())
    return low, high, missing, whole


def _common_step(voxels: Array, low: int) -> int:
    """The greatest common divisor of all distances from the lowest."""
    step = 0
    for slab in _slabs(voxels):
        step = int(np.gcd.reduce(_distance(slab, low).ravel(), initial=np.uint64(step)))
        if step == 1:
            break
    return step


def _distance(voxels: Array, offset: int) -> NDArray[np.uint64]:
    """How far voxels lie above the lowest, without overflow: modulo 2**64 is right for what is below that."""
    wide = voxels.astype(np.int64 if voxels.dtype.kind == "i" else np.uint64).view(np.uint64)
    return wide - np.uint64(offset % 2**64)


def _slabs(voxels: Array) -> list[Array]:
    """The slices of a volume, as views."""
    if voxels.ndim < 3:
        return [voxels]
    return [voxels[:, :, index] for index in range(voxels.shape[2])]


def _exact(number: int) -> bool:
    return int(as_written(number)) == number
