"""The pages or frames of a picture as arrays that DICOM can hold, decoded by Pillow and bounded.

Palettes are resolved. What is transparent is shown on white, as on paper and in browsers; where a picture is
transparent everywhere, its writer did not mean it, and the alpha channel is ignored. Orientation by EXIF is
applied. Of 16-bit colour, and 16-bit grey with an alpha channel, Pillow keeps the upper 8 bits.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sorter.convert.errors import ConversionError, optional
from sorter.convert.recognise import Format
from sorter.convert.values import Scale, scale

# Of one page: a slide scanner's overview passes, a bomb does not. Of all pages together, decoded.
MAX_PIXELS = 1 << 28
MAX_BYTES = 2 << 30
MAX_PAGES = 9999
_MAX_SIDE = 65535  # Rows and Columns have 16 bits

_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC, _MIN_IS_WHITE = 262, 0
_JPEG_IN_TIFF = ("jpeg", "tiff_jpeg", "webp")
_COLOUR = ("P", "RGB", "RGBX", "CMYK", "YCbCr", "RGBA", "RGBa", "PA")
_GREY = ("1", "L", "LA", "La")
# At its lowest level Pillow logs every tag of a file, with values.
logging.getLogger("PIL").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Parameters
    ----------
    pixels
        Shape (rows, columns): ``bool``, ``uint8``, ``uint16`` or ``int16``; or (rows, columns, 3):
        ``uint8``, RGB.
    scale
        What the stored values mean, where that is something else.
    """

    pixels: NDArray[Any]
    scale: Scale | None = None

    @property
    def form(self) -> tuple[tuple[int, ...], str]:
        """What must be equal for two pages to be frames of one instance."""
        return self.pixels.shape, self.pixels.dtype.str


@dataclass(frozen=True, slots=True)
class Picture:
    """What was decoded.

    Parameters
    ----------
    icc
        The ICC profile of the colours in the pages; empty where there is none.
    durations
        Milliseconds that each frame of an animation is shown; empty for pages.
    lossy
        It was compressed with loss.
    """

    pages: tuple[Page, ...]
    icc: bytes = b""
    durations: tuple[float, ...] = ()
    lossy: bool = False


@contextmanager
def opened(content: bytes, form: Format) -> Iterator[Any]:
    """The picture in Pillow's hands, nothing decoded yet; whatever goes wrong with it is told in our words.

    Raises
    ------
    ConversionError
        It is damaged, cut short, too large, or of a kind that is not understood.
    FormatsMissingError
        Pillow is not installed.
    """
    pillow: Any = optional("PIL.Image")
    limit = pillow.MAX_IMAGE_PIXELS
    pillow.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote what the file says
            with pillow.open(io.BytesIO(content), formats=(form.upper(),)) as picture:
                yield picture
    except (ConversionError, MemoryError):
        raise
    except pillow.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:  # noqa: BLE001 - a damaged picture makes Pillow raise nearly anything
        raise ConversionError(f"the picture is damaged or cut short ({type(error).__name__})") from None
    finally:
        pillow.MAX_IMAGE_PIXELS = limit


def is_rotated(picture: Any) -> bool:
    """Whether EXIF says that it is to be turned or mirrored."""
    return picture.getexif().get(_ORIENTATION) in range(2, 9)


def check(picture: Any) -> None:
    """Refuse what is too large before anything is decoded.

    Raises
    ------
    ConversionError
        It is.
    """
    columns, rows = picture.size
    if columns * rows > MAX_PIXELS or max(columns, rows) > _MAX_SIDE:
        raise _too_large()


def decoded(picture: Any) -> Picture:
    """All pages.

    Raises
    ------
    ConversionError
        A page cannot be said in DICOM, or they are too many or too large.
    """
    pages, durations, size = [], [], 0
    # A phone's JPEG hides previews behind it (MPO); BMP knows no frames.
    count = 1 if picture.format in ("JPEG", "MPO") else getattr(picture, "n_frames", 1)
    if count > MAX_PAGES:
        raise ConversionError(f"the picture has more than {MAX_PAGES:,} pages")
    animated = count > 1 and picture.format in ("GIF", "PNG")
    for number in range(count):
        picture.seek(number)
        check(picture)
        pages.append(_page(picture, colour=animated))
        durations.append(float(picture.info.get("duration", 0)))
        size += pages[-1].pixels.nbytes
        if size > MAX_BYTES:
            raise _too_large()
    lossy = picture.format in ("JPEG", "MPO") or picture.info.get("compression") in _JPEG_IN_TIFF
    icc = picture.info.get("icc_profile") or b""
    # A profile of four inks or of grey does not fit what was made of them.
    return Picture(
        tuple(pages),
        icc if picture.mode in ("P", "RGB", "RGBA") else b"",
        tuple(durations) if animated and all(durations) else (),
        lossy,
    )


def _page(picture: Any, *, colour: bool) -> Page:
    """The page that the picture is at; colour of an animation, whose frames are of one kind then."""
    white = picture.format == "TIFF" and picture.tag_v2.get(_TIFF_PHOTOMETRIC) == _MIN_IS_WHITE
    transposed = optional("PIL.ImageOps").exif_transpose(picture)
    mode = transposed.mode
    if colour or mode in _COLOUR:
        return Page(_opaque(transposed, "RGB"))
    if mode == "1" and not transposed.has_transparency_data:
        return Page(np.asarray(transposed))
    if mode in _GREY:
        return Page(_opaque(transposed, "L"))
    if mode.startswith("I;16"):
        return Page(_words(transposed, inverted=white))
    if mode in ("I", "F"):
        return _scaled(np.asarray(transposed))
    raise ConversionError(f"pictures of Pillow's mode {mode} are not understood")


def _opaque(page: Any, mode: str) -> NDArray[np.uint8]:
    """RGB or L on white."""
    if not page.has_transparency_data:
        return np.asarray(page.convert(mode))
    both = np.asarray(page.convert("RGBA" if mode == "RGB" else "LA"))
    colours, alpha = both[..., :-1], both[..., -1:]
    if alpha.any():
        shown = colours.astype(np.uint16) * alpha + 255 * (255 - alpha.astype(np.uint16))
        colours = ((shown + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(colours if mode == "RGB" else colours[..., 0])


def _words(page: Any, *, inverted: bool) -> NDArray[np.uint16]:
    """16-bit grey. Pillow leaves it inverted where 0 is white; PNG may name one value as transparent."""
    words = np.asarray(page).astype("<u2")
    transparent = page.info.get("transparency")
    if isinstance(transparent, int):
        words[words == transparent] = 65535
    return 65535 - words if inverted else words


def _scaled(values: NDArray[Any]) -> Page:
    """Signed, 32-bit and floating-point grey in 16 bits, with what they mean where that is not the same."""
    meaning = scale(values, (1.0, 0.0))
    stored = meaning.stored(values)
    if stored.dtype.itemsize == 2:
        stored = stored.astype("<i2" if stored.dtype.kind == "i" else "<u2")
    plain = (meaning.slope, meaning.intercept) == (1, 0)
    return Page(stored, None if plain else meaning)


def _too_large() -> ConversionError:
    side = math.isqrt(MAX_PIXELS)
    return ConversionError(
        f"the picture is too large: at most {side:,} x {side:,} pixels a page, {_MAX_SIDE:,} a side, "
        f"{MAX_BYTES >> 30} GiB in all"
    )
