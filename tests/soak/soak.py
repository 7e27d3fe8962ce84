"""The soak itself: stretches of chaos, each ended by a rest in which everything must balance."""

import contextlib
import json
import re
import time
from collections import Counter
from dataclasses import dataclass

from soak import facts
from soak.disturbers import Disturbances, NowAndThen, Watcher
from soak.gauges import BOUNDS, SHORTEST, Gauges
from soak.ledger import Ledger, reading
from soak.producers import Producer
from soak.service import Service
from soak.world import Places, World, files_below

MOST_HELD = 500  # files that a producer leaves in the drop folders over a rest
STATUS_SECONDS = 1.0
PROMPT_SECONDS = 5.0  # before it is taken that only a deep walk will find the rest
NOTEWORTHY = ("error", "critical", "no JSON")
# The tracker of multiprocessing outlives a daemon that is killed, and says so on its stderr.
EXPECTED = re.compile("^reload_refused$|resource_tracker")


@dataclass(frozen=True)
class Plan:
    """How long, how often, how patient."""

    seconds: float
    seed: int = 1
    retire: str = "keep"
    producers: int = 5
    patience: float = 90.0  # for all sources to have a word once the producers rest
    margin: float = 1.0  # on the bound of how long status takes

    @property
    def stretch(self):
        """Seconds from one rest to the next."""
        return max(6.0, min(60.0, self.seconds / 4))

    def every(self, seconds):
        """The mean time between two disturbances; in a short soak each happens too."""
        return max(2.0, min(seconds, self.seconds / 5))

    @property
    def kills_every(self):
        """Long lives in long soaks: memory is watched within one life."""
        return self.every(max(20.0, min(600.0, self.seconds / 6)))


class Soak:
    """Runs a :class:`Plan`; :meth:`run` returns the summary, ``world.wrong`` says what was wrong."""

    def __init__(self, plan, root):
        self.plan = plan
        self.world = World(Places(root), plan.retire)
        self.world.places.make()
        self.ledger = Ledger(self.world.places.archive)
        self.gauges = Gauges(self.world.places.archive, warm_up=min(120.0, plan.kills_every / 2))
        self.service = Service(self.world, self.gauges)
        self.watcher = Watcher(self.world, self.ledger)
        self.disturbances = Disturbances(self.world, self.service, self.watcher)
        self.producers = [Producer(self.world, n + 1, plan.seed) for n in range(plan.producers)]
        self.longest_wait = 0.0
        self._retired, self._unsure = Counter(), set()  # digests
        self._kills = 0

    def run(self):
        """All of it."""
        began = time.monotonic()
        self.gauges.start()
        self.service.start()
        troublers, readers = self._threads()
        everybody = [*self.producers, *troublers, *readers]
        for thread in everybody:
            thread.start()
        try:
            end, last = began + self.plan.seconds, False
            while not last:
                time.sleep(max(0.0, min(self.plan.stretch, end - time.monotonic())))
                last = time.monotonic() + self.plan.stretch / 2 > end
                if last:
                    self._still([*self.producers, *troublers])
                self._rest([*self.producers, *troublers], last=last)
            self._still(readers)
            self._end()
        finally:
            self._still(everybody)
            self.gauges.stop()
            self.service.close()
        self._judge_figures()
        return self.summary(time.monotonic() - began)

    def _threads(self):
        do, every = self.disturbances, self.plan.every

        def now_and_then(name, action, seconds):
            return NowAndThen(name, self.world, action, seconds, self.plan.seed)

        troublers = [
            now_and_then("daemon killer", do.kill_daemon, self.plan.kills_every),
            now_and_then("worker killer", do.kill_worker, every(8)),
            now_and_then("reloader", do.reload, every(15)),
            now_and_then("rescanner", do.rescan, every(10)),
        ]
        # One after the other: a reload must not meet a daemon that was just killed.
        troublers[1].lock = troublers[2].lock = troublers[0].lock
        readers = [
            now_and_then("status", do.status, 1.0),
            now_and_then("find", do.find, 2.0),
            now_and_then("backup", do.backup, every(15)),
            now_and_then("watcher", self.watcher.look, 1.0),
        ]
        return troublers, readers

    @staticmethod
    def _still(threads):
        for thread in threads:
            thread.stopped.set()
        for thread in threads:
            thread.join()

    # -- at rest ------------------------------------------------------------------------------------------

    def _rest(self, threads, *, last):
        """Everybody stops; the daemon catches up; then all facts are checked, and trees are pruned."""
        with contextlib.ExitStack() as stack:
            for lock in {id(thread.lock): thread.lock for thread in threads}.values():
                stack.enter_context(lock)
            self.service.check_alive()
            for producer in self.producers:
                producer.unlock(1.0 if last else 0.5)
            self._catch_up()
            self._check()
        if not last:
            for producer in self.producers:
                producer.prune(MOST_HELD)

    def _held(self):
        return {path: digest for one in self.producers for path, digest in one.held.items()}

    def _locked(self):
        return {path for one in self.producers for path in one.locked}

    def _catch_up(self):
        """Wait for a word about every source; what nobody wrote to is found by the deep walk of a reload."""
        began, reloaded = time.monotonic(), False
        held = {path: digest for path, digest in self._held().items() if path not in self._locked()}
        touched = {path for one in self.producers for path in one.touched}
        while left := self._left(held):
            waited = time.monotonic() - began
            if waited > self.plan.patience:
                self.world.complain(
                    f"no final word within {waited:.0f} s about {len(left)} sources: {facts.few(left)}; "
                    f"the daemon says {self.service.report}"
                )
                break
            unwritten = facts.unwritten(left, touched, self.ledger)
            if not reloaded and waited > PROMPT_SECONDS and len(unwritten) == len(left):
                reloaded = True
                self.service.reload()
            time.sleep(0.2)
        self.longest_wait = max(self.longest_wait, time.monotonic() - began)

    def _left(self, held):
        self.watcher.look()
        return facts.waiting(self.world, held, self.ledger)

    def _check(self):
        """Two ways between rows and files, and every source accounted for."""
        world, ledger, locked = self.world, self.ledger, self._locked()
        if self._kills != (kills := world.done["daemon killed"] + world.done["rescan killed"]):
            self._kills = kills
            self._adopt()
        world.complain(*facts.two_way(world, ledger))
        held = self._held()
        wrong, gone = facts.sources(world, held, locked, ledger)
        world.complain(*wrong)
        if world.retire != "keep":
            world.complain(*facts.retired(world, held, gone, ledger))
            self._forget_retired(gone, held)
        ledger.forget(held.keys() - set(gone))
        world.count("rest")

    def _adopt(self):
        """What was published when a kill came, and whose source was deleted before it had a row."""
        done = self.service.run("--rescan", "--json")
        if summary := self.disturbances.check_summary(done):
            self.world.count("adopted", summary["adopted"])
        self.watcher.look()

    def _forget_retired(self, gone, held):
        """Retired sources leave the model; where they are moved, just these lie in ``.sorted``."""
        self._retired.update(held[path] for path in gone)
        for producer in self.producers:
            self._unsure |= producer.unsure
            for path in gone:
                producer.held.pop(path, None)
        self.world.count("retired", len(gone))
        if self.world.retire != "move":
            return
        moved = Counter(
            facts.digest(path) for drop in self.world.places.drops for path in files_below(drop / ".sorted")
        )
        differing = {
            digest
            for digest in moved.keys() | self._retired.keys()
            if moved[digest] != self._retired[digest] and digest not in self._unsure
        }
        if differing:
            self.world.complain(f"what was moved away is not what is gone: {facts.few(differing)}")

    # -- at the end ---------------------------------------------------------------------------------------

    def _end(self):
        world, run = self.world, self.service.run
        self.service.stop()
        summary = self.disturbances.check_summary(run("--rescan", "--json"))
        if summary and (summary["stored"] or summary["adopted"]):
            world.complain(f"a rescan with nothing to do found something: {summary}")
        if left := facts.staged(world):
            world.complain(f"left in staging: {facts.few(left)}")
        self.watcher.look()
        for row in self.ledger.rows.values():
            world.complain(*facts.instance(world, row))
        world.complain(*facts.two_way(world, self.ledger))
        for name in ("audit", "verify"):
            done = run(name, "--json")
            if done.returncode:
                world.complain(
                    f"sorter {name} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr}"
                )
        with reading(world.places.archive) as connection:
            if (found := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                world.complain(f"the index is damaged: {found}")
            query = "SELECT count(*) FROM sources WHERE outcome = 'stored' AND NOT superseded"
            stored = connection.execute(query).fetchone()[0]
        if stored != len(self.ledger.rows):
            world.complain(f"{stored} sources are stored, and there are {len(self.ledger.rows)} instances")
        for line in self.service.log_lines():
            if line["level"] in NOTEWORTHY and not EXPECTED.search(line["event"]):
                world.complain(f"the daemon logged {json.dumps(line)[:400]}")

    def _judge_figures(self):
        self.world.complain(*self.gauges.faults())
        slow = percentile(self.disturbances.status_seconds, 99)
        if slow > STATUS_SECONDS * self.plan.margin:
            self.world.complain(f"status took {slow:.2f} s at the 99th percentile")

    def _growth(self, name):
        slope, hours = self.gauges.trend(name)
        return round(slope, 1) if hours > SHORTEST else "too short to say"

    def summary(self, seconds):
        """The figures."""
        with reading(self.world.places.archive) as connection:
            query = "SELECT outcome, count(*) FROM sources WHERE NOT superseded GROUP BY outcome"
            outcomes = dict(connection.execute(query).fetchall())
        taken, by_command = self.disturbances.status_seconds, self.disturbances.command_seconds
        return {
            "seconds": round(seconds),
            "contents made": len(self.world.contents),
            "instances": len(self.ledger.rows),
            "sources": outcomes,
            "done": dict(sorted(self.world.done.items())),
            "longest wait at rest (s)": round(self.longest_wait, 1),
            "status": {
                "times": len(taken),
                **{f"p{p} (s)": round(percentile(taken, p), 3) for p in (50, 99)},
                "p50 of the whole command (s)": round(percentile(by_command, 50), 2),
            },
            "daemon": {
                "peak RSS (MiB)": round(self.gauges.peak("rss")),
                "most descriptors": self.gauges.peak("descriptors"),
                "most threads": self.gauges.peak("threads"),
                "largest worker (MiB)": round(self.gauges.peak("worker")),
            },
            "growth an hour": {name: self._growth(name) for name in BOUNDS},
            "minutes after warm-up": round(self.gauges.trend("rss")[1] * 60, 1),
            "warnings logged": dict(
                Counter(line["event"] for line in self.service.log_lines() if line["level"] == "warning")
            ),
        }


def percentile(values, part):
    """The smallest value that so many percent do not exceed; 0 where there is none."""
    values = sorted(values)
    return values[min(len(values) - 1, -(-len(values) * part // 100) - 1)] if values else 0.0
