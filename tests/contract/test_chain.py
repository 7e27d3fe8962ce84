"""The ledger's chain: what is changed behind sorter's back shows; older rows become its first batch."""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest
from index_samples import candidate, header, outcome, record
from sqlalchemy import text

from sorter.errors import IndexUnusableError
from sorter.index import Index, chain
from sorter.index.engine import make_engine
from sorter.model import BatchKind, Kind, Outcome, Reason


@pytest.fixture
def location(tmp_path):
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(location):
    opened = Index.open(location)
    yield opened
    opened.close()


def sql(location, query, **values):
    """Rows of a query, or what a meddler does in a database browser, where foreign keys are off."""
    with closing(sqlite3.connect(location, isolation_level=None)) as connection:
        return connection.execute(query, values).fetchall()


def broken(location, **how):
    engine = make_engine(location, read_only=True)
    with engine.connect() as connection:
        found = [(one.batch, one.detail) for one in chain.broken(connection, **how)]
    engine.dispose()
    return found


def fill(index, batches=4):
    for number in range(1, batches + 1):
        record(index, outcome(header(2 * number)), outcome(header(2 * number + 1)))


def test_an_untouched_ledger_is_whole(index, location):
    fill(index)
    assert broken(location) == []


@pytest.mark.parametrize(
    ("meddling", "expected"),
    [
        ("UPDATE sources SET outcome = 'rejected' WHERE id = 3", [(2, "its rows are not what they were")]),
        ("UPDATE sources SET detail = 'x' WHERE id = 3", [(2, "its rows are not what they were")]),
        ("UPDATE sources SET archived_sha256 = 'x' WHERE id = 8", [(4, "its rows are not what they were")]),
        (
            "UPDATE folders SET path = '/elsewhere'",
            [(n, "its rows are not what they were") for n in (1, 2, 3, 4)],
        ),
        ("DELETE FROM sources WHERE id = 3", [(2, "has 1 rows, and had 2")]),
        (
            "UPDATE sources SET batch_fk = 2 WHERE id = 1",
            [(1, "has 1 rows, and had 2"), (2, "has 3 rows, and had 2")],
        ),
        ("UPDATE batches SET recorded_at = 'x' WHERE id = 3", [(3, "its rows are not what they were")]),
        ("UPDATE batches SET kind = 'adopt' WHERE id = 3", [(3, "its rows are not what they were")]),
        ("DELETE FROM batches WHERE id = 2", [(3, "batches 2 to 2 are gone")]),
    ],
)
def test_what_was_changed_later_is_named(index, location, meddling, expected):
    fill(index)
    sql(location, meddling)
    assert broken(location) == expected


def test_a_batch_sealed_anew_no_longer_is_what_the_next_one_follows(index, location):
    fill(index)
    engine = make_engine(location, read_only=False)
    with engine.connect().execution_options(sorter_write=True) as connection, connection.begin():
        connection.execute(text("UPDATE sources SET outcome = 'duplicate' WHERE id = 3"))
        chain.seal(connection, 2)
    engine.dispose()
    assert broken(location) == [(3, "does not follow the batch before it")]


def test_only_later_batches_are_looked_at_when_asked(index, location):
    fill(index)
    sql(location, "UPDATE sources SET outcome = 'rejected' WHERE id = 1")
    assert broken(location, after=1) == []


def test_the_digest_is_made_as_documented(index, location):
    record(index, outcome(header(1), candidate("\udcff.dcm")))
    previous = "0" * 64
    (batch,) = sql(location, "SELECT id, kind, detail, recorded_at, sha256 FROM batches")
    columns = (
        "folders.path, name, device, inode, size, mtime_ns, ctime_ns, sha256, outcome, reason, detail, "
        "sources.path, archived_sha256, replaces, recorded_at"
    )
    (row,) = sql(location, f"SELECT {columns} FROM sources JOIN folders ON folders.id = folder_fk")
    lines = [["batch", previous, *batch[:4]], ["source", *row]]
    written = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    assert batch[4] == hashlib.sha256(written.encode()).hexdigest()


def unreadable(reason=Reason.UNREADABLE):
    return Outcome(candidate(), Kind.REJECTED, reason, source_sha256="")


def test_a_word_that_was_not_final_is_superseded_and_never_deleted(index, location):
    record(index, unreadable())
    record(index, outcome(header(1), candidate()))
    rows = sql(location, "SELECT id, outcome, replaces, superseded FROM sources ORDER BY id")
    assert rows == [(1, "rejected", None, 1), (2, "stored", 1, 0)]
    assert index.counts()["outcomes"] == {"stored": 1}
    assert broken(location) == []


def test_the_same_word_again_is_not_recorded_again(index, location):
    record(index, unreadable())
    record(index, unreadable())
    assert sql(location, "SELECT count(*) FROM sources") == [(1,)]


def test_nothing_final_makes_no_batch(index, location):
    record(index, outcome(header(1))._replace(kind=Kind.DEFERRED))
    assert sql(location, "SELECT count(*) FROM batches") == [(0,)]


def first_schema(location):
    """An index as the first version of sorter left it: a stored source, and an instance that was adopted."""
    from alembic import command
    from alembic.config import Config

    import sorter.index

    config = Config()
    config.set_main_option("script_location", f"{sorter.index.__path__[0]}/migrations")
    engine = make_engine(location, read_only=False)
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    levels = (
        "INSERT INTO patients VALUES (1, 'P', '', NULL, NULL, NULL, 'p', 7)",
        "INSERT INTO studies (id, patient_fk, study_instance_uid, date) VALUES (1, 1, '1.2', '')",
        "INSERT INTO series (id, study_fk, series_instance_uid, folder) VALUES (1, 1, '1.2.3', 'p/f')",
        "INSERT INTO folders VALUES (1, '/drop')",
    )
    for statement in levels:
        sql(location, statement)
    for number in (1, 2):
        sql(
            location,
            "INSERT INTO instances (id, series_fk, sop_instance_uid, path, path_key, transfer_syntax_uid, "
            "source_transfer_syntax_uid, sha256, source_sha256, size, pixels, stored_at) "
            "VALUES (:n, 1, :uid, :path, :n, 't', 't', :sha, 's', 3, 'native', '2024')",
            n=number,
            uid=f"1.{number}",
            path=f"p/f/{number}.dcm",
            sha=f"sha{number}",
        )
    sql(
        location,
        "INSERT INTO sources VALUES "
        "(1, 1, 'a', 1, 2, 3, 4, 5, 's', 'stored', NULL, NULL, 'p/f/1.dcm', 1, '2024')",
    )


def test_an_index_of_the_first_schema_becomes_the_first_batch(location):
    first_schema(location)
    index = Index.open(location)
    assert index.counts()["outcomes"] == {"stored": 2}
    record(index, outcome(header(9)))
    index.close()
    assert sql(location, "SELECT id, kind, sources FROM batches") == [(1, "migrated", 2), (2, "ingest", 1)]
    rows = sql(
        location, "SELECT name, outcome, detail, archived_sha256, instance_fk FROM sources WHERE batch_fk = 1"
    )
    assert rows == [("a", "stored", None, "sha1", 1), ("p/f/2.dcm", "stored", "adopted", "sha2", 2)]
    assert broken(location) == []


def test_adoption_says_so(index, location):
    from index_samples import path_key, place

    one = outcome(header(1))
    uid = header(1).text("SOPInstanceUID")
    index.record([one], {uid: place(header(1))}, {uid: path_key(one.path)}, kind=BatchKind.ADOPT)
    assert sql(location, "SELECT kind FROM batches") == [("adopt",)]


def test_an_outcome_that_no_sorter_wrote_is_an_error_and_not_a_crash(index, location):
    record(index, outcome(header(1), candidate()))
    sql(location, "UPDATE sources SET outcome = 'nonsense'")
    with pytest.raises(IndexUnusableError, match="run `sorter audit`"):
        index.seen([candidate()])
