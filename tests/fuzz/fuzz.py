"""Rounds until the time is over; what fails is made smaller, saved, and told with how to repeat it."""

import itertools
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.facts import Fault, check
from fuzz.oracle import Oracle
from fuzz.round import Round

EACH = 200  # cases of a round
MOST_SHRUNK = 3  # failing cases of a run that are made smaller
MODES = ("rescan", "daemon")


@dataclass
class Totals:
    """What a run was and what came of it."""

    cases: int = 0
    outcomes: Counter = field(default_factory=Counter)
    syntaxes: Counter = field(default_factory=Counter)
    died: int = 0
    slowest: tuple = (0.0, "")
    worker_mb: float = 0.0
    tree_mb: float = 0.0

    def add(self, ran):
        """Count a round."""
        self.cases += len(ran.cases)
        self.syntaxes.update(case.syntax for case in ran.cases)
        for kind, reasons in ran.summary.get("reasons", {}).items():
            self.outcomes.update({f"{kind} {reason}": count for reason, count in reasons.items()})
        self.outcomes.update({kind: ran.summary.get(kind, 0) for kind in ("duplicate", "equivalent")})
        self.outcomes.update(f"stored {state}" for state in ran.pixels)
        self.died += len(ran.killed)
        named = {case.name: f"case {case.number}" for case in ran.cases}
        found = ((seconds, named.get(name, name)) for name, seconds in ran.seconds.items())
        self.slowest = max([self.slowest, *found])
        self.worker_mb, self.tree_mb = max(self.worker_mb, ran.worker_mb), max(self.tree_mb, ran.tree_mb)


class Fuzz:
    """A run over one source of cases.

    Parameters
    ----------
    root
        Where rounds are run; what failed is kept there, in ``failures``.
    """

    def __init__(self, source, root, limits, say=print):
        self.source, self.root, self.limits, self._say = source, Path(root), limits, say
        self.totals, self.faults = Totals(), []
        self.oracle, self._rounds, self._shrunk = Oracle(), 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.oracle.close()

    def for_seconds(self, seconds, first=0):
        """Rounds of rescan and daemon by turns, until so many seconds have passed."""
        ends, number, modes = time.monotonic() + seconds, first, itertools.cycle(MODES)
        while time.monotonic() < ends:
            mode = next(modes)
            began = time.monotonic()
            faults = self.take(range(number, number + EACH), mode)
            took = time.monotonic() - began
            self._say(f"cases {number} to {number + EACH - 1}: {mode}, {took:.1f} s, {len(faults)} failures")
            number += EACH

    def take(self, numbers, mode):
        """One round of these cases; its faults, saved and told."""
        cases = [self.source.make(number) for number in numbers]
        ran, faults = self._round(cases, mode)
        self.totals.add(ran)
        for fault in faults:
            self._save(fault, ran)
        self.faults += faults
        if not faults:
            shutil.rmtree(ran.folder)
        return faults

    def _round(self, cases, mode):
        self._rounds += 1
        folder = self.root / f"round-{self._rounds}"
        folder.mkdir(parents=True)
        ran = Round(folder, cases, mode, self.limits).run()
        try:
            return ran, check(ran, self.oracle)
        except Exception as error:
            return ran, [Fault(f"what the round left cannot be read: {type(error).__name__}: {error}")]

    # -- failures -------------------------------------------------------------------------------------------

    def _save(self, fault, ran):
        """The bytes of the case, and of a smaller one that fails as well; or the whole round."""
        folder = self.root / "failures"
        folder.mkdir(exist_ok=True)
        case = next((one for one in ran.cases if one.number == fault.number), None)
        if case is None:
            self._say(f"FAILED {fault}\n  in {ran.folder} ({ran.mode}); {self._again(ran)}")
            return
        (folder / case.name).write_bytes(case.data)
        self._say(
            f"FAILED {fault}\n  {folder / case.name}: {case.seed} ({case.syntax}), {', '.join(case.steps)}; "
            f"python -m tests.fuzz --seed {self.source.seed} --cases {case.number}"
        )
        if self._shrunk < MOST_SHRUNK:
            self._shrunk += 1
            self._shrink(case, ran.mode, folder)

    def _again(self, ran):
        first, last = ran.cases[0].number, ran.cases[-1].number
        return f"python -m tests.fuzz --seed {self.source.seed} --cases {first}-{last}"

    def _shrink(self, case, mode, folder):
        """Leave out one mutation after the other while the case fails still, alone in its round."""
        if not self._fails(case, mode):
            self._say("  alone it does not fail: it takes the others of its round")
            return
        without = set()
        for step in range(case.planned):
            smaller = self.source.make(case.number, without | {step})
            if case.planned > 1 and smaller.steps and self._fails(smaller, mode):
                without.add(step)
        if without:
            smaller = self.source.make(case.number, without)
            (folder / f"smaller-{case.name}").write_bytes(smaller.data)
            self._say(f"  smaller-{case.name} fails too: {', '.join(smaller.steps)}")

    def _fails(self, case, mode):
        ran, faults = self._round([case], mode)
        shutil.rmtree(ran.folder)
        return bool(faults)

    # -- the end --------------------------------------------------------------------------------------------

    def report(self):
        """Lines that sum the run up."""
        totals = self.totals
        seconds, slowest = totals.slowest
        return [
            f"{totals.cases} cases in {len(totals.syntaxes)} transfer syntaxes, {self._rounds} rounds",
            *(f"  {outcome:<34}{count:>8}" for outcome, count in sorted(totals.outcomes.items()) if count),
            f"slowest: {seconds:.1f} s ({slowest}); workers that died: {totals.died}",
            f"most memory: a worker {totals.worker_mb:.0f} MiB, all processes {totals.tree_mb:.0f} MiB",
            f"asked of pydicom: {self.oracle.asked}, of these without an answer: {self.oracle.silent}",
            f"failures: {len(self.faults)}",
        ]
