"""The daemon as a service: signals, reload, heartbeat, one daemon an archive."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from sorter import __version__, events, log, status
from sorter.auditlog import AuditTrail
from sorter.auditmessage import Alert
from sorter.config import Config
from sorter.daemon import Daemon
from sorter.duties import Duty
from sorter.errors import ConfigError, SorterError
from sorter.intake import Intake, check_index_is_there
from sorter.notify import notify, reloading
from sorter.organizer.layout import Layout, TemplateError
from sorter.organizer.lease import META, DaemonLease, holds_up
from sorter.verification import Verifier

HEARTBEAT = 0.8
# While much happens the heart may beat late, and the last state is never to be a second old.
HEARTBEAT_AT_WORK = 0.5
# Opening an archive is quick; a migration of its index may take this long.
OPENING_SECONDS = 600.0
# Turns are short: waiting longer than this for one is worth telling.
TURN_SECONDS = 5.0


class _Heartbeat(threading.Thread):
    """Writes the status file and pings systemd's watchdog, as long as the working thread gets on.

    It beats from before the archive is opened until after it is closed: both wait for their turn, which a
    stopped rescan may hold for long. Who waits is alive; killing it would change nothing.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.served: Daemon | None = None
        self._root = config.archive
        self._done, self._at_once = threading.Event(), threading.Event()
        self._began = time.monotonic()
        self._waits: dict[str, Any] = {}
        self._written = True

    def run(self) -> None:
        while True:
            try:
                report = self._report()
                if report["healthy"]:
                    notify("WATCHDOG=1")
                notify(f"STATUS={_line(report)}")
                status.write(self._root, report)
                self._written = True
            except (OSError, SorterError) as error:
                if self._written:  # told once: a full disk would fill the log too
                    log.get().warning("status_not_written", exception=log.describe(error))
                self._written = False
            at_work = self.served is not None and self.served.state == "working"
            self._at_once.wait(HEARTBEAT_AT_WORK if at_work else HEARTBEAT)
            self._at_once.clear()
            if self._done.is_set():
                return

    def _report(self) -> dict[str, Any]:
        if self.served is not None:
            report = self.served.report()
        else:
            healthy = time.monotonic() - self._began < OPENING_SECONDS
            report = {
                "version": __version__,
                "state": "starting",
                "healthy": healthy,
                "heartbeat": time.time(),
            }
        if waits := self._turn():
            report |= {"healthy": True, "waits_for_turn": waits}
        return report

    def _turn(self) -> dict[str, Any]:
        """Which process has the turn that this one has been waiting for, and since when."""
        pid = holds_up(self._root / META / "lock")
        if pid is None:
            self._waits = {}
            return {}
        if self._waits.get("pid") != pid:
            self._waits = {"pid": pid, "since": time.time(), "told": False}
        if time.time() - self._waits["since"] < TURN_SECONDS:
            return {}
        if not self._waits["told"]:
            self._waits["told"] = True
            log.get().warning("waits_for_turn", detail=f"process {pid} holds the archive's turn")
        return {key: self._waits[key] for key in ("pid", "since")}

    def beat(self) -> None:
        """Report at once: something is new that people wait for."""
        self._at_once.set()

    def stop(self) -> None:
        """End the thread."""
        self._done.set()
        self._at_once.set()
        self.join()


def _line(report: dict[str, Any]) -> str:
    words = [f"paused: {report['paused']}" if report.get("paused") else str(report["state"])]
    if waits := report.get("waits_for_turn"):
        words.append(f"waiting for the turn of process {waits['pid']}")
    if counts := report.get("since_start"):
        words.append(f"{counts['stored']} stored, {counts['rejected'] + counts['conflict']} refused")
    return "; ".join(words)


def serve(load: Callable[[], Config]) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP loads the configuration anew.

    Parameters
    ----------
    load
        Makes the Config; called again on each reload.

    Raises
    ------
    SorterError
        The archive or the index cannot be used, or another daemon serves this archive.
    """
    wake, stop, quit_ = threading.Event(), threading.Event(), threading.Event()
    _on_signals(wake, stop, quit_)
    config = load()
    lease = DaemonLease(config.archive)
    try:
        while True:
            log.configure(level=config.log_level, form=config.log_format)
            _serve_one(config, wake, stop)
            gc.collect()  # what was served is full of circles, and a reload should leave nothing behind
            stop.clear()
            if quit_.is_set():
                break
            reloading()
            config = _reloaded(config, load)
    finally:
        notify("STOPPING=1")
        lease.release()
    log.get().info("stopped")


def _serve_one(config: Config, wake: threading.Event, stop: threading.Event) -> None:
    check_index_is_there(config)
    heartbeat = _Heartbeat(config)
    heartbeat.start()
    try:
        with Intake(config) as intake:
            swept = intake.archive.sweep()
            log.get().info("started", version=__version__, workers=intake.workers.count, swept=swept)
            heartbeat.served = daemon = _daemon(intake, wake, stop)

            def ready() -> None:
                notify("READY=1")
                heartbeat.beat()

            daemon.run(ready)
    finally:
        heartbeat.stop()


def _daemon(intake: Intake, wake: threading.Event, stop: threading.Event) -> Daemon:
    """The daemon with all that it does beside bringing files in; made anew on each reload."""
    trail = AuditTrail(intake.config)
    told, telling = events.duties(intake)

    def found_wrong(_event: str, facts: Mapping[str, Any]) -> None:
        told.verification(facts, {"count": len(facts["instances"])})
        for one in facts["instances"]:
            detail = f"verification found an archived file {one['problem']}"
            trail.alert(Alert(one["problem"]), detail, sop_instance_uid=one["sop_instance_uid"])

    duties: list[Duty] = [*telling, Verifier(intake, found_wrong), trail]
    return Daemon(intake, wake, stop, duties, told.trouble)


def _reloaded(config: Config, load: Callable[[], Config]) -> Config:
    try:
        new = load()
        Layout(new.template)
    except (ConfigError, TemplateError) as error:
        log.get().error("reload_refused", detail=str(error))
        return config
    if (new.archive, new.index_location) != (config.archive, config.index_location):
        log.get().error("reload_refused", detail="archive and index can only change with a restart")
        return config
    log.get().info("reloaded")
    return new


def _on_signals(wake: threading.Event, stop: threading.Event, quit_: threading.Event) -> None:
    def tell(number: int) -> None:
        if number != signal.SIGHUP:
            quit_.set()
        stop.set()
        wake.set()

    def end(number: int, _frame: FrameType | None) -> None:
        # Not here: the handler may interrupt the main thread within an Event, whose lock is not re-entrant.
        threading.Thread(target=tell, args=(number,), daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
