"""Memory and idle work with 100,000 files; the figures are printed.

Slow: ``SORTER_SLOW=1 sh tests/run tests/e2e/test_resources.py -rP``.
"""

import contextlib
import os
import re
import time
from pathlib import Path

import pytest
from e2e.program import Template, rescan, slow, stored_count, tree_of_processes

FILES = 100_000
MINUTE = 60


def cpu_seconds(pid):
    """User and system time of a process and its descendants, those that ended included."""
    ticks = 0
    for one in tree_of_processes(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pid, which="VmRSS"):
    return int(re.search(rf"{which}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


@slow
@pytest.mark.timeout(900)
def test_100000_files_in_the_drop_folder_cost_little_memory_and_no_idle_work(daemon, incoming, archive):
    Template().fill(incoming, FILES, a_folder=500)
    began = time.monotonic()
    running = daemon()
    running.wait_stored(FILES, 600)
    took = time.monotonic() - began
    running.wait(lambda: running.report["state"] == "idle", 60, "the daemon to rest")
    pid = running.process.pid
    peak = resident_mib(pid, "VmHWM")
    time.sleep(45)  # the walks that make sure of it are over, and the workers have gone
    before = cpu_seconds(pid)
    time.sleep(MINUTE)
    spent = cpu_seconds(pid) - before
    print(f"{FILES} files in {took:.0f} s; parent RSS {resident_mib(pid):.0f} MiB, peak {peak:.0f} MiB")
    print(f"idle: {spent:.2f} s of CPU in {MINUTE} s; processes: {len(tree_of_processes(pid))}")
    assert peak < 300
    assert spent < MINUTE * 0.02
    running.stop()
    assert stored_count(archive) == FILES
    again = rescan(archive, incoming=incoming).facts
    print(f"rescan of them all: {again['seconds']} s")
    assert again["duplicate"] == FILES
