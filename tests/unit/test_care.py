"""A backup of the index, and a new index from the tree."""

import errno
import os
import sqlite3
import threading

import pytest
from support import dicom, drop

from sorter.care import backup, reindex
from sorter.config import load
from sorter.errors import AlreadyRunningError, ArchiveError, ArchiveFullError, ConfigError, IndexUnusableError
from sorter.index import Index
from sorter.intake import Intake, check_index_is_there
from sorter.organizer.lease import DaemonLease, RunsLease
from sorter.rescan import backfill


@pytest.fixture
def config(tmp_path):
    for number in range(1, 4):
        drop(tmp_path / "in", f"{number}.dcm", dicom(number, series=number))
    flags = {
        "incoming": [tmp_path / "in"],
        "archive": tmp_path / "archive",
        "settle_seconds": 0,
        "workers": 1,
    }
    config = load(flags=flags, environ={"SORTER_CONFIG": ""})
    backfill(config)
    return config


def rows(
    path, query="SELECT sop_instance_uid, path, sha256, source_sha256, pixels FROM instances ORDER BY 1"
):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_backup_holds_every_row(config, tmp_path):
    backup(config, tmp_path / "copy.sqlite")
    assert rows(tmp_path / "copy.sqlite") == rows(config.index_location)


def test_a_damaged_index_gives_no_backup(config, tmp_path):
    """Its rows read well, and would be missed only when the backup is needed."""
    path = config.index_location
    rootpage = rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'ix_instances_series_fk'")[0][0]
    size = rows(path, "PRAGMA page_size")[0][0]
    with path.open("r+b") as file:
        file.seek((rootpage - 1) * size)
        file.write(b"\0" * size)
    with pytest.raises(IndexUnusableError, match="the index is damaged"):
        backup(config, tmp_path / "copy.sqlite")
    assert list(tmp_path.glob("*copy.sqlite*")) == []


def test_a_backup_never_replaces_a_file(config, tmp_path):
    target = drop(tmp_path, "copy.sqlite", b"mine")
    with pytest.raises(ConfigError):
        backup(config, target)
    assert target.read_bytes() == b"mine"


def test_there_is_nothing_to_back_up_without_an_index(tmp_path):
    config = load(flags={"archive": tmp_path}, environ={"SORTER_CONFIG": ""})
    with pytest.raises(IndexUnusableError):
        backup(config, tmp_path / "copy.sqlite")


def test_a_new_index_has_the_same_instances_and_the_old_one_is_kept(config):
    before = rows(config.index_location)
    count, aside = reindex(config)
    assert (count, rows(config.index_location), rows(aside)) == (3, before, before)


def test_a_damaged_index_is_set_aside_and_replaced_by_a_new_one(config):
    before = rows(config.index_location)
    config.index_location.write_bytes(b"garbage" * 1000)
    count, aside = reindex(config)
    assert (count, rows(config.index_location)) == (3, before)
    assert aside.read_bytes().startswith(b"garbage")


def test_a_running_daemon_is_not_pulled_the_index_away_from(config):
    lease = DaemonLease(config.archive)
    before = rows(config.index_location)
    with pytest.raises(AlreadyRunningError):
        reindex(config)
    lease.release()
    assert rows(config.index_location) == before


def test_a_daemon_does_not_take_a_lost_index_for_a_new_archive(config):
    check_index_is_there(config)
    config.index_location.unlink()
    with pytest.raises(IndexUnusableError, match="sorter reindex"):
        check_index_is_there(config)
    assert backfill(config).adopted == 3


def test_no_new_index_is_built_while_a_rescan_runs_and_the_old_one_stays(config):
    before = rows(config.index_location)
    with Intake(config), pytest.raises(AlreadyRunningError, match=r"process \d+ uses it"):
        reindex(config)
    assert rows(config.index_location) == before
    assert reindex(config)[0] == 3


def test_no_rescan_begins_while_a_new_index_is_built(config):
    with RunsLease(config.archive, alone=True), pytest.raises(AlreadyRunningError, match="for itself"):
        backfill(config)
    assert list((config.archive / ".sorter/staging").iterdir()) == []


def everything(path):
    """Every table, as text."""
    connection = sqlite3.connect(path)
    try:
        return sorted(connection.iterdump())
    finally:
        connection.close()


def test_a_backup_under_a_writing_daemon_opens_and_is_one_state_of_the_index(config, tmp_path):
    """Rows are added all the while: of each batch the backup has all or nothing, and the chain holds."""
    stop, sizes = threading.Event(), []

    def write():
        connection = sqlite3.connect(config.index_location, timeout=30)
        while not stop.is_set():
            with connection:
                connection.execute(
                    "INSERT INTO folders (path) SELECT 'a' || coalesce(max(id), 0) FROM folders"
                )
                connection.execute("INSERT INTO folders (path) SELECT 'b' || max(id) FROM folders")
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            backup(config, tmp_path / f"{number}.sqlite")
            (found,) = rows(
                tmp_path / f"{number}.sqlite", "SELECT count(*) FROM folders WHERE path LIKE 'a%'"
            )
            (also,) = rows(tmp_path / f"{number}.sqlite", "SELECT count(*) FROM folders WHERE path LIKE 'b%'")
            assert rows(tmp_path / f"{number}.sqlite", "PRAGMA integrity_check") == [("ok",)]
            assert found == also
            sizes.append(found[0])
    finally:
        stop.set()
        writer.join()
    assert sizes == sorted(sizes)
    backup(config, tmp_path / "last.sqlite")
    assert everything(tmp_path / "last.sqlite") == everything(config.index_location)
    Index.open(tmp_path / "last.sqlite", read_only=True).close()


def test_a_backup_is_one_file_and_only_its_owner_may_read_it(config, tmp_path):
    target = tmp_path / "to" / "copy.sqlite"
    target.parent.mkdir()
    backup(config, target)
    assert rows(target, "PRAGMA journal_mode") == [("delete",)]
    assert [path.name for path in target.parent.iterdir()] == ["copy.sqlite"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_backup_never_follows_or_replaces_a_link(config, tmp_path):
    (tmp_path / "copy.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        backup(config, tmp_path / "copy.sqlite")
    assert not (tmp_path / "elsewhere").exists()


def test_what_came_to_the_name_during_the_backup_stays(config, tmp_path, monkeypatch):
    real = os.link

    def late(source, target, **more):
        drop(tmp_path, "copy.sqlite", b"mine")
        return real(source, target, **more)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(ConfigError):
        backup(config, tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "copy.sqlite", "in"]


def test_a_backup_where_there_are_no_links_replaces_nothing_either(config, tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    backup(config, tmp_path / "copy.sqlite")
    assert rows(tmp_path / "copy.sqlite") == rows(config.index_location)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, ArchiveFullError), (errno.EIO, ArchiveError)])
def test_a_backup_that_fails_says_so_and_leaves_nothing(config, tmp_path, monkeypatch, number, kind):
    def fail(_fd):
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match="backup"):
        backup(config, tmp_path / "copy.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "in"]
