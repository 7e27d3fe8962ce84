"""Worker processes: a decoder that crashes, hangs or overeats costs one file, never its neighbours."""

import errno
import os
import signal
import subprocess
import sys
import time
from multiprocessing import spawn
from pathlib import Path

import misbehaving
import pytest
from pebble.pool import process as pebble_process
from support import ROOT, bundled, dicom, drop

from sorter import pool as pool_module
from sorter import workers as module
from sorter.errors import ArchiveError, WorkersError
from sorter.model import Candidate, Kind, Pixels, Reason, Refused, Staged
from sorter.observer.listing import look
from sorter.organizer import staging
from sorter.organizer.staging import Staging
from sorter.parser.pixels import FAMILIES
from sorter.workers import Recipe, Workers

ENCAPSULATED = "MR_small_RLE.dcm"


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "staging").mkdir()
    return Recipe(Staging(str(tmp_path / "staging")), frozenset(FAMILIES))


@pytest.fixture
def pool():
    """One worker, with a generous deadline."""
    pool = Workers(count=1, memory_mb=512, seconds=60)
    yield pool
    pool.close()


def candidates(tmp_path, **files):
    """A candidate for each file; names are keywords."""
    found = [look(str(drop(tmp_path / "in", name, data))) for name, data in files.items()]
    assert all(isinstance(one, Candidate) for one in found)
    return found


def mixed(tmp_path):
    """Two native files, and an encapsulated one between them."""
    return candidates(tmp_path, a=dicom(1), b=bundled(ENCAPSULATED).read_bytes(), c=dicom(2))


def stage(pool, recipe, *batches):
    return [batch.results for batch in pool.stage(batches, recipe)]


def pixels(results):
    """The state of each staged instance, by file name."""
    assert [type(one) for one in results] == [Staged] * len(results)
    return {one.candidate.name: one.instance.pixels for one in results}


def left(recipe):
    """Names of the staged files, with their lanes."""
    folder = Path(recipe.staging.folder)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- as it should be ------------------------------------------------------------------------------------


def test_every_candidate_has_one_result_in_order(pool, recipe, tmp_path):
    batch = candidates(tmp_path, a=dicom(1), b=b"junk", c=dicom(2))
    (results,) = stage(pool, recipe, batch)
    assert [one.candidate for one in results] == batch
    assert [type(one) for one in results] == [Staged, Refused, Staged]


def test_no_two_files_of_several_batches_share_a_staged_name(pool, recipe, tmp_path):
    first = candidates(tmp_path, a=dicom(1), b=dicom(2))
    second = candidates(tmp_path, c=dicom(3))
    names = [one.name for results in stage(pool, recipe, first, second) for one in results]
    assert (len(names), sorted(names)) == (3, left(recipe))
    assert len(set(names)) == 3


def test_the_next_batch_is_staged_while_the_caller_has_the_one_before(pool, recipe, tmp_path):
    first, second = candidates(tmp_path, a=dicom(1)), candidates(tmp_path, b=dicom(2))
    batches = pool.stage([first, second], recipe)
    next(batches)
    give_up = time.monotonic() + 20
    while len(left(recipe)) < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert len(left(recipe)) == 2


def test_a_small_batch_is_synced_by_the_workers_and_a_large_one_as_a_whole(
    pool, recipe, tmp_path, monkeypatch
):
    most, calls = module.SYNC_EACH_UP_TO, []
    monkeypatch.setattr(Staging, "sync", lambda staging: calls.append(staging.folder))
    files = candidates(tmp_path, **{f"f{number}": dicom(number) for number in range(1, most + 2)})
    sizes = [len(one.results) for one in pool.stage([files[:most], files], recipe)]
    assert (sizes, calls) == ([most, most + 1], [recipe.staging.folder])


def test_a_large_batch_whose_sync_fails_is_not_given_out(pool, recipe, tmp_path, monkeypatch):
    def syncfs(_fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(staging, "syncfs", syncfs)
    most = module.SYNC_EACH_UP_TO
    files = candidates(tmp_path, **{f"f{number}": dicom(number) for number in range(1, most + 2)})
    with pytest.raises(ArchiveError, match="make staged files durable: Input/output error"):
        list(pool.stage([files], recipe))


def test_no_worker_is_started_before_there_is_work():
    quiet = children(os.getpid())
    Workers(count=1, memory_mb=512, seconds=60).close()
    assert children(os.getpid()) == quiet


def test_after_a_rest_the_workers_start_again(pool, recipe, tmp_path):
    (one,), (two,) = candidates(tmp_path, a=dicom(1)), candidates(tmp_path, b=dicom(2))
    assert pixels(*stage(pool, recipe, [one])) == {"a": Pixels.NATIVE}
    at_work = children(os.getpid())
    pool.rest()
    at_rest = children(os.getpid())
    assert pixels(*stage(pool, recipe, [two])) == {"b": Pixels.NATIVE}
    assert len(at_work - at_rest) == 1


def test_resting_or_closing_twice_is_no_error(recipe, tmp_path):
    pool = Workers(count=1, memory_mb=512, seconds=60)
    pool.rest()
    stage(pool, recipe, candidates(tmp_path, a=dicom(1)))
    pool.rest()
    pool.rest()
    pool.close()
    pool.close()


def test_a_worker_that_still_starts_ends_without_a_word(monkeypatch, tmp_path, capfd):
    """It looks for the pool's semaphores, which the end removes; it told that with half a traceback."""
    slow = drop(tmp_path, "python", f'#!/bin/sh\nsleep 0.5\nexec {sys.executable} "$@"\n'.encode())
    slow.chmod(0o755)
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(slow))
    stop = pebble_process.stop_process
    monkeypatch.setattr(pebble_process, "stop_process", lambda process: [time.sleep(2), stop(process)])
    pool = Workers(count=1, memory_mb=512, seconds=60)
    pool.warm_up()
    pool.close()
    assert capfd.readouterr().err == ""


def test_trouble_with_the_archive_comes_out_of_a_worker_as_it_is(pool, tmp_path):
    missing = Recipe(Staging(str(tmp_path / "absent")), frozenset())
    with pytest.raises(ArchiveError, match=r"^cannot stage a file: No such file or directory$"):
        stage(pool, missing, candidates(tmp_path, a=dicom(1)))


# -- decoders that misbehave ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed_decoder", "exiting_decoder", "leaving_decoder"])
def test_a_decoder_that_crashes_costs_one_file_its_decoding(pool, recipe, tmp_path, monkeypatch, how):
    monkeypatch.setattr(module, "stage", getattr(misbehaving, how))
    (results,) = stage(pool, recipe, mixed(tmp_path))
    expected = {"a": Pixels.NATIVE, "b": Pixels.KEPT_DECODER_CRASHED, "c": Pixels.NATIVE}
    assert pixels(results) == expected
    kept = results[1]
    assert Path(recipe.staging.path(kept.name)).read_bytes() == bundled(ENCAPSULATED).read_bytes()
    assert left(recipe) == sorted(one.name for one in results)


def test_a_decoder_that_hangs_is_killed_at_the_deadline(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "stage", misbehaving.hanging_decoder)
    pool = Workers(count=1, memory_mb=512, seconds=1.5)
    (results,) = stage(pool, recipe, mixed(tmp_path))
    expected = {"a": Pixels.NATIVE, "b": Pixels.KEPT_DECODER_CRASHED, "c": Pixels.NATIVE}
    assert pixels(results) == expected
    pool.close()


def test_a_decoder_that_overeats_costs_one_file_its_decoding(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "stage", misbehaving.hungry_decoder)
    pool = Workers(count=1, memory_mb=256, seconds=60)
    batch = mixed(tmp_path)
    (results,) = stage(pool, recipe, batch)
    assert [one.candidate for one in results] == batch
    assert [type(one) for one in (results[0], results[2])] == [Staged, Staged]
    verdict = getattr(results[1], "reason", None) or results[1].instance.pixels
    assert verdict in (Reason.TOO_LARGE, Pixels.KEPT_DECODER_CRASHED)
    pool.close()


def test_a_file_that_kills_workers_even_undecoded_is_refused_and_its_neighbours_staged(
    pool, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "stage", misbehaving.poisoned)
    batch = candidates(tmp_path, a=dicom(1), poison=dicom(2), c=dicom(3))
    (results,) = stage(pool, recipe, batch)
    assert [one.candidate for one in results] == batch
    assert [type(one) for one in results] == [Staged, Refused, Staged]
    assert (results[1].kind, results[1].reason) == (Kind.REJECTED, Reason.DECODER_CRASHED)


def test_memory_that_runs_out_unforeseen_costs_one_file(pool, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "stage", misbehaving.out_of_memory)
    batch = candidates(tmp_path, a=dicom(1), poison=dicom(2))
    (results,) = stage(pool, recipe, batch)
    assert [type(one) for one in results] == [Staged, Refused]
    assert results[1].reason is Reason.DECODER_CRASHED


def test_the_batch_after_a_crash_is_staged_as_ever(pool, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "stage", misbehaving.killed_decoder)
    batches = [mixed(tmp_path), candidates(tmp_path, d=dicom(4)), candidates(tmp_path, e=dicom(5))]
    results = stage(pool, recipe, *batches)
    assert [pixels(one) for one in results[1:]] == [{"d": Pixels.NATIVE}, {"e": Pixels.NATIVE}]


def test_a_worker_that_is_killed_while_idle_is_replaced(pool, recipe, tmp_path):
    """As the kernel does when memory is short."""
    quiet = children(os.getpid())
    stage(pool, recipe, candidates(tmp_path, a=dicom(1)))
    (worker,) = workers_among(children(os.getpid()) - quiet)
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.5)
    assert pixels(*stage(pool, recipe, candidates(tmp_path, b=dicom(2)))) == {"b": Pixels.NATIVE}


def test_workers_that_die_at_every_start_end_the_run(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "_initialize", misbehaving.dead_on_arrival)
    pool = Workers(count=1, memory_mb=512, seconds=60)
    with pytest.raises(WorkersError):
        stage(pool, recipe, candidates(tmp_path, a=dicom(1)))
    pool.close()


def test_a_pool_that_breaks_costs_no_file_its_decoding(recipe, tmp_path, monkeypatch):
    """Nothing says that the files had any part in it."""
    monkeypatch.setattr(pool_module, "_initialize", misbehaving.dead_the_first_time)
    monkeypatch.setenv("MISBEHAVING", str(tmp_path / "died"))
    pool = Workers(count=1, memory_mb=512, seconds=60)
    (results,) = stage(pool, recipe, candidates(tmp_path, b=bundled(ENCAPSULATED).read_bytes()))
    assert ((tmp_path / "died").exists(), pixels(results)) == (True, {"b": Pixels.TRANSCODED})
    pool.close()


@pytest.mark.timeout(60)
def test_no_task_is_forgotten_when_a_pool_breaks_with_more_tasks_than_its_pipe_takes(
    recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(pool_module, "_initialize", misbehaving.dead_the_first_time)
    monkeypatch.setenv("MISBEHAVING", str(tmp_path / "died"))
    absent = [Candidate(f"/{'x' * 4000}", str(number), 1, number, 1, 1, 1) for number in range(200)]
    pool = Workers(count=1, memory_mb=512, seconds=60)
    results = stage(pool, recipe, absent, absent)
    assert [len(one) for one in results] == [200, 200]
    pool.close()


# -- fingerprints and examination -----------------------------------------------------------------------


def test_fingerprints_of_the_same_pixels_are_equal(pool):
    paths = (str(bundled("MR_small.dcm")), str(bundled(ENCAPSULATED)))
    first, second = pool.fingerprints(paths)
    assert first.pixel_sha256 == second.pixel_sha256


def test_what_cannot_be_read_has_no_fingerprint(pool, tmp_path):
    assert pool.fingerprints((str(tmp_path / "absent"), str(bundled(ENCAPSULATED)))) is None


def test_a_worker_that_dies_over_a_comparison_leaves_it_open(pool, monkeypatch):
    monkeypatch.setattr(module, "compare", misbehaving.killed)
    assert pool.fingerprints(("a", "b")) is None


def test_a_worker_that_is_killed_once_during_a_comparison_does_not_leave_it_open(pool, tmp_path, monkeypatch):
    """It may have been killed from outside, and what is left open ends as a conflict."""
    monkeypatch.setattr(module, "compare", misbehaving.killed_the_first_time)
    monkeypatch.setenv("MISBEHAVING", str(tmp_path / "died"))
    paths = (str(bundled("MR_small.dcm")), str(bundled(ENCAPSULATED)))
    first, second = pool.fingerprints(paths)
    assert ((tmp_path / "died").exists(), first.pixel_sha256) == (True, second.pixel_sha256)


def test_a_comparison_that_hangs_is_left_open_at_the_deadline(monkeypatch):
    monkeypatch.setattr(module, "compare", misbehaving.hanging)
    pool = Workers(count=1, memory_mb=512, seconds=0.5)
    assert pool.fingerprints(("a", "b")) is None
    pool.close()


def test_a_file_that_kills_workers_is_no_instance_and_the_others_are(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "examine", misbehaving.examine_poisoned)
    paths = [str(drop(tmp_path, name, dicom())) for name in ("a", "poison", "c")]
    found = pool.examine(paths, frozenset())
    assert [one is not None for one in found] == [True, False, True]


def test_many_are_examined_in_order_whatever_a_worker_dies_over(recipe, tmp_path, monkeypatch):
    """The poisoned one is no instance; those of its part, and of the parts under way, are."""
    monkeypatch.setattr(module, "examine", misbehaving.examine_poisoned)
    names = (("a", "b"), ("c", misbehaving.POISON, "d"), ("e",))
    parts = [[str(drop(tmp_path, name, dicom())) for name in part] for part in names]
    pool = Workers(count=2, memory_mb=512, seconds=60)
    found = list(pool.examine_all(parts, frozenset(), recipe))
    pool.close()
    assert [list(paths) for paths, _ in found] == parts
    said = [[one is not None for one in some] for _, some in found]
    assert said == [[True, True], [True, False, True], [True]]
    assert list((tmp_path / "staging").iterdir()) == []


def test_over_what_a_decoder_dies_it_is_said_why_the_pixels_were_kept(recipe, pool, tmp_path, monkeypatch):
    """As ingest says it: without decoding, the file is an instance after all."""
    monkeypatch.setattr(module, "examine", misbehaving.examine_dying_to_decode)
    path = str(drop(tmp_path, "a", bundled(ENCAPSULATED).read_bytes()))
    ((_, (one,)),) = pool.examine_all([[path]], frozenset(), recipe)
    assert (one.pixels, one.note) == (
        Pixels.KEPT_DECODER_CRASHED,
        "crashed, hung or needed too much memory",
    )


# -- processes ------------------------------------------------------------------------------------------


def children(pid):
    """The children of a process, of all its threads."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= set(map(int, (task / "children").read_text().split()))
    return found


def workers_among(pids):
    """Those that are no resource tracker of multiprocessing."""
    return {pid for pid in pids if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()}


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


PARENT = """
import sys
sys.path.insert(0, sys.argv[2])
import misbehaving
from sorter import workers
from sorter.observer.listing import look
from sorter.organizer import staging
from sorter.organizer.staging import Staging

if __name__ == "__main__":
    workers.stage = misbehaving.hanging
    pool = workers.Workers(count=2, memory_mb=512, seconds=60)
    recipe = workers.Recipe(Staging("/nowhere"), frozenset())
    list(pool.stage([[look(sys.argv[1])]], recipe))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_no_worker_outlives_its_parent(tmp_path, number):
    script = drop(tmp_path, "parent.py", PARENT.encode())
    file = drop(tmp_path, "a", dicom())
    parent = subprocess.Popen([sys.executable, str(script), str(file), str(ROOT / "tests")])
    give_up = time.monotonic() + 30
    while len(found := workers_among(children(parent.pid))) < 2 and time.monotonic() < give_up:
        time.sleep(0.02)
    assert len(found) == 2
    time.sleep(1)  # long enough for one to be at work
    parent.send_signal(number)
    parent.wait()
    while any(map(alive, found)) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert [pid for pid in found if alive(pid)] == []
