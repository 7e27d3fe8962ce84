"""The daemon: how long from dropped to committed, and whether it answers in a burst; memory of it all."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.corpus import KINDS, Kind, instance, make, templates
from benchmarks.memory import Peak
from benchmarks.options import Options
from benchmarks.peers import rescan, sorter_environment
from benchmarks.report import Cell, Table
from sorter import status

RATE = 50  # files a second
SECONDS = 60
WARM_UP = 5
SETTLE = 2.0
BURST = 100_000
FRAMES = 2000
_PATIENCE = 600.0
_NONE_YET = -1


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon and its folders."""

    incoming: Path
    archive: Path
    process: subprocess.Popen[bytes]
    start_seconds: float

    def report(self) -> dict[str, object]:
        """What ``status.json`` says; empty before there is one."""
        return status.read(self.archive) or {}


@contextlib.contextmanager
def daemon(folder: Path, *, archive: Path | None = None) -> Iterator[Daemon]:
    """A daemon that watches an empty drop folder."""
    incoming, archive = folder / "incoming", archive or folder / "archive"
    incoming.mkdir(parents=True)
    command = [sys.executable, "-m", "sorter", "--incoming", str(incoming), "--archive", str(archive)]
    env = sorter_environment(settle_seconds=SETTLE, log_level="error")
    began, at = time.perf_counter(), time.time()
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _until(lambda: _watches(archive, at), process, 0.01)
            yield Daemon(incoming, archive, process, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(60)


def _watches(archive: Path, since: float) -> bool:
    report = status.read(archive) or {}
    return report.get("heartbeat", 0) >= since and report.get("state") != "starting"


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes], every: float) -> None:
    until = time.monotonic() + _PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit("the daemon does not get there")
        time.sleep(every)


# -- dropped to committed -----------------------------------------------------------------------------------


def latency(work: Path, options: Options) -> list[Table]:
    """Times of single files at a steady rate, and of a burst."""
    kind = KINDS["small"]
    with options.folder(work, "latency") as folder, Peak() as peak, daemon(folder) as running:
        waits = _steady(running, kind, WARM_UP + max(5.0, SECONDS * options.scale))
    first = RATE * WARM_UP
    rows = [
        _waited(f"{RATE} files/s", waits[first:], round(peak.mb)),
        _waited(f"the first {WARM_UP} s of it, when workers start", waits[:first], None),
    ]
    columns = ("what", "files", "p50, ms", "p99, ms", "most, ms", "peak MB")
    title = f"Dropped to committed, less the settle time of {SETTLE:g} s"
    return [Table("latency", title, columns, rows), _burst(work, options, kind)]


def _waited(what: str, waits: Sequence[float], peak: int | None) -> list[Cell]:
    return [what, len(waits), _percentile(waits, 50), _percentile(waits, 99), max(waits) * 1e3, peak]


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] * 1e3


def _steady(running: Daemon, kind: Kind, seconds: float) -> list[float]:
    """Seconds from a file's last byte to its committed row, less the settle time, for each of many files."""
    made, number = templates(kind), round(RATE * seconds)
    dropped: dict[str, float] = {}

    def drop() -> None:
        began = time.perf_counter()
        for one in range(number):
            name = f"{one:07}.dcm"
            data = instance(kind, made, one)
            time.sleep(max(0.0, began + one / RATE - time.perf_counter()))
            (running.incoming / name).write_bytes(data)
            dropped[name] = time.perf_counter()

    writer = threading.Thread(target=drop)
    writer.start()
    committed = dict(_committed(running, number))
    writer.join()
    return [committed[name] - dropped[name] - SETTLE for name in sorted(dropped)]


def _committed(running: Daemon, number: int) -> Iterator[tuple[str, float]]:
    """Names of sources and when their rows were seen, looked at every 2 ms."""
    location = f"file:{running.archive}/.sorter/index.sqlite?mode=ro"
    until = time.monotonic() + _PATIENCE
    with contextlib.closing(sqlite3.connect(location, uri=True, timeout=30)) as connection:
        version, last = _NONE_YET, 0
        while number and time.monotonic() < until:
            time.sleep(0.002)
            now = connection.execute("PRAGMA data_version").fetchone()[0]
            if now == version:
                continue
            version, seen = now, time.perf_counter()
            rows = connection.execute(
                "SELECT id, name FROM sources WHERE id > ? ORDER BY id", (last,)
            ).fetchall()
            for _, name in rows:
                yield name, seen
            number -= len(rows)
            last = rows[-1][0] if rows else last
    if number:
        raise SystemExit(f"{number} files were not committed")


# -- a burst ------------------------------------------------------------------------------------------------


def _burst(work: Path, options: Options, kind: Kind) -> Table:
    """``sorter status``, asked again and again while a burst of files comes in."""
    files = options.scaled(BURST, least=500)
    with options.folder(work, "burst") as folder:
        burst = folder.with_name("burst")
        make(burst, kind, files)
        os.sync()
        with Peak(0.2) as peak, daemon(folder) as running:
            took, answers, ages = _asked(running, burst, files)
    return Table(
        "burst",
        f"A burst of {files:,} files",
        ("files", "seconds", "files/s", "status answers, p50, ms", "at most, ms", "oldest sign of life, s",
         "peak MB"),
        [[files, took, files / took, statistics.median(answers) * 1e3, max(answers) * 1e3, max(ages),
          round(peak.mb)]],
        ["the settle time is part of the seconds; the answers include the start of Python"],
    )  # fmt: skip


def _asked(running: Daemon, burst: Path, files: int) -> tuple[float, list[float], list[float]]:
    """Seconds of the whole burst, of each answer, and the age of the sign of life that each one showed."""
    answers, ages, seen = [], [], 0
    began = time.perf_counter()
    burst.rename(running.incoming / "burst")
    while seen < files:
        asked = time.perf_counter()
        facts = _status(running.archive)
        answers.append(time.perf_counter() - asked)
        ages.append(facts["heartbeat_age_seconds"])
        seen = facts["daemon"].get("since_start", {}).get("seen", 0)
        time.sleep(0.1)
    return time.perf_counter() - began, answers, ages


def _status(archive: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "sorter", "status", "--json", "--archive", str(archive)]
    return json.loads(
        subprocess.run(command, env=sorter_environment(), capture_output=True, check=False).stdout
    )


# -- memory -------------------------------------------------------------------------------------------------


def memory(work: Path, options: Options) -> list[Table]:
    """Peak memory of a whole rescan, parent and workers, on each corpus and on one very long file."""
    corpora = {
        "ct": (KINDS["ct"], 2000),
        "small": (KINDS["small"], 10_000),
        "j2k-ct": (KINDS["j2k-ct"], 400),
        "j2k-mg": (KINDS["j2k-mg"], 20),
        "j2k-multiframe": (KINDS["j2k-multiframe"], 4),
        f"one of {FRAMES:,} frames": (replace(KINDS["j2k-multiframe"], frames=FRAMES), 1),
    }
    rows = [_memory_of(work, options, title, *what) for title, what in corpora.items()]
    columns = ("corpus", "files", "peak MB", "of it not mapped files", "seconds")
    return [Table("memory", "Memory of parent and workers, highest", columns, rows, bars="peak MB", goal=600)]


def _memory_of(work: Path, options: Options, title: str, kind: Kind, files: int) -> list[Cell]:
    number = options.scaled(files, least=2) if files > 1 else 1
    with options.folder(work, "memory") as source:
        make(source, kind, number)
        os.sync()
        began = time.perf_counter()
        with Peak(0.02) as peak:
            rescan(source, source.with_name("archive"))
        return [title, number, round(peak.mb), round(peak.own_mb), time.perf_counter() - began]
