"""RLE and deflated frames: their native bytes, packed by rules that know nothing of pictures, unpacked."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import numpy as np

from sorter.parser.codestream import Undecodable
from sorter.parser.pixelmodule import Pixel, PixelModule


def rle(data: bytes, module: PixelModule) -> Pixel:
    """PS3.5 Annex G: one segment per byte of a pixel, the most significant first; cells of one bit packed.

    Raises
    ------
    Undecodable
        The segments are not those of such a frame.
    """
    depth = max(1, module.allocated // 8)
    size = module.rows * module.columns if module.allocated > 1 else (module.pixels + 7) // 8
    count = depth * module.samples
    if len(data) < 64 or count > 15 or struct.unpack_from("<L", data)[0] != count:
        raise Undecodable("the RLE header does not fit Bits Allocated and Samples per Pixel")
    starts = [*struct.unpack_from(f"<{count}L", data, 4), len(data)]
    if starts != sorted(starts) or starts[0] < 64:
        raise Undecodable("the RLE segments are out of order")
    segments = [_unpack(data[a:b], size) for a, b in pairwise(starts)]
    planes = np.frombuffer(b"".join(segments), "u1")
    if module.allocated == 1:
        return _bits(planes, module)
    planes = planes.reshape(module.samples, depth, module.rows, module.columns)[:, ::-1]
    cells = np.ascontiguousarray(planes.transpose(2, 3, 0, 1))
    return cells.view(module.dtype).reshape(module.shape)


def _unpack(segment: bytes, size: int) -> bytes:
    """PackBits; ``size`` bytes and at most two of padding, or Rows and Columns are not what was encoded."""
    out, pos, end = bytearray(), 0, len(segment)
    while pos + 1 < end and len(out) <= size + 2:
        control = segment[pos]
        if control < 128:
            out += segment[pos + 1 : pos + 2 + control]
            pos += control + 2
        elif control > 128:
            out += segment[pos + 1 : pos + 2] * (257 - control)
            pos += 2
        else:
            pos += 1
    if not size <= len(out) <= size + 2:
        raise Undecodable("an RLE segment has another size than declared")
    return bytes(out[:size])


def deflated(data: bytes, module: PixelModule) -> Pixel:
    """PS3.5 A.4.12 (Deflated Image Frame): one native frame, cells of one bit packed.

    Raises
    ------
    Undecodable
        It inflates to another size.
    zlib.error
        It cannot be inflated.
    """
    size = (module.pixels * module.allocated + 7) // 8
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    native = inflater.decompress(data, size + 2)
    if not inflater.eof or not size <= len(native) <= size + size % 2:
        raise Undecodable("the deflated frame has another size than declared")
    if module.allocated == 1:
        return _bits(np.frombuffer(native, "u1", size), module)
    array = np.frombuffer(native, module.dtype, module.pixels)
    if module.samples > 1 and module.planar:
        array = array.reshape(module.samples, module.rows, module.columns).transpose(1, 2, 0)
    return np.ascontiguousarray(array.reshape(module.shape))


def _bits(packed: Pixel, module: PixelModule) -> Pixel:
    return np.unpackbits(packed, count=module.pixels, bitorder="little").reshape(module.shape)
