"""The ledger: what became of every version of every source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Select, bindparam, or_, select

from sorter.errors import IndexUnusableError
from sorter.index.levels import instance_ids
from sorter.index.names import all_signed, signed, storable
from sorter.index.rows import SourceRow
from sorter.index.schema import CURRENT, folders, sources
from sorter.index.statements import chunks, in_chunks, insert_one, insert_rows
from sorter.model import Candidate, Kind, Outcome, Reason

# What may be otherwise at the next look, though the file's version is the same.
NOT_FINAL = (Reason.UNREADABLE, Reason.VANISHED, Reason.NEEDS_INFO)
# Without the device: its number changes when a network file system is mounted again.
_VERSION = (sources.c.inode, sources.c.size, sources.c.mtime_ns, sources.c.ctime_ns)
_KEY = 5  # the first columns of a row: name and version, see _rows
_KINDS = {str(kind): kind for kind in Kind}
_REASONS: dict[str | None, Reason | None] = {str(reason): reason for reason in Reason} | {None: None}
_FEW = 16
# Of a folder with more files than this not all words are held at once.
MOST_WORDS = 20_000
_FINAL = or_(sources.c.reason.is_(None), ~or_(*(sources.c.reason == str(reason) for reason in NOT_FINAL)))
_WORDS = (
    select(sources.c.name, *_VERSION, sources.c.outcome, sources.c.reason)
    .select_from(sources.join(folders))
    .where(folders.c.path == bindparam("folder"), CURRENT, _FINAL)
)
_ALL_WORDS = _WORDS.limit(MOST_WORDS + 1)
_SOME_WORDS = _WORDS.where(sources.c.name.in_(bindparam("names", expanding=True)))

Word = tuple[str, str | None]


def final_words(
    connection: Connection, folder: str, names: Sequence[str] | None = None
) -> dict[tuple[str, int, int, int, int], Word] | None:
    """Outcome and reason of each version of a folder's files that has a final word, by name and version.

    Names and numbers are as the ledger keeps them: an odd one (see :mod:`sorter.index.names`) is just not
    found by what ``lstat`` says of the file.

    Parameters
    ----------
    names
        Of the files that are asked about; by default all.

    Returns
    -------
    dict or None
        ``None`` where all were asked for, and there are more than :data:`MOST_WORDS`.
    """
    given: dict[str, Any] = {"folder": storable(folder)}
    if names is None:
        rows = _by_version(connection, _ALL_WORDS, given)
        return rows if len(rows) <= MOST_WORDS else None
    rows = {}
    for some in chunks(sorted(map(storable, names))):  # sorted: neighbours lie on one page
        rows |= _by_version(connection, _SOME_WORDS, given | {"names": some})
    return rows


def _by_version(
    connection: Connection, query: Select[Any], given: Mapping[str, Any]
) -> dict[tuple[str, int, int, int, int], Word]:
    cursor = connection.execute(query, given).cursor
    assert cursor is not None  # it is a SELECT
    # The driver's own tuples: rows of Core would cost a quarter more, and there are millions.
    return {row[:_KEY]: row[_KEY:] for row in cursor.fetchall()}


def rows_of(connection: Connection, candidates: Sequence[Candidate]) -> dict[Candidate, SourceRow]:
    """The ledger's last words about just these versions.

    Raises
    ------
    IndexUnusableError
        One of them is no word of this sorter.
    """
    try:
        return {
            one: SourceRow(row[5], _KINDS[row[6]], _REASONS[row[7]], row[8] or "", row[9] or "")
            for one, row in words(connection, candidates)
        }
    except KeyError:
        raise IndexUnusableError("the ledger holds an unknown outcome: run `sorter audit`") from None


def words(
    connection: Connection, candidates: Sequence[Candidate], *, ctime: bool = True
) -> Iterator[tuple[Candidate, Any]]:
    """Those of these versions that the ledger knows, each with its row as it is; columns as in ``_rows``.

    Parameters
    ----------
    ctime
        False: a version counts as known where only its ctime differs: its mode, owner or links changed.
    """
    count = _KEY if ctime else _KEY - 1
    by_folder: dict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        by_folder[one.folder].append(one)
    for folder, wanted in by_folder.items():
        number = connection.scalar(select(folders.c.id).where(folders.c.path == storable(folder)))
        if number is None:
            continue
        versions = {row[:count]: row for row in _rows(connection, number, wanted)}
        for one in wanted:
            if row := versions.get((storable(one.name), *_version(one))[:count]):
                yield one, row


def _version(candidate: Candidate) -> tuple[int, ...]:
    version = candidate[3:7]
    return version if all_signed(version) else tuple(map(signed, version))


def _rows(connection: Connection, folder: int, wanted: Sequence[Candidate]) -> Sequence[Any]:
    """Rows of a folder, at least of the files wanted."""
    own = sources.c
    query = select(own.name, *_VERSION, own.id, own.outcome, own.reason, own.path, own.sha256)
    query = query.where(own.folder_fk == folder, CURRENT)
    if len(wanted) > _FEW:
        # The whole folder costs a tenth of asking for each name, unless far more is known than is there.
        most = 2 * len(wanted)
        rows = connection.execute(query.limit(most)).all()
        if len(rows) < most:
            return rows
    return list(in_chunks(connection, query, own.name, (storable(one.name) for one in wanted)))


def record_sources(
    connection: Connection,
    outcomes: Sequence[Outcome],
    now: str,
    batch: int,
    new: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Ledger rows of a batch. The first final word about a version stays; a later one supersedes the rest.

    Parameters
    ----------
    new
        The numbers of the instances that this batch stored, by SOP Instance UID.
    """
    before = rows_of(connection, [one.candidate for one in outcomes])
    numbers = _folder_numbers(connection, {storable(one.candidate.folder) for one in outcomes})
    uids = {one.instance.header.text("SOPInstanceUID") for one in outcomes if one.instance}
    ids = {**new, **instance_ids(connection, uids.difference(new))}
    rows: dict[Candidate, dict[str, Any]] = {}
    for one in outcomes:
        told = rows.get(one.candidate)  # given twice by hand: the first word of this batch stays as well
        if told is not None and told["reason"] not in NOT_FINAL:
            continue
        old = before.get(one.candidate)
        if old is not None and (old.reason not in NOT_FINAL or old.reason is one.reason):
            continue
        row = _source_row(one, numbers[storable(one.candidate.folder)], now)
        row |= {"batch_fk": batch, "replaces": old.id if old else None}
        if one.instance and one.kind in (Kind.STORED, Kind.DUPLICATE, Kind.EQUIVALENT):
            row["instance_fk"] = ids.get(one.instance.header.text("SOPInstanceUID"))
        if one.instance and one.kind is Kind.STORED:
            row["archived_sha256"] = one.instance.sha256
        rows[one.candidate] = row
    append(connection, list(rows.values()))


def append(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add ledger rows; the rows that they replace stay, superseded. Nothing is ever deleted."""
    replaced = [row["replaces"] for row in rows if row["replaces"] is not None]
    if replaced:
        change = sources.update().where(sources.c.id == bindparam("old"))
        connection.execute(change.values(superseded=True), [{"old": number} for number in replaced])
    insert_rows(connection, sources, rows)


def _source_row(one: Outcome, folder: int, now: str) -> dict[str, Any]:
    candidate = one.candidate
    inode, size, mtime_ns, ctime_ns = _version(candidate)
    return {
        "inode": inode,
        "size": size,
        "mtime_ns": mtime_ns,
        "ctime_ns": ctime_ns,
        "folder_fk": folder,
        "device": signed(candidate.device),
        "name": storable(candidate.name),
        "sha256": one.source_sha256 or None,
        "outcome": str(one.kind),
        "reason": str(one.reason) if one.reason else None,
        "detail": one.detail or None,
        "path": one.path or None,
        "instance_fk": None,
        "archived_sha256": None,
        "recorded_at": now,
    }


def _folder_numbers(connection: Connection, paths: set[str]) -> dict[str, int]:
    query = select(folders.c.id, folders.c.path)
    numbers = {row.path: row.id for row in in_chunks(connection, query, folders.c.path, paths)}
    for path in paths - numbers.keys():
        numbers[path] = insert_one(connection, folders, {"path": path})
    return numbers
