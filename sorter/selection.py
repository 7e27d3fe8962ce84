"""What a person means by UID, PATH or QUERY -> the instances, in order.

The archive is asked by its index, which is opened for reading only; files and folders need no archive at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sorter.errors import ConfigError
from sorter.keywords import INDEXED_KEYWORDS
from sorter.model import Header, Reason

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.index import Index

_UID = re.compile(r"[0-9]+(?:\.[0-9A-Za-z]+)+")
_CRITERION = re.compile(r"\w+=.*", re.DOTALL)
# From the most instances to the fewest: no two levels share a UID.
_UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LAST = 1 << 63  # what has no number stands behind what has one


@dataclass(frozen=True, slots=True)
class Chosen:
    """One instance: where it lies, and what its header says (:data:`sorter.keywords.INDEXED_KEYWORDS`)."""

    path: Path
    header: Header


@dataclass(frozen=True, slots=True)
class Series:
    """The chosen instances of one series, in the order of their instance numbers."""

    uid: str
    instances: tuple[Chosen, ...]

    @property
    def header(self) -> Header:
        """The header of the first instance, for what all of the series share."""
        return self.instances[0].header

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(one.path for one in self.instances)


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for.

    Parameters
    ----------
    series
        By patient, date, study and series number.
    other
        Files that are not DICOM; those found in a folder as well as those named.
    refused
        Files that are DICOM and cannot be used, and why, without patient data.
    nothing
        The words that gave nothing at all.
    """

    series: tuple[Series, ...] = ()
    other: tuple[Path, ...] = ()
    refused: tuple[tuple[Path, str], ...] = ()
    nothing: tuple[str, ...] = ()

    @property
    def instances(self) -> tuple[Chosen, ...]:
        """All instances, in order."""
        return tuple(one for series in self.series for one in series.instances)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of all instances, in order."""
        return tuple(one.path for one in self.instances)


class _Found:
    """What the words gave so far; a file counts once, however often it is named."""

    def __init__(self) -> None:
        self.chosen: dict[Path, Header] = {}
        self.other: dict[Path, None] = {}
        self.refused: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self.chosen) + len(self.other) + len(self.refused)


def select(config: Config, words: Sequence[str]) -> Selection:
    """The instances that the words mean, together.

    Parameters
    ----------
    config
        Names the archive and its index, for UIDs and queries.
    words
        Each a file or folder (which wins, where it exists), a UID of a study, series or instance in the
        archive, or ``Keyword=value`` as for ``sorter find``. All criteria together are one query. Hidden
        files and folders below a named folder are passed over, and so are symlinks.

    Raises
    ------
    ConfigError
        A word is none of these, or a keyword is not indexed.
    IndexUnusableError
        The archive is asked, and its index cannot be opened.
    """
    found, nothing = _Found(), []
    paths = [word for word in words if os.path.lexists(word)]
    criteria: dict[str, str] = {}
    uids = []
    for number, word in enumerate(words, 1):
        if os.path.lexists(word):
            continue
        if _UID.fullmatch(word):
            uids.append(word)
        elif _CRITERION.fullmatch(word):
            keyword, _, value = word.partition("=")
            criteria[keyword] = value
        else:
            raise ConfigError(
                f"argument {number} is no file or folder that is there, no UID, and not KEYWORD=VALUE"
            )
    for word in paths:
        before = len(found)
        _take_path(Path(word), found)
        nothing += [word] if len(found) == before and Path(word).is_dir() else []
    if uids or criteria:
        nothing += _ask(config, uids, criteria, found)
    return Selection(
        _in_order(found.chosen), tuple(found.other), tuple(found.refused.items()), tuple(nothing)
    )


def read_file(path: Path) -> Header | None:
    """The header of one file, proved whole; ``None`` where the file is not DICOM, or is a DICOMDIR.

    Raises
    ------
    Unparsable
        It is DICOM and cannot be used.
    OSError
        It cannot be read.
    """
    from sorter.parser.elements import Unparsable, walk  # noqa: PLC0415 - only for files, not for the archive
    from sorter.parser.header import is_dicomdir, read_header, wanted_tags  # noqa: PLC0415

    try:
        dataset = walk(path.read_bytes(), wanted_tags())
    except Unparsable as error:
        if error.reason is Reason.NOT_DICOM:
            return None
        raise
    return None if is_dicomdir(dataset) else read_header(dataset)


def _take_path(path: Path, found: _Found) -> None:
    from sorter.parser.elements import Unparsable  # noqa: PLC0415 - see read_file

    for file in _files(path) if path.is_dir() else [path]:
        absolute = Path(os.path.abspath(file))
        if absolute.exists() and not absolute.is_file():  # a FIFO would be waited for
            found.refused[absolute] = f"{Reason.NOT_REGULAR}: not a file"
            continue
        try:
            header = read_file(absolute)
        except Unparsable as error:
            found.refused[absolute] = f"{error.reason}: {error.detail}"
        except OSError as error:
            found.refused[absolute] = f"{Reason.UNREADABLE}: {os.strerror(error.errno or 0)}"
        else:
            if header is None:
                found.other[absolute] = None
            else:
                found.chosen[absolute] = header


def _files(folder: Path) -> Iterator[Path]:
    """The regular files below a folder, in the order of their names."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(here, name)
            if not name.startswith(".") and file.is_file() and not file.is_symlink():
                yield file


def _ask(config: Config, uids: Iterable[str], criteria: Mapping[str, str], found: _Found) -> list[str]:
    """Look UIDs and criteria up in the index; returns what gave nothing."""
    from sorter.index import Index  # noqa: PLC0415 - SQLAlchemy

    nothing: list[str] = []
    index = Index.open(config.index_location, read_only=True)
    try:
        nothing += (
            uid
            for uid in uids
            if not any(_take_rows(config, index, {keyword: uid}, found) for keyword in _UID_KEYWORDS)
        )
        if criteria and not _take_rows(config, index, criteria, found):
            nothing += [f"{keyword}={value}" for keyword, value in criteria.items()]
    finally:
        index.close()
    return nothing


def _take_rows(config: Config, index: Index, criteria: Mapping[str, str], found: _Found) -> int:
    count = 0
    for row in index.find(criteria, level="instance"):
        found.chosen[config.archive / row["path"]] = _row_header(row)
        count += 1
    return count


def _row_header(row: Mapping[str, Any]) -> Header:
    from sorter.index.schema import column_name  # noqa: PLC0415 - SQLAlchemy

    named = ((keyword, row.get(column_name(keyword))) for keyword in INDEXED_KEYWORDS)
    return Header({keyword: value for keyword, value in named if value is not None and value != ""})


def _in_order(chosen: Mapping[Path, Header]) -> tuple[Series, ...]:
    instances = sorted((Chosen(path, header) for path, header in chosen.items()), key=_order)
    return tuple(
        Series(uid, tuple(group))
        for (_, uid), group in groupby(
            instances, lambda one: tuple(one.header.text(keyword) for keyword in _UID_KEYWORDS[:2])
        )
    )


def _order(one: Chosen) -> tuple[object, ...]:
    header = one.header
    return (
        *header.patient,
        header.study_date,
        header.text("StudyInstanceUID"),
        _number(header, "SeriesNumber"),
        header.text("SeriesInstanceUID"),
        _number(header, "InstanceNumber"),
        header.text("SOPInstanceUID"),
        str(one.path),
    )


def _number(header: Header, keyword: str) -> int:
    number = header.number(keyword)
    return _LAST if number is None else number
