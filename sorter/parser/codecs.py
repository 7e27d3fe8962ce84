"""One encapsulated frame -> its pixels, by decoders that are named, never found.

JPEG 2000 and HTJ2K go to pylibjpeg-openjpeg, JPEG and JPEG-LS to pylibjpeg-libjpeg, RLE and deflated frames
to :mod:`sorter.parser.packed`. Whatever else is installed is not asked: gdcm, which pydicom prefers, crashes
on damage.

The result equals what pydicom's ``pixel_array`` gives for the same frame, but for what would lose something:
bits above Bits Stored and colours that contradict their description are refused, not masked or guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sorter.parser.codestream import END, Codestream, Undecodable, read_jpeg, read_jpeg2000, repair_scan
from sorter.parser.packed import deflated, rle
from sorter.parser.pixelmodule import Pixel, PixelModule


class Family(StrEnum):
    """Kinds of compression, as the option ``decompress`` names them."""

    JPEG2000 = "jpeg2000"
    HTJ2K = "htj2k"
    JPEG = "jpeg"
    JPEG_LS = "jpegls"
    RLE = "rle"
    DEFLATE = "deflate"


# PS3.3 C.7.6.1.1.5.2
LOSSY_METHODS: Mapping[Family, str] = {
    Family.JPEG: "ISO_10918_1",
    Family.JPEG_LS: "ISO_14495_1",
    Family.JPEG2000: "ISO_15444_1",
    Family.HTJ2K: "ISO_15444_15",
}

_ROOT = "1.2.840.10008.1.2"
# PS3.6 Annex A. A JPEG codestream says of itself which process it is, so the retired syntaxes need no more.
SYNTAXES: Mapping[str, Family] = {
    **{f"{_ROOT}.4.{n}": Family.JPEG for n in (50, 51, 52, 53, 54, 55, 56, 57, 58, 70)},
    **{f"{_ROOT}.4.{n}": Family.JPEG_LS for n in (80, 81)},
    **{f"{_ROOT}.4.{n}": Family.JPEG2000 for n in (90, 91)},
    **{f"{_ROOT}.4.{n}": Family.HTJ2K for n in (201, 202, 203)},
    f"{_ROOT}.5": Family.RLE,
    f"{_ROOT}.8.1": Family.DEFLATE,
}

_PACKED: Mapping[Family, Callable[[bytes, PixelModule], Pixel]] = {
    Family.RLE: rle,
    Family.DEFLATE: deflated,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One encoded frame that was compared with its dataset and may be decoded."""

    data: bytes
    family: Family
    module: PixelModule
    stream: Codestream | None
    photometric: str  # of the decoded pixels
    to_rgb: bool = False

    @property
    def lossy(self) -> bool:
        """Whether the encoding is known to have lost something."""
        return self.stream is not None and self.stream.lossy

    def decode(self) -> Pixel:
        """Decode to an array of the module's shape and type, samples interleaved.

        Raises
        ------
        Undecodable
            The decoder gave another size than declared, or values that do not fit in Bits Stored.
        Exception
            Whatever a decoder raises.
        """
        if self.stream is None:
            return _PACKED[self.family](self.data, self.module)
        array = _fit(_decoded(self.data, self.family, self.stream), self.family, self.stream, self.module)
        array = array.reshape(self.module.shape)
        return _rgb(array) if self.to_rgb else array


def frame(data: bytes, family: Family, module: PixelModule) -> Frame:
    """Compare the codestream in ``data`` with the dataset before any decoder sees it.

    Raises
    ------
    Undecodable
        They contradict each other.
    """
    if family in _PACKED:
        return Frame(data, family, module, None, _native_photometric(module))
    stream = read_jpeg2000(data) if family in (Family.JPEG2000, Family.HTJ2K) else read_jpeg(data)
    if END not in data[-10:]:  # decoders make up what is missing
        raise Undecodable("the codestream has no end")
    if (stream.rows, stream.columns) != (module.rows, module.columns):
        raise Undecodable("the codestream's size differs from Rows and Columns")
    if stream.components != module.samples:
        raise Undecodable("the codestream's components differ from Samples per Pixel")
    if not 0 < stream.precision <= module.allocated:
        raise Undecodable("the codestream's precision exceeds Bits Allocated")
    photometric, to_rgb = _colour(family, stream, module)
    return Frame(data, family, module, stream, photometric, to_rgb)


# -- colour -------------------------------------------------------------------------------------------------


def _native_photometric(module: PixelModule) -> str:
    """What full-resolution samples are called that keep their colour space (PS3.3 C.7.6.3.1.2)."""
    photometric = "YBR_FULL" if module.photometric == "YBR_FULL_422" else module.photometric
    allowed = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") if module.samples == 1 else ("RGB", "YBR_FULL")
    if photometric not in allowed:
        raise Undecodable("Photometric Interpretation does not fit the encoding or Samples per Pixel")
    return photometric


def _colour(family: Family, stream: Codestream, module: PixelModule) -> tuple[str, bool]:
    """(Photometric Interpretation of the decoded frame, whether it is to be converted to RGB).

    Only what was lossy already is converted, as viewers expect RGB there; a reversible YBR_FULL stays.
    """
    contradiction = "the codestream's colour contradicts Photometric Interpretation"
    if module.samples == 1:
        return _native_photometric(module), False
    if family in (Family.JPEG2000, Family.HTJ2K):
        if module.photometric not in ("YBR_RCT", "YBR_ICT"):
            return _native_photometric(module), False
        if not stream.transformed:
            raise Undecodable(contradiction)
        return "RGB", False
    photometric = _native_photometric(module)
    if stream.rgb_ids:
        photometric = "RGB"
    elif stream.jfif and stream.transformed is None:
        photometric = "YBR_FULL"
    if stream.transformed not in (None, photometric == "YBR_FULL"):
        raise Undecodable(contradiction)
    if photometric == "YBR_FULL" and family is Family.JPEG and stream.lossy:
        if module.allocated != 8:
            raise Undecodable("colour of more than 8 bits cannot be converted to RGB")
        return "RGB", True
    return photometric, False


# -- JPEG, JPEG-LS, JPEG 2000 -------------------------------------------------------------------------------


# A worker decodes one kind as a rule; importing what the others need takes as long as some frames.


def _openjpeg(data: bytes) -> bytearray | Pixel:
    from openjpeg.utils import decode_pixel_data  # noqa: PLC0415 - above

    decoded: bytearray | Pixel = decode_pixel_data(data, version=2)
    return decoded


def _libjpeg(data: bytes) -> bytearray | Pixel:
    from libjpeg.utils import decode_pixel_data  # noqa: PLC0415 - above

    decoded: bytearray | Pixel = decode_pixel_data(data, version=2)
    return decoded


def _rgb(array: Pixel) -> Pixel:
    from pydicom.pixels.processing import convert_color_space  # noqa: PLC0415 - above

    return convert_color_space(array, "YBR_FULL", "RGB")


def _decoded(data: bytes, family: Family, stream: Codestream) -> Pixel:
    """The decoder's values as unsigned numbers of the codestream's precision, in one dimension."""
    if family in (Family.JPEG2000, Family.HTJ2K):
        raw = _openjpeg(data)
    else:
        raw = _libjpeg(repair_scan(data, stream))
    size = 1 if stream.precision <= 8 else 2 if stream.precision <= 16 else 4
    if len(raw) != stream.rows * stream.columns * stream.components * size:
        raise Undecodable("the decoder gave another size than the codestream declares")
    array = np.frombuffer(raw, f"<u{size}")
    # A signed codestream comes with its sign extended over the whole cell.
    return array & ((1 << stream.precision) - 1) if stream.signed else array


def _fit(array: Pixel, family: Family, stream: Codestream, module: PixelModule) -> Pixel:
    """The values in the dataset's own type; none may need more than Bits Stored.

    JPEG 2000 streams are sometimes unsigned where the dataset is signed, and the other way round; JPEG and
    JPEG-LS have no sign at all. Then the sign is the highest bit of the precision, or of Bits Stored.
    """
    stored = module.stored
    cells = array.astype(module.dtype.str.replace("i", "u"), copy=False)
    if not module.signed:
        if stream.precision > stored and int(cells.max(initial=0)) >> stored:
            raise Undecodable("decoded values use bits above Bits Stored")
        return cells
    if family is Family.JPEG and stream.precision < stored:
        return cells.view(module.dtype)
    values = _extend(cells, stream.precision, module)
    low, high = -(1 << stored - 1), (1 << stored - 1) - 1
    if stream.precision > stored and not low <= int(values.min()) <= int(values.max()) <= high:
        if int(cells.max()) >> stored:
            raise Undecodable("decoded values use bits above Bits Stored")
        values = _extend(cells, stored, module)
    return values


def _extend(cells: Pixel, bits: int, module: PixelModule) -> Pixel:
    """Sign extension of values of ``bits`` bits over the whole cell."""
    shift = module.dtype.itemsize * 8 - bits
    values: Pixel = (cells << shift).view(module.dtype) >> shift
    return values
