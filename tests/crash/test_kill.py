"""SIGKILL at the system calls of a rescan, then the same rescan again: no order rule is broken.

``SORTER_CRASH=full`` tries every call. Without it: in the first scenario each fsync, fdatasync, link, mkdir,
unlink and rmdir of the process that names and records; of its writes, and of the other scenarios, a fixed
sample and every call that retires a source.
"""

import pytest
from crash.facts import Work, after_crash, after_rerun, after_third
from crash.runs import KILLED, inject, place_of, points, rescan, sample
from crash.scenarios import ALL, SCENARIOS

WRITES = ("write", "pwrite64", "ftruncate", "openat")
NAMING = (
    "fsync",
    "fdatasync",
    "syncfs",
    "linkat",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "rename",
    "renameat",
)


def chosen(finished, call, most):
    """Calls of one name; those that retire a source all, of the others so many."""
    found = [one for one in points(finished, finished.log) if one.name == call]
    sources = [one for one in found if "/incoming/" in one.target]
    return sources + sample([one for one in found if one not in sources], most)


def check(sorter, undisturbed, work, name, **trace):
    """Kill one run, rerun, run a third time; returns what was wrong at any of these."""
    scenario, (expected, _) = ALL[name], undisturbed(name)
    killed = rescan(sorter, work, scenario, **trace)
    assert killed.status == KILLED, f"the run was not killed but ended with {killed.status}"
    assert killed.outlived == 0, "a worker outlived the process it works for"
    wrong = after_crash(work, expected, retires=scenario.retires)
    again = rescan(sorter, work, scenario)
    wrong += after_rerun(work, expected, again, retires=scenario.retires)
    stamps = work.stamps()
    return wrong + after_third(work, stamps, rescan(sorter, work, scenario))


def kill_at(sorter, undisturbed, tmp_path, name, calls, most):
    """Kill a scenario's run at each of the chosen calls; what was wrong, by call."""
    _, finished = undisturbed(name)
    wrong, tried = {}, 0
    for call in calls:
        for one in chosen(finished, call, most):
            work = Work(tmp_path / f"{call}-{one.number}", **ALL[name].work())
            found = check(sorter, undisturbed, work, name, trace=inject(call, one.number))
            tried += 1
            if found:
                wrong[place_of(one, finished)] = found
    return wrong, tried


@pytest.mark.parametrize("call", NAMING)
def test_killed_at_each_call_that_names_syncs_or_removes(sorter, undisturbed, full, tmp_path, call):
    """The whole of the first scenario."""
    wrong, tried = kill_at(sorter, undisturbed, tmp_path, "small", [call], 10_000)
    assert wrong == {}
    made = {"fsync", "fdatasync", "linkat", "mkdir", "mkdirat", "unlink", "rmdir"}
    assert (tried > 0) == (call in made)


@pytest.mark.parametrize("call", WRITES)
def test_killed_at_writes(sorter, undisturbed, full, tmp_path, call):
    """Writes of the index and of notes; all of them where asked for."""
    wrong, tried = kill_at(sorter, undisturbed, tmp_path, "small", [call], 10_000 if full else 5)
    assert wrong == {}
    assert tried > 0


@pytest.mark.parametrize(
    ("name", "retiring"), [("delete", "unlinkat"), ("move", "renameat"), ("large", ""), ("obstructed", "")]
)
def test_killed_in_other_scenarios(sorter, undisturbed, full, tmp_path, name, retiring):
    """Sources that are retired, batches synced as a whole, and names that are taken."""
    if retiring:
        retired = chosen(undisturbed(name)[1], retiring, 0)
        assert len(retired) == undisturbed(name)[1].summary["stored"] + 1  # and the duplicate
    most = {
        "unlink": 2,
        "unlinkat": 2,
        "renameat": 2,
        "linkat": 3,
        "fdatasync": 1,
        "syncfs": 2,
        "fsync": 2,
        "mkdirat": 1,
    }
    wrong = {}
    for call in (*NAMING, *WRITES) if full else most:
        wrong |= kill_at(sorter, undisturbed, tmp_path, name, [call], 10_000 if full else most[call])[0]
    assert wrong == {}


def test_a_planted_link_leads_nowhere(undisturbed):
    """The archive's folder of a patient is a symbolic link: nothing is written through it."""
    expected, finished = undisturbed("obstructed")
    assert finished.summary["deferred"] == 1
    assert not any(path.startswith("P2") for path in expected.tree)
    assert not (finished.folder / "outside").exists()


@pytest.mark.parametrize("call", ["write", "fsync", "unlink", "openat"])
def test_a_killed_worker_costs_nothing(sorter, undisturbed, full, tmp_path, call):
    """The run goes on without the first worker and ends as if nothing had been."""
    expected, finished = undisturbed("small")
    scenario = SCENARIOS["small"]
    found = [one for one in points(finished, finished.worker_log) if one.name == call]
    assert found
    for one in sample(found, 10_000 if full else 2):
        work = Work(tmp_path / str(one.number), **scenario.work())
        ended = rescan(sorter, work, scenario, worker_trace=inject(call, one.number))
        assert "worker_died" in ended.stderr
        assert after_rerun(work, expected, ended) == []
        assert ended.outlived == 0
