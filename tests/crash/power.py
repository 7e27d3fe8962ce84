"""Power cuts during a real run: record its calls once, lay out what a cut may leave, and run again."""

import hashlib
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from crash.facts import META, Expected, Work, after_crash, after_rerun, after_third, sha256
from crash.power_courses import Course
from crash.power_cuts import PLAIN, fates
from crash.power_disk import Disk
from crash.power_log import TRACE, Reader, readable
from crash.runs import SECONDS, Call, sample
from support import tree


def _ignored(name):
    """The output of the runs."""
    return name.startswith("run")


def command(sorter, work, course, line, output=None, **how):
    """One run of a command line."""
    words = [word.format(folder=work.folder, incoming=work.incoming, archive=work.archive) for word in line]
    environ = {"SORTER_RETIRE": course.scenario.retire, **course.environ}
    return sorter.run(output or work.folder, *words, environ=environ, **how)


@dataclass
class Recording:
    """One run of a course, and the disk while it ran."""

    sorter: object
    course: Course
    work: Work
    disk: Disk
    allowed: Expected  # what may lie there at any time during the run
    reported: Expected  # what lies there once it has said that it is done
    expected: Expected  # what lies there once all is done
    log: list[Call]
    held: set[str] = field(default_factory=set)  # digests of what lay there before, none of which may vanish
    outputs: count = field(default_factory=count)

    @classmethod
    def make(cls, sorter, course, folder):
        """Run the course without a cut; the folder then stays its own for all cuts."""
        work = Work(folder, **course.scenario.work())
        for line in course.before:
            if callable(line):
                line(work)
            else:
                done = command(sorter, work, course, line)
                assert done.status in (0, 1), done.stderr
        return cls.of(sorter, course, work)

    @classmethod
    def of(cls, sorter, course, work, earlier=None):
        """Run the course from what lies there now: after a cut in an ``earlier`` recording, its recovery."""
        disk, first = Disk.of(work.folder, _ignored), Expected.of(work)
        held = set(_digests(work.folder))
        if course.foreign:
            disk.step("somebody puts files into the archive")
            disk.unsettle(disk.find(work.archive), but=[META])
        line = course.command if earlier is None else course.again[-1]
        with _ended(work, course.until if earlier is None else None):
            done = command(sorter, work, course, line, trace=TRACE)
        assert done.status in (0, 1), done.stderr
        Reader(disk, _ignored).read(done.log)
        log = [readable(call) for call in done.log]
        check_model(disk, work)
        reported = Expected.of(work)
        for line in course.again:
            done = command(sorter, work, course, line)
            assert done.status in (0, 1), done.stderr
        expected = Expected.of(work)
        allowed = replace(
            expected,
            tree=first.tree | reported.tree | expected.tree,
            quarantine=first.quarantine | reported.quarantine | expected.quarantine,
        )
        if earlier is not None:
            assert after_rerun(work, earlier.expected, done, retires=course.scenario.retires) == []
        return cls(sorter, course, work, disk, allowed, reported, expected, log, held)

    # -- which cuts -------------------------------------------------------------------------------------

    def cuts(self, most=None):
        """Steps after which to cut: all, or a sample of which few are plain writes."""
        steps = range(len(self.disk.steps))
        if most is None:
            return list(steps)
        writes = [n for n in steps if self.disk.steps[n].startswith(("write", "pwrite64"))]
        others = sorted(set(steps) - set(writes))
        return sorted({*sample(writes, most // 3), *sample(others, most - most // 3), steps[-1]})

    def states(self, cuts, seeds):
        """Each different state that a cut may leave, once: (words for it, whether it is the end, files)."""
        seen = set()
        for step in cuts:
            for variant in (*PLAIN, *range(seeds)):
                files = self.disk.after_cut(step, fates(self.disk, step, variant))
                is_end = step == len(self.disk.steps) - 1
                key = hashlib.sha256(repr((sorted(files.items()), is_end)).encode()).digest()
                if key not in seen:
                    seen.add(key)
                    yield f"{variant}, after step {step}, {self.disk.steps[step]}", is_end, files

    # -- one cut ----------------------------------------------------------------------------------------

    def wrong_after_cut(self, files, *, is_end):
        """Bring the folder into a state; what is wrong there before anything is repaired."""
        lay_out(self.work.folder, files)
        try:
            wrong = after_crash(self.work, self.allowed, retires=self.course.scenario.retires)
            wrong += self._lost() + self.course.also(self.work, is_end)
            if is_end:
                wrong += self._broken_word()
        except Exception as error:
            return [f"it cannot be looked at: {type(error).__name__}: {error}"]
        return [line for line in wrong if not self._is_foreign(line)]

    def _lost(self):
        """Of what lay there before, what is nowhere any more: neither as it was nor in the archive."""
        there = tree(self.work.archive)
        safe = {row["source_sha256"] for row in self.work.instances() if row["path"] in there}
        gone = self.held - safe - set(_digests(self.work.folder))
        return [f"{len(gone)} of the files that were there are nowhere any more"] if gone else []

    def _broken_word(self):
        """What was reported as done and is not there."""
        wrong, reported = [], self.reported
        if self.work.instances() != reported.instances:
            wrong.append("rows that were reported are not there")
        if tree(self.work.archive) != reported.tree and not self.course.foreign:
            wrong.append("files that were reported are not there")
        if self.work.quarantine() != reported.quarantine:
            wrong.append("files in quarantine that were reported are not there")
        return wrong

    def _is_foreign(self, line):
        """Whether it concerns a file that somebody put into the archive and that has no row yet."""
        if not self.course.foreign:
            return False
        rows = {row["path"] for row in self.work.instances()}
        return any(line.endswith(name) for name in self.work.leftovers.keys() - rows) or "nowhere" in line

    def wrong_after_recovery(self):
        """What is wrong once the commands have been given again, and after one more."""
        with self._output() as output:
            for line in self.course.again:
                done = command(self.sorter, self.work, self.course, line, output)
            retires = self.course.scenario.retires
            wrong = after_rerun(self.work, self.expected, done, retires=retires)
            stamps = self.work.stamps()
            third = command(self.sorter, self.work, self.course, self.course.again[-1], output)
            if third.status not in (0, 1):
                return [*wrong, f"the third run ended with {third.status}: {third.stderr[-400:]}"]
            return wrong + after_third(self.work, stamps, third)

    @contextmanager
    def _output(self):
        folder = self.work.folder / f"run-{next(self.outputs)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@contextmanager
def _ended(work, until):
    """End the daemon that is started meanwhile, once it has done all."""

    def end():
        lock = work.archive / META / "daemon.lock"
        deadline = time.monotonic() + SECONDS
        while not until(work) and time.monotonic() < deadline:
            time.sleep(0.05)
        # https://docs.kernel.org/filesystems/proc.html: /proc/locks names holder and inode
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and int(words[5].rpartition(":")[2]) == lock.stat().st_ino:
                os.kill(int(words[4]), signal.SIGTERM)

    thread = threading.Thread(target=end if until else lambda: None)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _digests(folder):
    """Digest of each file that holds what somebody dropped: not staging, not the index, not our notes."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        own = META in parts and ("quarantine" not in parts or path.suffix == ".json")
        if not own and not _ignored(parts[0]) and not path.is_symlink() and path.is_file():
            yield sha256(path.read_bytes())


def lay_out(folder, files):
    """Make the folder what ``files`` says. What is so already stays, so that it keeps its inode and times."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = str(path.relative_to(folder))
        if not _ignored(name) and not _is(path, files.get(name)):
            if path.is_dir() and not path.is_symlink():
                path.rmdir() if not any(path.iterdir()) else shutil.rmtree(path)
            else:
                path.unlink()
    for name, file in sorted(files.items()):
        path = folder / name
        if os.path.lexists(path):
            continue
        if file.kind == "folder":
            path.mkdir(mode=file.mode)
        elif file.kind == "link":
            path.symlink_to(os.fsdecode(file.content))
        else:
            path.write_bytes(file.content)
            path.chmod(file.mode)
            os.utime(path, ns=(file.mtime_ns, file.mtime_ns))


def _is(path, file):
    if file is None or path.is_symlink() != (file.kind == "link"):
        return False
    if file.kind == "link":
        return os.fsencode(path.readlink()) == file.content
    if path.is_dir() or file.kind == "folder":
        return path.is_dir() and file.kind == "folder"
    return path.stat().st_mtime_ns == file.mtime_ns and path.read_bytes() == file.content


def check_model(disk, work):
    """The model at its end is what the run has left; otherwise it would prove nothing.

    Raises
    ------
    AssertionError
        It is not.
    """
    model = {name: (one.kind, one.content) for name, one in disk.now().items() if not name.endswith("-shm")}
    real = {
        name: (one.kind, one.content)
        for name, one in Disk.of(work.folder, _ignored).now().items()
        if not name.endswith("-shm")
    }
    assert model == real, f"the model differs in {sorted({n for n, _ in model.items() ^ real.items()})[:5]}"
