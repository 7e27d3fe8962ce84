"""A backup of the index, and a new index from the tree."""

import sqlite3

import pytest
from support import dicom, drop

from sorter.care import backup, reindex
from sorter.config import load
from sorter.errors import AlreadyRunningError, ConfigError, IndexUnusableError
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
