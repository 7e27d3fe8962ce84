"""Memory, descriptors and threads of the daemon and its workers, over time; and whether they grow."""

import contextlib
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from e2e.program import tree_of_processes

EVERY = 0.5  # seconds
MIB = 1024  # KiB


@dataclass(frozen=True, slots=True)
class Sample:
    """One look; memory in MiB. Folders of the tree are no part of ``descriptors``."""

    at: float
    rss: float
    descriptors: int
    threads: int
    workers: int  # how many
    worker: float  # the largest of them


@dataclass(frozen=True, slots=True)
class Bound:
    """Growth is a fault where it is more than ``slope`` an hour, and has come to more than ``noise``."""

    slope: float
    noise: float


BOUNDS = {"rss": Bound(16, 16), "descriptors": Bound(4, 8), "threads": Bound(2, 4), "worker": Bound(32, 48)}
SHORTEST = 0.05  # hours after the warm-up; in less there is no trend
MOST = {"rss": 300, "descriptors": 100, "threads": 40, "worker": 600}


def trend(segments):
    """Growth an hour by least squares, each segment (the life of one process) with a level of its own.

    Parameters
    ----------
    segments
        Lists of (seconds, value).

    Returns
    -------
    slope, hours
        A slope of 0 where there is too little to say; and the time that was looked at.
    """
    above = below = hours = 0.0
    for points in segments:
        if len(points) < 2:
            continue
        at = sum(t for t, _ in points) / len(points)
        level = sum(value for _, value in points) / len(points)
        above += sum((t - at) * (value - level) for t, value in points)
        below += sum((t - at) ** 2 for t, _ in points)
        hours += (points[-1][0] - points[0][0]) / 3600
    return (above / below * 3600 if below else 0.0), hours


class Gauges(threading.Thread):
    """Samples whatever daemon runs; :meth:`watch` names it.

    Parameters
    ----------
    warm_up
        Seconds of each daemon's life that do not count for the trend.
    """

    def __init__(self, archive, warm_up):
        super().__init__(name="gauges", daemon=True)
        self._archive, self._warm_up, self._pid = archive, warm_up, 0
        self.samples = defaultdict(list)  # pid -> samples
        self._done = threading.Event()

    def watch(self, pid):
        """Look at this process from now on; 0 at none."""
        self._pid = pid

    def run(self):
        while not self._done.wait(EVERY):
            if pid := self._pid:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, KeyError):
                    self.samples[pid].append(look(pid, self._archive))

    def stop(self):
        self._done.set()
        self.join()

    def peak(self, name):
        return max((getattr(one, name) for samples in self.samples.values() for one in samples), default=0)

    def trend(self, name):
        """Growth an hour after the warm-up, and the hours looked at."""
        segments = []
        for samples in self.samples.values():
            late = [one for one in samples if one.at - samples[0].at >= self._warm_up]
            if name == "worker":
                late = [one for one in late if one.workers]
            segments.append([(one.at, getattr(one, name)) for one in late])
        return trend(segments)

    def faults(self):
        """What grows, or is too much."""
        wrong = []
        for name, bound in BOUNDS.items():
            slope, hours = self.trend(name)
            if hours > SHORTEST and slope > bound.slope and slope * hours > bound.noise:
                wrong.append(f"{name} grows by {slope:.1f} an hour, seen for {hours * 60:.0f} minutes")
            if self.peak(name) > MOST[name]:
                wrong.append(f"{name} reached {self.peak(name):.0f}; the bound is {MOST[name]}")
        return wrong


def look(pid, archive):
    """One sample of a daemon."""
    facts = _status(pid)
    workers = [_status(one) for one in workers_of(pid)]
    return Sample(
        time.monotonic(),
        int(facts["VmRSS"]) / MIB,
        _descriptors(pid, archive),
        int(facts["Threads"]),
        len(workers),
        max((int(one.get("VmRSS", 0)) / MIB for one in workers), default=0.0),
    )


def _descriptors(pid, archive):
    """Open descriptors, but for folders of the tree: of these up to 256 are kept open."""
    tree, meta = f"{archive}/", f"{archive}/.sorter"
    targets = [_target(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    return sum(not one.startswith(tree) or one.startswith(meta) for one in targets)


def _target(link):
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""  # closed meanwhile


def _status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: rest.split()[0] for key, _, rest in (line.partition(":") for line in lines) if rest.split()}


def workers_of(pid):
    """Process ids of the workers of a daemon."""
    found = []
    for one in tree_of_processes(pid)[1:]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes():
                found.append(one)
    return found
