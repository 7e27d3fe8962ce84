"""``sorter --rescan`` against ``cp -r`` + ``sync`` of the same tree, in turn.

``python -m benchmarks.rescan`` prints the median of each and of the ratios. When sorter ends, the archive is
durable, hashed and indexed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.corpus import make


def run(command: list[str]) -> float:
    """Seconds that a command and a following ``sync`` take."""
    os.sync()
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    os.sync()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where to work; on the disk to be measured")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="sorter-bench-", dir=given.dir))
    try:
        source = work / "source"
        make(source, given.files, size=given.size)
        sorter = [sys.executable, "-m", "sorter", "--rescan", str(source), "--settle-seconds", "0", "--json"]
        copies, sorts = [], []
        for number in range(given.runs + 1):
            copy, archive = work / "copy", work / "archive"
            copies.append(run(["cp", "-r", str(source), str(copy)]))
            sorts.append(run([*sorter, "--archive", str(archive)]))
            shutil.rmtree(copy)
            shutil.rmtree(archive)
            print(f"run {number}: cp {copies[-1]:.2f} s, sorter {sorts[-1]:.2f} s", file=sys.stderr)
        ratios = [sort / copy for sort, copy in zip(sorts[1:], copies[1:], strict=True)]  # the first warms up
        print(
            json.dumps(
                {
                    "files": given.files,
                    "cp_sync_seconds": round(statistics.median(copies[1:]), 2),
                    "rescan_seconds": round(statistics.median(sorts[1:]), 2),
                    "ratio_median": round(statistics.median(ratios), 2),
                    "ratios": [round(ratio, 2) for ratio in ratios],
                    "files_per_second": round(given.files / statistics.median(sorts[1:])),
                    "largest_child_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
                }
            )
        )
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
