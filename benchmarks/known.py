"""A second rescan, when every file is in the ledger, against ``find -printf`` of the same tree, in turn.

``python -m benchmarks.known --files 1000000`` prints both, the ratios and the rescan's peak memory. The
ledger is filled as an ingest would leave it; the files are empty, since none of them is opened. On a machine
that others use too, the ratio of the CPU times is the one to trust.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from sorter.config import load
from sorter.intake import Intake
from sorter.model import Kind, Outcome
from sorter.observer.walk import Walker


def fill(source: Path, archive: Path, files: int, a_folder: int) -> None:
    """Make the files, and a ledger that knows each as stored."""
    for number in range(files):
        folder = source / f"{number // a_folder // 100:04}" / f"{number // a_folder % 100:02}"
        if number % a_folder == 0:
            folder.mkdir(parents=True)
        (folder / f"IM{number % a_folder:06}.dcm").touch()
    config = load(flags={"archive": archive, "incoming": [source]}, environ={"SORTER_CONFIG": ""})
    with Intake(config) as intake:
        for listing in Walker(str(source)).walk(deep=True):
            known = {"path": "p", "source_sha256": "0" * 64}
            outcomes = [Outcome(one, Kind.STORED, **known) for one in listing.candidates]
            for start in range(0, len(outcomes), 5000):
                intake.index.record(outcomes[start : start + 5000], {}, {})


class Cost(NamedTuple):
    """What a command cost: seconds by the clock and of CPU, and peak memory (KiB)."""

    seconds: float
    cpu: float
    memory: int


def timed(command: list[str]) -> Cost:
    """Run a command that must succeed."""
    began = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{command[0]} failed")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folder", type=int, default=500, help="files a folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where to work; on the disk to be measured")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="sorter-bench-", dir=given.dir))
    try:
        source, archive = work / "source", work / "archive"
        fill(source, archive, given.files, given.folder)
        find = ["find", str(source), "-type", "f", "-printf", "%s %T@\n"]
        sorter = [sys.executable, "-m", "sorter", "--rescan", str(source), "--archive", str(archive)]
        finds, rescans = [], []
        for number in range(given.runs + 1):
            finds.append(timed(find))
            rescans.append(timed(sorter))
            took = f"find {finds[-1].seconds:.2f} s, rescan {rescans[-1].seconds:.2f} s"
            print(f"run {number}: {took}", file=sys.stderr)
        pairs = list(zip(rescans[1:], finds[1:], strict=True))
        ratios = [mine.seconds / theirs.seconds for mine, theirs in pairs]
        facts = {
            "files": given.files,
            "find_seconds": round(statistics.median(one.seconds for one in finds[1:]), 2),
            "rescan_seconds": round(statistics.median(one.seconds for one in rescans[1:]), 2),
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(one, 2) for one in ratios],
            "cpu_ratio": round(statistics.median(mine.cpu / theirs.cpu for mine, theirs in pairs), 2),
            "peak_mb": max(one.memory for one in rescans) >> 10,
        }
        print(json.dumps(facts))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
