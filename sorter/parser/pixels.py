"""Encapsulated pixel data -> native: the same instance with pixels that every reader can read.

The file is spliced, not re-saved: every element is copied byte for byte but for those that describe the
encoding, and the pixels are streamed as they are decoded. The same source always gives the same bytes.
What cannot be decoded without loss or doubt stays as it came, and :class:`Kept` says why.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from sorter.model import Pixels
from sorter.parser.codecs import LOSSY_METHODS, SYNTAXES, Family
from sorter.parser.elements import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Buffer,
    Dataset,
    Unparsable,
    top_level,
    walk,
)
from sorter.parser.encapsulation import release
from sorter.parser.frames import (
    ICON,
    LOSSY,
    LOSSY_METHOD,
    LOSSY_RATIO,
    PHOTOMETRIC,
    PIXEL_DATA,
    PLANAR,
    Encoded,
    Kept,
    find_places,
    native_bytes,
    read_module,
    undecodable,
)  # fmt: skip
from sorter.parser.pixelmodule import PixelModule
from sorter.parser.provenance import Provenance, encode, file_meta, provenance

__all__ = ["FAMILIES", "Family", "Kept", "Provenance", "plan", "provenance", "transcode", "verify"]

FAMILIES: tuple[str, ...] = tuple(Family)

_NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"))
# MPEG2, MPEG-4, HEVC and SMPTE ST 2110, and their fragmentable variants (PS3.5 A.4.5 to A.4.9, 10.17)
_VIDEO = (*(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109)), "1.2.840.10008.1.2.7.")
_PIECE = 8 << 20  # what is hashed of a mapped file at once
_MOST = 0xFFFFFFFE  # the longest native pixel data: their length has 32 bits, is even, and is not "undefined"
# Offset tables and Encapsulated Pixel Data Value Total Length, and the lengths of groups that change.
_REMOVED = (0x7FE00001, 0x7FE00002, 0x7FE00003, 0x7FE00000, 0x00280000)


# -- what is to be done -------------------------------------------------------------------------------------


def plan(dataset: Dataset, families: frozenset[str]) -> Pixels:
    """What becomes of the pixel data, decided without decoding: NONE, NATIVE or TRANSCODED.

    Raises
    ------
    Kept
        They are to stay encapsulated as they came.
    """
    uid, pixel_data = dataset.transfer_syntax_uid, dataset.pixel_data
    if pixel_data is None:
        return Pixels.NONE
    if not pixel_data.encapsulated and (uid in _NATIVE or pixel_data.tag != PIXEL_DATA):
        return Pixels.NATIVE
    if uid.startswith(_VIDEO):
        raise Kept(Pixels.KEPT_VIDEO, "video")
    if uid in SYNTAXES and SYNTAXES[uid] not in families:
        raise Kept(Pixels.KEPT_CONFIG, f"decompress does not name {SYNTAXES[uid]}")
    if dataset.signed:
        raise Kept(Pixels.KEPT_SIGNED, "transcoding would break its digital signatures")
    if uid not in SYNTAXES or pixel_data.tag != PIXEL_DATA:
        raise undecodable("no decoder for this transfer syntax")
    if dataset.big_endian or not pixel_data.encapsulated:
        raise undecodable("the stream is not encoded as its transfer syntax demands")
    if _has_nested_frames(dataset):
        raise undecodable("encapsulated pixel data inside a sequence")
    if read_module(dataset, find_places(dataset)).length > _MOST:
        raise Kept(Pixels.KEPT_TOO_LARGE, "native pixel data would exceed 4 GiB")
    return Pixels.TRANSCODED


def _has_nested_frames(dataset: Dataset) -> bool:
    """Whether encapsulated pixel data lie anywhere but at top level and in the Icon Image Sequence."""
    assert dataset.pixel_data is not None
    allowed = [(dataset.pixel_data.start, dataset.pixel_data.end), *([dataset.icon] if dataset.icon else [])]
    data, pos = dataset.data, dataset.start
    while (pos := data.find(b"\xe0\x7f\x10\0", pos)) >= 0:
        inside = [end for start, end in allowed if start <= pos < end]
        if inside:
            pos = inside[0]
        elif b"\xff\xff\xff\xff" in (data[pos + 4 : pos + 8], data[pos + 8 : pos + 12]):
            return True
        else:
            pos += 4
    return False


# -- transcoding --------------------------------------------------------------------------------------------


def transcode(dataset: Dataset, out: BinaryIO, *, source_sha256: str) -> str:
    """Write the whole native file to ``out``, which can seek, and return its ``pixel_sha256``.

    The file is Explicit VR Little Endian; or Implicit, where the source is implicit though no encapsulated
    transfer syntax allows it. ``pixel_sha256`` is of all frames as written, without the padding byte.
    Memory is a few frames. Nothing is synced, and ``out`` is left at its end.

    Raises
    ------
    Kept
        The pixel data stay as they came; what ``out`` holds by then is of no use.
    OSError
        From ``out``.
    """
    try:
        return _transcode(dataset, out, source_sha256)
    except MemoryError:
        raise Kept(Pixels.KEPT_DECODER_CRASHED, "decoding ran out of memory") from None


def _transcode(dataset: Dataset, out: BinaryIO, source_sha256: str) -> str:
    plan(dataset, frozenset(FAMILIES))
    encoded = Encoded(dataset)
    digest = hashlib.sha256()
    hole = write_around(dataset, encoded, out, source_sha256, lambda: _write_pixels(out, encoded, digest))
    end = out.tell()
    out.seek(hole)
    write(out, digest.hexdigest().encode("ascii"))
    out.seek(end)
    return digest.hexdigest()


def write_around(
    dataset: Dataset, encoded: Encoded, out: BinaryIO, source_sha256: str, write_pixels: Callable[[], None]
) -> int:
    """Write the native file but for the value of its pixel data, which ``write_pixels`` adds in its turn.

    Returns the offset in ``out`` at which the 64 hex digits of ``pixel_sha256`` are to be written.
    """
    changes = _changes(dataset, encoded)
    start = out.tell()
    meta, hole = file_meta(dataset, source_sha256)
    write(out, meta)
    for piece in _spliced(dataset, changes):
        if piece is None:
            write(out, _pixel_head(encoded.module, implicit=dataset.implicit))
            write_pixels()
            write(out, bytes(encoded.module.length % 2))
        else:
            write(out, piece)
    return start + hole


def _pixel_head(module: PixelModule, *, implicit: bool) -> bytes:
    vr = "OB" if module.allocated <= 8 else "OW"  # PS3.5 A.2
    head = encode(PIXEL_DATA, vr, b"", implicit=implicit)
    return head[:-4] + struct.pack("<L", module.length + module.length % 2)


def write(out: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of ``data``: an unbuffered file may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]


def _write_pixels(out: BinaryIO, encoded: Encoded, digest: hashlib._Hash) -> None:
    written = 0
    for piece in native_bytes(encoded.pixels(), encoded.module.allocated):
        digest.update(piece)
        write(out, piece)
        written += len(piece)
    if written != encoded.module.length:
        raise undecodable("the decoded frames have another size than declared")


def _changes(dataset: Dataset, encoded: Encoded) -> dict[int, bytes]:
    """Elements that are replaced, added, or (empty) left out, because they describe the encoding.

    All frames are compared with the dataset here, before the first is decoded.
    """
    module, places = encoded.module, encoded.places
    values: dict[int, tuple[str, bytes]] = {}
    photometric, lossy = encoded.survey()
    if photometric != module.photometric:
        values[PHOTOMETRIC] = ("CS", photometric.encode("ascii"))
    if module.samples > 1:
        values[PLANAR] = ("US", b"\0\0")
    if lossy:
        values[LOSSY] = ("CS", b"01")
        added = {
            LOSSY_RATIO: ("DS", f"{module.length / encoded.length:.2f}".encode("ascii")),
            LOSSY_METHOD: ("CS", LOSSY_METHODS[encoded.family].encode("ascii")),
        }
        # They have one value per lossy step: where the other tells of several, ours alone would not fit.
        declared = [dataset.data[places[tag][3] : places[tag][4]] for tag in added if tag in places]
        if not any(b"\\" in value for value in declared):
            values.update({tag: value for tag, value in added.items() if tag not in places})
    changes = dict.fromkeys(_REMOVED, b"")
    for tag, (vr, value) in values.items():
        changes[tag] = encode(tag, vr, value, implicit=dataset.implicit)
    if dataset.icon:
        from sorter.parser.icon import native_icon  # noqa: PLC0415 - pydicom, which nothing else here needs

        changes[ICON] = native_icon(dataset, encoded.family)
        changes[ICON & 0xFFFF0000] = b""
    return changes


def _spliced(dataset: Dataset, changes: dict[int, bytes]) -> Iterator[bytes | None]:
    """Every element after the File Meta Information with the changes applied; ``None`` for the pixel data."""
    pending = sorted(tag for tag, element in changes.items() if element)
    for tag, _, start, _, end in top_level(dataset):
        while pending and pending[0] < tag:
            yield changes[pending.pop(0)]
        if pending and pending[0] == tag:
            pending.pop(0)
        if tag == PIXEL_DATA:
            yield None
        elif tag in changes:
            yield changes[tag]
        else:
            yield dataset.data[start:end]


# -- verification -------------------------------------------------------------------------------------------


def verify(native: Buffer, pixel_sha256: str) -> None:
    """Prove that the native file, as composed or as staged, is whole, and holds the pixels that were decoded.

    Raises
    ------
    Kept
        KEPT_UNDECODABLE: it does not.
    """
    value, length = native_value(native)
    digest = hashlib.sha256()
    for offset in range(value, value + length, _PIECE):
        size = min(_PIECE, value + length - offset)
        digest.update(memoryview(native)[offset : offset + size])
        release(native, offset, size)
    if digest.hexdigest() != pixel_sha256:
        raise undecodable("read-back differs")


def native_value(native: Buffer) -> tuple[int, int]:
    """Where the frames of a native file lie, as it describes them itself: offset, and length without padding.

    Raises
    ------
    Kept
        KEPT_UNDECODABLE: it is not whole, not native, or its pixel data are longer or shorter than described.
    """
    try:
        dataset = walk(native, frozenset())
        native_pixels = plan(dataset, frozenset()) is Pixels.NATIVE
        module = read_module(dataset, find_places(dataset))
    except Kept:
        raise
    except Unparsable as trouble:
        raise undecodable(f"read-back: {trouble.detail}") from None
    except MemoryError:
        raise Kept(Pixels.KEPT_DECODER_CRASHED, "reading back ran out of memory") from None
    except Exception as error:  # noqa: BLE001 - whatever is raised, the file is not what it should be
        raise undecodable(f"read-back raised {type(error).__name__}") from None
    if not native_pixels or dataset.transfer_syntax_uid not in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        raise undecodable("read-back is not native")
    assert dataset.pixel_data is not None
    start, end = dataset.pixel_data.value, dataset.pixel_data.end
    if end - start != module.length + module.length % 2:
        raise undecodable("read-back: the pixel data have another length than the header describes")
    return start, module.length
