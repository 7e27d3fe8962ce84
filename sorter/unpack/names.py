"""The names that members have for people and in the ledger; nothing is ever written under them. Pure."""

from __future__ import annotations

import hashlib

# As long as a file system takes them; an index of PostgreSQL takes no path above 2,704 bytes.
MOST_COMPONENT = 255
MOST_PATH = 1024
_LONGEST_ENDING = 16


def safe(name: str, most: int = MOST_PATH) -> str:
    """A member's name as a path below its archive, with nothing in it that leads elsewhere.

    A component of more than :data:`MOST_COMPONENT` bytes keeps its beginning and its ending; a path of more
    than ``most`` bytes its first folders and its last name. Where something is cut, ``~`` and a hash stand.
    """
    parts = name.replace("\\", "/").replace("\0", "").split("/")
    path = "/".join(map(_component, (part for part in parts if part not in ("", ".", ".."))))
    if len(_encoded(path)) <= most:
        return path or "unnamed"
    folders, _, leaf = path.rpartition("/")
    mark = _mark(folders)
    kept = _beginning(folders, most - len(_encoded(leaf)) - len(mark) - 2)
    return f"{kept.rpartition('/')[0]}/{mark}/{leaf}".lstrip("/")


class Names:
    """The names that are taken in one archive."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}  # how often each was asked for: the last number it got

    def unique(self, path: str) -> str:
        """The path, or with ``#2`` and so on: members may share a name, and each is a source of its own."""
        number = self._given.get(path, 0) + 1
        while (one := path if number == 1 else f"{path}#{number}") in self._given:
            number += 1
        self._given[path] = number
        self._given.setdefault(one, 1)
        return one


def _component(part: str) -> str:
    if len(_encoded(part)) <= MOST_COMPONENT:
        return part
    dot, ending = part.rpartition(".")[1:]
    ending = f".{ending}" if dot and len(_encoded(ending)) < _LONGEST_ENDING else ""
    mark = _mark(part)
    return f"{_beginning(part, MOST_COMPONENT - len(mark) - len(_encoded(ending)))}{mark}{ending}"


def _mark(text: str) -> str:
    return f"~{hashlib.sha256(_encoded(text)).hexdigest()[:12]}"


def _encoded(text: str) -> bytes:
    # What is no UTF-8 in a tar is a lone surrogate here, which the index keeps as three bytes too.
    return text.encode(errors="surrogatepass")


def _beginning(text: str, size: int) -> str:
    """The longest beginning of at most so many bytes."""
    data = _encoded(text)
    while size < len(data) and data[size] & 0xC0 == 0x80:  # within a character
        size -= 1
    return data[:size].decode(errors="surrogatepass")
