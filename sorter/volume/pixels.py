"""Stacks -> volumes: pixels are read file by file, straight into the array of the volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sorter.picture.decoding import NoPictureError, decoded
from sorter.picture.tables import coloured, looked_up
from sorter.volume.errors import VolumeError
from sorter.volume.model import RGB, Array, Flag, Frame, Likeness, Stack, Tile, Volume
from sorter.volume.values import items, silenced, text

_Slot = tuple[int, int, Frame]  # time, slice, and the frame that belongs there


def fill(stack: Stack) -> Volume:
    """Read the pixels of a stack.

    Raises
    ------
    VolumeError
        Pixels cannot be decoded, or are not of the size that the header says; names the file.
    """
    by_file: dict[Path, list[_Slot]] = defaultdict(list)
    for t, volume in enumerate(stack.frames):
        for k, frame in enumerate(volume):
            if frame is not None:
                by_file[frame.path].append((t, k, frame))
    rescale = _common_rescale(stack)
    out: Array | None = None
    for path, slots in by_file.items():
        try:
            out = _read_file(path, slots, out, stack, is_rescaled=rescale is None)
        except VolumeError as error:
            error.path = path
            raise
    assert out is not None
    flags = (*stack.flags, *_repeated(out))
    stored = out.transpose(3, 2, 1, 0)
    stored = stored[..., 0] if stored.shape[3] == 1 else stored
    stored, scale = _as_integers(stored, rescale or (1.0, 0.0))
    return Volume(stored, scale, stack.affine, stack, flags)


def _read_file(
    path: Path, slots: list[_Slot], out: Array | None, stack: Stack, *, is_rescaled: bool
) -> Array:
    """Read the frames of one file into (t, k, rows, columns), the order of a NIfTI file."""
    like = stack.likeness
    for t, k, frame, pixels in _pixels(path, slots):
        values = _rescaled(pixels, frame) if is_rescaled else pixels
        if values.shape[:2] != (like.rows, like.columns):
            raise VolumeError("the pixels are not of the size that the header says")
        if values.ndim == 3:
            if values.dtype != np.uint8:
                raise VolumeError(f"has colours of {8 * values.itemsize} bits; a volume has 8 of each")
            values = np.ascontiguousarray(values).view(RGB)[..., 0]
        if out is None:
            shape = (len(stack.frames), len(stack.frames[0]), like.rows, like.columns)
            out = np.zeros(shape, values.dtype.newbyteorder("="))
        elif out.dtype != values.dtype:
            out = out.astype(np.promote_types(out.dtype, values.dtype))
        out[t, k] = values[::-1]
    assert out is not None
    return out


def _common_rescale(stack: Stack) -> tuple[float, float] | None:
    """The one rescale of all frames; ``None`` where they differ."""
    found = {frame.rescale for volume in stack.frames for frame in volume if frame is not None}
    return found.pop() if len(found) == 1 else None


def _rescaled(pixels: Array, frame: Frame) -> Array:
    slope, intercept = frame.rescale
    return (pixels * np.float64(slope) + np.float64(intercept)).astype(np.float32)


def _as_integers(stored: Array, rescale: tuple[float, float]) -> tuple[Array, tuple[float, float]]:
    """Apply a rescale that keeps integers integers, such as that of CT; leave any other to the volume."""
    slope, intercept = rescale
    if rescale == (1.0, 0.0) or stored.dtype.kind not in "iu" or slope != 1 or not intercept.is_integer():
        return stored, rescale
    low, high = int(stored.min()) + int(intercept), int(stored.max()) + int(intercept)
    for kind in (np.uint8, np.int16, np.uint16, np.int32):
        if (
            np.iinfo(kind).min <= low
            and high <= np.iinfo(kind).max
            and np.dtype(kind).itemsize >= stored.itemsize
        ):
            same = np.dtype(kind).itemsize == stored.itemsize
            shifted = stored.view(kind) if same else stored.astype(kind)
            # Modulo 2**n: what does not fit on the way fits in the end.
            np.add(shifted, np.int64(intercept).astype(kind), out=shifted)
            return shifted, (1.0, 0.0)
    return stored, rescale


def _pixels(path: Path, slots: list[_Slot]) -> Iterator[tuple[int, int, Frame, Array]]:
    """The pixels of each slot, (rows, columns) or (rows, columns, 3)."""
    wanted = sorted({frame.index for _, _, frame in slots})
    by_index: dict[int, list[_Slot]] = defaultdict(list)
    for slot in slots:
        by_index[slot[2].index].append(slot)
    for index, values in zip(wanted, _read_pixels(path, wanted), strict=True):
        for t, k, frame in by_index[index]:
            yield t, k, frame, values if frame.tile is None else _cut(values, frame.likeness, frame.tile)


def _cut(mosaic: Array, like: Likeness, tile: Tile) -> Array:
    return mosaic[tile.row : tile.row + like.rows, tile.column : tile.column + like.columns]


def _read_pixels(path: Path, wanted: list[int]) -> Iterator[Array]:
    with silenced():
        try:
            dataset = dcmread(path, force=True)
            if _transfer_syntax(dataset).is_encapsulated:
                for index in wanted:  # by the archive's own decoders, where they can
                    yield _meant(decoded(dataset, index), dataset)
            elif len(wanted) == 1 and _is_single(dataset):
                yield _meant(dataset.pixel_array, dataset)
            else:
                for values in iter_pixels(dataset, indices=wanted):
                    yield _meant(values, dataset)
        except (GeneratorExit, MemoryError):
            raise
        except NoPictureError as error:
            raise VolumeError(str(error)) from None
        except Exception as error:  # noqa: BLE001 - decoders raise many kinds; their texts may quote values
            raise VolumeError(f"pixels cannot be decoded ({type(error).__name__})") from None


def _meant(stored: Array, dataset: Dataset) -> Array:
    """The colours of a palette, or what a Modality LUT makes of the values; else what is stored."""
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        return coloured(stored, dataset)
    if tables := items(dataset, "ModalityLUTSequence"):
        return looked_up(stored, tables[0], dataset)[0]
    return stored


def _transfer_syntax(dataset: FileDataset) -> UID:
    """The transfer syntax; where a file does not say, what pydicom found it to be."""
    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return UID(meta.TransferSyntaxUID)


def _is_single(dataset: Dataset) -> bool:
    count: Any = dataset.get("NumberOfFrames")
    return count in (None, "", 0, 1)


def _repeated(out: Array) -> list[Flag]:
    """Volumes of a series in time that are the same to the last bit: most likely one, sent twice."""
    flat = out.view(np.uint8) if out.dtype == RGB else out
    same = [t + 1 for t in range(1, len(flat)) if flat[t].any() and np.array_equal(flat[t], flat[t - 1])]
    if not same:
        return []
    return [
        Flag("repeated", f"{len(same)} volumes equal the one before to the last bit, the first is {same[0]}")
    ]
