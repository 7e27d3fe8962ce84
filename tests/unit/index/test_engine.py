"""Facts about the SQLite connection (traps 14 to 18 of the design)."""

import sqlite3
import traceback

import pytest
from index_samples import candidate, digest, header, instance, outcome, record
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from sorter.errors import ArchiveFullError, ConfigError, IndexUnusableError, SorterError
from sorter.index import Index
from sorter.index.engine import WRITE, guarded, make_engine
from sorter.model import Kind, Outcome, Reason


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(path):
    opened = Index.open(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture
def engine(path, index):
    made = make_engine(f"sqlite:///{path}", read_only=False)
    yield made
    made.dispose()


def write(engine):
    return engine.connect().execution_options(**{WRITE: True})


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [("foreign_keys", 1), ("journal_mode", "wal"), ("synchronous", 2), ("busy_timeout", 30000)],
)
def test_pragmas_of_a_writer(engine, pragma, expected):
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == expected


@pytest.mark.parametrize("read_only", [False, True])
def test_the_driver_opens_no_transactions_of_its_own(path, index, read_only):
    made = make_engine(f"sqlite:///{path}", read_only=read_only)
    with made.connect() as connection:
        assert connection.connection.driver_connection.isolation_level is None
    made.dispose()


def test_the_errors_of_the_engine_hide_their_parameters(engine):
    assert engine.hide_parameters


def test_a_row_without_its_parent_is_refused(engine):
    row = "INSERT INTO series (study_fk, series_instance_uid, folder) VALUES (99, '1', '')"
    with write(engine) as connection, pytest.raises(IntegrityError), connection.begin():
        connection.execute(text(row))


def test_a_rollback_takes_tables_and_savepoints_along(engine, path):
    """Trap 14: with pysqlite's own transactions both stay."""
    with write(engine) as connection:
        connection.begin()
        connection.execute(text("CREATE TABLE more (id INTEGER)"))
        with connection.begin_nested():
            connection.execute(text("INSERT INTO folders (path) VALUES ('x')"))
        connection.rollback()
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    assert plain.execute("SELECT count(*) FROM folders").fetchone() == (0,)
    plain.close()


@pytest.mark.parametrize(("writes", "begins"), [(True, "BEGIN IMMEDIATE"), (False, "BEGIN")])
def test_only_writers_take_the_write_lock_at_once(engine, writes, begins):
    """Trap 15: a transaction that reads first and writes later fails with BUSY."""
    statements = []
    with engine.connect().execution_options(**{WRITE: writes}) as connection:
        connection.connection.driver_connection.set_trace_callback(statements.append)
        with connection.begin():
            connection.execute(text("SELECT 1"))
    assert statements[0].strip() == begins


def test_recording_takes_the_write_lock_first(index):
    statements = []
    event.listen(index._engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    record(index, outcome(header()))
    assert statements[0] == "BEGIN IMMEDIATE"


def test_a_commit_that_fails_leaves_nothing_and_the_next_one_works(index, path):
    """A deferred foreign key is only checked by COMMIT itself."""

    def break_commit(_connection, cursor, statement, *_):
        if statement.startswith("INSERT INTO sources"):
            cursor.execute("PRAGMA defer_foreign_keys = ON")
            cursor.execute("INSERT INTO series (study_fk, series_instance_uid, folder) VALUES (99, '1', '')")

    event.listen(index._engine, "before_cursor_execute", break_commit)
    with pytest.raises(IndexUnusableError):
        record(index, outcome(header()))
    event.remove(index._engine, "before_cursor_execute", break_commit)
    assert index.counts()["instances"] == 0
    record(index, outcome(header()))
    assert index.counts()["instances"] == 1


def test_a_migration_that_fails_leaves_an_empty_database(path, monkeypatch):
    def upgrade(config, _revision):
        config.attributes["connection"].execute(text("CREATE TABLE half (id INTEGER)"))
        raise KeyboardInterrupt

    monkeypatch.setattr("alembic.command.upgrade", upgrade)
    with pytest.raises(KeyboardInterrupt):
        Index.open(f"sqlite:///{path}")
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT name FROM sqlite_master").fetchall() == []
    plain.close()


# -- opening -------------------------------------------------------------------------------------------


def test_reading_where_there_is_no_index_says_so_and_makes_none(path):
    with pytest.raises(IndexUnusableError, match="no index at"):
        Index.open(f"sqlite:///{path}", read_only=True)
    assert not path.exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused_and_kept(path, read_only):
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(IndexUnusableError, match="sorter reindex"):
        Index.open(f"sqlite:///{path}", read_only=read_only)
    assert path.read_bytes() == b"not a database" * 1000


def test_a_damaged_page_is_an_error_that_says_what_to_do(index, path):
    record(index, *(outcome(header(number)) for number in range(300)))
    index.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(IndexUnusableError, match="damaged"):
        Index.open(f"sqlite:///{path}").counts()


def test_a_reader_cannot_write(index, path):
    reader = Index.open(f"sqlite:///{path}", read_only=True)
    with pytest.raises(IndexUnusableError):
        record(reader, outcome(header()))
    reader.close()
    assert index.counts()["instances"] == 0


def test_a_reader_sees_the_last_commit_while_a_writer_is_at_work(index, path):
    record(index, outcome(header()))
    with write(index._engine) as connection, connection.begin():
        connection.execute(text("DELETE FROM sources"))
        reader = Index.open(f"sqlite:///{path}", read_only=True)
        assert reader.counts()["outcomes"] == {"stored": 1}
        reader.close()


@pytest.mark.parametrize("url", ["hello", "sqlite:////no/such/folder/index.sqlite"])
def test_a_url_that_leads_nowhere_is_an_error_of_ours(url):
    with pytest.raises((IndexUnusableError, ConfigError)):
        Index.open(url)


@pytest.mark.parametrize("url", ["unknown://host/x", "postgresql+no_such_driver://host/x"])
def test_a_url_without_a_driver_is_an_error_of_ours(url):
    with pytest.raises(SorterError):
        Index.open(url)


def test_an_index_in_memory_is_refused():
    with pytest.raises((IndexUnusableError, ConfigError)):
        Index.open("sqlite://")


def test_a_path_with_a_hash_is_read_where_it_was_written(tmp_path):
    folder = tmp_path / "a#b"
    folder.mkdir()
    url = f"sqlite:///{folder}/index.sqlite"
    Index.open(url).close()
    try:
        Index.open(url, read_only=True).close()
    finally:
        assert [one.name for one in tmp_path.iterdir()] == ["a#b"]


# -- patient data --------------------------------------------------------------------------------------


def test_an_error_quotes_no_values_anywhere(index):
    """Trap 34: neither the message nor the traceback."""
    secret = "CAN" + "ARY"  # in two parts: a traceback quotes the lines of this file
    head = header(PatientName=f"{secret}^NAME", PatientID=secret)
    record(index, outcome(head))
    with pytest.raises(IndexUnusableError) as caught:
        record(index, outcome(head, candidate(f"{secret}.dcm", f"/{secret}")))
    assert secret not in "".join(traceback.format_exception(caught.value, chain=True))


def test_a_full_disk_is_told_apart():
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    with pytest.raises(ArchiveFullError), guarded():
        raise IntegrityError("INSERT", None, error)


# -- speed ---------------------------------------------------------------------------------------------


def test_a_batch_of_500_takes_few_statements(index):
    """Statements, not seconds: those would depend on the machine."""
    heads = [header(number, series=number % 5) for number in range(500)]
    statements = []
    event.listen(index._engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    record(index, *(outcome(one) for one in heads))
    assert len(statements) <= 40
    statements.clear()
    index.seen([candidate(f"{number}.dcm") for number in range(5000)])
    assert len(statements) <= 15


def test_the_ledger_row_of_a_source_carries_its_own_digest(index, path):
    """Of the file as it lay in the drop folder, which inside gzip is not that of the DICOM stream."""
    head = header()
    one = Outcome(
        candidate(), Kind.DUPLICATE, path="x", source_sha256=digest("gzip"), instance=instance(head)
    )
    record(index, outcome(head), one, Outcome(candidate("n"), Kind.IGNORED, Reason.DICOMDIR))
    assert index.seen([one.candidate])[one.candidate].sha256 == digest("gzip")


@pytest.mark.parametrize("code", ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"])
def test_a_full_disk_is_told_from_other_trouble(code):
    original = sqlite3.OperationalError("full")
    original.sqlite_errorname = code
    with pytest.raises(ArchiveFullError, match="no space left for the index"), guarded():
        raise OperationalError("", {}, original)


@pytest.mark.parametrize("files", [1, 40])
def test_the_ledger_is_asked_by_its_index(tmp_path, files):
    """However few or many files of a folder are asked for."""
    index = Index.open(tmp_path / "index.sqlite")
    asked = []
    record(index, *(outcome(header(number), candidate(f"{number}.dcm")) for number in range(1, files + 1)))
    event.listen(index._engine, "before_cursor_execute", lambda *words: asked.append(words[2:4]))
    assert len(index.seen([candidate(f"{number}.dcm") for number in range(1, files + 1)])) == files
    with index.reading() as connection:
        for statement, parameters in [one for one in asked if "FROM sources" in one[0]]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            assert [row[3].startswith("SEARCH sources USING INDEX uq_sources_version") for row in plan] == [
                True
            ]
    index.close()


def test_a_folder_of_which_much_more_is_known_than_asked_for_is_not_read_whole(tmp_path):
    index = Index.open(tmp_path / "index.sqlite")
    record(index, *(outcome(header(number), candidate(f"{number}.dcm")) for number in range(1, 200)))
    assert len(index.seen([candidate(f"{number}.dcm") for number in range(100, 140)])) == 40
    index.close()
