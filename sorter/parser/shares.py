"""One file decoded by several workers: first all but its pixels is written, then each its share of frames.

Where the native bytes of every frame lie is known before the first is decoded. Each share reads back what it
wrote and compares it with what it decoded, so that the digest of the frames can be taken from the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from sorter.model import Pixels
from sorter.parser.codecs import Family
from sorter.parser.elements import Dataset
from sorter.parser.encapsulation import Span
from sorter.parser.frames import Encoded, Kept, decode, joined, native_bytes, undecodable
from sorter.parser.pixelmodule import Pixel, PixelModule
from sorter.parser.pixels import FAMILIES, plan, write_around


@dataclass(frozen=True, slots=True)
class Share:
    """Some frames of a file, one after the other; small, so that it travels to a worker.

    Parameters
    ----------
    spans
        By frame: (offset, length) of its fragments in the source.
    offset
        Of the native bytes of the first frame in the drafted file.
    module
        As of the file, with the number of frames of the share.
    """

    spans: tuple[tuple[Span, ...], ...]
    offset: int
    family: Family
    module: PixelModule

    @property
    def length(self) -> int:
        """Native bytes of the share; together with :attr:`offset` it says where they lie."""
        return self.module.length

    @property
    def encoded(self) -> int:
        """Bytes that are to be read."""
        return sum(length for spans in self.spans for _, length in spans)


@dataclass(frozen=True, slots=True)
class Draft:
    """A native file that lacks its pixels and their digest (64 hex digits at ``hole``)."""

    hole: int
    shares: tuple[Share, ...]


def draft(dataset: Dataset, out: BinaryIO, *, source_sha256: str, most: int) -> Draft:
    """Write the native file to ``out`` but for its pixels, and share these out.

    Parameters
    ----------
    most
        Native bytes of a share; more only where a frame has more.

    Raises
    ------
    Kept
        As of :func:`sorter.parser.pixels.transcode`; what ``out`` holds by then is of no use.
    OSError
        From ``out``.
    """
    plan(dataset, frozenset(FAMILIES))
    encoded = Encoded(dataset)
    starts: list[int] = []

    def leave_out_pixels() -> None:
        starts.append(out.tell())
        out.seek(encoded.module.length, os.SEEK_CUR)

    hole = write_around(dataset, encoded, out, source_sha256, leave_out_pixels)
    out.truncate()  # ends with a hole where nothing follows the pixels
    return Draft(hole, tuple(_shares(encoded, starts[0], most)))


def _shares(encoded: Encoded, offset: int, most: int) -> Iterator[Share]:
    module = encoded.module
    frames = max(1, most // max(1, replace(module, frames=1).length))
    if module.allocated == 1:
        frames += -frames % 8  # so that each share begins with a whole byte (PS3.5 8.1.1)
    for first in range(0, module.frames, frames):
        spans = tuple(map(tuple, encoded.spans[first : first + frames]))
        share = Share(spans, offset, encoded.family, replace(module, frames=len(spans)))
        yield share
        offset += share.length


def decode_share(share: Share, source: int, out: int) -> None:
    """Decode a share from the file ``source`` into its place in the file ``out`` (descriptors).

    Raises
    ------
    Kept
        The pixel data are to stay as they came.
    OSError
        From either file.
    """
    try:
        _decode_share(share, source, out)
    except MemoryError:
        raise Kept(Pixels.KEPT_DECODER_CRASHED, "decoding ran out of memory") from None


def _decode_share(share: Share, source: int, out: int) -> None:
    offset = share.offset
    for piece in native_bytes(_pixels(share, source), share.module.allocated):
        _write_at(out, piece, offset)
        if os.pread(out, len(piece), offset) != bytes(piece):
            raise undecodable("read-back differs")
        offset += len(piece)
    if offset != share.offset + share.length:
        raise undecodable("the decoded frames have another size than declared")


def _pixels(share: Share, source: int) -> Iterator[Pixel]:
    for spans in share.spans:
        yield decode(joined(_fragments(source, spans), share.family, share.module))


def _fragments(source: int, spans: Sequence[Span]) -> list[bytes]:
    return [os.pread(source, length, offset) for offset, length in spans]


def _write_at(out: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(out, view, offset)
        view, offset = view[done:], offset + done
