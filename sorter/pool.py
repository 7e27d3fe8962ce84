"""A pool of worker processes: each is spawned, has a limit on its memory and a deadline on each task."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from sorter import log
from sorter.errors import WorkersError

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
BROKE = (BrokenProcessPool, CancelledError)
DEATHS = (TimeoutError, ProcessExpired, MemoryError, *BROKE)


class Stopped(Exception):  # noqa: N818 - no error: the end was asked for, and the task takes too long
    """The end does not wait for this task."""


class Pool:
    """Worker processes; started when first needed, and let go while there is nothing to do.

    Parameters
    ----------
    count
        Number of processes.
    memory_mb
        What each may allocate beyond its start, in MiB.
    seconds
        Deadline of a task, besides a second for each MiB that it reads; a worker past it is killed.

    Attributes
    ----------
    stopping
        Whether the end was asked for. Then nothing that died is tried again, and what is not staged
        30 s later is deferred.
    longest
        The longest deadline since the processes last rested, in seconds.
    progress_at
        When a task last ended, well or not, by the monotonic clock.
    """

    def __init__(self, *, count: int, memory_mb: int, seconds: float) -> None:
        self.count, self._memory_mb, self._seconds = count, memory_mb, seconds
        self._pool: ProcessPool | None = None
        self._processes: set[BaseProcess] = set()  # those that were started with it
        self._tasks: WeakSet[ProcessFuture[Any]] = WeakSet()
        self._broken = 0
        self.stopping: Callable[[], bool] = lambda: False
        self._ends_at: float | None = None
        self.longest, self.progress_at = seconds, 0.0

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
            for process in self._processes:  # joining removes first what a process looks for as it starts
                process.terminate()
            self._pool.join()
            self._pool = None

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
            others = set(multiprocessing.active_children())
            try:
                assert self._pool.active  # asking starts it
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                self._processes = set(multiprocessing.active_children()) - others
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
                raise Stopped
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


def total_bytes(paths: Iterable[str]) -> int:
    """Size of those of these files that can be looked at."""
    size = 0
    for path in paths:
        with contextlib.suppress(OSError):  # the task will say what is wrong with it
            size += os.stat(path).st_size
    return size


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
