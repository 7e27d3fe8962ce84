"""The template language: text to the components of a path, each a row of small compiled functions; pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from sorter.keywords import INDEXED_KEYWORDS, INTEGER_KEYWORDS
from sorter.model import Header
from sorter.organizer.names import MAX_BYTES, component, cut, description, identifier, unsafe_characters

MISSING = "NA"
SUFFIX = ".dcm"

FIELD = re.compile(r"\{([^{}]*)\}")
# Where a component is too long, its texts (never its UIDs) are cut to the first of these that makes it fit.
_WIDTHS = (96, 48, 24, 12)
_NUMBER_FORMAT = re.compile(r"0([1-9]|1[0-9])")
# Only what no locale changes: a study must not split when the daemon starts in another language.
_DATE_DIRECTIVE = re.compile(r"%[YymdjGVuUWw]")
_DATE = re.compile(r"[0-9]{8}")
_NUMBER = re.compile(r"-?[0-9]+")

_NUMBER_VRS = frozenset(("IS", "US", "UL", "UV", "SS", "SL", "SV"))
_TEXT_VRS = frozenset(("LT", "ST", "UC", "UT"))
# Sequences and bulk data (PS3.5 section 6.2) have no text to name a file by.
_NAMELESS_VR = re.compile(r"SQ|UN|O[BDFLVW]")

_Read = Callable[[Header], str]


class TemplateError(ValueError):
    """The template cannot be used: says which part, why, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One keyword of a field.

    Parameters
    ----------
    source
        The header's value as it is; of StudyDate the nearest date there is.
    read
        The clean and formatted text; empty where there is none.
    """

    keyword: str
    source: _Read
    read: _Read


@dataclass(frozen=True, slots=True)
class Piece:
    """A field of a component: the first alternative with a text, else ``default``.

    A literal has the default only. ``elastic`` where it may be cut to make the component fit.
    """

    text: str
    default: str
    alternatives: tuple[Alternative, ...] = ()
    elastic: bool = False

    @property
    def keywords(self) -> tuple[str, ...]:
        """The DICOM keywords it reads."""
        return tuple(one.keyword for one in self.alternatives)

    def choose(self, header: Header) -> tuple[Alternative | None, str]:
        """The alternative that is used, ``None`` for the default, and its text."""
        for one in self.alternatives:
            if text := one.read(header):
                return one, text
        return None, self.default


@dataclass(frozen=True, slots=True)
class Component:
    """One folder or the file name, without its suffix."""

    text: str
    pieces: tuple[Piece, ...]

    @property
    def keywords(self) -> frozenset[str]:
        """The DICOM keywords it reads."""
        return frozenset(keyword for piece in self.pieces for keyword in piece.keywords)

    def render(self, header: Header, size: int = MAX_BYTES) -> str:
        """One safe component of at most ``size`` bytes."""
        return self.fit(self.texts(header), size)

    def texts(self, header: Header) -> list[str]:
        """The text of each piece."""
        return [piece.choose(header)[1] for piece in self.pieces]

    def fit(self, texts: list[str], size: int) -> str:
        """The joined texts as one safe component of at most ``size`` bytes."""
        joined = "".join(texts)
        if len(joined) * 4 > size and len(joined.encode()) > size:
            for width in _WIDTHS:
                fitting = zip(self.pieces, texts, strict=True)
                joined = "".join([cut(text, width) if piece.elastic else text for piece, text in fitting])
                if len(joined.encode()) <= size:
                    break
        return component(joined, size)


def parse(template: str) -> list[Component]:
    """Read a template: its folders, then the file name without ``.dcm``.

    Raises
    ------
    TemplateError
        If it cannot be used.
    """
    for content in FIELD.findall(template):
        if "/" in content:
            raise TemplateError(f"{{{content}}}: no / within braces; write one field for each folder")
    if match := re.search(r"[{}]", FIELD.sub("", template)):
        raise TemplateError(f"{template!r}: a {match[0]} without its counterpart; a field is {{Keyword}}")
    *folders, leaf = template.split("/")
    if folders and not folders[0]:
        raise TemplateError(f"{template!r} begins with /, but paths are relative to the archive")
    if not leaf.endswith(SUFFIX) or leaf == SUFFIX:
        raise TemplateError(f"{template!r}: the last part is the file name and must end in {SUFFIX}")
    return [_component(text) for text in (*folders, leaf.removesuffix(SUFFIX))]


def _component(text: str) -> Component:
    if text in ("", ".", ".."):
        raise TemplateError(f"{text!r} is no name: a template has no empty part, no . and no ..")
    literals = FIELD.sub("x", text)
    if literals[0] in ".- " or literals[-1] in ". ":
        raise TemplateError(
            f"{text!r}: a name may not begin with a dot, dash or blank, nor end with a dot or blank"
        )
    # Splitting by a group yields the literals at even places and the contents of the fields at odd ones.
    parts = enumerate(FIELD.split(text))
    return Component(
        text, tuple(_field(part) if n % 2 else _literal(part) for n, part in parts if part or n % 2)
    )


def _literal(text: str) -> Piece:
    _require_safe(text)
    return Piece(text, text)


def _require_safe(text: str) -> None:
    if unsafe := unsafe_characters(text):
        raise TemplateError(f"{text!r}: {unsafe[0]!r} may not stand in a file name")


def _field(content: str) -> Piece:
    """Compile ``A``, ``A:format`` or ``A|B|literal``: the first that has a value."""
    alternatives = content.split("|")
    default = MISSING
    if len(alternatives) > 1 and _is_literal(alternatives[-1]):
        default = alternatives.pop()
        _require_safe(default)
        if default != default.strip():
            raise TemplateError(f"{{{content}}}: a blank at an end of {default!r}")
    parts = [alternative.partition(":") for alternative in alternatives]
    return Piece(
        f"{{{content}}}",
        default,
        tuple(_alternative(keyword, form if colon else None) for keyword, colon, form in parts),
        elastic=any(_vr(keyword) != "UI" for keyword, _, _ in parts),
    )


def _is_literal(text: str) -> bool:
    """Whether a last alternative is text: neither a keyword nor what looks like a misspelt one."""
    if text in INDEXED_KEYWORDS:  # as in the presets, which are read without pydicom
        return False
    return bool(text) and ":" not in text and not _nearest(text, 0.8)


def _nearest(keyword: str, cutoff: float) -> list[str]:
    from pydicom.datadict import keyword_dict  # noqa: PLC0415 - costs 0.2 s that presets need not pay

    return difflib.get_close_matches(keyword, [known for known in keyword_dict if known], 1, cutoff)


@lru_cache(maxsize=256)
def _vr(keyword: str) -> str:
    """The VR of a keyword (PS3.6); of the indexed ones only whether it is a date, a number or a UID."""
    if keyword in INDEXED_KEYWORDS:
        if keyword in INTEGER_KEYWORDS:
            return "IS"
        return "DA" if keyword.endswith("Date") else "UI" if keyword.endswith("UID") else "LO"
    from pydicom.datadict import dictionary_VR, tag_for_keyword  # noqa: PLC0415 - as above

    tag = tag_for_keyword(keyword) if keyword else None
    if tag is None:
        hint = "".join(f"; did you mean {{{near}}}?" for near in _nearest(keyword, 0.6))
        raise TemplateError(f"{{{keyword}}} is no DICOM keyword{hint}")
    vr = dictionary_VR(tag)
    if tag < 0x00080000 or _NAMELESS_VR.search(vr):
        raise TemplateError(f"{{{keyword}}} has no text in a dataset (VR {vr}) to name a file by")
    return vr


def _alternative(keyword: str, form: str | None) -> Alternative:
    """Compile one alternative of a field."""
    vr = _vr(keyword)
    if keyword == "StudyDate":

        def text(header: Header) -> str:
            return header.study_date
    else:

        def text(header: Header) -> str:
            return header.text(keyword)

    return Alternative(keyword, text, _formatted(keyword, vr, text, form))


def _formatted(keyword: str, vr: str, text: _Read, form: str | None) -> _Read:
    if form is None:
        clean = description if _is_descriptive(keyword, vr) else identifier
        return lambda header: clean(text(header))
    if vr == "DA":
        _require_date_format(keyword, form)
        return lambda header: _dated(text(header), form)
    if vr in _NUMBER_VRS:
        if not (width := _NUMBER_FORMAT.fullmatch(form)):
            raise TemplateError(
                f"{{{keyword}:{form}}}: the width of a whole number is written 05 (01 to 019)"
            )
        return lambda header: _padded(text(header), int(width[1]))
    raise TemplateError(f"{{{keyword}:{form}}}: {keyword} is neither a date nor a whole number (VR {vr})")


def _is_descriptive(keyword: str, vr: str) -> bool:
    """Whether the text was written for reading; all else identifies, and keeps its case."""
    return keyword.endswith("Description") or keyword == "ProtocolName" or vr in _TEXT_VRS


def _require_date_format(keyword: str, form: str) -> None:
    rest = _DATE_DIRECTIVE.sub("", form)
    if rest == form or "%" in rest or unsafe_characters(rest):
        raise TemplateError(
            f"{{{keyword}:{form}}}: a date's format has %Y %y %m %d %j %G %V %u %U %W %w "
            "and characters that may stand in a name"
        )


@lru_cache(maxsize=1024)
def _dated(text: str, form: str) -> str:
    """The date in the template's format; empty where ``text`` is no date."""
    if not _DATE.fullmatch(text):
        return ""
    try:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:  # 20230231: there is no such day
        return ""
    return component(day.strftime(form))


def _padded(text: str, width: int) -> str:
    return text.zfill(width) if _NUMBER.fullmatch(text) else identifier(text)
