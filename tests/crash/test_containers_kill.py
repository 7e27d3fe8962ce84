"""SIGKILL while what is in containers comes in, then the same rescan again: as if there had been no kill.

``SORTER_CRASH=full`` tries every call of every scenario; without it a few, of those that come once the first
member is about to get its name.
"""

import pytest
from crash.facts import Work, after_rerun
from crash.runs import inject, place_of, points, rescan, sample
from crash.scenarios import CONTAINERS
from crash.test_kill import NAMING, WRITES, check

# Of each scenario: how many calls of a name are tried by default; and of its worker, which unpacks.
FEW = {
    "zip": {"linkat": 2, "fsync": 1, "unlink": 1, "pwrite64": 2, "openat": 1},
    "nested": {"linkat": 1, "unlinkat": 1, "pwrite64": 1},
    "many": {"syncfs": 1},
    "nifti": {"linkat": 1, "pwrite64": 1},
}
FEW_OF_WORKER = {"zip": {"write": 1, "fsync": 1}, "nested": {"openat": 1}, "nifti": {"write": 1}}


def named(found, call):
    """Calls of one name."""
    return [one for one in found if one.name == call]


def few(found, call, most):
    """So many calls of one name from the first folder in the tree on; where there are none, from any time."""
    begins = min(one.start for one in found if one.name == "mkdirat")
    late = named([one for one in found if one.start >= begins], call) or named(found, call)
    return sample(late, most + 2)[1:-1] if len(late) >= most + 2 else sample(late, most)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", CONTAINERS)
def test_killed_while_members_come_in(sorter, undisturbed, full, tmp_path, name):
    """The rerun ends in the same tree, rows and ledger; a third run has nothing to do."""
    _, finished = undisturbed(name)
    found = points(finished, finished.log)
    wrong, tried = {}, 0
    for call in (*NAMING, *WRITES) if full else FEW[name]:
        for one in named(found, call) if full else few(found, call, FEW[name][call]):
            work = Work(tmp_path / f"{call}-{one.number}", **CONTAINERS[name].work())
            if broken := check(sorter, undisturbed, work, name, trace=inject(call, one.number)):
                wrong[place_of(one, finished)] = broken
            tried += 1
    assert wrong == {}
    assert tried >= sum(FEW[name].values())


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", FEW_OF_WORKER)
def test_a_worker_killed_while_it_unpacks_costs_nothing(sorter, undisturbed, full, tmp_path, name):
    """What it laid into staging goes, and it all is unpacked again in the same run."""
    expected, finished = undisturbed(name)
    scenario = CONTAINERS[name]
    found = points(finished, finished.worker_log)
    for call in ("write", "fsync", "unlink", "openat", "mkdir") if full else FEW_OF_WORKER[name]:
        calls = named(found, call)
        assert full or calls
        for one in calls if full else sample(calls, FEW_OF_WORKER[name][call]):
            work = Work(tmp_path / f"{call}-{one.number}", **scenario.work())
            ended = rescan(sorter, work, scenario, worker_trace=inject(call, one.number))
            assert "worker_died" in ended.stderr
            assert after_rerun(work, expected, ended, retires=scenario.retires) == []
            assert ended.outlived == 0
