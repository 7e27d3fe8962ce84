"""The crash tests have teeth: each copy of the package with one rule removed is caught by them."""

import pytest
from crash.facts import Work, after_crash, after_rerun
from crash.mutants import MUTANTS
from crash.order import violations
from crash.runs import KILLED, Sorter, inject, points, rescan, sample
from crash.scenarios import SCENARIOS

KILLS = 8


def caught_by_order(line, mutant, folder):
    work = Work(folder, **SCENARIOS[mutant.scenario].work())
    finished = rescan(line, work, SCENARIOS[mutant.scenario], trace=["-f"])
    return violations(finished.log, work)[0]


def caught_by_killing(line, mutant, folder, expected):
    """The first thing that is wrong at one of a few kills."""
    scenario = SCENARIOS[mutant.scenario]
    work = Work(folder / "log", **scenario.work())
    finished = rescan(line, work, scenario, trace=[])
    found = [one for one in points(finished, finished.log) if one.name == mutant.call]
    for one in reversed(sample(found, KILLS)):
        work = Work(folder / str(one.number), **scenario.work())
        assert rescan(line, work, scenario, trace=inject(one.name, one.number)).status == KILLED
        wrong = after_crash(work, expected, retires=scenario.retires)
        wrong += after_rerun(work, expected, rescan(line, work, scenario), retires=scenario.retires)
        if wrong:
            return wrong
    return []


@pytest.mark.parametrize("name", MUTANTS)
def test_a_package_without_the_rule_is_caught(undisturbed, tmp_path, name):
    """By the order of its calls where no call to kill at is named, else by what a kill leaves."""
    mutant = MUTANTS[name]
    expected, _ = undisturbed(mutant.scenario)
    line = Sorter(mutant.make(tmp_path / "package"))
    try:
        if mutant.call:
            wrong = caught_by_killing(line, mutant, tmp_path, expected)
        else:
            wrong = [
                one
                for one in caught_by_order(line, mutant, tmp_path / "run")
                if one.startswith(mutant.breaks)
            ]
    finally:
        line.close()
    assert wrong
