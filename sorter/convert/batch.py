"""Many files at once: each has an outcome of its own, and none stops the others."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sorter import log
from sorter.convert.convert import convert
from sorter.convert.errors import ConversionError, NeedsInfo
from sorter.convert.files import place
from sorter.convert.options import Options
from sorter.convert.sidecars import gather
from sorter.errors import SorterError

Given = tuple[tuple[str, Mapping[str, Any]], ...]
# So few files are not worth another process, which costs as much as a hundred slices.
_FEW = 3


@dataclass(frozen=True, slots=True)
class Job:
    """One file to convert.

    Parameters
    ----------
    name
        Of what it becomes, below the output folder: ``<name>.dcm``, or ``<name>/`` for several instances.
    given
        What is known of it beside what its sidecars say, and goes before these.
    """

    path: Path
    name: str
    given: Given = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What all files of a batch share.

    Parameters
    ----------
    to
        Output folder; ``None`` to write nothing.
    template
        DICOM file to take patient and study from.
    configured
        What counts where nothing else says anything.
    """

    options: Options = field(default_factory=Options)
    to: Path | None = None
    template: Path | None = None
    configured: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file; ``error`` is empty where it was converted."""

    job: Job
    instances: int = 0
    size: int = 0
    output: Path | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    missing: tuple[str, ...] = ()


def convert_one(job: Job, setting: Setting) -> Result:
    """Convert one file; trouble with it is a value.

    Raises
    ------
    SorterError
        Conversion is not installed.
    """
    notes: list[str] = []
    try:
        known = gather(job.path, given=job.given, template=setting.template, configured=setting.configured)
        made = convert(job.path, setting.options, known, notes.append)
        count, size, output = _write(made, job.name, setting.to)
        return Result(job, count, size, output, tuple(dict.fromkeys(notes)))
    except NeedsInfo as error:
        return Result(job, error=str(error), missing=error.missing)
    except ConversionError as error:
        return Result(job, error=str(error))
    except OSError as error:
        return Result(job, error=f"it cannot be read, or the result not written: {error.strerror}")
    except MemoryError:
        return Result(job, error="there is not enough memory for it")
    except SorterError:
        raise
    except Exception as error:  # noqa: BLE001 - a fault with one file must not stop the others
        return Result(job, error=f"it is not understood ({type(error).__name__})")


def _write(made: Iterator[tuple[str, bytes]], name: str, to: Path | None) -> tuple[int, int, Path | None]:
    """How many instances of how many bytes, and where they are."""
    first = list(itertools.islice(made, 2))
    alone = len(first) == 1
    output = None if to is None else to / (f"{name}.dcm" if alone else name)
    count = size = 0
    for leaf, content in itertools.chain(first, made):
        if output is not None:
            place(output if alone else output / leaf, content)
        count += 1
        size += len(content)
    return count, size, output


def convert_all(
    jobs: Sequence[Job],
    setting: Setting,
    *,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Result]:
    """Convert them, side by side where there are many; results in the order of the jobs.

    Parameters
    ----------
    progress
        Called with how many are done, and of how many.

    Raises
    ------
    SorterError
        Conversion is not installed.
    """
    results: dict[int, Result] = {}
    progress(0, len(jobs))
    done = _one_by_one(jobs, setting)
    if processes > 1 and len(jobs) > _FEW:
        done = _side_by_side(jobs, setting, min(processes, len(jobs)))
    for number, result in done:
        results[number] = result
        progress(len(results), len(jobs))
    return [results[number] for number in range(len(jobs))]


def _one_by_one(jobs: Sequence[Job], setting: Setting) -> Iterator[tuple[int, Result]]:
    for number, job in enumerate(jobs):
        yield number, convert_one(job, setting)


def _side_by_side(jobs: Sequence[Job], setting: Setting, processes: int) -> Iterator[tuple[int, Result]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=log.quiet_libraries) as pool:
        waiting: dict[Future[Result], int] = {}
        left = iter(enumerate(jobs))
        while True:
            for number, job in itertools.islice(left, 2 * processes - len(waiting)):
                waiting[pool.submit(convert_one, job, setting)] = number
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                number = waiting.pop(future)
                try:
                    yield number, future.result()
                except BrokenProcessPool:
                    raise SorterError(
                        "a converting process was killed, for lack of memory perhaps; convert fewer at once"
                    ) from None
