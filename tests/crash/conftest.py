"""One forking process and one undisturbed run of each scenario for a whole module of tests."""

import os

import pytest
from crash import scenarios
from crash.facts import Expected, Work, after_rerun
from crash.runs import Sorter, rescan, skip_without_strace


@pytest.fixture(scope="session")
def sorter():
    """The command line of this checkout."""
    skip_without_strace()
    line = Sorter()
    yield line
    line.close()


@pytest.fixture(scope="session")
def full():
    """Whether every point of every call is to be tried: SORTER_CRASH=full."""
    return os.environ.get("SORTER_CRASH") == "full"


@pytest.fixture(scope="session")
def undisturbed(sorter, tmp_path_factory):
    """Of a scenario: what an undisturbed run leaves, and what the run was asked to do; made once."""
    made = {}

    def of(name):
        if name not in made:
            scenario = scenarios.ALL[name]
            work = Work(tmp_path_factory.mktemp("undisturbed"), **scenario.work())
            finished = rescan(sorter, work, scenario, trace=[], worker_trace=[])
            expected = Expected.of(work)
            assert after_rerun(work, expected, finished, retires=scenario.retires) == []
            made[name] = (expected, finished)
        return made[name]

    return of
