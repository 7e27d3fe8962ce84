"""The daemon as a service: signals, reload, heartbeat, one daemon an archive."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from sorter import __version__, log, status
from sorter.config import Config
from sorter.daemon import Daemon, Duty
from sorter.errors import ConfigError, SorterError
from sorter.intake import Intake, check_index_is_there
from sorter.notify import notify, reloading
from sorter.organizer.layout import Layout, TemplateError
from sorter.organizer.lease import DaemonLease

HEARTBEAT = 1.0


class _Heartbeat(threading.Thread):
    """Writes the status file and pings systemd's watchdog, as long as the working thread gets on."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._served, self._done = daemon, threading.Event()

    def run(self) -> None:
        while True:
            try:
                if self._served.healthy:
                    notify("WATCHDOG=1")
                report = self._served.report()
                notify(f"STATUS={_line(report)}")
                status.write(self._served.config.archive, report)
            except (OSError, SorterError) as error:
                log.get().warning("status_not_written", exception=log.describe(error))
            if self._done.wait(HEARTBEAT):
                return

    def stop(self) -> None:
        """End the thread after a last report."""
        self._done.set()
        self.join()


def _line(report: dict[str, object]) -> str:
    counts = report["since_start"]
    assert isinstance(counts, dict)
    return f"{report['state']}; {counts['stored']} stored, {counts['rejected'] + counts['conflict']} refused"


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
    with Intake(config) as intake:
        swept = intake.archive.sweep()
        log.get().info("started", version=__version__, workers=intake.workers.count, swept=swept)
        daemon = Daemon(intake, wake, stop, _duties(intake))
        heartbeat = _Heartbeat(daemon)
        heartbeat.start()
        try:
            daemon.run(ready=lambda: notify("READY=1"))
        finally:
            heartbeat.stop()


def _duties(_intake: Intake) -> list[Duty]:
    """What the daemon does beside bringing files in; made anew on each reload."""
    return []


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
