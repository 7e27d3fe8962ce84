"""ENOSPC, EIO, EDQUOT, EROFS, EMFILE at the system calls of a rescan: a clear word, and nothing is lost.

``SORTER_CRASH=full`` fails every call with every error; without it a fixed sample, the errors in turn.
"""

import itertools

import pytest
from crash.facts import META, Work, after_crash, after_rerun, after_third
from crash.runs import inject, place_of, points, rescan, sample
from crash.scenarios import CANARY, PATIENT, SCENARIOS

ERRORS = {"ENOSPC": 5, "EIO": 4, "EDQUOT": 5, "EROFS": 4, "EMFILE": 4}  # and the exit status
INDEX_UNUSABLE = 3
SCENARIO = SCENARIOS["small"]
PARENT = {
    "fsync": 4,
    "fdatasync": 4,
    "linkat": 4,
    "mkdir": 3,
    "mkdirat": 3,
    "write": 2,
    "pwrite64": 4,
    "openat": 6,
    "unlink": 3,
}
WORKER = {"fsync": 2, "write": 2, "openat": 2}


def tries(found, most, full):
    """(call, error) to try: all with all, or a sample with the errors in turn."""
    if full:
        return list(itertools.product(found, ERRORS))
    return list(zip(sample(found, most), itertools.cycle(ERRORS), strict=False))


def allowed(call, error):
    """The exit statuses that a failing call may lead to."""
    if call.target.endswith("index.sqlite-shm"):
        return {INDEX_UNUSABLE, *ERRORS.values()}  # SQLite does not say why it could not grow
    if f"{META}/index.sqlite" in call.target or call.target.endswith(META):
        return {INDEX_UNUSABLE, ERRORS[error]}
    return {ERRORS[error]}


def wrong_after(sorter, work, expected, statuses, **trace):
    """What is wrong with a run that met an error, and with the runs after it."""
    failed = rescan(sorter, work, SCENARIO, **trace)
    wrong = after_crash(work, expected)
    wrong += [
        f"{word!r} in its output"
        for word in ("Traceback", CANARY, PATIENT)
        if word in failed.stderr + failed.stdout
    ]
    if failed.status == 1:  # the error did not matter: then all must be as if nothing had been
        wrong += after_rerun(work, expected, failed)
    elif failed.status not in statuses:
        wrong.append(f"ended with {failed.status}: {failed.stderr[-300:]}")
    elif not failed.stderr.startswith("sorter: "):
        wrong.append(f"no clear word: {failed.stderr[-300:]}")
    if failed.outlived:
        wrong.append("a worker outlived it")
    wrong += after_rerun(work, expected, rescan(sorter, work, SCENARIO))
    stamps = work.stamps()
    return wrong + after_third(work, stamps, rescan(sorter, work, SCENARIO))


@pytest.mark.parametrize("call", PARENT)
def test_an_error_in_the_process_that_names_and_records(sorter, undisturbed, full, tmp_path, call):
    """Each error once, at one call."""
    expected, finished = undisturbed("small")
    found = [one for one in points(finished, finished.log) if one.name == call]
    wrong = {}
    for one, error in tries(found, PARENT[call], full):
        work = Work(tmp_path / f"{one.number}-{error}", **SCENARIO.work())
        trace = inject(call, one.number, f"error={error}")
        if trouble := wrong_after(sorter, work, expected, allowed(one, error), trace=trace):
            wrong[f"{error} at {place_of(one, finished)}"] = trouble
    assert wrong == {}


@pytest.mark.parametrize("call", WORKER)
def test_an_error_in_a_worker(sorter, undisturbed, full, tmp_path, call):
    """Where a worker cannot stage, the run stops: the next file would fare no better."""
    expected, finished = undisturbed("small")
    found = [one for one in points(finished, finished.worker_log) if one.name == call]
    wrong = {}
    for one, error in tries(found, WORKER[call], full):
        work = Work(tmp_path / f"{one.number}-{error}", **SCENARIO.work())
        trace = inject(call, one.number, f"error={error}")
        if trouble := wrong_after(sorter, work, expected, allowed(one, error), worker_trace=trace):
            wrong[f"{error} at {place_of(one, finished)}"] = trouble
    assert wrong == {}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_that_stays(sorter, undisturbed, full, tmp_path, error):
    """From some moment on the file system takes nothing more: the run stops and says so."""
    expected, finished = undisturbed("small")
    failing = ["fsync", "fdatasync", "syncfs", "linkat", "mkdir", "mkdirat", "pwrite64", "ftruncate"]
    if error in ("EIO", "EROFS"):
        failing += ["rmdir"]  # not unlink, which also removes the semaphores of the workers' pool, in memory
    moments = points(finished, finished.log)
    wrong = {}
    for moment in moments if full else sample(moments, 5):
        work = Work(tmp_path / f"{moment.name}-{moment.number}", **SCENARIO.work())
        trace = []
        for name in failing:
            before = sum(call.name == name and call.end < moment.end for call in finished.log)
            trace += inject(name, f"{before + 1}+", f"error={error}")
        statuses = {ERRORS[error], INDEX_UNUSABLE}
        if trouble := wrong_after(sorter, work, expected, statuses, trace=trace):
            wrong[f"{error} from {place_of(moment, finished)}"] = trouble
    assert wrong == {}
