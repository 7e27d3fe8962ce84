"""The three ways of looking at a mutant: kills, the order of its calls, and power cuts."""

from crash.facts import Expected, Work, after_crash, after_rerun
from crash.order import violations
from crash.power import Recording
from crash.power_courses import COURSES
from crash.runs import KILLED, Sorter, inject, points, rescan, sample
from crash.scenarios import SCENARIOS

KILLS = 8
CUTS = 24  # looked at before all the others


def caught(mutant, folder, *, every=False):
    """What each way finds wrong with a mutant, by its name.

    Parameters
    ----------
    every
        Look in all ways that can be, not only in those that must catch it.
    """
    ways = mutant.by if not every else ("kill", "order", "power") if mutant.call else ("order", "power")
    found = {}
    line = Sorter(mutant.make(folder / "package"))
    try:
        if "kill" in ways:
            found["kill"] = by_killing(line, mutant, folder / "kill")
        if "order" in ways or "power" in ways:
            recording = Recording.make(line, COURSES[mutant.course], folder / "power")
            orders = violations(recording.log, recording.work)[0]
            found["order"] = [one for one in orders if one.startswith(mutant.breaks)]
        if "power" in ways:
            found["power"] = by_power(recording)
    finally:
        line.close()
    return {way: found[way] for way in ways}


def by_killing(line, mutant, folder):
    """The first thing that is wrong at one of a few kills, compared with the package as it is."""
    scenario = SCENARIOS[mutant.course]
    true = Sorter()
    try:
        work = Work(folder / "true", **scenario.work())
        rescan(true, work, scenario)
        expected = Expected.of(work)
    finally:
        true.close()
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


def by_power(recording):
    """The first thing that a power cut breaks; the last cuts first, since most rules matter late."""
    for cuts in (recording.cuts(CUTS), recording.cuts()):
        for _, is_end, files in recording.states(reversed(cuts), seeds=0):
            if wrong := recording.wrong_after_cut(files, is_end=is_end):
                return wrong
    return []
