"""The daemon, step by step: walk, settle, ingest, wait, and say how it does."""

import contextlib
import errno
import json
import os
import threading
import time

import pytest
from inline import Inline, config, inline, rows
from structlog.testing import capture_logs
from support import bundled, dicom, drop, tree

from sorter import daemon as module
from sorter import drops, rounds
from sorter.daemon import Daemon
from sorter.errors import ArchiveFullError, IndexBusyError
from sorter.intake import Intake
from sorter.model import Candidate, Kind, Reason, Refused
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def make(tmp_path):
    """Makes daemons that are driven by hand: no events, every tick walks."""
    with contextlib.ExitStack() as stack:

        def made(**flags):
            intake = stack.enter_context(Intake(config(tmp_path, **flags)))
            daemon = Daemon(intake, threading.Event(), threading.Event())
            daemon._drops.watch.start()
            stack.callback(daemon._drops.watch.stop)
            return daemon

        yield made


def tick(daemon, *, walk=True):
    """One round of the loop; with or without a walk."""
    daemon._drops._next_walk = 0.0 if walk else time.monotonic() + 60
    daemon._tick()


def tick_until(daemon, condition, seconds=10.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, daemon.report()
        time.sleep(0.02)
        tick(daemon)


def counts(daemon):
    return {str(kind): count for kind, count in daemon.tally.kinds.items() if count}


def waiting(daemon):
    return daemon.report()["waiting"]


# -- from the drop folder into the archive ----------------------------------------------------------------


def test_a_file_that_lay_there_quietly_is_stored_at_the_first_walk(make, tmp_path):
    drop(tmp_path / "in", "deep/a", dicom())
    daemon = make(watch="scan")
    tick(daemon)
    assert (counts(daemon), len(tree(tmp_path / "archive"))) == ({"stored": 1}, 1)


def test_a_fresh_file_waits_and_is_then_stored_without_another_walk(make, tmp_path):
    daemon = make(watch="scan", settle_seconds=0.3)
    drop(tmp_path / "in", "a", dicom())
    tick(daemon)
    assert (counts(daemon), waiting(daemon)) == ({}, {"settling": 1})
    time.sleep(0.35)
    tick(daemon, walk=False)
    assert (counts(daemon), waiting(daemon)) == ({"stored": 1}, {})


def test_a_file_that_is_written_to_waits_anew(make, tmp_path):
    daemon = make(watch="scan", settle_seconds=0.4)
    path = drop(tmp_path / "in", "a", dicom(1))
    tick(daemon)
    time.sleep(0.3)
    path.write_bytes(dicom(2))
    tick(daemon)
    time.sleep(0.2)
    tick(daemon)
    assert (counts(daemon), waiting(daemon)) == ({}, {"changing": 1})


def test_a_waiting_file_that_vanishes_is_forgotten(make, tmp_path):
    daemon = make(watch="scan", settle_seconds=0.1)
    path = drop(tmp_path / "in", "a", dicom())
    tick(daemon)
    path.unlink()
    time.sleep(0.15)
    tick(daemon)
    assert (counts(daemon), waiting(daemon)) == ({}, {})


def test_the_quiet_period_counts_from_the_last_write_not_from_the_walk_that_sees_the_file(
    make, tmp_path, monkeypatch
):
    monkeypatch.setattr("sorter.drops.age_by_clock", lambda _candidate, _now: 3599.9)
    daemon = make(watch="scan", settle_seconds=3600)
    drop(tmp_path / "in", "a", dicom())
    tick(daemon)
    time.sleep(0.1)
    tick(daemon, walk=False)
    assert counts(daemon) == {"stored": 1}


def test_what_the_ledger_knows_is_not_read_again(make, tmp_path, monkeypatch):
    drop(tmp_path / "in", "a", dicom())
    tick(make(watch="scan"))
    monkeypatch.setattr("inline.stage", lambda _job: pytest.fail("read"))
    again = make(watch="scan")
    tick(again)
    assert counts(again) == {}


def test_an_archive_in_the_drop_folder_is_not_walked(make, tmp_path):
    drop(tmp_path / "in", "a", dicom())
    daemon = make(watch="scan", archive=tmp_path / "in/archive")
    tick(daemon)
    tick(daemon)
    assert (counts(daemon), daemon._drops.last_walk["files"]) == ({"stored": 1}, 1)


def test_moved_sources_are_not_walked(make, tmp_path):
    drop(tmp_path / "in", "a", dicom())
    daemon = make(watch="scan", retire="move", retire_to=tmp_path / "in/done")
    tick(daemon)
    tick(daemon)
    assert (counts(daemon), os.listdir(tmp_path / "in/done")) == ({"stored": 1}, ["a"])


def test_a_source_that_an_earlier_run_kept_is_retired_where_that_is_now_asked_for(make, tmp_path):
    drop(tmp_path / "in", "a", dicom())
    drop(tmp_path / "in", "b", b"junk")
    backfill(config(tmp_path))
    tick(make(watch="scan", retire="delete"))
    assert os.listdir(tmp_path / "in") == ["b"]


@pytest.mark.parametrize("retire", ["delete", "move"])
def test_folders_that_retiring_emptied_are_removed(make, tmp_path, retire):
    drop(tmp_path / "in", "exam/series/a", dicom())
    daemon = make(watch="scan", retire=retire)
    tick_until(daemon, lambda: not (tmp_path / "in/exam").exists())
    assert (counts(daemon), (tmp_path / "in").is_dir()) == ({"stored": 1}, True)


def test_a_drop_folder_that_vanishes_and_comes_back_is_served_on(make, tmp_path):
    drop(tmp_path / "in", "a", dicom(1))
    daemon = make(watch="scan")
    tick(daemon)
    (tmp_path / "in").rename(tmp_path / "away")
    tick(daemon)
    (tmp_path / "away").rename(tmp_path / "in")
    drop(tmp_path / "in", "b", dicom(2))
    tick(daemon)
    assert (counts(daemon), len(tree(tmp_path / "archive"))) == ({"stored": 2}, 2)


def test_no_more_files_wait_at_once_than_are_allowed_and_all_come_in(make, tmp_path, monkeypatch):
    monkeypatch.setattr(drops, "MOST_WAITING", 2)
    daemon = make(watch="scan", settle_seconds=0.2)
    for number in range(1, 6):
        drop(tmp_path / "in", str(number), dicom(number))
    tick(daemon)
    assert waiting(daemon) == {"settling": 2}
    tick_until(daemon, lambda: counts(daemon) == {"stored": 5})


# -- what may still grow --------------------------------------------------------------------------------


def test_a_truncated_file_waits_and_is_refused_only_after_a_long_quiet(make, tmp_path):
    daemon = make(watch="scan", incomplete_seconds=1.0)
    path = drop(tmp_path / "in", "a", dicom()[:-9])
    tick(daemon)
    assert (counts(daemon), waiting(daemon)) == ({}, {"incomplete": 1})
    tick_until(daemon, lambda: counts(daemon))
    assert (dict(daemon.tally.reasons), waiting(daemon)) == ({(Kind.REJECTED, Reason.TRUNCATED): 1}, {})
    assert path.exists()


def test_a_truncated_file_that_grows_whole_is_stored(make, tmp_path):
    daemon = make(watch="scan")
    path = drop(tmp_path / "in", "a", dicom()[:-9])
    tick(daemon)
    path.write_bytes(dicom())
    tick_until(daemon, lambda: counts(daemon))
    assert (counts(daemon), list(tree(tmp_path / "archive").values())) == ({"stored": 1}, [dicom()])


def test_a_file_that_grows_whole_after_it_was_refused_is_stored(make, tmp_path):
    daemon = make(watch="scan", incomplete_seconds=0)
    path = drop(tmp_path / "in", "a", dicom()[:-9])
    tick(daemon)
    assert counts(daemon) == {"rejected": 1}
    path.write_bytes(dicom())
    tick_until(daemon, lambda: len(counts(daemon)) == 2)
    assert counts(daemon) == {"rejected": 1, "stored": 1}


def test_a_truncated_file_that_has_lain_there_for_long_is_refused_at_once(make, tmp_path, monkeypatch):
    drop(tmp_path / "in", "a", dicom()[:-9])
    monkeypatch.setattr(drops, "quiet_by_clock", lambda *_: True)
    daemon = make(watch="scan")
    tick(daemon)
    assert counts(daemon) == {"rejected": 1}


@pytest.mark.parametrize(
    ("kind", "reason", "expected"),
    [
        (Kind.REJECTED, Reason.TRUNCATED, (Kind.DEFERRED, Reason.INCOMPLETE)),
        (Kind.REJECTED, Reason.MALFORMED, (Kind.DEFERRED, Reason.INCOMPLETE)),
        (Kind.REJECTED, Reason.UNREADABLE, (Kind.DEFERRED, Reason.UNREADABLE)),
        (Kind.REJECTED, Reason.NOT_DICOM, (Kind.REJECTED, Reason.NOT_DICOM)),
        (Kind.REJECTED, Reason.MISSING_UID, (Kind.REJECTED, Reason.MISSING_UID)),
        (Kind.REJECTED, Reason.DECODER_CRASHED, (Kind.REJECTED, Reason.DECODER_CRASHED)),
        (Kind.IGNORED, Reason.DICOMDIR, (Kind.IGNORED, Reason.DICOMDIR)),
        (Kind.DEFERRED, Reason.CHANGING, (Kind.DEFERRED, Reason.CHANGING)),
    ],
)
def test_only_what_may_grow_or_become_readable_is_given_time(make, kind, reason, expected):
    now = time.time_ns()
    refused = make(watch="scan")._refuse(Refused(Candidate("/in", "a", 1, 2, 3, now, now), kind, reason))
    assert (refused.kind, refused.reason) == expected


def test_a_file_that_cannot_be_read_is_tried_again_and_stored_once_it_can(make, tmp_path, monkeypatch):
    path = drop(tmp_path / "in", "a", dicom())
    daemon, real = make(watch="scan"), os.open

    def closed(name, *rest, **more):
        if name == str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, *rest, **more)

    with monkeypatch.context() as forbidden:
        forbidden.setattr(os, "open", closed)
        tick(daemon)
    assert waiting(daemon) == {"unreadable": 1}
    tick_until(daemon, lambda: counts(daemon))
    assert counts(daemon) == {"stored": 1}


# -- walks ----------------------------------------------------------------------------------------------


def test_the_first_walk_is_deep_and_the_next_is_not(make):
    daemon = make(watch="scan")
    deep = []
    for _ in range(2):
        tick(daemon)
        deep.append(daemon._drops.last_walk["deep"])
    assert deep == [True, False]


def test_where_events_were_too_many_to_know_all_the_walk_is_deep(make, monkeypatch):
    daemon = make(watch="scan")
    tick(daemon)
    monkeypatch.setattr(daemon._drops.watch, "named", lambda: (frozenset(), False))
    tick(daemon)
    assert daemon._drops.last_walk["deep"] is True


def test_a_file_that_is_rewritten_in_place_is_found_by_a_deep_walk(make, tmp_path):
    path = drop(tmp_path / "in", "a", dicom(1))
    daemon = make(watch="scan")
    tick(daemon)
    path.write_bytes(dicom(2))
    daemon._drops._next_deep = 0.0
    tick(daemon)
    assert counts(daemon) == {"stored": 2}


def test_a_walk_is_due_again_after_walk_seconds(make):
    daemon = make(watch="scan", walk_seconds=7)
    tick(daemon)
    assert 6 < daemon._drops._next_walk - time.monotonic() <= 7


def test_between_walks_nothing_is_walked(make, tmp_path):
    daemon = make(watch="scan")
    tick(daemon)
    drop(tmp_path / "in", "a", dicom())
    tick(daemon, walk=False)
    assert counts(daemon) == {}


# -- space ----------------------------------------------------------------------------------------------


def room(daemon, monkeypatch, *free_mib):
    """The free space that the daemon finds, one after the other; the last stays."""
    left = list(free_mib)
    monkeypatch.setattr(
        daemon._intake.archive, "free_bytes", lambda: (left.pop(0) if len(left) > 1 else left[0]) << 20
    )


def test_below_the_floor_it_pauses_says_so_once_and_goes_on_when_there_is_room(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    drop(tmp_path / "in", "a", dicom())
    daemon = make(watch="scan", min_free_mb=100)
    room(daemon, monkeypatch, 1)
    with capture_logs() as lines:
        for _ in range(3):
            tick(daemon)
        report = daemon.report()
        assert (counts(daemon), report["state"], report["paused"]) == ({}, "paused", "no_space")
        room(daemon, monkeypatch, 200)
        tick(daemon)
    assert (counts(daemon), daemon.report()["paused"]) == ({"stored": 1}, "")
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["paused_no_space"]


def test_a_paused_daemon_is_healthy_and_can_be_stopped(make, tmp_path, monkeypatch):
    drop(tmp_path / "in", "a", dicom())
    daemon = make(watch="scan", min_free_mb=100)
    room(daemon, monkeypatch, 0)
    daemon._stop.set()
    began = time.monotonic()
    tick(daemon)
    assert (daemon.healthy, tree(tmp_path / "archive"), time.monotonic() - began < 3) == (True, {}, True)


def test_a_file_larger_than_the_room_waits_openly_and_smaller_ones_after_it_come_in(
    make, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    drop(tmp_path / "in", "large", dicom(1, size=1024))  # 2 MiB
    for number in (2, 3):
        drop(tmp_path / "in", f"small{number}", dicom(number))
    daemon = make(watch="scan", min_free_mb=100)
    room(daemon, monkeypatch, 101)
    tick(daemon)
    assert (counts(daemon), waiting(daemon)) == ({"stored": 2}, {"no_space": 1})
    room(daemon, monkeypatch, 200)
    tick_until(daemon, lambda: counts(daemon) == {"stored": 3})


def test_many_files_that_do_not_fit_pause_it_and_are_not_all_remembered(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(rounds, "MOST_SET_ASIDE", 2)
    for number in range(1, 5):
        drop(tmp_path / "in", str(number), dicom(number, size=1024))
    daemon = make(watch="scan", min_free_mb=100)
    room(daemon, monkeypatch, 101)
    tick(daemon)
    assert (counts(daemon), waiting(daemon), daemon.report()["paused"]) == ({}, {}, "no_space")


def test_no_room_for_names_is_no_room(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    drop(tmp_path / "in", "a", dicom())
    daemon = make(watch="scan")
    full = os.statvfs_result((4096, 4096, 1 << 30, 1 << 30, 1 << 30, 1000, 1, 1, 0, 255))
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _path: full)
        tick(daemon)
        assert (counts(daemon), daemon.report()["paused"]) == ({}, "no_space")
    tick(daemon)
    assert counts(daemon) == {"stored": 1}


def full_over(monkeypatch, names, error=ArchiveFullError):
    """Staging raises as long as a file with one of these names is in the batch."""
    real = Inline.stage

    def stage(workers, batches, recipe):
        for batch in batches:
            found = list(real(workers, [batch], recipe))
            if any(one.name in names for one in batch):
                raise error("cannot stage a file: No space left on device")
            yield from found

    monkeypatch.setattr(Inline, "stage", stage)


def test_a_disk_that_fills_up_in_a_batch_pauses_and_nothing_stays_in_staging(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    drop(tmp_path / "in", "a", dicom())
    daemon, names = make(watch="scan"), {"a"}
    full_over(monkeypatch, names)
    with capture_logs() as lines:
        tick(daemon)
    assert (counts(daemon), daemon.report()["paused"]) == ({}, "no_space")
    assert os.listdir(daemon._intake.archive.staging.folder) == [".lease"]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["paused_no_space"]
    names.clear()
    tick(daemon)
    assert (counts(daemon), daemon.report()["paused"]) == ({"stored": 1}, "")


def test_a_file_that_fills_the_disk_whenever_it_is_staged_does_not_keep_the_others_out(
    make, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    for number in range(1, 4):
        drop(tmp_path / "in", str(number), dicom(number))
    daemon = make(watch="scan")
    full_over(monkeypatch, {"2"})
    for _ in range(3):
        tick(daemon)
    assert (counts(daemon), waiting(daemon)) == ({"stored": 2}, {"no_space": 1})


# -- a busy index ---------------------------------------------------------------------------------------


def test_while_somebody_holds_the_index_it_pauses_says_so_once_and_then_goes_on(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    drop(tmp_path / "in", "a", dicom())
    daemon = make(watch="scan")

    def busy(*_args, **_more):
        raise IndexBusyError("the index cannot be used (SQLITE_BUSY)")

    with capture_logs() as lines, monkeypatch.context() as patched:
        patched.setattr(daemon._intake.index, "record", busy)
        for _ in range(3):
            tick(daemon)
        assert (counts(daemon), daemon.report()["paused"], daemon.healthy) == ({}, "index_busy", True)
    tick(daemon)
    assert (counts(daemon), daemon.report()["paused"]) == ({"stored": 1}, "")
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["paused_index_busy"]


def test_an_index_that_is_held_for_minutes_ends_it(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(module, "BUSY_PATIENCE", 0.0)
    drop(tmp_path / "in", "a", dicom())
    daemon = make(watch="scan")
    full_over(monkeypatch, {"a"}, IndexBusyError)
    with pytest.raises(IndexBusyError):
        tick(daemon)


# -- what cannot be read, and other machines' clocks --------------------------------------------------------


def test_what_cannot_be_listed_is_counted_logged_once_and_taken_once_it_can(make, tmp_path, monkeypatch):
    path = drop(tmp_path / "in", "closed/a", dicom())
    daemon, real = make(watch="scan"), os.open

    def closed(name, *rest, **more):
        if name == str(path.parent):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, *rest, **more)

    with monkeypatch.context() as forbidden, capture_logs() as lines:
        forbidden.setattr(os, "open", closed)
        for _ in range(3):
            tick(daemon)
    assert (daemon.report()["unreadable"], [one["event"] for one in lines].count("unreadable")) == (1, 1)
    tick(daemon)
    assert (daemon.report()["unreadable"], counts(daemon)) == (0, {"stored": 1})


def test_what_is_passed_over_by_rule_is_counted(make, tmp_path):
    drop(tmp_path / "in", ".hidden", b"")
    (tmp_path / "in/link").symlink_to("nowhere")
    daemon = make(watch="scan")
    for _ in range(2):
        tick(daemon)
    assert daemon.report()["passed_over"] == {"pattern": 1, "symlink": 1}


def test_where_another_machine_sets_the_time_stamps_only_our_own_waiting_counts(make, tmp_path, monkeypatch):
    path = drop(tmp_path / "in", "a", dicom())
    os.utime(path, (0, 0))
    time.sleep(0.3)
    monkeypatch.setattr(drops, "keeps_our_time", lambda _root: False)
    daemon = make(watch="scan", settle_seconds=0.2)
    tick(daemon)
    assert (counts(daemon), waiting(daemon)) == ({}, {"settling": 1})
    time.sleep(0.25)
    tick(daemon)
    assert counts(daemon) == {"stored": 1}


# -- how it does ----------------------------------------------------------------------------------------


def test_it_is_unhealthy_when_it_has_not_got_on_for_longer_than_tasks_may_take(make):
    daemon = make(watch="scan", worker_seconds=10)
    assert daemon.healthy is True
    daemon.progress_at = time.monotonic() - 4 * 10 - 61
    assert (daemon.healthy, daemon.report()["healthy"]) == (False, False)


def test_each_task_of_a_slow_batch_that_ends_is_a_sign_of_life(make):
    daemon = make(watch="scan", worker_seconds=10)
    daemon.progress_at = 0.0
    daemon._intake.workers.progress_at = time.monotonic()
    assert daemon.healthy is True


def test_every_tick_is_a_sign_of_life(make):
    daemon = make(watch="scan")
    daemon.progress_at = 0.0
    tick(daemon)
    assert daemon.healthy is True


def test_a_report_is_json_and_holds_no_path_and_no_patient_data(make, tmp_path):
    drop(tmp_path / "in", "Canary/Canary1.dcm", dicom(patient="Canary", StudyDescription="Canary"))
    drop(tmp_path / "in", "Canary/Canary2.dcm", dicom(2, patient="Canary")[:-9])
    drop(tmp_path / "in", "Canary/Canary3.dcm", dicom(patient="Canary", pixels=1))
    daemon = make(watch="scan")
    tick(daemon)
    text = json.dumps(daemon.report())
    assert ("Canary" in text, str(tmp_path) in text) == (False, False)
    assert daemon.report()["waiting_oldest"][0]["reason"] == "incomplete"
    assert counts(daemon) == {"stored": 1, "conflict": 1}


def test_before_its_first_tick_there_is_a_report_already(make):
    assert make(watch="scan").report()["state"] == "starting"


def test_logs_hold_no_path_and_no_patient_data(make, tmp_path):
    drop(tmp_path / "in", "Canary1", dicom(patient="Canary"))
    drop(tmp_path / "in", "Canary2", dicom(patient="Canary", pixels=1))
    drop(tmp_path / "in", "Canary3", b"Canary")
    with capture_logs() as lines:
        tick(make(watch="scan"))
    refused = sorted(line["reason"] for line in lines if line["event"] == "refused")
    assert (refused, "Canary" in repr(lines)) == (["conflict", "not_dicom"], False)


def test_seen_is_the_sum_of_the_outcomes_and_what_waits_is_not_counted(make, tmp_path):
    files = [dicom(1), dicom(1), dicom(1, pixels=1), b"junk", dicom(2)[:-9]]
    files.append(bundled("dicomdirtests/DICOMDIR").read_bytes())
    for number, data in enumerate(files):
        drop(tmp_path / "in", str(number), data)
    daemon = make(watch="scan")
    tick(daemon)
    since = daemon.report()["since_start"]
    assert since["seen"] == sum(since[kind] for kind in Kind) == 5
    assert rows(daemon.config, "SELECT count(*) FROM sources") == [(5,)]


# -- the loop -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(tmp_path, duties=(), **flags):
    """A daemon that runs in a thread of its own until the block ends."""
    wake, stop, ready = threading.Event(), threading.Event(), threading.Event()
    made, errors = [], []

    def serve():
        try:
            with Intake(config(tmp_path, **flags)) as intake:
                made.append(Daemon(intake, wake, stop, duties))
                made[0].run(ready.set)
        except BaseException as error:
            errors.append(error)
            ready.set()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(20)
    try:
        yield made[0]
    finally:
        stop.set()
        wake.set()
        thread.join(20)
    assert (errors, thread.is_alive()) == ([], False)


def wait_for(condition, seconds=15.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_an_event_wakes_it_long_before_the_next_walk(tmp_path):
    with serving(tmp_path, watch="auto", walk_seconds=600) as daemon:
        wait_for(lambda: daemon._drops.last_walk)
        drop(tmp_path / "in", "new/a", dicom())
        wait_for(lambda: counts(daemon) == {"stored": 1})


def test_without_events_the_walk_finds_all(tmp_path):
    with serving(tmp_path, watch="scan", walk_seconds=0.2) as daemon:
        wait_for(lambda: daemon._drops.last_walk)
        drop(tmp_path / "in", "new/a", dicom())
        wait_for(lambda: counts(daemon) == {"stored": 1})


def test_a_file_that_settles_is_taken_when_it_is_due_not_at_the_next_walk(tmp_path):
    with serving(tmp_path, watch="auto", walk_seconds=600, settle_seconds=0.3) as daemon:
        drop(tmp_path / "in", "a", dicom())
        wait_for(lambda: counts(daemon) == {"stored": 1})


def test_while_a_file_settles_the_workers_are_started(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(Inline, "warm_up", lambda _workers: started.append(True))
    with serving(tmp_path, watch="auto", settle_seconds=3600) as daemon:
        wait_for(lambda: daemon._drops.last_walk)
        assert started == []
        drop(tmp_path / "in", "a", dicom())
        wait_for(lambda: started)
        assert waiting(daemon) == {"settling": 1}


def test_when_nothing_is_left_to_do_the_workers_are_let_go(tmp_path, monkeypatch):
    rested = []
    monkeypatch.setattr(Inline, "rest", lambda _workers: rested.append(True))
    monkeypatch.setattr(module, "IDLE_REST", 0.1)
    drop(tmp_path / "in", "a", dicom())
    with serving(tmp_path, watch="auto") as daemon:
        wait_for(lambda: counts(daemon) == {"stored": 1} and rested)
    assert daemon.state == "stopping"


# -- duties ---------------------------------------------------------------------------------------------


class Noting:
    """A duty that remembers what it was told."""

    def __init__(self):
        self.noted, self.worked, self.closed = [], 0, False

    def note(self, outcomes):
        self.noted += [str(one.kind) for one in outcomes]

    def work(self, now):
        self.worked += 1
        return now + 0.05

    def report(self):
        return {"noted": len(self.noted)}

    def close(self):
        self.closed = True


def test_a_duty_hears_of_each_committed_batch_works_when_it_wants_and_is_closed(tmp_path):
    duty = Noting()
    drop(tmp_path / "in", "a", dicom())
    with serving(tmp_path, duties=[duty], watch="auto", walk_seconds=600) as daemon:
        wait_for(lambda: duty.noted == ["stored"] and duty.worked > 5)
        assert daemon.report()["noted"] == 1
    assert duty.closed is True
