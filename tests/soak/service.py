"""The real program under soak: the daemon, and every other command beside it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2e.program import IS_ROOT, command
from soak.gauges import workers_of
from soak.world import INCOMPLETE, SETTLE
from support import ROOT

START_SECONDS = 60
POWERS = "-dac_override,-dac_read_search"  # what lets root read any file
BROKEN = "setle_seconds = 1\n"


def settings(world, **changed):
    """The configuration as TOML."""
    places = world.places
    found = {
        "incoming": [str(drop) for drop in places.drops],
        "archive": str(places.archive),
        "retire": world.retire,
        "settle_seconds": SETTLE,
        "incomplete_seconds": INCOMPLETE,
        "walk_seconds": 2.0,
        "min_free_mb": 1,
        "complete_seconds": 5.0,
        "verify_interval": 0.01,
        "receipts": str(places.root / "receipts"),
        "audit_log": str(places.root / "audit.xml"),
        "log_format": "json",
    } | changed
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in found.items())


def wrapper():
    """Words before a command that let root read no more than others."""
    if not IS_ROOT or shutil.which("setpriv") is None:
        return ()
    return ("setpriv", f"--inh-caps={POWERS}", f"--bounding-set={POWERS}")


class Service:
    """Runs commands; and at most one daemon, which may be killed, reloaded and started again."""

    def __init__(self, world, gauges):
        self.world, self._gauges = world, gauges
        self.config, self.log = world.places.root / "sorter.toml", world.places.root / "daemon.log"
        self._steady = world.places.root / "steady.toml"
        for path in (self.config, self._steady):
            path.write_text(settings(world))
        self.process = self._asked = None
        self.generation = 0  # odd while a daemon runs and was left alone

    def _environment(self, config):
        plain = {key: value for key, value in os.environ.items() if not key.startswith("SORTER_")}
        return plain | {"SORTER_CONFIG": str(config)}

    def run(self, *args, kill_after=None, seconds=300):
        """Run a command to its end, or to its SIGKILL."""
        process = subprocess.Popen(
            command(*args, wrapper=wrapper()),
            env=self._environment(self._steady),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )
        try:
            out, err = process.communicate(timeout=kill_after or seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def ask(self):
        """What ``sorter status`` shows, asked of a process that stays: (seconds it took, facts)."""
        if self._asked is None:
            self._asked = subprocess.Popen(
                [*wrapper(), sys.executable, Path(__file__).with_name("asking.py"), self._steady],
                env=self._environment(self._steady) | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        print(file=self._asked.stdin, flush=True)
        answer = json.loads(self._asked.stdout.readline())
        return answer["seconds"], answer["facts"]

    def close(self):
        """End what still runs."""
        if self._asked:
            self._asked.communicate()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def report(self):
        """What status.json says."""
        try:
            return json.loads((self.world.places.meta / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def start(self):
        began = time.time()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command(wrapper=wrapper()),
                env=self._environment(self.config),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        while not ((now := self.report).get("heartbeat", 0) >= began and now["state"] != "starting"):
            if self.process.poll() is not None or time.time() - began > START_SECONDS:
                self.world.complain(f"the daemon does not start; it ended with {self.process.poll()}")
                raise RuntimeError("the daemon does not start")
            time.sleep(0.02)
        self.generation += 1
        self._gauges.watch(self.process.pid)

    def kill(self):
        """SIGKILL; the workers die with it."""
        self._lose()
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; it ends well."""
        self._lose()
        self.process.terminate()
        try:
            status = self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = "nothing for two minutes"
        if status:
            self.world.complain(f"the daemon answered SIGTERM with {status}")

    def _lose(self):
        if self.process.poll() is not None:
            self.world.complain(f"the daemon ended by itself with {self.process.poll()}: {self.last_words()}")
        self._gauges.watch(0)
        self.generation += 1

    def check_alive(self):
        """Start the daemon again where it ended by itself, which is a fault."""
        if self.process.poll() is not None:
            self._lose()
            self.start()

    def reload(self, **changed):
        """SIGHUP with another configuration."""
        self.config.write_text(settings(self.world, **changed))
        self.process.send_signal(signal.SIGHUP)

    def reload_broken(self):
        """SIGHUP with a configuration that cannot be used, which changes nothing."""
        before, refused = self.config.read_text(), self.told("reload_refused")
        self.config.write_text(BROKEN)
        self.process.send_signal(signal.SIGHUP)
        patience = time.monotonic() + 30
        while self.told("reload_refused") == refused and time.monotonic() < patience:
            time.sleep(0.05)
        self.config.write_text(before)
        if self.told("reload_refused") == refused:
            self.world.complain("a configuration that cannot be used was not refused within 30 s")

    def kill_worker(self, rng):
        """SIGKILL one worker, if there is one."""
        if found := workers_of(self.process.pid):
            self.world.killed_workers += 1  # before: what comes of it may be seen at once
            os.kill(rng.choice(found), signal.SIGKILL)
            self.world.count("worker killed")

    def told(self, event):
        """How often the daemon logged an event."""
        return self.log.read_text(errors="replace").count(f'"event": "{event}"')

    def last_words(self):
        return self.log.read_text(errors="replace")[-1500:]

    def log_lines(self):
        """The daemon's log, all runs; what is no JSON as an event of its own."""
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                yield {"level": "no JSON", "event": line}
