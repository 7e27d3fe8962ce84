"""The frames of one dataset: what it declares of them, and their pixels, encapsulated or native."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from sorter.model import Pixels
from sorter.parser.codecs import SYNTAXES, Family, Frame, frame
from sorter.parser.codestream import Undecodable
from sorter.parser.elements import Dataset, top_level
from sorter.parser.encapsulation import group_frames, release
from sorter.parser.grammar import Place
from sorter.parser.pixelmodule import Pixel, PixelModule

PHOTOMETRIC, PLANAR, PIXEL_DATA, ICON = 0x00280004, 0x00280006, 0x7FE00010, 0x00880200
LOSSY, LOSSY_RATIO, LOSSY_METHOD = 0x00282110, 0x00282112, 0x00282114
EXTENDED_OFFSETS = 0x7FE00001
_INTERPRETED = frozenset(
    (0x00280002, PHOTOMETRIC, PLANAR, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101,
     0x00280103, LOSSY, LOSSY_RATIO, LOSSY_METHOD, ICON, EXTENDED_OFFSETS, PIXEL_DATA)
)  # fmt: skip


class Kept(Exception):  # noqa: N818 - a verdict about one source, not a program error
    """The pixel data stay as they came; ``state`` is one of ``KEPT_*``, ``note`` says why, without values."""

    def __init__(self, state: Pixels, note: str) -> None:
        super().__init__(note)
        self.state = state
        self.note = note


def undecodable(note: str) -> Kept:
    """The verdict that pixel data cannot be decoded without loss or doubt."""
    return Kept(Pixels.KEPT_UNDECODABLE, note)


def find_places(dataset: Dataset) -> dict[int, Place]:
    """Where the top-level elements are that describe the pixels.

    Raises
    ------
    Kept
        One of them occurs twice.
    """
    places: dict[int, Place] = {}
    for place in top_level(dataset):
        if place[0] in _INTERPRETED:
            if place[0] in places:
                raise undecodable("an element that describes the pixels occurs twice")
            places[place[0]] = place
    return places


def read_module(dataset: Dataset, places: Mapping[int, Place]) -> PixelModule:
    """The dataset's Image Pixel module.

    Raises
    ------
    Kept
        It is incomplete, unusual or contradicts itself.
    """
    data, short = dataset.data, ">H" if dataset.big_endian else "<H"

    def text(tag: int) -> str:
        if tag not in places:
            return ""
        return data[places[tag][3] : places[tag][4]].decode("ascii", "replace").strip("\0 ")

    def number(tag: int, default: int = 0) -> int:
        if tag not in places or places[tag][4] - places[tag][3] != 2:
            return default
        return int(struct.unpack_from(short, data, places[tag][3])[0])

    count = text(0x00280008) or "1"
    return checked(
        PixelModule(
            rows=number(0x00280010),
            columns=number(0x00280011),
            samples=number(0x00280002),
            photometric=text(PHOTOMETRIC),
            planar=number(PLANAR),
            allocated=number(0x00280100),
            stored=number(0x00280101),
            signed=bool(number(0x00280103)),
            frames=int(count) if count.isdecimal() and count.isascii() else 0,
        )
    )


def checked(module: PixelModule) -> PixelModule:
    """``module``, if its values make sense together; raises Kept where they do not."""
    plausible = module.rows and module.columns and module.frames and module.samples in (1, 3)
    if not plausible or module.allocated not in (1, 8, 16, 32, 64):
        raise undecodable("the Image Pixel module is incomplete or unusual")
    if not 0 < module.stored <= module.allocated or (module.allocated == 1 and module.signed):
        raise undecodable("Bits Allocated, Bits Stored and Pixel Representation contradict each other")
    return module


class Encoded:
    """The encoded frames of one dataset, each compared with what the dataset declares.

    Raises
    ------
    Kept
        KEPT_UNDECODABLE, from the constructor and while iterating; KEPT_DECODER_CRASHED where a decoder ran
        out of memory.
    """

    def __init__(self, dataset: Dataset) -> None:
        assert dataset.pixel_data is not None
        self.data = dataset.data
        self.family = SYNTAXES[dataset.transfer_syntax_uid]
        self.places = find_places(dataset)
        self.module = read_module(dataset, self.places)
        try:
            self.spans = group_frames(
                dataset.data,
                dataset.pixel_data.items,
                self.module.frames,
                extended=self._extended_offsets(),
                single=self.family in (Family.RLE, Family.DEFLATE),
            )
        except Undecodable as trouble:
            raise undecodable(str(trouble)) from None
        self.length = sum(length for spans in self.spans for _, length in spans)

    def _extended_offsets(self) -> Sequence[int]:
        if EXTENDED_OFFSETS not in self.places:
            return ()
        _, _, _, value, end = self.places[EXTENDED_OFFSETS]
        return struct.unpack_from(f"<{(end - value) // 8}Q", self.data, value)

    def __iter__(self) -> Iterator[Frame]:
        for spans in self.spans:
            yield joined(
                [self.data[offset : offset + length] for offset, length in spans], self.family, self.module
            )
            for offset, length in spans:
                release(self.data, offset, length)

    def survey(self) -> tuple[str, bool]:
        """(Photometric Interpretation of the decoded frames, whether any is known to be lossy)."""
        photometrics, lossy = set(), False
        for one in self:
            photometrics.add(one.photometric)
            lossy = lossy or one.lossy
        if len(photometrics) != 1:
            raise undecodable("the frames differ in colour space")
        return photometrics.pop(), lossy

    def pixels(self) -> Iterator[Pixel]:
        """Every frame decoded: arrays of the module's shape and type, samples interleaved."""
        for one in self:
            yield decode(one)


def joined(fragments: Sequence[bytes], family: Family, module: PixelModule) -> Frame:
    """The frame that some fragments make, compared with the dataset (raises Kept)."""
    try:
        return frame(b"".join(fragments) if len(fragments) > 1 else fragments[0], family, module)
    except Undecodable as trouble:
        raise undecodable(str(trouble)) from None


def decode(one: Frame) -> Pixel:
    """One frame's pixels; whatever a decoder raises is a verdict about the frame (raises Kept)."""
    try:
        return one.decode()
    except Undecodable as trouble:
        raise undecodable(str(trouble)) from None
    except MemoryError:
        raise Kept(Pixels.KEPT_DECODER_CRASHED, "the decoder ran out of memory") from None
    except Exception as error:  # noqa: BLE001 - decoders document no exceptions
        raise undecodable(f"the decoder raised {type(error).__name__}") from None


def native_bytes(arrays: Iterable[Pixel], allocated: int) -> Iterator[bytes | memoryview]:
    """Frames as they lie in native pixel data; cells of one bit run on across frames (PS3.5 8.1.1)."""
    if allocated > 1:
        for array in arrays:
            yield np.ascontiguousarray(array).reshape(-1).view("u1").data
        return
    rest = np.zeros(0, "u1")
    for array in arrays:
        bits = np.concatenate((rest, array.reshape(-1)))
        whole = len(bits) & ~7
        yield np.packbits(bits[:whole], bitorder="little").data
        rest = bits[whole:]
    yield np.packbits(rest, bitorder="little").data


def native_arrays(value: memoryview, module: PixelModule, uid: str, vr: str) -> Iterator[Pixel]:
    """Native frames through pydicom, as they are stored: unused bits and colour space are left alone."""
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - whoever decodes needs no pydicom

    frames = get_decoder(uid).iter_array(
        value,
        raw=True,
        correct_unused_bits=False,
        allow_excess_frames=False,
        pixel_keyword="PixelData",
        pixel_vr=vr,
        rows=module.rows,
        columns=module.columns,
        samples_per_pixel=module.samples,
        photometric_interpretation=module.photometric,
        planar_configuration=module.planar,
        bits_allocated=module.allocated,
        bits_stored=module.stored,
        pixel_representation=int(module.signed),
        number_of_frames=module.frames,
    )
    for array, _ in frames:
        yield array
