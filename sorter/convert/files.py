"""Files to convert: which they are, and where what they become goes."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sorter.convert.errors import ConversionError
from sorter.convert.naming import stem
from sorter.convert.recognise import Format, recognise

# Enough for every format's mark, and for the first header of what lies in gzip.
_HEAD = 4096


def form(path: Path) -> Format | None:
    """What a file is by its content; inside gzip, of what is inflated.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    size = path.stat().st_size
    found = recognise(head, size)
    if found is not Format.GZIP:
        return found
    with contextlib.suppress(zlib.error):  # damaged: then it is nothing that can be converted
        return recognise(zlib.decompressobj(31).decompress(head, _HEAD), size)
    return None


def sources(paths: Sequence[Path], wanted: frozenset[Format]) -> Iterator[tuple[Path, str]]:
    """(file, its name below the output folder, without ending) of all that there is to convert.

    Files are taken as they are named, of a pair the header; folders are walked in order of names, for what
    has a wanted form. Hidden files and links to folders are passed over.
    """
    for path in paths:
        if not path.is_dir():
            yield _header(path), stem(path.name)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(folder, name)
                if not name.startswith(".") and file.is_file() and _is_wanted(file, wanted):
                    yield file, str(file.relative_to(path).with_name(stem(file.name)))


def _is_wanted(file: Path, wanted: frozenset[Format]) -> bool:
    try:
        return form(file) in wanted
    except OSError:
        return True  # why it cannot be read is then its outcome


def _header(path: Path) -> Path:
    """Of the voxels of a pair the header, which says what they are."""
    beside = path.with_name(f"{stem(path.name)}.hdr")
    return beside if path.name.lower().endswith((".img", ".img.gz")) and beside.is_file() else path


def named(found: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """The same with names that differ: ``a.png`` and ``a.jpg`` keep their endings."""
    stems = Counter(name for _, name in found)
    taken: set[str] = set()
    result = []
    for path, name in found:
        unique = name if stems[name] == 1 else str(Path(name).with_name(path.name))
        plain, count = unique, 1
        while unique in taken:
            count += 1
            unique = f"{plain}-{count}"
        taken.add(unique)
        result.append((path, unique))
    return result


def place(path: Path, content: bytes) -> None:
    """Write a new file, whole or not at all; what lies there already stays.

    Raises
    ------
    ConversionError
        Another file has the name. The same bytes under it are fine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.link(temporary, path)
    except FileExistsError:
        if not path.is_file() or path.read_bytes() != content:
            raise ConversionError(
                "another file has the name of what it becomes; nothing is overwritten"
            ) from None
    finally:
        os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
