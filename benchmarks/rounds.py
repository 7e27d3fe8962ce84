"""Contestants measured side by side: in turn, several rounds, each ratio from one round."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lost import lost, uids
from benchmarks.memory import Peak
from benchmarks.peers import Peer, PeerFailed, Sort, Tools


@dataclass(slots=True)
class Result:
    """What was measured of one contestant; the lists have one entry a round.

    Parameters
    ----------
    seconds
        Until its result was on the disk: until it ended where it is durable itself, else with a sync.
    exit_seconds
        Until it ended.
    cpu_seconds
        Of all its processes, user and system, servers with their start-up. Other programs on the machine
        change it less than they change the times.
    lost
        Distinct instances of the source that are not in its result; ``None`` where it was not counted.
    """

    peer: Peer
    seconds: dict[int, float] = field(default_factory=dict)
    exit_seconds: dict[int, float] = field(default_factory=dict)
    cpu_seconds: dict[int, float] = field(default_factory=dict)
    lost: int | None = None
    peak_mb: float = 0.0
    own_mb: float = 0.0
    skipped: str = ""

    def median(self) -> float:
        """Seconds of the middle round."""
        return statistics.median(self.seconds[number] for number in _counted(set(self.seconds)))

    def cpu(self) -> float:
        """CPU seconds of the middle round."""
        return statistics.median(self.cpu_seconds[number] for number in _counted(set(self.cpu_seconds)))

    def ratios(self, other: Result, *, to_exit: bool = False) -> list[float]:
        """Its seconds (or those until it ended) by those of another, round by round."""
        mine, theirs = self.exit_seconds if to_exit else self.seconds, other.seconds
        return [mine[number] / theirs[number] for number in sorted(_counted(mine.keys() & theirs.keys()))]

    def ratio(self, other: Result, *, to_exit: bool = False) -> float | None:
        """The median of these; ``None`` where one of them was not measured."""
        found = self.ratios(other, to_exit=to_exit)
        return statistics.median(found) if found else None


def _counted(numbers: set[int]) -> set[int]:
    """Rounds without the one to warm up, where there are others."""
    return numbers - {0} or numbers


def measure(
    contestants: Sequence[Peer],
    source: Path,
    work: Path,
    *,
    tools: Tools,
    rounds: int,
    patience: float,
    count: bool = True,
) -> list[Result]:
    """Each contestant in turn, once to warm up and then ``rounds`` times.

    Memory is sampled and losses are counted in the first turn, whose time does not count; but one that takes
    longer than ``patience`` seconds has no other turn, and its first one counts.
    """
    results = [Result(peer, skipped=peer.missing(tools)) for peer in contestants]
    expected = uids(source) if count else None
    kept: deque[Path] = deque()
    for number in range(rounds + 1):
        for result in results:
            if result.skipped or max(result.seconds.values(), default=0.0) > patience:
                continue
            out = Path(tempfile.mkdtemp(prefix="result-", dir=work)) / "out"
            kept.append(out.parent)
            _make_room(kept, work, source)
            try:
                _turn(result, number, source, out, tools)
                if number == 0 and expected is not None:
                    result.lost = lost(expected, uids(out))
            except PeerFailed as error:
                result.skipped = str(error)
    for folder in kept:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def _make_room(kept: deque[Path], work: Path, source: Path) -> None:
    """Remove the oldest results where the disk is short of room, and only there.

    ext4 does not use an inode again for minutes after its file was removed, and looks for others one by one:
    who makes files after that waits for it (recently_deleted() in fs/ext4/ialloc.c).
    """
    size = sum(entry.stat().st_size for entry in source.rglob("*") if entry.is_file())
    while len(kept) > 1 and shutil.disk_usage(work).free < 4 * size:
        shutil.rmtree(kept.popleft(), ignore_errors=True)


def _cpu() -> float:
    return sum(os.times()[2:4])  # of children that were waited for, and of theirs


def _turn(result: Result, number: int, source: Path, out: Path, tools: Tools) -> None:
    before = _cpu()
    with result.peer.ready(tools, out) as sort:
        os.sync()
        if number == 0:
            with Peak() as peak:
                began, ended = _timed(sort, source)
            result.peak_mb, result.own_mb = peak.mb, peak.own_mb
        else:
            began, ended = _timed(sort, source)
        done = ended
        if result.peer.durable != "yes":
            os.sync()
            done = time.perf_counter()
    result.cpu_seconds[number] = _cpu() - before
    result.seconds[number], result.exit_seconds[number] = done - began, ended - began
    print(f"round {number}: {result.peer.name} {done - began:.2f} s", file=sys.stderr, flush=True)


def _timed(sort: Sort, source: Path) -> tuple[float, float]:
    began = time.perf_counter()
    sort(source)
    return began, time.perf_counter()
