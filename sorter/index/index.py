"""The index: look up, record, read the ledger. SQLAlchemy Core in batches; one process writes at a time."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, func, select

from sorter.index import counts
from sorter.index import find as finding
from sorter.index.chain import open_batch, seal
from sorter.index.engine import WRITE, bring_up_to_date, guarded, in_place, make_engine
from sorter.index.ledger import NOT_FINAL, Word, final_words, record_sources, rows_of
from sorter.index.levels import lookup_instances, lookup_levels, record_instances
from sorter.index.names import storable
from sorter.index.rows import Known, Patient, SourceRow
from sorter.index.schema import CURRENT, folders, instances, patients, series, sources
from sorter.index.statements import in_chunks
from sorter.index.verification import RESTORED, is_fine_again
from sorter.model import BatchKind, Candidate, Header, Kind, Outcome, Place

_PATHS_UNDER = select(instances.c.path).join(series).where(series.c.folder == bindparam("folder"))


class Index:
    """An open index. Not for use by several threads at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._in_place: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, location: str | Path, *, read_only: bool = False) -> Index:
        """Open the index at an SQLAlchemy URL, or in an SQLite file.

        A new or older one is brought up to date, unless it is opened read only.

        Raises
        ------
        IndexUnusableError
            Not there (read only), damaged, or no index at all. It is never replaced silently.
        SchemaTooNewError
            Written by a newer sorter.
        """
        engine = make_engine(location, read_only=read_only)
        with guarded():
            bring_up_to_date(engine, read_only=read_only)
        index = cls(engine)
        index._in_place = in_place(location)
        return index

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the index, for the queries of other modules of this room."""
        with guarded(), self._engine.connect() as connection:
            yield connection

    # -- the ledger -------------------------------------------------------------------------------------

    def seen(self, candidates: Sequence[Candidate]) -> dict[Candidate, SourceRow]:
        """The final word about those of these very source versions that have one."""
        if not candidates:
            return {}
        with guarded(), self._engine.connect() as connection:
            seen = rows_of(connection, candidates)
        return {one: row for one, row in seen.items() if row.reason not in NOT_FINAL}

    def words_in(
        self, folder: str, names: Sequence[str] | None = None
    ) -> dict[tuple[str, int, int, int, int], Word] | None:
        """See :func:`sorter.index.ledger.final_words`; for a walk that passes millions of files."""
        with guarded(), self._engine.connect() as connection:
            return final_words(connection, folder, names)

    # -- look-ups for one batch -------------------------------------------------------------------------

    def lookup(self, headers: Sequence[Header]) -> Known:
        """What is recorded under the UIDs and patients of these headers."""
        known = Known()
        if headers:
            with guarded(), self._engine.connect() as connection:
                lookup_instances(connection, headers, known)
                lookup_levels(connection, headers, known)
        return known

    def taken(self, keys: Collection[int]) -> set[int]:
        """Those of these path keys that an instance has."""
        with guarded(), self._engine.connect() as connection:
            found = in_chunks(connection, select(instances.c.path_key), instances.c.path_key, keys)
            return {row.path_key for row in found}

    def digest(self, key: int) -> str | None:
        """SHA-256 of the recorded file with this path key; ``None`` where there is none, or not one only."""
        with guarded(), self._engine.connect() as connection:
            found = connection.scalars(select(instances.c.sha256).where(instances.c.path_key == key)).all()
        return found[0] if len(found) == 1 else None

    def folder_owners(self, keys: Collection[int]) -> dict[int, Patient]:
        """The patients that own these folder keys."""
        query = select(patients.c.folder_key, patients.c.issuer_of_patient_id, patients.c.patient_id)
        with guarded(), self._engine.connect() as connection:
            found = in_chunks(connection, query, patients.c.folder_key, keys)
            return {row.folder_key: (row.issuer_of_patient_id, row.patient_id) for row in found}

    def paths_under(self, folder: str) -> set[str]:
        """Paths of all recorded instances that lie directly in a folder of the archive."""
        with guarded(), self._engine.connect() as connection:
            return {path for (path,) in connection.execute(_PATHS_UNDER, {"folder": folder}).all()}

    def paths_within(self, path: str) -> list[str]:
        """Where the members of a source that was expanded lie in the archive, those of inner ones too."""
        outer = storable(path)
        within = f"{outer}/"
        # The range ("0" follows "/") is what a database index serves; PostgreSQL may sort as people do, and
        # then it holds others as well.
        inside = (folders.c.path == outer) | (
            (folders.c.path > within)
            & (folders.c.path < f"{outer}0")
            & (func.substr(folders.c.path, 1, len(within)) == within)
        )
        query = select(instances.c.path).join(sources, sources.c.instance_fk == instances.c.id)
        query = query.join(folders, folders.c.id == sources.c.folder_fk).where(CURRENT, inside)
        with guarded(), self._engine.connect() as connection:
            return list(connection.scalars(query.distinct()))

    # -- recording --------------------------------------------------------------------------------------

    def record(
        self,
        outcomes: Sequence[Outcome],
        places: Mapping[str, Place],
        path_keys: Mapping[str, int],
        *,
        kind: BatchKind = BatchKind.INGEST,
    ) -> None:
        """Write a batch in one transaction: rows for what was stored, and the ledger with its chain.

        Parameters
        ----------
        places, path_keys
            By SOP Instance UID, for the outcomes that say stored.
        kind
            What wrote this batch of the ledger.

        Raises
        ------
        IndexUnusableError, ArchiveFullError
            Nothing of the batch is recorded.
        """
        final = [one for one in outcomes if one.kind is not Kind.DEFERRED]
        if not final:
            return
        stored = [one for one in final if one.kind is Kind.STORED and one.instance]
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self.writing() as connection:
            batch = open_batch(connection, kind, now)
            new = record_instances(connection, stored, places, path_keys, now) if stored else {}
            record_sources(connection, final, now, batch, new)
            if restored := [one.instance for one in final if one.instance and one.detail == RESTORED]:
                is_fine_again(connection, [one.header.text("SOPInstanceUID") for one in restored])
            seal(connection, batch)

    # -- for people -------------------------------------------------------------------------------------

    def counts(self) -> dict[str, Any]:
        """See :func:`sorter.index.counts.gather`."""
        with guarded(), self._engine.connect() as connection:
            return counts.gather(lambda query: connection.exec_driver_sql(query).all())

    def find(
        self, criteria: Mapping[str, str], *, level: str, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows of one level that fulfil all criteria; see :func:`sorter.index.find.query`."""
        query = finding.query(criteria, level=level, limit=limit)
        with guarded(), self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=500).execute(query):
                yield dict(row._mapping)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in one transaction, for other modules of this room; only within the archive's turn."""
        with (
            guarded(),
            self._engine.connect().execution_options(**{WRITE: True}) as connection,
            connection.begin(),
        ):
            yield connection
            self._in_place()
