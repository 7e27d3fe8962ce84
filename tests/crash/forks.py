"""Runs sorter's command line in forks of one process that has imported it already; started as a script.

A run then starts in milliseconds instead of half a second, and there are hundreds of runs. It is still a
process of its own, with the entry point of the console script and spawned workers.

Protocol: one JSON request a line on stdin (see ``_become``), two JSON answers a line on stdout: the fork's
process id; and, when it has ended, its exit status (negative: the signal) and how many of its descendants
outlived it.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PR_SET_PTRACER = 0x59616D61
LINGER = 10.0  # seconds that descendants have to end after the fork itself


def _become(request, ready):
    """Turn this fork into the run: own session, own files, and, if asked, paused until strace is attached.

    Nothing is opened after ``ready`` has been told, so that the calls of a traced run can be counted.
    """
    os.setsid()
    os.environ.update(request["environ"])
    for fd, path in enumerate(("/dev/null", request["stdout"], request["stderr"])):
        os.dup2(os.open(path, os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND), fd)
    sys.argv = ["sorter", *request["arguments"]]
    if request["worker"]:
        from multiprocessing import spawn

        spawn.set_executable(request["worker"])
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    status = os.open("/proc/self/status", os.O_RDONLY)
    os.write(ready, b"!")
    while request["traced"] and b"TracerPid:\t0\n" in os.pread(status, 4096, 0):
        time.sleep(0.002)
    time.sleep(0.02 if request["traced"] else 0)  # strace seizes first and interrupts then
    os.close(ready)
    os.close(status)


def _outlived(group):
    """How many processes of a run live on after ``LINGER``; they are ended, so that no test meets them."""
    deadline, left = time.monotonic() + LINGER, 0
    while True:
        try:
            pid, _ = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return left
        if pid:
            continue
        if time.monotonic() > deadline:
            left += 1
            os.killpg(group, signal.SIGKILL)
        time.sleep(0.005)


def _answer(**facts):
    print(json.dumps(facts), flush=True)


def _warm_up():
    """Bring nothing into an empty archive, so that all is imported before the first fork."""
    from sorter.cli import rescan
    from sorter.config import load
    from sorter.rescan import backfill

    assert rescan.command
    with tempfile.TemporaryDirectory() as folder:
        incoming, archive = Path(folder, "incoming"), Path(folder, "archive")
        incoming.mkdir()
        backfill(load(flags={"incoming": [incoming], "archive": archive, "min_free_mb": 0}))


def _serve():
    from sorter import cli

    _warm_up()
    gc.freeze()  # the forks neither search nor copy what is here already
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    while line := sys.stdin.readline():
        request = json.loads(line)
        told, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(told)
            _become(request, ready)
            cli.main()
        os.close(ready)
        os.read(told, 1)
        os.close(told)
        _answer(pid=pid)
        _, status = os.waitpid(pid, 0)
        _answer(status=os.waitstatus_to_exitcode(status), outlived=_outlived(pid))


if __name__ == "__main__":
    _serve()
