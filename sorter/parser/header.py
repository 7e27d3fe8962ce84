"""Raw elements -> Header: one normaliser for all the ways in which real files write the same thing.

pydicom returns ``InstanceNumber`` as a number, text, a list or nothing, and a PatientID with a backslash as a
list. Here a value is text, a whole number or absent. Only character sets other than ASCII, Latin-1 and UTF-8
need pydicom, which is imported when the first of them is met.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache

from sorter.keywords import INDEXED_KEYWORDS, INTEGER_KEYWORDS
from sorter.model import Header, Reason
from sorter.parser.elements import Dataset, top_level

# PS3.6 section 6: tag and VR, so that a worker starts without pydicom's dictionary.
_KNOWN: dict[str, tuple[int, str]] = {
    "ImageType": (0x00080008, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "StudyDate": (0x00080020, "DA"),
    "SeriesDate": (0x00080021, "DA"),
    "AcquisitionDate": (0x00080022, "DA"),
    "ContentDate": (0x00080023, "DA"),
    "StudyTime": (0x00080030, "TM"),
    "SeriesTime": (0x00080031, "TM"),
    "AccessionNumber": (0x00080050, "SH"),
    "Modality": (0x00080060, "CS"),
    "Manufacturer": (0x00080070, "LO"),
    "InstitutionName": (0x00080080, "LO"),
    "ReferringPhysicianName": (0x00080090, "PN"),
    "StationName": (0x00081010, "SH"),
    "StudyDescription": (0x00081030, "LO"),
    "SeriesDescription": (0x0008103E, "LO"),
    "ManufacturerModelName": (0x00081090, "LO"),
    "PatientName": (0x00100010, "PN"),
    "PatientID": (0x00100020, "LO"),
    "IssuerOfPatientID": (0x00100021, "LO"),
    "PatientBirthDate": (0x00100030, "DA"),
    "PatientSex": (0x00100040, "CS"),
    "BodyPartExamined": (0x00180015, "CS"),
    "ProtocolName": (0x00181030, "LO"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "StudyID": (0x00200010, "SH"),
    "SeriesNumber": (0x00200011, "IS"),
    "AcquisitionNumber": (0x00200012, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
    "FrameOfReferenceUID": (0x00200052, "UI"),
    "Laterality": (0x00200060, "CS"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
}
_CHARACTER_SET = 0x00080005
# Those that pixels need beyond the Header: Timezone Offset From UTC, Planar Configuration, High Bit, Pixel
# Representation, Lossy Image Compression.
_OTHER_TAGS = frozenset((_CHARACTER_SET, 0x00080201, 0x00280006, 0x00280102, 0x00280103, 0x00282110))

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# Wider than PS3.5 9.1: archives hold UIDs with leading zeros, and with letters of hashes.
_UID = re.compile(r"[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)*")
_MEDIA_STORAGE_SOP_CLASS, _MEDIA_STORAGE_DIRECTORY = 0x00020002, b"1.2.840.10008.1.3.10"

_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "") | dict.fromkeys(b"\t\n\f\r", " ")
_NO_UID = dict.fromkeys((*_CONTROL, 0xA0), "\N{REPLACEMENT CHARACTER}")
_DATE = re.compile(r"([0-9]{4})([-./]?)([0-9]{2})\2([0-9]{2})")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*)?")
_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_CHARACTER_SET_VRS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_SINGLE_VALUED_VRS = frozenset(("LT", "ST", "UR", "UT"))
_TEXT_VRS = _CHARACTER_SET_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
_LATIN = frozenset((b"", b"ISO_IR 6", b"ISO 2022 IR 6", b"ISO_IR 100", b"ISO 2022 IR 100"))
_UTF8 = b"ISO_IR 192"
_MOST_CHARACTERS = 1024
_REMEMBERED = 256
# Two different long ones must stay different; the walk bounds them.
_WHOLE_TEXT = frozenset(("PatientID", "IssuerOfPatientID"))


def _tag_and_vr(keyword: str) -> tuple[int, str]:
    if keyword in _KNOWN:
        return _KNOWN[keyword]
    from pydicom.datadict import dictionary_VR, tag_for_keyword  # noqa: PLC0415 - rarely needed, slow to import

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is not a DICOM keyword")
    return int(tag), dictionary_VR(tag)[:2]


@lru_cache(maxsize=16)
def _fields(extra: frozenset[str]) -> tuple[tuple[str, int, str], ...]:
    """(keyword, tag, VR of PS3.6) of all that a Header holds."""
    fields = (
        (keyword, *_tag_and_vr(keyword)) for keyword in dict.fromkeys((*INDEXED_KEYWORDS, *sorted(extra)))
    )
    return tuple(entry for entry in fields if entry[2] in _TEXT_VRS or entry[2] in _BINARY)


def wanted_tags(extra: Iterable[str] = ()) -> frozenset[int]:
    """The tags that a Header with these extra keywords, and the reading of pixels, need.

    Raises
    ------
    ValueError
        Where a keyword is none of PS3.6.
    """
    return _wanted_tags(frozenset(extra))


@lru_cache(maxsize=16)
def _wanted_tags(extra: frozenset[str]) -> frozenset[int]:
    return _OTHER_TAGS.union(tag for _, tag, _ in _fields(extra))


def read_header(dataset: Dataset, extra: frozenset[str] = frozenset()) -> Header:
    """The normalised values of the indexed and the extra keywords; see :class:`sorter.model.Header`.

    ``dataset`` comes of a walk that was given ``wanted_tags(extra)``. Keywords whose values are sequences or
    binary are never there.
    """
    elements = dataset.elements
    character_set = elements.get(_CHARACTER_SET)
    charset = b"" if character_set is None else character_set.value
    order = ">" if dataset.big_endian else "<"
    values: dict[str, str | int] = {}
    for keyword, tag, vr in _fields(extra):
        element = elements.get(tag)
        if element is None or not (raw := element.value):
            continue
        read = _value if len(raw) <= _REMEMBERED else _value.__wrapped__
        value = read(keyword, vr, element.vr, raw, charset, order)
        if value is not None and value != "":
            values[keyword] = value
    return Header(values)


# The instances of a study share most of their values, and a look costs a fifth of reading one.
@lru_cache(maxsize=4096)
def _value(  # noqa: PLR0917 - by position: the cache takes keywords for another call
    keyword: str, vr: str, given: str, raw: bytes, charset: bytes, order: str
) -> str | int | None:
    """The normalised value of one element; nothing where it is missing, empty or unusable."""
    text = _text(raw, given, vr, charset, order)
    if keyword in INTEGER_KEYWORDS:
        return _whole_number(text)
    if vr == "DA":
        return _date(text)
    return text if keyword in _WHOLE_TEXT else text[:_MOST_CHARACTERS].rstrip()


def check_uids(header: Header) -> tuple[Reason, str] | None:
    """Why the dataset's UIDs cannot identify an instance, or ``None`` where they can.

    Each of SOP Class, SOP Instance, Study and Series Instance UID has 1 to 64 letters and digits in non-empty
    components. That is wider than PS3.5 9.1, and still safe as a file name.
    """
    for keyword in _UIDS:
        value = header.text(keyword)
        if not value:
            return Reason.MISSING_UID, f"{keyword} is missing or empty"
        if len(value) > 64 or not _UID.fullmatch(value):
            return Reason.INVALID_UID, f"{keyword} is no UID ({len(value)} characters)"
    return None


def is_dicomdir(dataset: Dataset) -> bool:
    """Whether it is a DICOMDIR (PS3.3 F): by its Media Storage SOP Class, or group 0004 at its start."""
    media = dataset.meta.get(_MEDIA_STORAGE_SOP_CLASS)
    if media is not None and media.value.rstrip(b"\0 ") == _MEDIA_STORAGE_DIRECTORY:
        return True
    return next(top_level(dataset))[0] >> 16 == 0x0004


def _text(raw: bytes, given: str, vr: str, charset: bytes, order: str) -> str:
    """The value as clean text; empty where it has none. ``given`` is the VR of the file, ``vr`` of PS3.6."""
    if given in _TEXT_VRS or given in _BINARY:
        vr = given
    elif given not in ("", "UN") or raw.startswith((b"\xfe\xff\0\xe0", b"\xff\xfe\xe0\0")):
        return ""  # a sequence, or binary
    if vr in _BINARY:
        return _numbers(raw, _BINARY[vr], order)
    text = _decoded(raw, charset if vr in _CHARACTER_SET_VRS else b"", vr == "PN")
    if vr == "UI":
        # A control character within makes it no UID; taking it out would hide that.
        return text.strip("\0 ").translate(_NO_UID)
    return _clean(text, vr)


def _numbers(raw: bytes, code: str, order: str) -> str:
    size = struct.calcsize(order + code)
    count = len(raw) // size
    return "\\".join(map(str, struct.unpack(f"{order}{count}{code}", raw[: count * size])))


def _decoded(raw: bytes, charset: bytes, is_name: bool) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")  # as every character set of PS3.3 C.12.1.1.2 reads it
    sets = [name.strip(b" \0") for name in charset.split(b"\\")]
    if sets == [_UTF8]:
        return raw.decode("utf-8", "replace")
    if _LATIN.issuperset(sets):
        return raw.decode("latin-1")
    return _decoder(tuple(sets))(raw, is_name)


@lru_cache(maxsize=64)
def _decoder(sets: tuple[bytes, ...]) -> Callable[[bytes, bool], str]:
    """The decoder of a Specific Character Set (PS3.5 6.1.2), by pydicom."""
    from pydicom.charset import convert_encodings, decode_bytes  # noqa: PLC0415 - rarely needed, slow to import

    encodings = convert_encodings([name.decode("ascii", "replace") for name in sets])

    def decode(raw: bytes, is_name: bool) -> str:
        # Characters that reset code extensions: PS3.5 6.1.2.5.3.
        return decode_bytes(raw, encodings, set(b"^=\\" if is_name else b"\t\n\f\r\\"))

    return decode


def _clean(text: str, vr: str) -> str:
    """Text without control characters and padding, NFC, and always encodable as UTF-8."""
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", text.translate(_CONTROL)).encode("utf-8", "replace").decode()
    if vr == "PN":
        return "\\".join(_name(name) for name in text.split("\\")).strip("\\")
    if vr in _SINGLE_VALUED_VRS or "\\" not in text:
        return text.strip()
    values = [value.strip() for value in text.split("\\")]
    return "\\".join(values) if any(values) else ""


def _name(name: str) -> str:
    """A person name without empty trailing components and groups (PS3.5 6.2.1)."""
    groups = [group.strip().rstrip("^ ") for group in name.split("=")]
    return "=".join(groups).rstrip("=")


def _whole_number(text: str) -> int | None:
    """The first of the values, where it is a whole number."""
    first = text.partition("\\")[0].strip()
    return int(first.partition(".")[0]) if _WHOLE.fullmatch(first) else None


def _date(text: str) -> str | None:
    """``YYYYMMDD`` of the first of the values, where that is a day of the calendar."""
    found = _DATE.fullmatch(text.partition("\\")[0].strip())
    if found is None:
        return None
    year, _, month, day = found.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return None
    return year + month + day
