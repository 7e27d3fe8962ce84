"""Whoever writes into the drop folder, and however: every file is ready once, and only when it is whole."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from sorter.model import Candidate, Reason
from sorter.observer.listing import look
from sorter.observer.settle import Settler
from sorter.observer.walk import Walker
from sorter.observer.watch import Watch

QUIET = 0.3
FILES = 60


class Daemon:
    """The loop of the daemon around the observer's parts; reads what is ready at the moment it is ready."""

    def __init__(self, root, *, walk_seconds, whole=lambda content: True):
        self.wake = threading.Event()
        self.watch = Watch([str(root)], self.wake, mode="events")
        self.walker = Walker(str(root))
        self.settler = Settler(QUIET, incomplete=60)
        self.walk_seconds = walk_seconds
        self.whole = whole
        self.ready: dict[str, list[str]] = {}
        self.done: set[tuple] = set()

    def observe(self, candidate):
        if (candidate.path, candidate.version) in self.done:
            return True
        if not self.settler.observe(candidate, time.monotonic()):
            return False
        content = Path(candidate.path).read_bytes()
        if not self.whole(content):
            self.settler.defer(candidate, time.monotonic(), Reason.INCOMPLETE)
            return False
        name = os.path.relpath(candidate.path, self.walker.root)
        self.ready.setdefault(name, []).append(digest(content))
        self.done.add((candidate.path, candidate.version))
        self.settler.forget(candidate.folder, candidate.name)
        return True

    def walk(self):
        for listing in self.walker.walk(deep=False):
            waiting = [candidate for candidate in listing.candidates if not self.observe(candidate)]
            if not waiting:
                self.walker.known(listing)

    def run_until(self, finished, seconds=15.0):
        """Walk when woken or when it is time, until nothing is waiting after the producer has finished."""
        self.watch.start()
        deadline, next_walk = time.monotonic() + seconds, 0.0
        try:
            while time.monotonic() < deadline:
                finishing = finished()
                if self.wake.is_set() or time.monotonic() >= next_walk or finishing:
                    self.wake.clear()
                    self.walk()
                    next_walk = time.monotonic() + self.walk_seconds
                for candidate in self.settler.due(time.monotonic()):
                    found = look(candidate.path, candidate.root)
                    if isinstance(found, Candidate):
                        self.observe(found)
                    else:
                        self.settler.forget(candidate.folder, candidate.name)
                if finishing and not len(self.settler):
                    return
                self.wake.wait(0.05)
            raise AssertionError("not everything became ready")
        finally:
            self.watch.stop()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def make_tree(root):
    for n in range(FILES):
        path = root / f"patient {n % 3}" / f"series {n % 5}" / f"{n}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(200_000 if n % 10 == 0 else 2_000))
        os.utime(path, (1, 1))
    return {str(p.relative_to(root)): digest(p.read_bytes()) for p in root.rglob("*.dcm")}


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    return folder, make_tree(folder)


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def copy(source, target):
    return ["cp", "-r", f"{source}/.", str(target)]


def copy_with_times(source, target):
    return ["cp", "-rp", f"{source}/.", str(target)]


def move(source, target):
    return ["sh", "-c", f"mv '{source}'/* '{target}'"]


def rsync(source, target):
    return ["rsync", "-a", f"{source}/", str(target)]


def tar(source, target):
    return ["sh", "-c", f"tar c -C '{source}' . | tar x -C '{target}'"]


@pytest.mark.parametrize("walk_seconds", [0.1, 60], ids=["walks", "events"])
@pytest.mark.parametrize("producer", [copy, copy_with_times, move, rsync, tar])
def test_every_file_is_ready_once_and_whole(tree, incoming, producer, walk_seconds):
    source, expected = tree
    command = producer(source, incoming)
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    daemon = Daemon(incoming, walk_seconds=walk_seconds)
    with subprocess.Popen(command) as running:
        daemon.run_until(lambda: running.poll() is not None)
    assert running.returncode == 0
    assert daemon.ready == {name: [content] for name, content in expected.items()}


@pytest.mark.skipif(
    not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tempfile.gettempdir()).st_dev,
    reason="no second file system to move from",
)
def test_every_file_that_is_moved_from_another_file_system_is_ready_once_and_whole(incoming):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as source:
        expected = make_tree(Path(source))
        daemon = Daemon(incoming, walk_seconds=60)
        with subprocess.Popen(move(source, incoming)) as running:
            daemon.run_until(lambda: running.poll() is not None)
    assert daemon.ready == {name: [content] for name, content in expected.items()}


def test_a_slow_writer_that_opens_the_file_anew_for_each_part_is_waited_for(incoming):
    """It closes the file again and again, and pauses for less than the quiet period."""
    parts = [os.urandom(1_000) for _ in range(10)]

    def write():
        for part in parts:
            with (incoming / "slow.dcm").open("ab") as file:
                file.write(part)
            time.sleep(QUIET / 3)

    writer = threading.Thread(target=write)
    writer.start()
    daemon = Daemon(incoming, walk_seconds=0.1)
    daemon.run_until(lambda: not writer.is_alive())
    writer.join()
    assert daemon.ready == {"slow.dcm": [digest(b"".join(parts))]}


def test_a_writer_that_pauses_longer_than_the_quiet_period_is_waited_for(incoming):
    """Time cannot tell that the file is not whole; its structure does, and it is looked at again."""
    parts = [b"first, ", b"second, ", b"end"]

    def write():
        with (incoming / "paused.dcm").open("ab", buffering=0) as file:
            for part in parts:
                file.write(part)
                time.sleep(QUIET * 3)

    writer = threading.Thread(target=write)
    writer.start()
    daemon = Daemon(incoming, walk_seconds=60, whole=lambda content: content.endswith(b"end"))
    daemon.run_until(lambda: not writer.is_alive())
    writer.join()
    assert daemon.ready == {"paused.dcm": [digest(b"".join(parts))]}
