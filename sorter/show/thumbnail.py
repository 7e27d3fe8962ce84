"""A picture in a terminal: by kitty's or iTerm2's protocol, else in half blocks of 24-bit colour.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol/, https://iterm2.com/documentation-images.html.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from enum import StrEnum

import numpy as np

from sorter.picture import Picture

_CHUNK = 4096  # of kitty's protocol
_CELL = 8  # pixels of a column, where the terminal draws pixels


class Screen(StrEnum):
    """What a terminal can draw."""

    KITTY = "kitty"
    ITERM = "iterm"
    BLOCKS = "blocks"


def screen(environ: Mapping[str, str]) -> Screen | None:
    """What the terminal that the environment tells of can draw; ``None``: nothing."""
    if environ.get("TERM", "dumb") == "dumb" or "NO_COLOR" in environ:
        return None
    if "TMUX" in environ:  # which passes no pictures on
        return Screen.BLOCKS
    if "KITTY_WINDOW_ID" in environ or environ.get("TERM_PROGRAM") == "ghostty":
        return Screen.KITTY
    if environ.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm"):
        return Screen.ITERM
    return Screen.BLOCKS


def thumbnail(picture: Picture, columns: int, kind: Screen = Screen.BLOCKS) -> str:
    """The picture as text for a terminal, at most so many columns wide and half as many lines high."""
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    if kind is Screen.BLOCKS:
        return "\n".join(_blocks(_fitted(colour, columns)))
    data = base64.b64encode(_png(_fitted(colour, columns * _CELL)))
    if kind is Screen.ITERM:
        return f"\x1b]1337;File=inline=1;size={len(data)}:{data.decode()}\a"
    pieces = [data[start : start + _CHUNK].decode() for start in range(0, len(data), _CHUNK)]
    more = [1] * (len(pieces) - 1) + [0]
    return "".join(
        f"\x1b_G{'a=T,f=100,' if number == 0 else ''}m={more[number]};{piece}\x1b\\"
        for number, piece in enumerate(pieces)
    )


def _fitted(colour: Picture, side: int) -> Picture:
    """Made smaller to fit into a square, each pixel the mean of those it stands for; never larger."""
    factor = min(1.0, side / max(colour.shape[:2]))
    counts = [max(1, round(length * factor)) for length in colour.shape[:2]]
    edges = [np.arange(n) * length // n for n, length in zip(counts, colour.shape, strict=False)]
    sums = np.add.reduceat(np.add.reduceat(colour.astype(np.uint32), edges[0], 0), edges[1], 1)
    sizes = [np.diff([*edge, length]) for edge, length in zip(edges, colour.shape, strict=False)]
    means: Picture = (sums // np.multiply.outer(*sizes)[..., None]).astype(np.uint8)
    return means


def _blocks(colour: Picture) -> Iterator[str]:
    """Lines of upper half blocks: the foreground is the upper of two pixels, the background the lower."""
    if len(colour) % 2:
        colour = np.concatenate((colour, np.zeros_like(colour[:1])))
    for upper, lower in zip(colour[::2].tolist(), colour[1::2].tolist(), strict=True):
        cells = (
            f"\x1b[38;2;{u[0]};{u[1]};{u[2]};48;2;{v[0]};{v[1]};{v[2]}m\u2580"
            for u, v in zip(upper, lower, strict=True)
        )
        yield "".join(cells) + "\x1b[0m"


def _png(colour: Picture) -> bytes:
    """A PNG file of 8-bit RGB (https://www.w3.org/TR/png-3/)."""
    rows, columns = colour.shape[:2]
    lines = np.concatenate((np.zeros((rows, 1), np.uint8), colour.reshape(rows, -1)), axis=1)
    chunks = (
        (b"IHDR", struct.pack(">LLBBBBB", columns, rows, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes())),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))
        for name, data in chunks
    )
