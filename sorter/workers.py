"""Worker processes: parsing and decoding happen here; a crashed, hung or runaway decoder costs one file.

Each worker is spawned, has a limit on its memory and a deadline on each task. When a task of several files
dies, its files are tried again one by one; the one that dies alone is tried once more without decoding, and
stays as it came; the one that dies even then is refused.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pebble import ProcessFuture

from sorter import log
from sorter.assembly import Assembly, Wait, deferred
from sorter.job import Job
from sorter.model import Candidate, Expanded, Instance, Kind, Pixels, Reason, Refused, Staged
from sorter.organizer.staging import LANES, Staging
from sorter.pool import BROKE, DEATHS, Pool, Stopped, total_bytes
from sorter.sharing import DIED, Begun
from sorter.stage import compare, examine, stage
from sorter.tasks import cut
from sorter.unpack.wanted import NOTHING, Wanted

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.parser.fingerprint import Fingerprint

Result = list[Staged | Refused | Expanded]
Unfinished = list[Staged | Refused | Expanded | Assembly]
# Native bytes above which a file's frames are shared out among the workers.
SHARE_ABOVE = 32 << 20
# Small batches are synced file by file in the workers, large ones by one syncfs (see organizer.tree).
SYNC_EACH_UP_TO = 16


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


class Workers(Pool):
    """The pool and what it is asked to do: stage, examine, compare."""

    def __init__(self, *, count: int, memory_mb: int, seconds: float) -> None:
        super().__init__(count=count, memory_mb=memory_mb, seconds=seconds)
        self._numbers = itertools.count(1)

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
                found = self._result(self._task(compare, paths, size=total_bytes(paths)))
            except DEATHS as error:
                self._check_pool()  # gives up when pools keep breaking
                log.get().warning("worker_died", kind=type(error).__name__, count=len(paths))
                deaths += not isinstance(error, BROKE)
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
            ahead.append((paths, like, self._task(examine, paths, keywords, like, size=total_bytes(paths))))
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
                future = self._task(examine, paths, keywords, *more, size=total_bytes(paths))
            return list(self._result(future))
        except DEATHS as error:
            self._check_pool()
            if like is not None:
                _discard_leftovers(like)
            if isinstance(error, BROKE):
                return self._examined(paths, keywords, like, None)
        if len(paths) > 1:
            return [one for path in paths for one in self._examined((path,), keywords, like, None)]
        if like is not None and like.decode:
            return self._examined(paths, keywords, replace(like, decode=False), None)
        return [None]

    # -- tasks ----------------------------------------------------------------------------------------

    def _submit(self, batch: Sequence[Candidate], recipe: Recipe) -> list[tuple[Job, ProcessFuture[Result]]]:
        sync = len(batch) <= SYNC_EACH_UP_TO
        above = SHARE_ABOVE if self.count > 1 else None
        number = next(self._numbers)
        jobs = []
        for index, task in enumerate(cut(batch, self.count)):
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
            except Stopped:
                results += _deferred(job)
            except DEATHS as error:
                self._check_pool()
                log.get().warning("worker_died", kind=type(error).__name__, count=len(job.candidates))
                results += self._isolate(job, error)
        return Batch(batch, self._finished(results))

    def _isolate(self, job: Job, death: BaseException) -> Unfinished:
        """Try the files of a dead task again, each alone, then without decoding (class docstring)."""
        _discard_leftovers(job)
        if isinstance(death, BROKE):
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
            except Stopped:
                results += _deferred(single)
            except DEATHS as error:
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
            except Stopped:
                one.defer()
            except DEATHS as error:
                self._check_pool()
                log.get().warning("worker_died", kind=type(error).__name__, source=one.source_id)
                if self.stopping():
                    one.defer()
                elif isinstance(error, BROKE):
                    one.restart()
                    continue
                else:
                    one.keep(Pixels.KEPT_DECODER_CRASHED, DIED)
            return


def _synced(batch: Batch, syncing: Future[None] | None) -> Batch:
    if syncing is not None:
        syncing.result()
    return batch


def _deferred(job: Job) -> list[Refused]:
    """The candidates of a task that the end did not wait for."""
    return [deferred(one) for one in job.candidates]


def _discard_leftovers(job: Job) -> None:
    for name in job.staging.found(job.prefix):
        job.staging.discard(name)
