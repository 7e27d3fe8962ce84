"""Sorting: ``sorter --rescan`` beside ``cp -r`` + ``sync`` and the other tools, on the same files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.corpus import KINDS, make
from benchmarks.options import Options
from benchmarks.peers import BASELINE, PEERS, SORTER
from benchmarks.report import Cell, Table
from benchmarks.rounds import Result, measure

# Files of each kind, and what sorter may take at most by cp -r + sync.
CORPORA = {"ct": (10_000, 1.05), "small": (20_000, 3.0)}
COLUMNS = (
    "tool", "by cp + sync", "files/s", "by sorter", "by sorter, not synced", "CPU, us/file", "lost",
    "peak MB", "durable when it ends", "index",
)  # fmt: skip


def compare(work: Path, options: Options) -> list[Table]:
    """One table for each corpus."""
    return [_corpus(work, options, name, goal) for name, (_, goal) in CORPORA.items()]


def _corpus(work: Path, options: Options, name: str, goal: float) -> Table:
    kind, files = KINDS[name], options.scaled(CORPORA[name][0], least=40)
    with options.folder(work, name) as source:
        make(source, kind, files)
        contestants = [BASELINE, SORTER, *(one for one in PEERS if options.wants(one.name))]
        results = measure(
            contestants, source, source.parent,
            tools=options.tools, rounds=options.rounds, patience=options.patience,
        )  # fmt: skip
        size = next(source.rglob("*.dcm")).stat().st_size
    title = f"{files:,} files of {size / 1e6:.2g} MB ({name})"
    return Table(name, title, COLUMNS, _rows(results, files), _notes(results), bars="by cp + sync", goal=goal)


def _rows(results: Sequence[Result], files: int) -> list[list[Cell]]:
    base, sorter = results[0], results[1]
    return [
        [
            one.peer.name,
            one.ratio(base),
            files / one.median(),
            one.ratio(sorter),
            one.ratio(sorter, to_exit=True),
            one.cpu() / files * 1e6,
            one.lost,
            round(one.peak_mb),
            one.peer.durable,
            one.peer.indexed,
        ]
        for one in results
        if not one.skipped
    ]


def _notes(results: Sequence[Result]) -> list[str]:
    return [f"{one.peer.name}: left out: {one.skipped}" for one in results if one.skipped]
