"""Opening the database: pragmas, transactions, the version of its schema.

pysqlite's own transaction handling is switched off, because in it DDL and SAVEPOINT outlive a ROLLBACK.
A transaction that writes starts with BEGIN IMMEDIATE: one that reads first and writes later fails with BUSY
at once, whatever the timeout. https://docs.sqlalchemy.org/en/20/dialects/sqlite.html
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, exc, inspect, make_url, text

from sorter.errors import ArchiveFullError, ConfigError, IndexBusyError, IndexUnusableError, SchemaTooNewError
from sorter.index.version import KNOWN_VERSIONS, VERSION

BUSY_SECONDS = 30
# The second: the WAL's shared memory, which lies beside it, could not grow; SQLite does not say why.
_FULL = {
    "SQLITE_FULL": "no space left for the index",
    "SQLITE_IOERR_SHMSIZE": "no space left for the index, or its disk fails",
}
_NETWORK = ("nfs", "cifs", "smb", "9p", "ceph", "fuse", "gluster", "lustre", "gpfs", "afs", "virtiofs")
MENDED_BY = (
    "Nothing is lost: the archive is the truth. Stop sorter and run `sorter reindex`, or restore a backup "
    "(docs/recovery.md)"
)
WRITE = "sorter_write"  # execution option of a connection that is going to write


def make_engine(location: str | Path, *, read_only: bool) -> Engine:
    """An engine for the index at an SQLAlchemy URL, or in an SQLite file. Nothing is read yet.

    Raises
    ------
    ConfigError
        No URL, or one that no installed driver serves.
    IndexUnusableError
        Read only, and there is no index.
    """
    if isinstance(location, Path):  # a path may hold what means something in a URL: # ? %
        return _sqlite(str(location), read_only=read_only)
    try:
        url = make_url(location)
        if url.get_backend_name() == "sqlite":
            return _sqlite(url.database or "", read_only=read_only)
        return create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except (exc.ArgumentError, exc.NoSuchModuleError):
        raise ConfigError("index: not a database URL such as sqlite:////srv/archive/index.sqlite") from None
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"index: this URL needs the Python package {error.name}, which is missing"
        ) from None


def sqlite_file(location: str | Path) -> Path:
    """The file of an SQLite index.

    Raises
    ------
    ConfigError
        It is another database: use that database's own tools.
    """
    if isinstance(location, Path):
        return location
    url = make_url(location)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ConfigError("this needs an SQLite index; use the tools of your database")
    return Path(url.database)


def in_place(location: str | Path) -> Callable[[], None]:
    """A check that the SQLite file which is open now still has its name; none for other databases.

    Raises
    ------
    IndexUnusableError
        From the check: it was removed or replaced, and what is written to it now would be lost.
    """
    if isinstance(location, str) and make_url(location).get_backend_name() != "sqlite":
        return lambda: None
    path = sqlite_file(location)
    opened = path.stat()

    def check() -> None:
        try:
            if os.path.samestat(opened, path.stat()):
                return
        except OSError:
            pass
        raise IndexUnusableError(f"the index was removed or replaced while it was in use. {MENDED_BY}")

    return check


def _sqlite(database: str, *, read_only: bool) -> Engine:
    if database in ("", ":memory:"):
        raise ConfigError("index: an SQLite URL must name a file")
    path = os.path.abspath(database)
    if read_only and not Path(path).exists():
        raise IndexUnusableError(
            f"there is no index at {path}: nothing was archived there yet; or it is gone, then run "
            "`sorter reindex`, or restore a backup"
        )
    uri = f"file:{quote(path)}?mode={_read_mode(path) if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, hide_parameters=True)
    pragmas = ["foreign_keys = ON"]
    if not read_only:
        # WAL: readers never wait for a writer. SQLite before 3.51.3 can corrupt a WAL that two connections
        # reset at once; all writing here happens under the archive's one lock, so there never are two.
        # FULL: with NORMAL a commit in a WAL does not survive a power cut.
        # Keys come in random order: a cache that holds what a batch changes, and seldom checkpoints, keep the
        # rate of inserts flat as the index grows (docs/performance.md).
        pragmas += [
            f"journal_mode = {_journal(path)}",
            "synchronous = FULL",
            "cache_size = -32768",  # KiB
            "wal_autocheckpoint = 16000",  # pages: 64 MB
        ]
    event.listen(engine, "connect", lambda dbapi, _: [dbapi.execute(f"PRAGMA {one}") for one in pragmas])
    event.listen(engine, "begin", _begin)
    return engine


def _read_mode(path: str) -> str:
    """``ro``; on a medium that cannot be written and that nobody writes, also without lock files."""
    alone = not Path(f"{path}-wal").exists() and not os.access(os.path.dirname(path), os.W_OK)
    return "ro&immutable=1" if alone else "ro"


def _journal(path: str) -> str:
    """WAL, but not on a network file system: its shared memory does not reach other hosts."""
    folder = Path(path).parent
    device = folder.stat().st_dev if folder.exists() else 0
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    for line in mounts.splitlines():
        # https://docs.kernel.org/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts
        if line.split()[2] == number:
            return "DELETE" if line.partition(" - ")[2].startswith(_NETWORK) else "WAL"
    return "WAL"


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
    IndexBusyError
        Somebody else held it for longer than :data:`BUSY_SECONDS`.
    IndexUnusableError
        Anything else.
    """
    try:
        yield
    except exc.DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
        if code in _FULL:
            raise ArchiveFullError(_FULL[code]) from None
        if code in ("SQLITE_NOTADB", "SQLITE_CORRUPT") or str(code).startswith("SQLITE_CORRUPT"):
            raise IndexUnusableError(f"the index is damaged ({code}). {MENDED_BY}") from None
        kind = IndexBusyError if str(code).startswith("SQLITE_BUSY") else IndexUnusableError
        raise kind(f"the index cannot be used ({code})") from None


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
