"""Measure sorter beside other tools, and what grows: ``python -m benchmarks [PART ...]``; see README.md."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import compare, decode, latency, scale
from benchmarks.options import Options
from benchmarks.peers import Tools
from benchmarks.report import Table, machine, write

PARTS: dict[str, Callable[[Path, Options], list[Table]]] = {
    "compare": compare.compare,
    "decode": decode.decode,
    "index": scale.scale,
    "known": scale.known,
    "latency": latency.latency,
    "memory": latency.memory,
}


def main() -> None:
    """Measure, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="times the numbers of files (0.02: a try)")
    parser.add_argument("--rounds", type=int, default=5, help="after one to warm up")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds; slower peers run once only")
    parser.add_argument("--peers", default="", help="words in names of peers, with commas; default: all")
    parser.add_argument("--tools", type=Path, action="append", default=[], help="a folder of programs")
    parser.add_argument("--instances", default="10000,100000,1000000", help="sizes of the index")
    parser.add_argument("--cores", type=int, default=2, help="so many of this machine's cores")
    parser.add_argument("--dir", type=Path, help="where to work; on the disk to be measured")
    parser.add_argument("--out", type=Path, help="folder for results.json, results.md and plots")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    options = Options(
        given.scale, given.rounds, given.patience, Tools(tuple(given.tools)),
        tuple(filter(None, given.peers.split(","))), tuple(map(int, given.instances.split(","))),
    )  # fmt: skip
    facts, tables = machine(), []
    work = Path(tempfile.mkdtemp(prefix="sorter-bench-", dir=given.dir))
    try:
        for part in given.parts or PARTS:
            for table in PARTS[part](work, options):
                tables.append(table)
                print(table.markdown(), flush=True)
    finally:
        shutil.rmtree(work)
        if given.out and tables:
            plots = importlib.util.find_spec("matplotlib") is not None
            write(given.out, tables, facts, plots=plots)
            if not plots:
                print("no plots: pip install '.[bench]'", file=sys.stderr)


if __name__ == "__main__":
    main()
