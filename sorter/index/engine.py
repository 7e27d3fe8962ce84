"""Opening the database: pragmas, transactions, the version of its schema.

pysqlite's own transaction handling is switched off, because in it DDL and SAVEPOINT outlive a ROLLBACK.
A transaction that writes starts with BEGIN IMMEDIATE: one that reads first and writes later fails with BUSY
at once, whatever the timeout. https://docs.sqlalchemy.org/en/20/dialects/sqlite.html
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect, make_url, text

from sorter.errors import ArchiveFullError, IndexUnusableError, SchemaTooNewError
from sorter.index.schema import KNOWN_VERSIONS, VERSION

BUSY_SECONDS = 30
WRITE = "sorter_write"  # execution option of a connection that is going to write


def make_engine(url: str, *, read_only: bool) -> Engine:
    """An engine for the index.

    Raises
    ------
    IndexUnusableError
        The URL cannot be used, or there is nothing to read.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise IndexUnusableError(
            "the index is not a database URL such as sqlite:////path/index.sqlite"
        ) from None
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, hide_parameters=True)
    path = parsed.database or ""
    if read_only and path:
        if not Path(path).exists():
            raise IndexUnusableError(f"there is no index at {path}: nothing was archived there yet")
        parsed = make_url(f"sqlite:///file:{quote(path)}?mode=ro&uri=true")
    engine = create_engine(parsed, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _read_only_pragmas if read_only else _pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    # Readers never wait for a writer. SQLite before 3.51.3 can corrupt a WAL that two connections reset at
    # once; all writing here happens under the archive's one lock, so there never are two.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL loses commits of a WAL on power loss
    connection.execute("PRAGMA wal_autocheckpoint = 4000")


def _read_only_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn database errors into ours; they quote no values (``hide_parameters``), ours not even SQL.

    Raises
    ------
    ArchiveFullError
        The disk that holds the index is full.
    IndexUnusableError
        Anything else.
    """
    try:
        yield
    except exc.DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
        if code == "SQLITE_FULL":
            raise ArchiveFullError("no space left for the index") from None
        if code in ("SQLITE_NOTADB", "SQLITE_CORRUPT") or str(code).startswith("SQLITE_CORRUPT"):
            raise IndexUnusableError(
                f"the index is damaged ({code}). Nothing is lost: the archive is the truth. Stop sorter, "
                "move the index away, and restore it from a backup or build a new one (docs/recovery.md)"
            ) from None
        raise IndexUnusableError(f"the index cannot be used ({code})") from None


def bring_up_to_date(engine: Engine, *, read_only: bool) -> None:
    """Check the schema's version with one SELECT; migrate an older or empty database.

    Raises
    ------
    SchemaTooNewError
        A newer sorter wrote it.
    IndexUnusableError
        It is no index, or an old one that may only be read.
    """
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        version = None
        if "alembic_version" in tables:
            version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if version == VERSION:
        return
    if version is not None and version not in KNOWN_VERSIONS:
        raise SchemaTooNewError(
            f"the index has schema {version}, this sorter knows up to {VERSION}: install a newer sorter"
        )
    if version is None and tables:
        raise IndexUnusableError("the index URL names a database that is not an index of sorter")
    if read_only:
        raise IndexUnusableError(
            "the index is of an older sorter: start the daemon or a rescan once to bring it up to date"
        )
    _migrate(engine)


def _migrate(engine: Engine) -> None:
    from alembic import command  # noqa: PLC0415 - only where there is something to migrate
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.connect().execution_options(**{WRITE: True}) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
