"""The heartbeat: from before the archive is opened; who waits for a turn is alive and says for whom."""

import errno
import fcntl
import os
import threading
import time

import pytest
from inline import config, inline
from structlog.testing import capture_logs

from sorter import service, status
from sorter.intake import Intake
from sorter.organizer.lease import DaemonLease, open_lock

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


def wait_for(condition, seconds=15.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(service, "HEARTBEAT", 0.02)
    monkeypatch.setattr(service, "TURN_SECONDS", 0.1)


@pytest.mark.usefixtures("quick")
def test_a_daemon_that_waits_for_its_turn_says_so_once_and_is_healthy_however_long_it_takes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(service, "OPENING_SECONDS", 0.0)
    served = config(tmp_path)
    lease = DaemonLease(served.archive)
    stopped_rescan = open_lock(served.archive / ".sorter/lock")
    fcntl.flock(stopped_rescan, fcntl.LOCK_EX)
    wake, stop = threading.Event(), threading.Event()
    daemon = threading.Thread(target=service._serve_one, args=(served, wake, stop), daemon=True)

    def said():
        return status.read(served.archive) or {}

    with capture_logs() as lines:
        daemon.start()
        try:
            wait_for(lambda: "waits_for_turn" in said())
            seen = said()
            assert (seen["state"], seen["healthy"], seen["waits_for_turn"]["pid"]) == (
                "starting",
                True,
                os.getpid(),
            )
            os.close(stopped_rescan)
            wait_for(lambda: said().get("state") == "idle")
            assert "waits_for_turn" not in said()
        finally:
            stop.set()
            wake.set()
            daemon.join(15)
            lease.release()
    assert [line["event"] for line in lines].count("waits_for_turn") == 1


def test_that_it_watches_is_reported_at_once_and_not_at_the_next_beat(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "HEARTBEAT", 3600)
    monkeypatch.setattr(service, "HEARTBEAT_AT_WORK", 3600)
    served = config(tmp_path)
    wake, stop = threading.Event(), threading.Event()
    daemon = threading.Thread(target=service._serve_one, args=(served, wake, stop), daemon=True)
    daemon.start()
    try:
        wait_for(lambda: "watch" in (status.read(served.archive) or {}))
    finally:
        stop.set()
        wake.set()
        daemon.join(15)
    assert not daemon.is_alive()


@pytest.mark.usefixtures("quick")
def test_that_the_status_cannot_be_written_is_told_once_until_it_can(tmp_path, monkeypatch):
    """A full disk would fill the log too."""
    served = config(tmp_path)
    Intake(served).close()
    real, full, tried = status.write, threading.Event(), []

    def write(root, state):
        tried.append(full.is_set())
        if full.is_set():
            raise OSError(errno.ENOSPC, "full")
        real(root, state)

    monkeypatch.setattr(status, "write", write)
    with capture_logs() as lines:
        heartbeat = service._Heartbeat(served)
        full.set()
        heartbeat.start()
        try:
            wait_for(lambda: tried.count(True) > 3)
            full.clear()
            wait_for(lambda: tried[-1] is False)
            full.set()
            again = len(tried)
            wait_for(lambda: len(tried) > again + 3)
        finally:
            heartbeat.stop()
    assert [line["event"] for line in lines] == ["status_not_written"] * 2


def test_an_opening_that_hangs_for_another_reason_is_not_healthy_for_ever(tmp_path, monkeypatch):
    served = config(tmp_path)
    Intake(served).close()
    heartbeat = service._Heartbeat(served)
    assert heartbeat._report()["healthy"] is True
    monkeypatch.setattr(service, "OPENING_SECONDS", 0.0)
    assert heartbeat._report()["healthy"] is False


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"state": "starting"}, "starting"),
        ({"state": "paused", "paused": "no_space"}, "paused: no_space"),
        (
            {"state": "idle", "paused": "", "since_start": {"stored": 1, "rejected": 2, "conflict": 3}},
            "idle; 1 stored, 5 refused",
        ),
        (
            {"state": "working", "waits_for_turn": {"pid": 7, "since": 0}},
            "working; waiting for the turn of process 7",
        ),
    ],
)
def test_the_line_that_systemd_shows(report, expected):
    assert service._line(report) == expected
