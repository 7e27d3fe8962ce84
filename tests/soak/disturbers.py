"""What happens beside the producers: kills, reloads, rescans; and people who read all the while."""

import json
import random
import sqlite3
import threading
import time
import traceback

from soak import facts
from soak.world import SETTLE

HEARTBEAT_SECONDS = 5.0  # a status file that is older is a fault
KINDS = ("stored", "duplicate", "equivalent", "conflict", "rejected", "ignored", "deferred")


class NowAndThen(threading.Thread):
    """Does something at random moments, in the mean so many seconds apart; between two ``lock`` is free."""

    def __init__(self, name, world, action, every, seed=0):
        super().__init__(name=name, daemon=True)
        self._world, self._action, self._every = world, action, every
        self.rng = random.Random(f"{seed}/{name}")
        self.lock, self.stopped = threading.Lock(), threading.Event()

    def run(self):
        while not self.stopped.wait(min(self.rng.expovariate(1 / self._every), 2 * self._every)):
            with self.lock:
                if self.stopped.is_set():
                    return
                try:
                    self._action(self.rng)
                except Exception:
                    self._world.complain(f"{self.name} itself failed: {traceback.format_exc()}")


class Disturbances:
    """The actions, and what they find."""

    def __init__(self, world, service, watcher):
        self.world, self.service, self.watcher = world, service, watcher
        self.status_seconds, self.command_seconds = [], []

    # -- the daemon ---------------------------------------------------------------------------------------

    def kill_daemon(self, rng):
        self.service.check_alive()
        self.service.kill()
        self.world.count("daemon killed")
        self.watcher.look_after_kill()
        time.sleep(rng.uniform(0, 1))
        self.service.start()

    def kill_worker(self, rng):
        self.service.kill_worker(rng)

    def reload(self, rng):
        self.service.check_alive()
        if rng.random() < 0.2:
            self.service.reload_broken()
        else:
            self.service.reload(settle_seconds=rng.choice([SETTLE, SETTLE * 1.5]), workers=rng.choice([1, 2]))
        self.world.count("reload")

    # -- beside it ------------------------------------------------------------------------------------------

    def rescan(self, rng):
        """All drop folders or one of them; sometimes killed."""
        drops = [str(rng.choice(self.world.places.drops))] if rng.random() < 0.3 else []
        kill_after = rng.uniform(0.3, 3) if rng.random() < 0.3 else None
        done = self.service.run("--rescan", *drops, "--json", kill_after=kill_after)
        if done.returncode == -9 and kill_after:
            self.world.count("rescan killed")
            return
        self.world.count("rescan")
        self.check_summary(done)

    def check_summary(self, done):
        """Exit status and sum of a rescan; its JSON, or None."""
        if done.returncode not in (0, 1):
            self.world.complain(f"a rescan ended with {done.returncode}: {done.stderr[-800:]}")
            return None
        summary = json.loads(done.stdout)
        if summary["seen"] != sum(summary[kind] for kind in KINDS):
            self.world.complain(f"seen is not the sum of the outcomes: {summary}")
        if done.returncode != int(any(summary[kind] for kind in ("conflict", "rejected", "deferred"))):
            self.world.complain(f"a rescan ended with {done.returncode}: {summary}")
        return summary

    # -- readers --------------------------------------------------------------------------------------------

    def status(self, rng):
        """What ``sorter status`` shows, and how long it takes; now and then by the command itself."""
        by_command = rng.random() < 0.2
        generation = self.service.generation
        took, found = self._by_command() if by_command else self.service.ask()
        if generation % 2 == 0 or generation != self.service.generation:
            return  # killed or started meanwhile
        if self.service.process.poll() is not None:
            return  # it ended by itself, which whoever starts it again complains of
        (self.command_seconds if by_command else self.status_seconds).append(took)
        if not found["healthy"]:
            self.world.complain(f"not healthy: {found}")
        if found["heartbeat_age_seconds"] > HEARTBEAT_SECONDS:
            self.world.complain(f"the daemon's last sign of life was {found['heartbeat_age_seconds']} s old")
        since = found["daemon"].get("since_start")
        if since and since["seen"] != sum(since[kind] for kind in KINDS):
            self.world.complain(f"seen is not the sum of the outcomes: {since}")

    def _by_command(self):
        began = time.monotonic()
        done = self.service.run("status", "--json")
        if done.returncode not in (0, 1):
            self.world.complain(f"status ended with {done.returncode}: {done.stderr[-500:]}")
        found = json.loads(done.stdout)
        if done.returncode != int(not found["healthy"]):
            self.world.complain(f"status ended with {done.returncode}: {found}")
        return time.monotonic() - began, found

    def find(self, rng):
        """Each instance of the index is found, and its file is there."""
        if not (row := self.watcher.any_row(rng)):
            return
        done = self.service.run("find", f"SOPInstanceUID={row.uid}", "--paths")
        expected = f"{self.world.places.archive}/{row.path}\n"
        if (done.returncode, done.stdout) != (0, expected):
            self.world.complain(
                f"find {row.uid}: status {done.returncode}, {done.stdout!r} {done.stderr[-300:]}"
            )
        self.world.count("find")

    def backup(self, _rng):
        """A backup that was made meanwhile is a whole index, and no older than when it was begun."""
        path = self.world.places.root / "backup.sqlite"
        known = self.watcher.row_count()
        if not known:
            return
        done = self.service.run("backup", path)
        if done.returncode:
            self.world.complain(f"backup ended with {done.returncode}: {done.stderr[-500:]}")
            return
        connection = sqlite3.connect(path)
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
        number = connection.execute("SELECT count(*) FROM instances").fetchone()[0]
        connection.close()
        if found != "ok" or number < known:
            self.world.complain(f"a backup is {found} and has {number} of {known} instances")
        path.unlink()
        self.world.count("backup")


class Watcher:
    """Reads the index all the while, and looks at each new row's file."""

    def __init__(self, world, ledger):
        self.world, self.ledger = world, ledger
        self._lock = threading.Lock()
        self._uids = []

    def look(self, _rng=None):
        """Check what is new."""
        with self._lock:
            new = self.ledger.refresh()
            self._uids += [row.uid for row in new]
        for row in new:
            self.world.complain(*facts.instance(self.world, row))

    def look_after_kill(self):
        """With the daemon dead: rows have whole files, and files without a row are whole too."""
        self.look()
        with self._lock:
            self.world.complain(*facts.unrecorded(self.world, self.ledger))

    def any_row(self, rng):
        with self._lock:
            return self.ledger.rows[rng.choice(self._uids)] if self._uids else None

    def row_count(self):
        with self._lock:
            return len(self._uids)
