"""``python -m fuzz.watched ARGUMENTS``: the program itself; its workers note when they began and ended a file.

Workers import this module too, as the main module of the process that spawned them; so they note as well.
Each line of the file that FUZZ_TIMES names is an object: process, task and its bytes, file, time, peak memory.
"""

import functools
import json
import os
import resource
import time

from sorter import stage

_TIMES = os.open(os.environ["FUZZ_TIMES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _note(what, job, candidate):
    facts = {
        "pid": os.getpid(),
        "task": job.prefix,
        "bytes": sum(one.size for one in job.candidates),
        "file": candidate.name,
        "decode": job.decode,
        "what": what,
        "at": time.monotonic(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    os.write(_TIMES, json.dumps(facts).encode() + b"\n")


def _watched(real):
    @functools.wraps(real)
    def one(candidate, name, job, behind):
        _note("began", job, candidate)
        try:
            return real(candidate, name, job, behind)
        finally:
            _note("ended", job, candidate)

    return one


stage._stage = _watched(stage._stage)

if __name__ == "__main__":
    from sorter.cli import main

    main()
