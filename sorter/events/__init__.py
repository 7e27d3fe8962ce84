"""Events: what the daemon tells of, to the log and to hooks; see ``docs/events.md``."""

from __future__ import annotations

from sorter.events.events import Events
from sorter.events.receipts import Receipts
from sorter.events.series import Completeness
from sorter.intake import Intake

__all__ = ["Completeness", "Events", "Receipts", "duties"]


def duties(intake: Intake) -> tuple[Events, list[Events | Completeness | Receipts]]:
    """The events of a daemon, and all of its duties that tell of something, started. The events come last.

    Raises
    ------
    ConfigError
        A secret cannot be read, or the folder for receipts cannot be written.
    ArchiveError
        The outbox cannot be opened.
    """
    config = intake.config
    events = Events(config)
    found: list[Events | Completeness | Receipts] = []
    if config.complete_seconds:
        found.append(Completeness(intake, events))
        if config.receipts:
            found.append(Receipts(intake, events))
    found.append(events)  # closed last: the others may still tell of something
    for duty in found:
        duty.start()
    return events, found
