"""Worker processes: parsing and decoding happen here; a crashed, hung or runaway decoder costs one file.

Each worker is spawned, has a limit on its memory and a deadline on each task. When a task of several files
dies, its files are tried again one by one; the one that dies alone is tried once more without decoding, and
stays as it came; the one that dies even then is refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from sorter import log
from sorter.errors import WorkersError
from sorter.job import Job
from sorter.model import Candidate, Expanded, Instance, Kind, Pixels, Reason, Refused, Staged
from sorter.organizer.staging import LANES, Staging
from sorter.sharing import DIED, Assembly, Begun, Wait, deferred
from sorter.stage import compare, examine, stage
from sorter.unpack.wanted import NOTHING, Wanted

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.parser.fingerprint import Fingerprint

Result = list[Staged | Refused | Expanded]
Unfinished = list[Staged | Refused | Expanded | Assembly]
# A task: at most so many files and bytes, so that one death costs little work; less and less towards the end
# of a batch, so that all workers end at about the same time; but not so little that sending it costs more.
TASK_FILES, LEAST_FILES = 128, 4
TASK_BYTES, LEAST_BYTES = 32 << 20, 2 << 20
# Native bytes above which a file's frames are shared out among the workers.
SHARE_ABOVE = 32 << 20
# Small batches are synced file by file in the workers, large ones by one syncfs (see organizer.tree).
SYNC_EACH_UP_TO = 16
# A task may take its deadline, and as long as its bytes need from a slow source at this rate besides.
SLOWEST = 1 << 20
# What is still being staged so long after the end was asked for is left in the drop folder.
STOP_SECONDS = 30.0
_RESTARTS = 5
_PR_SET_PDEATHSIG = 1
# <malloc.h>: what one frame needed is used for the next, not given back to the kernel and asked for again.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_REUSED_UP_TO, _KEPT_FREE = 32 << 20, 64 << 20
# The pool broke as a whole: that says nothing about the files of a task.
_BROKE = (BrokenProcessPool, CancelledError)
_DIED = (TimeoutError, ProcessExpired, MemoryError, *_BROKE)


class _Stopped(Exception):  # noqa: N818 - no error: the end was asked for, and the task takes too long
    """The end does not wait for this task."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What stays the same for all jobs: where to stage, what to decode, to read and to open."""

    staging: Staging
    families: frozenset[str]
    keywords: frozenset[str] = frozenset()
    wanted: Wanted = NOTHING


@dataclass(slots=True)
class Batch:
    """A staged batch: one result per candidate, in order."""

    candidates: Sequence[Candidate]
    results: Result


class Workers:
    """A pool of worker processes; started when first needed, and let go while there is nothing to do.

    Parameters
    ----------
    count
        Number of processes.
    memory_mb
        What each may allocate beyond its start, in MiB.
    seconds
        Deadline of a task, besides a second for each MiB that it reads; a worker past it is killed.
    stopping
        Whether the end was asked for. Then nothing that died is tried again, and what is not staged
        30 s later is deferred.
    """

    def __init__(self, *, count: int, memory_mb: int, seconds: float) -> None:
        self.count, self._memory_mb, self._seconds = count, memory_mb, seconds
        self._pool: ProcessPool | None = None
        self._tasks: WeakSet[ProcessFuture[Any]] = WeakSet()
        self._numbers = itertools.count(1)
        self._broken = 0
        self.stopping: Callable[[], bool] = lambda: False
        self._ends_at: float | None = None
        self.longest = seconds  # the longest deadline since the processes last rested
        self.progress_at = 0.0  # when a task last ended, well or not, by the monotonic clock

    @classmethod
    def of(cls, config: Config) -> Workers:
        """As many as the configuration says, with its limits."""
        return cls(
            count=config.worker_count, memory_mb=config.worker_memory_mb, seconds=config.worker_seconds
        )

    def stage(self, batches: Iterable[Sequence[Candidate]], recipe: Recipe) -> Iterator[Batch]:
        """Stage batches and make them durable (rule 1), ahead of the caller.

        While the caller publishes batch N, batch N+1 is synced and batch N+2 is staged.

        Raises
        ------
        ArchiveError
            The archive cannot take the bytes.
        WorkersError
            The workers keep dying, whatever they are given.
        """
        syncing: deque[tuple[Batch, Future[None] | None]] = deque()
        with ThreadPoolExecutor(1, "sync") as thread:
            for batch in self._staged(batches, recipe):
                each = len(batch.candidates) <= SYNC_EACH_UP_TO  # synced by the workers
                syncing.append((batch, None if each else thread.submit(recipe.staging.sync)))
                if len(syncing) > 1:
                    yield _synced(*syncing.popleft())
            while syncing:
                yield _synced(*syncing.popleft())

    def _staged(self, batches: Iterable[Sequence[Candidate]], recipe: Recipe) -> Iterator[Batch]:
        running: deque[tuple[Sequence[Candidate], list[tuple[Job, ProcessFuture[Result]]]]] = deque()
        for batch in batches:
            running.append((batch, self._submit(batch, recipe)))
            if len(running) > 1:
                yield self._collect(*running.popleft())
        while running:
            yield self._collect(*running.popleft())

    def fingerprints(self, paths: tuple[str, ...]) -> list[Fingerprint] | None:
        """Fingerprints of files of the archive; ``None`` where one cannot be read or a decoder died twice."""
        deaths = 0
        while True:
            try:
                found = self._result(self._task(compare, paths, size=_bytes(paths)))
            except _DIED as error:
                self._check_pool()  # gives up when pools keep breaking
                log.get().warning("worker_died", kind=type(error).__name__, count=len(paths))
                deaths += not isinstance(error, _BROKE)
                if deaths > 1 or isinstance(error, TimeoutError | MemoryError):
                    return None
                continue  # a worker that was killed from outside says nothing about the files
            return None if found is None else list(found)

    def examine(self, paths: Sequence[str], keywords: frozenset[str]) -> list[Instance | None]:
        """Read published files as instances; ``None`` for what is none, or what a worker died over."""
        return self._examined(tuple(paths), keywords, None, None)

    def examine_all(
        self, parts: Iterable[Sequence[str]], keywords: frozenset[str], recipe: Recipe
    ) -> Iterator[tuple[Sequence[str], list[Instance | None]]]:
        """Examine many, in parts, each with its files, in order; the next ones are under way meanwhile.

        Parameters
        ----------
        recipe
            How they were staged: it is found out anew why pixels were kept as they came.
        """
        ahead: deque[tuple[tuple[str, ...], Job, ProcessFuture[Any]]] = deque()
        for part in parts:
            prefix = f"examined-{next(self._numbers)}-"
            like = Job((), recipe.staging, prefix, recipe.families, keywords, False)
            paths = tuple(part)
            ahead.append((paths, like, self._task(examine, paths, keywords, like, size=_bytes(paths))))
            if len(ahead) > self.count:
                paths, like, future = ahead.popleft()
                yield paths, self._examined(paths, keywords, like, future)
        while ahead:
            paths, like, future = ahead.popleft()
            yield paths, self._examined(paths, keywords, like, future)

    def _examined(
        self,
        paths: tuple[str, ...],
        keywords: frozenset[str],
        like: Job | None,
        future: ProcessFuture[Any] | None,
    ) -> list[Instance | None]:
        """What a task gives, or a new one; where a worker dies, each file alone, then without decoding."""
        try:
            if future is None:
                more = () if like is None else (like,)
                future = self._task(examine, paths, keywords, *more, size=_bytes(paths))
            return list(self._result(future))
        except _DIED as error:
            self._check_pool()
            if like is not None:
                _discard_leftovers(like)
            if isinstance(error, _BROKE):
                return self._examined(paths, keywords, like, None)
        if len(paths) > 1:
            return [one for path in paths for one in self._examined((path,), keywords, like, None)]
        if like is not None and like.decode:
            return self._examined(paths, keywords, replace(like, decode=False), None)
        return [None]

    def warm_up(self) -> None:
        """Start the processes ahead of the first task: that takes half a second."""
        self._start()

    def rest(self) -> None:
        """Let the processes go; the next task starts new ones. Idle pools cost memory and wake-ups."""
        if self._pool is not None:
            self.longest = self._seconds
            self._pool.close()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None

    def close(self) -> None:
        """Stop at once, whatever runs."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None

    # -- tasks ----------------------------------------------------------------------------------------

    def _submit(self, batch: Sequence[Candidate], recipe: Recipe) -> list[tuple[Job, ProcessFuture[Result]]]:
        sync = len(batch) <= SYNC_EACH_UP_TO
        above = SHARE_ABOVE if self.count > 1 else None
        number = next(self._numbers)
        jobs = []
        for index, task in enumerate(_tasks(batch, self.count)):
            prefix = f"{index % LANES}/{number}-{index}-"
            job = Job(task, recipe.staging, prefix, recipe.families, recipe.keywords, sync)
            job = replace(job, share_above=above, wanted=recipe.wanted)
            jobs.append(self._schedule(job))
        return jobs

    def _schedule(self, job: Job) -> tuple[Job, ProcessFuture[Result]]:
        return job, self._task(stage, job, size=sum(one.size for one in job.candidates))

    def _collect(
        self, batch: Sequence[Candidate], running: Iterable[tuple[Job, ProcessFuture[Result]]]
    ) -> Batch:
        results: Unfinished = []
        for job, future in running:
            try:
                results += self._shared_out(self._result(future, may_end=True), job)
                self._broken = 0
            except _Stopped:
                results += _deferred(job)
            except _DIED as error:
                self._check_pool()
                log.get().warning("worker_died", kind=type(error).__name__, count=len(job.candidates))
                results += self._isolate(job, error)
        return Batch(batch, self._finished(results))

    def _isolate(self, job: Job, death: BaseException) -> Unfinished:
        """Try the files of a dead task again, each alone, then without decoding (class docstring)."""
        _discard_leftovers(job)
        if isinstance(death, _BROKE):
            singles = [job]
        elif len(job.candidates) > 1:
            singles = [
                replace(job, candidates=(one,), prefix=f"{job.prefix}{index}-")
                for index, one in enumerate(job.candidates)
            ]
        elif job.decode:
            singles = [replace(job, decode=False)]
        else:
            detail = "the worker crashed, hung or ran out of memory over it, even without decoding"
            return [Refused(job.candidates[0], Kind.REJECTED, Reason.DECODER_CRASHED, detail)]
        results: Unfinished = []
        for single in singles:
            if self.stopping():
                results += _deferred(single)
                continue
            try:
                results += self._shared_out(self._result(self._schedule(single)[1], may_end=True), single)
            except _Stopped:
                results += _deferred(single)
            except _DIED as error:
                self._check_pool()
                source = log.source_id(single.candidates[0].path)
                log.get().warning("worker_died", kind=type(error).__name__, source=source)
                results += self._isolate(single, error)
        return results

    # -- files with many frames -----------------------------------------------------------------------

    def _shared_out(self, results: Iterable[Staged | Refused | Expanded | Begun], job: Job) -> Unfinished:
        return [Assembly(one, job, self._task) if isinstance(one, Begun) else one for one in results]

    def _finished(self, results: Unfinished) -> Result:
        """Complete what was shared out, one file's last step while the next one's frames are decoded."""
        for one in results:
            if isinstance(one, Assembly):
                self._advance(one, one.assemble)
        for one in results:
            if isinstance(one, Assembly):
                self._advance(one, one.finish)
        return [one.word if isinstance(one, Assembly) else one for one in results]

    def _advance(self, one: Assembly, step: Callable[[Wait], None]) -> None:
        """Take a step, whoever dies over it; a death that is the file's own costs it its decoding."""
        while True:
            try:
                step(lambda future: self._result(future, may_end=True))
            except _Stopped:
                one.defer()
            except _DIED as error:
                self._check_pool()
                log.get().warning("worker_died", kind=type(error).__name__, source=one.source_id)
                if self.stopping():
                    one.defer()
                elif isinstance(error, _BROKE):
                    one.restart()
                    continue
                else:
                    one.keep(Pixels.KEPT_DECODER_CRASHED, DIED)
            return

    # -- the pool -------------------------------------------------------------------------------------

    def _start(self) -> ProcessPool:
        if self._pool is not None:
            self._check_pool()  # it breaks when a worker is killed while idle
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self.count,
                initializer=_initialize,
                initargs=(self._memory_mb << 20, os.getpid()),
                context=multiprocessing.get_context("spawn"),
            )
            # Workers inherit the mask: Control-C at a terminal reaches them too, even while they still start.
            resource_tracker.ensure_running()  # its start would lift the mask
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                assert self._pool.active  # asking starts it
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._pool

    def _task(self, function: Callable[..., Any], *args: Any, size: int) -> ProcessFuture[Any]:
        seconds = self._seconds + size / SLOWEST
        self.longest = max(self.longest, seconds)
        future = self._start().schedule(function, args=args, timeout=seconds)
        self._tasks.add(future)
        return future

    def _result(self, future: ProcessFuture[Any], *, may_end: bool = False) -> Any:
        """What a task returned; the pool is watched meanwhile, since one that breaks forgets its queue."""
        while not future.done():
            if may_end and self._must_end():
                self.close()
                raise _Stopped
            wait([future], timeout=1.0)
            self._check_pool()
        self.progress_at = time.monotonic()
        return future.result()

    def _must_end(self) -> bool:
        now = time.monotonic()
        if not self.stopping():
            self._ends_at = None
        elif self._ends_at is None:
            self._ends_at = now + STOP_SECONDS
        return self._ends_at is not None and now >= self._ends_at

    def _check_pool(self) -> None:
        """Let a pool go that broke as a whole; give up when new ones keep breaking."""
        if self._pool is None or self._pool.active:
            return
        for future in self._tasks:
            future.cancel()  # type: ignore[no-untyped-call]  # does nothing to one that is done
        self._broken += 1
        if self._broken > _RESTARTS:
            raise WorkersError("the worker processes cannot be kept running; see the log and free memory")
        self.close()


def _synced(batch: Batch, syncing: Future[None] | None) -> Batch:
    if syncing is not None:
        syncing.result()
    return batch


def _tasks(batch: Sequence[Candidate], workers: int) -> Iterator[tuple[Candidate, ...]]:
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
    return min(TASK_FILES, max(LEAST_FILES, files)), min(TASK_BYTES, max(LEAST_BYTES, size))


def _deferred(job: Job) -> list[Refused]:
    """The candidates of a task that the end did not wait for."""
    return [deferred(one) for one in job.candidates]


def _bytes(paths: Iterable[str]) -> int:
    size = 0
    for path in paths:
        with contextlib.suppress(OSError):  # the task will say what is wrong with it
            size += os.stat(path).st_size
    return size


def _discard_leftovers(job: Job) -> None:
    for name in job.staging.found(job.prefix):
        job.staging.discard(name)


def _initialize(memory: int, parent: int) -> None:
    """Set up a worker: no words of libraries, bounded memory, and death with its parent."""
    log.quiet_libraries()
    # One thread each: the cores are shared by the workers, and thread stacks count against the limit.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPJ_NUM_THREADS"):
        os.environ[name] = "1"
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above
    if hasattr(libc, "mallopt"):  # not in musl
        libc.mallopt(_M_MMAP_THRESHOLD, _REUSED_UP_TO)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
    # RLIMIT_DATA counts what is allocated; RLIMIT_AS would also count read-only maps of large staged files.
    used = _data_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold patient data


def _data_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - /proc
        return int(file.read().split()[5]) * resource.getpagesize()
