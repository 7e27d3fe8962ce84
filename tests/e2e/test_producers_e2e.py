"""Whoever writes into the drop folder, and however: each file is archived once, whole, and soon.

Slow, with 20,000 files a producer: ``SORTER_SLOW=1 sh tests/run tests/e2e/test_producers_e2e.py -rP``.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from e2e.program import IS_ROOT, MARGIN, SETTLE, Template, ledger, rescan, slow, sources, stored_count
from support import dicom, drop, tree

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
SHARED_MEMORY = Path("/dev/shm")


def copy(source, target):
    return ["cp", "-r", f"{source}/.", f"{target}"]


def copy_with_times(source, target):
    return ["cp", "-rp", f"{source}/.", f"{target}"]


def move(source, target):
    return ["sh", "-c", f"mv '{source}'/* '{target}'"]


def rsync(source, target):
    return ["rsync", "-a", f"{source}/", f"{target}"]


def tar(source, target):
    return ["sh", "-c", f"tar c -C '{source}' . | tar x -C '{target}'"]


@contextlib.contextmanager
def short_event_queue():
    """An inotify queue of 200 events for what is started within; the kernel takes the limit at the start."""
    if not IS_ROOT:
        pytest.skip("only root may shorten the inotify queue")
    with Path(tempfile.gettempdir(), "sorter-e2e-queue.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = QUEUE.read_text()
        try:
            QUEUE.write_text("200")
        except OSError:
            pytest.skip("the inotify queue may not be shortened here")
        try:
            yield
        finally:
            QUEUE.write_text(before)


def arrives(daemon, archive, incoming, produce, made):
    """Let a producer run beside the daemon; everything is in tree and index in time, whole and once."""
    subprocess.run(produce, check=True)
    took = daemon.wait_stored(len(made), SETTLE + 2 + MARGIN)
    print(f"{produce[0]}: {len(made)} files in the index {took:.2f} s after the producer ended")
    daemon.stop()
    assert Counter(tree(archive).values()) == Counter(made)
    entries = ledger(archive, incoming)
    assert (len(entries), set(entries.values())) == (len(made), {("stored", None)})


@pytest.mark.parametrize("producer", [copy, move, rsync, tar])
def test_nothing_is_missed_or_published_by_halves(producer, daemon, incoming, archive, tmp_path):
    if shutil.which(producer("", "")[0]) is None:
        pytest.skip(f"{producer.__name__} is not installed")
    made = Template().fill(tmp_path / "source", 2_000)
    arrives(daemon(), archive, incoming, producer(tmp_path / "source", incoming), made)


def test_nothing_is_missed_that_moves_in_from_another_file_system(daemon, incoming, archive):
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == incoming.stat().st_dev:
        pytest.skip("no second file system to move from")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as source:
        made = Template().fill(source, 2_000)
        arrives(daemon(), archive, incoming, move(source, incoming), made)


def test_nothing_is_missed_when_the_event_queue_overflows(daemon, incoming, archive, tmp_path):
    with short_event_queue():
        running = daemon()
    made = Template().fill(tmp_path / "source", 2_000)
    arrives(running, archive, incoming, tar(tmp_path / "source", incoming), made)


@slow
@pytest.mark.parametrize("producer", [copy, copy_with_times, move, rsync, tar])
def test_nothing_of_20000_files_is_missed_when_the_event_queue_overflows(
    producer, daemon, incoming, archive, tmp_path
):
    made = Template().fill(tmp_path / "source", 20_000)
    with short_event_queue():
        running = daemon()
    subprocess.run(producer(tmp_path / "source", incoming), check=True)
    took = running.wait_stored(len(made), 120)
    print(f"{producer.__name__}: 20,000 files in the index {took:.2f} s after the producer ended")
    running.stop()
    assert Counter(tree(archive).values()) == Counter(made)


def test_a_file_that_comes_while_many_are_brought_in_follows_at_once(daemon, incoming, archive):
    """Time spent on publishing is not time spent on walking, which the daemon pauses for."""
    Template().fill(incoming, 4_000)
    running = daemon(settle_seconds=0)
    running.wait_stored(512)
    drop(incoming, "late.dcm", dicom(1, study=2))
    running.wait_stored(4_000)
    took = running.wait_stored(4_001)
    print(f"the late file: in the index {took:.2f} s after the others")
    assert took < 3


# -- slow and strange writers ---------------------------------------------------------------------------


def write_slowly(path, data, pause, *, reopen):
    """Five parts with pauses; closed and opened again between them, or kept open."""
    size = -(-len(data) // 5)
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    if reopen:
        for part in parts:
            with path.open("ab") as file:
                file.write(part)
            time.sleep(pause)
        return
    with path.open("ab", buffering=0) as file:
        for part in parts:
            file.write(part)
            time.sleep(pause)


def test_writers_that_pause_longer_than_the_quiet_period_are_waited_for(daemon, incoming, archive):
    running = daemon(settle_seconds=0.2)
    made = {f"{n}.dcm": dicom(n, size=64) for n in range(1, 5)}
    writers = [
        threading.Thread(
            target=write_slowly, args=(incoming / name, data, 0.7), kwargs={"reopen": n % 2 == 0}
        )
        for n, (name, data) in enumerate(made.items())
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    took = running.wait_stored(len(made), 0.2 + 2 + MARGIN)
    print(f"slow writers: in the index {took:.2f} s after their last pause")
    running.stop()
    assert Counter(tree(archive).values()) == Counter(made.values())
    assert [(row["outcome"], row["reason"]) for row in sources(archive)] == [("stored", None)] * 4
    assert list((archive / ".sorter" / "quarantine").rglob("*.*")) == []


def test_a_writer_that_pauses_at_an_element_boundary_is_waited_for(daemon, incoming, archive):
    """What is there so far reads as a whole dataset; only its SOP class says that pixels are missing."""
    running = daemon(settle_seconds=0.2)
    data = dicom(1)
    boundary = data.index(b"\xe0\x7f\x10\x00OW")
    with (incoming / "a.dcm").open("wb", buffering=0) as file:
        file.write(data[:boundary])
        running.wait(lambda: running.report.get("waiting") == {"incomplete": 1}, what="the file to wait")
        file.write(data[boundary:])
    running.wait_stored(1)
    running.stop()
    assert list(tree(archive).values()) == [data]


def test_an_append_to_an_archived_file_never_touches_the_archive(daemon, incoming, archive):
    running = daemon(settle_seconds=0.2, incomplete_seconds=1)
    source = drop(incoming, "a.dcm", dicom(1))
    running.wait_stored(1)
    before = tree(archive)
    with source.open("ab") as file:
        file.write(b"what does not belong here")
    running.wait_counted(rejected=1)
    running.stop()
    assert tree(archive) == before
    outcomes = [(row["outcome"], row["reason"]) for row in sources(archive)]
    assert outcomes[0] == ("stored", None)
    assert outcomes[1][0] == "rejected"
    assert len(outcomes) == 2


def test_a_refused_file_that_is_completed_in_place_is_stored(daemon, incoming, archive):
    running = daemon(settle_seconds=0.2, incomplete_seconds=0.5)
    data = dicom(1)
    source = drop(incoming, "a.dcm", data[:-20])
    running.wait_counted(rejected=1)
    with source.open("ab") as file:
        file.write(data[-20:])
    running.wait_stored(1)
    running.stop()
    assert list(tree(archive).values()) == [data]
    outcomes = [(row["outcome"], row["reason"]) for row in sources(archive)]
    assert outcomes == [("rejected", "truncated"), ("stored", None)]


def test_a_file_rewritten_in_place_with_its_old_times_and_size_is_read_again(incoming, archive):
    """``rsync --times`` and ``cp -p`` set mtime back; ctime cannot be set."""
    source = drop(incoming, "a.dcm", dicom(1))
    rescan(archive, incoming=incoming)
    times = source.stat()
    source.write_bytes(dicom(2))
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    facts = rescan(archive, incoming=incoming).facts
    assert (facts["seen"], facts["stored"], stored_count(archive)) == (1, 1, 2)
