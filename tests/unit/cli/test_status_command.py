"""``sorter status``: how daemon and archive are; its exit status is a health check."""

import json
import time

import pytest
from click.testing import CliRunner
from inline import config, inline
from support import dicom, drop

from sorter import status
from sorter.cli import group
from sorter.errors import IndexUnusableError
from sorter.organizer.lease import DaemonLease
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def show(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")

    def run(*args):
        command = ["status", "--archive", str(tmp_path / "archive"), *args]
        return CliRunner().invoke(group, command, standalone_mode=False)

    return run


@pytest.fixture
def archive(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    drop(tmp_path / "in", "b", b"junk")
    backfill(config(tmp_path))
    return tmp_path / "archive"


@pytest.fixture
def running(archive):
    """An archive whose daemon runs and has just said so."""
    lease = DaemonLease(archive)
    state = {
        "state": "idle",
        "healthy": True,
        "heartbeat": time.time(),
        "last_walk": {"at": time.time(), "seconds": 0.1, "files": 5},
        "watch": ["events"],
        "troubles": ["then root_gone"],
        "waiting": {"settling": 2},
        "waiting_oldest": [{"source": "0a1b", "reason": "settling", "age_seconds": 3}],
    }
    status.write(archive, state)
    yield state
    lease.release()


def facts(result):
    return json.loads(result.stdout)


def test_a_daemon_that_runs_and_gets_on_is_healthy(show, running):
    result = show("--json")
    assert (result.return_value, facts(result)["running"], facts(result)["healthy"]) == (0, True, True)


@pytest.mark.parametrize(
    "change", [{"healthy": False}, {"heartbeat": time.time() - 3600}], ids=["does not get on", "hangs"]
)
def test_a_daemon_that_does_not_get_on_is_not_healthy(show, running, archive, change):
    status.write(archive, running | change)
    result = show("--json")
    assert (result.return_value, facts(result)["running"], facts(result)["healthy"]) == (1, True, False)


def test_the_last_words_of_a_dead_daemon_do_not_make_it_healthy(show, archive):
    status.write(archive, {"state": "idle", "healthy": True, "heartbeat": time.time()})
    result = show("--json")
    assert (result.return_value, facts(result)["running"], facts(result)["daemon"]) == (1, False, {})


def test_a_daemon_that_has_not_said_anything_yet_is_not_healthy(show, archive):
    lease = DaemonLease(archive)
    result = show("--json")
    lease.release()
    assert (result.return_value, facts(result)["running"]) == (1, True)


def test_the_index_is_counted_by_level_outcome_and_reason(show, archive):
    index = facts(show("--json"))["index"]
    assert [index[level] for level in ("patients", "studies", "series", "instances")] == [1, 1, 1, 1]
    assert index["outcomes"] == {"rejected": 1, "stored": 1}
    assert index["reasons"] == {"rejected": {"not_dicom": 1}}


def test_the_report_for_people_has_what_matters(show, running, archive):
    text = show().stdout
    for part in (
        "daemon     running, idle",
        "5 files in 0.10 s",
        "waiting    2: 2 settling",
        "source 0a1b settling for 3 s",
        "trouble    then root_gone",
        f"archive    {archive}",
        "1 patients, 1 studies, 1 series, 1 instances",
        "not_dicom",
    ):
        assert part in text


def test_below_the_floor_the_report_says_so(show, archive, monkeypatch):
    monkeypatch.setenv("SORTER_MIN_FREE_MB", str(1 << 40))
    assert "BELOW min_free_mb" in show().stdout


def test_before_there_is_an_archive_it_says_so_and_makes_none(show, tmp_path):
    result = show()
    assert result.return_value == 1
    assert ("NOT RUNNING" in result.stdout, "(does not exist)" in result.stdout) == (True, True)
    assert not (tmp_path / "archive").exists()


def test_before_there_is_an_index_it_says_so(show, tmp_path):
    (tmp_path / "archive").mkdir()
    assert "index      none yet" in show().stdout


def test_an_index_that_is_gone_while_the_archive_holds_files_is_told_with_what_to_do(show, tmp_path):
    (tmp_path / "archive" / "P1").mkdir(parents=True)
    error = show("--json").exception
    assert isinstance(error, IndexUnusableError)
    assert str(error).endswith(" is gone: run `sorter reindex`, or restore a backup")


def test_quiet_says_nothing(show, running):
    result = show("--quiet")
    assert (result.return_value, result.stdout) == (0, "")


def test_an_index_that_cannot_be_read_is_an_error(show, archive):
    (archive / ".sorter/index.sqlite").write_bytes(b"garbage" * 1000)
    assert isinstance(show().exception, IndexUnusableError)


def test_a_health_check_opens_the_index_but_counts_nothing(show, running, archive, monkeypatch):
    monkeypatch.setattr("sorter.index.Index.counts", lambda _index: pytest.fail("counted"))
    assert show("--quiet").return_value == 0
    (archive / ".sorter/index.sqlite").write_bytes(b"garbage" * 1000)
    assert isinstance(show("--quiet").exception, IndexUnusableError)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"paused": "no_space"}, "daemon     running, PAUSED: no room for what comes next"),
        ({"paused": "index_busy"}, "daemon     running, PAUSED: another program holds the index"),
        ({"unreadable": 3}, "unreadable 3 files or folders, looked at again at every walk"),
        (
            {"waits_for_turn": {"pid": 77, "since": 0}},
            "running, idle, waiting for the turn of process 77 for",
        ),
    ],
    ids=["no space", "index busy", "unreadable", "turn"],
)
def test_what_holds_the_daemon_up_is_shown(show, running, archive, more, expected):
    status.write(archive, running | more)
    assert expected in show().stdout
