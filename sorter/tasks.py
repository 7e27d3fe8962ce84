"""How a batch is cut into tasks for the workers: pure.

A task holds a bounded number of files and bytes, so that one death costs little work; less and less towards
the end of a batch, so that all workers end at about the same time; but not so little that sending it costs
more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sorter.model import Candidate

MOST_FILES, LEAST_FILES = 128, 4
MOST_BYTES, LEAST_BYTES = 32 << 20, 2 << 20


def cut(batch: Sequence[Candidate], workers: int) -> Iterator[tuple[Candidate, ...]]:
    """The tasks of a batch, in its order; a file that is larger than a task may be is one of its own.

    Parameters
    ----------
    workers
        How many there are to end at about the same time.
    """
    task: list[Candidate] = []
    size, bytes_left = 0, sum(one.size for one in batch)
    most, room = _most(len(batch), bytes_left, workers)
    for number, candidate in enumerate(batch):
        if task and (len(task) >= most or size + candidate.size > room):
            yield tuple(task)
            bytes_left -= size
            task, size = [], 0
            most, room = _most(len(batch) - number, bytes_left, workers)
        task.append(candidate)
        size += candidate.size
    if task:
        yield tuple(task)


def _most(files: int, size: int, workers: int) -> tuple[int, int]:
    """Files and bytes that the next task may have, where so many are left."""
    files, size = -(-files // (2 * workers)), size // (2 * workers)
    return min(MOST_FILES, max(LEAST_FILES, files)), min(MOST_BYTES, max(LEAST_BYTES, size))
