"""Pictures of every kind that people have, made with Pillow and, where that does not write them, by hand."""

import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

SECRET = "Canary^Patient"  # what stands in texts that must not reach DICOM
_ORIENTATION, _DESCRIPTION, _ARTIST = 0x0112, 0x010E, 0x013B


def grey(rows=48, columns=64, levels=256):
    """A ramp with a disc in it, so that neither mirroring nor turning leaves it the same."""
    y, x = np.mgrid[:rows, :columns]
    ramp = (x * 2 + y) / (2 * columns + rows)
    ramp[(x - columns / 4) ** 2 + (y - rows / 4) ** 2 < (rows / 5) ** 2] = 0.95
    return (ramp * (levels - 1)).astype(np.uint8 if levels <= 256 else np.uint16)


def colours(rows=48, columns=64):
    plane = grey(rows, columns)
    return np.stack([plane, plane[::-1], plane[:, ::-1]], -1)


def exif(orientation=1):
    tags = Image.Exif()
    tags[_ORIENTATION], tags[_DESCRIPTION], tags[_ARTIST] = orientation, SECRET, SECRET
    return tags.tobytes()


def saved(pixels, form, **options):
    made = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    made.save(stream, form, **options)
    return stream.getvalue()


def rgba():
    made = Image.fromarray(colours()).convert("RGBA")
    made.putalpha(Image.fromarray(grey()))
    return made


@functools.cache  # it holds the time it was made
def srgb():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_16_bit_rgb(rows=5, columns=7):
    """Pillow writes none."""
    values = (np.arange(rows * columns * 3) * 601 % 65536).reshape(rows, -1).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    return png(rows, columns, bits=16, colour=2, lines=lines)


def png(rows, columns, *, bits, colour, lines, before=b""):
    header = struct.pack(">2L5B", columns, rows, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name, content):
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))


def tiff(pages, **options):
    first, *rest = (page if isinstance(page, Image.Image) else Image.fromarray(page) for page in pages)
    return saved(first, "TIFF", save_all=True, append_images=rest, **options)


def adobe_rgb(jpeg_of=None):
    """A JPEG whose components are red, green and blue, as Adobe's transform 0 says."""
    return saved(colours() if jpeg_of is None else jpeg_of, "JPEG", quality=95, keep_rgb=True)


def without(content, marker):
    """A JPEG without the segments of this marker."""
    at, parts = 2, [content[:2]]
    while content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1] != marker:
            parts.append(content[at:end])
        at = end
    return b"".join((*parts, content[at:]))


def gif(frames, durations):
    made = [Image.fromarray(frame).quantize(64) for frame in frames]
    return saved(made[0], "GIF", save_all=True, append_images=made[1:], duration=durations, loop=0)


def _frames(count=3):
    return [np.roll(colours(), 9 * n, axis=1) for n in range(count)]


def matrix():
    """Name -> (content, number of instances)."""
    odd, wide = (slice(0, 47), slice(0, 63)), grey(levels=65536)
    palette = Image.fromarray(colours()).quantize(32)
    bits = grey() > 128
    one = {
        "grey8.png": saved(grey(), "PNG"),
        "grey16.png": saved(wide, "PNG"),
        "rgb.png": saved(colours(), "PNG", exif=exif()),
        "rgb16.png": png_16_bit_rgb(),
        "rgba.png": saved(rgba(), "PNG"),
        "la.png": saved(rgba().convert("LA"), "PNG"),
        "palette.png": saved(palette, "PNG"),
        "palette-trns.png": saved(palette, "PNG", transparency=3),
        "grey-trns.png": saved(grey(), "PNG", transparency=40),
        "bits.png": saved(bits, "PNG"),
        "odd-grey.png": saved(grey()[odd], "PNG"),
        "odd-rgb.png": saved(colours()[odd], "PNG"),
        "icc.png": saved(colours(), "PNG", icc_profile=srgb()),
        "grey.jpg": saved(grey(), "JPEG", exif=exif(), comment=SECRET),
        "420.jpg": saved(colours(), "JPEG", subsampling="4:2:0", exif=exif(), comment=SECRET),
        "422.jpg": saved(colours(), "JPEG", subsampling="4:2:2"),
        "444.jpg": saved(colours(), "JPEG", subsampling="4:4:4", icc_profile=srgb()),
        "odd-420.jpg": saved(colours()[odd], "JPEG", subsampling="4:2:0"),
        "restart.jpg": saved(colours(), "JPEG", restart_marker_blocks=3),
        "progressive.jpg": saved(colours(), "JPEG", progressive=True, exif=exif()),
        "cmyk.jpg": saved(Image.fromarray(colours()).convert("CMYK"), "JPEG"),
        "adobe-rgb.jpg": adobe_rgb(),
        "rotated.jpg": saved(colours(), "JPEG", exif=exif(6)),
        "mirrored-grey.jpg": saved(grey(), "JPEG", exif=exif(2)),
        "grey8.tif": saved(grey(), "TIFF", description=SECRET, artist=SECRET),
        "grey16.tif": saved(wide, "TIFF", compression="tiff_lzw"),
        "float.tif": saved((wide / 65535).astype(np.float32), "TIFF"),
        "signed32.tif": saved(wide.astype(np.int32) - 4000, "TIFF"),
        "g4.tif": saved(bits, "TIFF", compression="group4"),
        "jpeg.tif": saved(colours(), "TIFF", compression="jpeg"),
        "cmyk.tif": saved(Image.fromarray(colours()).convert("CMYK"), "TIFF"),
        "pages-rgb.tif": tiff(_frames()),
        "pages-grey.tif": tiff([grey()[odd], grey()[odd][::-1], grey()[odd]]),
        "pages-grey16.tif": tiff([wide, wide // 2]),
        "pages-bits.tif": tiff([bits[odd], ~bits[odd], bits[odd]], compression="group4"),
        "rgb.bmp": saved(colours(), "BMP"),
        "grey.bmp": saved(grey(), "BMP"),
        "bits.bmp": saved(bits, "BMP"),
        "palette.gif": saved(palette, "GIF"),
        "animated.gif": gif(_frames(), 80),
        "uneven.gif": gif(_frames(4), [50, 100, 50, 200]),
    }
    several = {"unequal.tif": (tiff([grey(), colours(), grey()[odd]]), 3)}
    return {name: (content, 1) for name, content in one.items()} | several
