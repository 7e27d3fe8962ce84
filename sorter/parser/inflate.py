"""Bounded inflation of the deflated transfer syntax (PS3.5 A.5): 1 MB deflated may ask for 1 GB."""

from __future__ import annotations

import struct
import zlib

from sorter.model import Reason
from sorter.parser.grammar import Buffer, Limits, Unparsable, only_padding

_STEP = 1 << 20


def inflate(data: Buffer, start: int, limits: Limits) -> bytes:
    """The bytes before ``start`` and the inflated rest.

    Raises
    ------
    Unparsable
        TOO_LARGE as soon as the limits are passed, TRUNCATED without the stream's end, MALFORMED where it is
        no deflated stream or more than padding follows it.
    """
    most = min(limits.inflated, max(limits.free, (len(data) - start) * limits.ratio))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    parts, total, pos, rest = [data[:start]], 0, start, b""
    crc = 0
    try:
        while not inflater.eof:
            if not rest:
                rest = data[pos : pos + _STEP]
                pos += len(rest)
            part = inflater.decompress(rest, _STEP)
            if not rest and not part:
                raise Unparsable(Reason.TRUNCATED, "the deflated stream has no end")
            rest = inflater.unconsumed_tail
            total += len(part)
            if total > most:
                raise Unparsable(Reason.TOO_LARGE, f"the deflated stream inflates to more than {most} bytes")
            crc = zlib.crc32(part, crc)
            parts.append(part)
    except zlib.error:
        raise Unparsable(Reason.MALFORMED, "the deflated stream is corrupt") from None
    gzip_trailer = struct.pack("<LL", crc, total & 0xFFFFFFFF)  # which some writers leave there
    only_padding((inflater.unused_data + data[pos:]).removeprefix(gzip_trailer), 0)
    return b"".join(parts)
