"""Any text to one safe file name component; pure.

A component survives ext4, NTFS, SMB and macOS: no separator, no ``.`` or ``..``, not hidden, no option-like
dash, no control, bidi or invisible character, no lone surrogate, nothing reserved on Windows
(https://learn.microsoft.com/windows/win32/fileio/naming-a-file), no trailing dot or blank, NFC, and at most
255 bytes of UTF-8.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

MAX_BYTES = 255

# Longer text cannot reach a name; cutting first bounds the work on a hostile header.
_MAX_CHARACTERS = 1024
_SEPARATORS = frozenset('/\\<>:"|?*')
# Invisible, yet letters or marks by category: fillers, variation selectors, the grapheme joiner
# (Default_Ignorable_Code_Point in https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt).
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9._^+=@-]*")
_BLANKS = re.compile(r"_* [_ ]*")
_LEADING = re.compile(r"[.\- ][.\-_ ]*")
_RESERVED = r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$) *(?:\.|$)"
_RESERVED_NAME = re.compile(_RESERVED, re.IGNORECASE)
_PLAIN_COMPONENT = re.compile(rf"(?!{_RESERVED})[a-z0-9_][a-z0-9._^+=@-]*(?<!\.)", re.IGNORECASE | re.ASCII)


def _character(character: str) -> str:
    """The character where it is safe, a blank in place of an unsafe one, nothing for an invisible one."""
    if character in _SEPARATORS:
        return " "
    if character in _INVISIBLE:
        return ""
    category = unicodedata.category(character)
    if category == "Cf":  # bidi controls, zero-width characters, tags
        return ""
    # Private use too: SMB clients map reserved characters there. Unassigned: NFC may come to change it.
    return " " if category[0] in "CZ" else character


@lru_cache(maxsize=4096)
def _cleaned(text: str, lower: bool) -> str:
    text = unicodedata.normalize("NFC", text[:_MAX_CHARACTERS])
    if lower:
        text = unicodedata.normalize("NFC", text.lower())
    return _BLANKS.sub("_", "".join(map(_character, text)).strip(" "))


def identifier(text: str) -> str:
    """Clean text that keeps its case; empty where nothing readable is left."""
    return text if _PLAIN_TEXT.fullmatch(text) else _cleaned(text, False)


def description(text: str) -> str:
    """Clean text in lower case; empty where nothing readable is left."""
    return _cleaned(text, True)


def cut(text: str, size: int) -> str:
    """The longest beginning of ``text`` that has at most ``size`` bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def component(text: str, size: int = MAX_BYTES) -> str:
    """Make joined clean texts one safe component of at most ``size`` bytes.

    ``text`` holds only characters that :func:`identifier` and :func:`description` let pass, and inner
    blanks; what is unsafe by its place is repaired here: the ends, reserved names, NFC and length.
    """
    if len(text) <= size and _PLAIN_COMPONENT.fullmatch(text):
        return text
    text = unicodedata.normalize("NFC", text)
    if leading := _LEADING.match(text):
        text = f"_{text[leading.end() :]}"
    text = text.rstrip(". ")
    if _RESERVED_NAME.match(text):
        text = f"_{text}"
    return cut(text, size).rstrip(". ")


def unsafe_characters(text: str) -> str:
    """The characters of a template's literal that may not stand in a name, blanks apart."""
    return "".join(c for c in text if c != " " and _character(c) != c)


@lru_cache(maxsize=4096)
def path_key(path: str) -> int:
    """Signed 64-bit number of a path, equal where a file system may not tell two paths apart.

    Compares as case-insensitive and normalising file systems do: NFC of the case folding (Unicode D145);
    upper case first, since some map dotless i and long s by their capitals. Two paths that get one number
    by chance (2**-64) are merely treated as equal.
    """
    if path.isascii():
        folded = path.lower()
    else:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).upper().casefold())
    digest = hashlib.blake2b(folded.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
