"""One round: some cases in a drop folder, the real program over them, and what was seen of it meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from e2e.program import environment, tree_of_processes
from fuzz.cases import NAME
from support import ROOT

GRACE = 5.0  # seconds that a machine under load may take to end a task that is due
SLOWEST = 1 << 20  # bytes a second that a task has besides its deadline (sorter.pool)
EVERY = 0.1


@dataclass(frozen=True)
class Limits:
    """What the program is given, and held to; memory in MiB, beyond what a worker has at its start."""

    worker_seconds: float = 10.0
    worker_memory_mb: int = 512
    start_mb: int = 256
    parent_mb: int = 400


@dataclass
class Round:
    """A drop folder, an archive, and one run of the program."""

    folder: Path
    cases: list
    mode: str  # "rescan" or "daemon"
    limits: Limits = Limits()
    status: int = 0
    output: str = ""  # all that it said
    summary: dict = field(default_factory=dict)
    pixels: list = field(default_factory=list)  # of each instance that was stored: what became of its pixels
    faults: list = field(default_factory=list)  # lines
    seconds: dict = field(default_factory=dict)  # file -> the longest time that a worker spent on it
    killed: set = field(default_factory=set)  # files over which a worker died
    worker_mb: float = 0.0  # the most that a worker had
    tree_mb: float = 0.0  # the most that all processes had

    def __post_init__(self):
        self.incoming, self.archive = self.folder / "incoming", self.folder / "archive"
        self._times = self.folder / "times.jsonl"
        self._read, self._running = 0, {}  # process -> the note of what it began
        self._tasks = defaultdict(list)  # (task, process) -> notes

    def path(self, case):
        """Where a case lies."""
        return self.incoming / NAME / case.name

    def run(self):
        """Lay the cases down, let the program take them in, and watch it."""
        (self.incoming / NAME).mkdir(parents=True)
        for case in self.cases:
            self.path(case).write_bytes(case.data)
        self._times.touch()
        with (
            (self.folder / "output").open("wb") as output,
            subprocess.Popen(
                self._command(), env=self._environment(), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                self._watch(process)
            finally:
                if process.poll() is None:
                    process.kill()
        self.status = process.returncode
        self._note_times()
        self._check_tasks()
        self.output = (self.folder / "output").read_text(errors="surrogateescape")
        self._summarise()
        return self

    def _command(self):
        places = ["--incoming", self.incoming, "--archive", self.archive]
        how = ["--rescan", "--json"] if self.mode == "rescan" else []
        return [sys.executable, "-m", "fuzz.watched", *how, *map(str, places)]

    def _environment(self):
        settings = environment(
            worker_seconds=self.limits.worker_seconds,
            worker_memory_mb=self.limits.worker_memory_mb,
            incomplete_seconds=0,
            log_format="json",
        )
        path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
        return settings | {"FUZZ_TIMES": str(self._times), "PYTHONPATH": path}

    def _summarise(self):
        if self.mode == "rescan":
            with contextlib.suppress(ValueError, IndexError):
                self.summary = json.loads(self.output.splitlines()[-1])
        else:
            with contextlib.suppress(OSError, ValueError, KeyError):
                self.summary = self._status_file()["since_start"]

    # -- watching -------------------------------------------------------------------------------------------

    def _watch(self, process):
        """Until it has ended; a daemon is told to end when it has said counted each case."""
        patience = 3 * self.limits.worker_seconds + 60
        told, progress, counted = False, time.monotonic(), 0
        while process.poll() is None:
            time.sleep(EVERY)
            self._measure(process.pid)
            now = time.monotonic()
            known = self._counted() if self.mode == "daemon" else 0
            if self._note_times() or known != counted:
                progress, counted = now, known
            self._check_running(now)
            if self.mode == "daemon" and not told and counted >= len(self.cases):
                process.send_signal(signal.SIGTERM)
                told, progress = True, now
            if now - progress > patience:
                self.faults.append(f"nothing has happened for {patience:.0f} s; {counted} files are counted")
                process.kill()
                process.wait()

    def _counted(self):
        """How many outcomes the daemon's status file tells of."""
        try:
            return self._status_file()["since_start"]["seen"]
        except (OSError, ValueError, KeyError):
            return 0  # it has none yet

    def _status_file(self):
        return json.loads((self.archive / ".sorter" / "status.json").read_text())

    def _measure(self, pid):
        total = 0.0
        for one in tree_of_processes(pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, KeyError):
                facts = _status(one)
                total += facts["VmRSS"]
                if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes():
                    self.worker_mb = max(self.worker_mb, facts["RssAnon"])
                elif one == pid and facts["RssAnon"] > self.limits.parent_mb:
                    self.faults.append(f"the parent has {facts['RssAnon']:.0f} MiB")
                    self.limits = Limits(parent_mb=1 << 30)  # said once
        self.tree_mb = max(self.tree_mb, total)

    def _note_times(self):
        """Read on in what workers noted; says whether there was more."""
        with self._times.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self._read += len(lines)
        for line in lines.splitlines():
            note = json.loads(line)
            self.worker_mb = max(self.worker_mb, note["peak"] / 1024)
            self._tasks[note["task"], note["pid"]].append(note)
            if note["what"] == "began":
                self._running[note["pid"]] = note
            else:
                began = self._running.pop(note["pid"])
                name, took = note["file"], note["at"] - began["at"]
                self.seconds[name] = max(self.seconds.get(name, 0.0), took)
        return bool(lines)

    def _deadline(self, note):
        return self.limits.worker_seconds + note["bytes"] / SLOWEST + GRACE

    def _check_running(self, now):
        for pid, note in list(self._running.items()):
            alive = os.path.exists(f"/proc/{pid}")
            if not alive:
                self.killed.add(note["file"])
                took = now - note["at"]
                self.seconds[note["file"]] = max(self.seconds.get(note["file"], 0.0), took)
                del self._running[pid]
            began = self._tasks[note["task"], pid][0]["at"]
            if now - began > self._deadline(note):
                self.faults.append(f"{note['file']}: its task works for {now - began:.1f} s")
                self._running.pop(pid, None)

    def _check_tasks(self):
        for notes in self._tasks.values():
            took = notes[-1]["at"] - notes[0]["at"]
            if took > self._deadline(notes[0]):
                self.faults.append(f"{notes[-1]['file']}: its task took {took:.1f} s")
        self.killed.update(note["file"] for note in self._running.values())
        if self.worker_mb > self.limits.worker_memory_mb + self.limits.start_mb:
            self.faults.append(f"a worker had {self.worker_mb:.0f} MiB")


def _status(pid):
    """The memory lines of a process, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("VmRSS", "RssAnon")))
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in fields}
