"""What the ledger knows of quarantined files, and the new words of a retry and a discard.

A source in quarantine has a row with outcome ``rejected`` or ``conflict`` whose ``path`` names the
quarantined file. A retry or a discard adds a row about the same source that replaces it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, select

from sorter.index.chain import open_batch, seal
from sorter.index.index import Index
from sorter.index.ledger import append, record_sources
from sorter.index.levels import instance_ids, record_instances
from sorter.index.names import original, signed, storable
from sorter.index.schema import CURRENT, batches, folders, instances, sources
from sorter.index.statements import in_chunks
from sorter.model import BatchKind, Candidate, Instance, Kind, Outcome, Place

RETRIED, DISCARDED = "retried", "copy discarded"
_REFUSED = (str(Kind.REJECTED), str(Kind.CONFLICT))
_IN_ARCHIVE = (Kind.STORED, Kind.DUPLICATE, Kind.EQUIVALENT)
_WAITS = and_(CURRENT, sources.c.outcome.in_(_REFUSED))
# What stays the same in a later row about the same source version.
_VERSION = ("folder_fk", "name", "device", "inode", "size", "mtime_ns", "ctime_ns", "sha256")


class Waiting:
    """The last words about refused sources, by the path in quarantine.

    The ledger has no database index over paths: this reads it once, and later only what is new.
    """

    def __init__(self) -> None:
        self._ids: dict[str, list[int]] = {}
        self._last = 0

    def rows(self, connection: Connection, paths: Sequence[str]) -> dict[str, list[Row[Any]]]:
        """By path: the rows whose bytes lie there as the ledger stands now, oldest first."""
        own = sources.c
        news = select(own.id, own.path).where(_WAITS, own.path.is_not(None), own.id > self._last)
        for number, path in connection.execute(news.order_by(own.id)):
            self._ids.setdefault(path, []).append(number)
        self._last = connection.scalar(select(func.max(own.id))) or 0
        ids = [number for path in paths for number in self._ids.get(path, ())]
        found: dict[str, list[Row[Any]]] = {}
        for row in sorted(in_chunks(connection, select(sources).where(_WAITS), own.id, ids), key=_id):
            found.setdefault(row.path, []).append(row)
        return found


def _id(row: Row[Any]) -> int:
    return int(row.id)


def reference_counts(connection: Connection) -> dict[str, int]:
    """How many sources each path in quarantine keeps the bytes of."""
    query = select(sources.c.path, func.count()).where(_WAITS, sources.c.path.is_not(None))
    return {row[0]: row[1] for row in connection.execute(query.group_by(sources.c.path))}


def histories(connection: Connection, paths: Sequence[str]) -> list[dict[str, Any]]:
    """Every row about a source that was once refused with one of these paths, superseded ones too, by id."""
    ids = {row.id for row in in_chunks(connection, select(sources.c.id), sources.c.path, paths)}
    while True:  # those that replace them, and those that they replace
        later = in_chunks(connection, select(sources.c.id), sources.c.replaces, ids)
        earlier = in_chunks(connection, select(sources.c.replaces.label("id")), sources.c.id, ids)
        more = {row.id for row in (*later, *earlier) if row.id is not None} - ids
        if not more:
            break
        ids |= more
    return sorted(
        (_word(row) for row in in_chunks(connection, _words(), sources.c.id, ids)),
        key=lambda word: word["id"],
    )


def versions(connection: Connection, candidate: Candidate) -> tuple[list[dict[str, Any]], int]:
    """(every row about this very version of a source, by id; how many rows there are about its others)."""
    own = sources.c
    same = (folders.c.path == storable(candidate.folder)) & (own.name == storable(candidate.name))
    version = tuple(map(signed, candidate.version[1:]))
    rows = connection.execute(_words().where(same).order_by(own.id)).all()
    mine = [row for row in rows if (row.inode, row.size, row.mtime_ns, row.ctime_ns) == version]
    return [_word(row) for row in mine], len(rows) - len(mine)


def instance_path(connection: Connection, sop_instance_uid: str) -> str | None:
    """Where the instance with this UID lies now, relative to the archive root."""
    query = select(instances.c.path).where(instances.c.sop_instance_uid == sop_instance_uid)
    return connection.scalar(query)


def _words() -> Any:
    query = select(sources, folders.c.path.label("folder"), batches.c.kind.label("batch_kind"))
    return query.select_from(
        sources.join(folders, folders.c.id == sources.c.folder_fk).outerjoin(
            batches, batches.c.id == sources.c.batch_fk
        )
    )


def _word(row: Row[Any]) -> dict[str, Any]:
    """A row of the ledger, ready for JSON."""
    folder, name = original(row.folder), original(row.name)
    return {
        "id": row.id,
        "source": f"{folder}/{name}" if folder else name,
        "size": row.size,
        "sha256": row.sha256,
        "outcome": row.outcome,
        "reason": row.reason,
        "detail": row.detail,
        "path": row.path,
        "recorded_at": row.recorded_at,
        "batch": row.batch_fk,
        "batch_kind": row.batch_kind,
        "replaces": row.replaces,
        "superseded": row.superseded,
    }


class RetryIndex(Index):
    """An index that records of quarantined files what became of the sources that they came from.

    Attributes
    ----------
    root
        The archive root, which the paths of the quarantined files begin with.
    origins
        By the path of a quarantined file, relative to the root: the instance as it was staged the first time,
        where the quarantined bytes are not the source's own but were decoded already.
    waiting
        The sources whose bytes lie in quarantine.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.root = ""
        self.origins: dict[str, Instance] = {}
        self.waiting = Waiting()

    def record(
        self,
        outcomes: Sequence[Outcome],
        places: Mapping[str, Place],
        path_keys: Mapping[str, int],
        *,
        kind: BatchKind = BatchKind.RETRY,
    ) -> None:
        """Write, in one transaction, the instances that are new and the new words about the sources.

        What is refused once more, under the same path, has its word already.
        """
        told = [self._remembered(one) for one in outcomes if one.kind is not Kind.DEFERRED]
        stored = [one for one in told if one.kind is Kind.STORED and one.instance]
        others = [one for one in told if not self._is_quarantined(one)]
        told = [one for one in told if self._is_quarantined(one)]
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self.writing() as connection:
            rows = self.waiting.rows(connection, [self.quarantined(one) for one in told])
            due = [one for one in told if self._is_news(one) and rows.get(self.quarantined(one))]
            # Of a file whose source is forgotten (the ledger was lost), the quarantined one is the source.
            alone = [one for one in told if one.kind is Kind.STORED and not rows.get(self.quarantined(one))]
            alone += self._by_source(connection, others)
            if not due and not alone:
                return
            batch = open_batch(connection, kind, now)
            if stored:
                record_instances(connection, stored, places, path_keys, now)
            uids = [one.instance.header.text("SOPInstanceUID") for one in due if one.instance]
            ids = instance_ids(connection, uids)
            append(
                connection,
                [
                    _later(row, one, number, ids) | {"batch_fk": batch, "recorded_at": now}
                    for one in due
                    for number, row in enumerate(rows[self.quarantined(one)])
                ],
            )
            record_sources(connection, [one._replace(detail=_detail(one)) for one in alone], now, batch)
            seal(connection, batch)

    def quarantined(self, outcome: Outcome) -> str:
        """Path, relative to the root, of the quarantined file that was tried."""
        return outcome.candidate.path.removeprefix(f"{self.root}/")

    def _is_quarantined(self, outcome: Outcome) -> bool:
        """Whether it is about a quarantined file: not about a member of one, nor about any other source."""
        return not outcome.candidate.depth and outcome.candidate.path.startswith(f"{self.root}/")

    def _by_source(self, connection: Connection, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Members of quarantined files as what they are: members of the sources that these came from."""
        paths = {self._around(one) for one in outcomes}
        rows = {path: found[0] for path, found in self.waiting.rows(connection, sorted(paths)).items()}
        numbers = {row.folder_fk for row in rows.values()}
        names = {row.id: row.path for row in in_chunks(connection, select(folders), folders.c.id, numbers)}
        told = []
        for one in outcomes:
            row = rows.get(around := self._around(one))
            if row is not None:
                source = f"{original(names[row.folder_fk])}/{original(row.name)}"
                inside = one.candidate.folder.removeprefix(f"{self.root}/{around}")
                version = {name: getattr(row, name) for name in ("device", "inode", "mtime_ns", "ctime_ns")}
                candidate = one.candidate._replace(folder=source + inside, **version)
                one = one._replace(candidate=candidate)  # noqa: PLW2901 - the same under its own name
            told.append(one)
        return told

    def _around(self, outcome: Outcome) -> str:
        """Path of the quarantined file that a member came in: a folder and a name in the quarantine."""
        return "/".join(self.quarantined(outcome).split("/")[:4])

    def _is_news(self, outcome: Outcome) -> bool:
        if outcome.kind in (Kind.REJECTED, Kind.CONFLICT):
            return outcome.path != self.quarantined(outcome)
        return outcome.kind in _IN_ARCHIVE or (outcome.kind is Kind.EXPANDED and outcome.reason is None)

    def _remembered(self, outcome: Outcome) -> Outcome:
        origin = self.origins.get(self.quarantined(outcome))
        return outcome._replace(instance=origin) if origin and outcome.instance else outcome


def _later(row: Row[Any], outcome: Outcome, number: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """The new row about a source; of several with the same bytes the first to come was the one stored."""
    kind = Kind.DUPLICATE if outcome.kind is Kind.STORED and number else outcome.kind
    in_archive = kind in _IN_ARCHIVE and outcome.instance is not None
    uid = outcome.instance.header.text("SOPInstanceUID") if outcome.instance else ""
    return {name: getattr(row, name) for name in _VERSION} | {
        "outcome": str(kind),
        "reason": str(outcome.reason) if outcome.reason else None,
        "detail": _detail(outcome),
        "path": outcome.path or None,
        "instance_fk": ids.get(uid) if in_archive else None,
        "archived_sha256": outcome.instance.sha256 if kind is Kind.STORED and outcome.instance else None,
        "replaces": row.id,
    }


def _detail(outcome: Outcome) -> str:
    return f"{RETRIED}: {outcome.detail}" if outcome.detail else RETRIED


def record_discard(index: Index, waiting: Waiting, paths: Sequence[str], sha256s: Sequence[str]) -> int:
    """Say of the sources whose bytes lie under these paths that the copies are discarded.

    The same outcome and reason, no path; the digests of what goes stand with the batch. Commit this before
    the files go. Returns how many sources it concerns.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with index.writing() as connection:
        rows = [row for some in waiting.rows(connection, paths).values() for row in some]
        batch = open_batch(connection, BatchKind.DISCARD, now, " ".join(sha256s))
        append(connection, [_without_copy(row) | {"batch_fk": batch, "recorded_at": now} for row in rows])
        seal(connection, batch)
    return len(rows)


def _without_copy(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _VERSION} | {
        "outcome": row.outcome,
        "reason": row.reason,
        "detail": DISCARDED,
        "path": None,
        "instance_fk": None,
        "archived_sha256": None,
        "replaces": row.id,
    }
