"""Receipts: for each dropped folder a JSON that says what became of every file in it."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection

from sorter import __version__, log
from sorter.errors import ConfigError
from sorter.events.aside import Aside
from sorter.events.events import Events
from sorter.events.quiet import Memory, sync_folder
from sorter.index.chain import head
from sorter.index.engine import guarded, make_engine
from sorter.index.events import News, Span, dropped, newest_source, origin, receipt_rows, receipt_totals
from sorter.index.ledger import NOT_FINAL, rows_of
from sorter.index.names import original
from sorter.intake import Intake
from sorter.model import Candidate, Outcome, Refused
from sorter.observer.walk import RootUnavailable, Walker
from sorter.organizer.lease import META

# The ledger is looked at at least so often (seconds): a rescan beside the daemon writes there too.
LOOK_AGAIN = 30.0
# A folder in which files still wait gets its receipt at last after so long, which then says so.
PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class Unit:
    """What one receipt is about: a dropped folder, or the files that lie in the drop folder itself."""

    root: str
    folder: str

    @property
    def below(self) -> bool:
        """Whether its subfolders belong to it."""
        return self.folder != self.root


class Receipts:
    """A duty of the daemon: writes a receipt when a dropped folder has gone quiet and nothing in it waits.

    Raises
    ------
    ConfigError
        The folder for receipts cannot be written.
    """

    def __init__(self, intake: Intake, events: Events) -> None:
        config = intake.config
        assert config.receipts is not None
        self._config, self._events, self._target = config, events, config.receipts
        self._roots = [str(root) for root in config.incoming]
        self._prepare()
        self._engine = make_engine(config.index_location, read_only=True)
        self._memory = Memory(config.archive / META / "receipts.json")
        with guarded(), self._engine.connect() as connection:
            self._origin = origin(connection)
            self._quiet = self._memory.load(self._origin, newest_source(connection))
        self._memory.save(self._quiet, self._origin)  # from here on nothing is forgotten
        self._written = 0
        self._aside = Aside("receipts", self.look, self._engine.dispose)

    def _prepare(self) -> None:
        try:
            self._target.mkdir(mode=0o750, parents=True, exist_ok=True)
            for draft in self._target.glob(".receipt-*.part"):  # left by a crash
                draft.unlink()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ConfigError(f"receipts: cannot write to {self._target}: {reason}") from None
        if not os.access(self._target, os.W_OK | os.X_OK):
            raise ConfigError(f"receipts: cannot write to {self._target}: not permitted")

    # -- the duty -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look."""
        self._aside.start()

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Look again."""
        if outcomes:
            self._aside.wake()

    def work(self, _now: float) -> float | None:
        """Nothing: the thread does it."""
        return None

    def report(self) -> dict[str, object]:
        """For ``status.json``: dropped folders without their receipt, and receipts since the start."""
        return {"receipts": {"open": len(self._quiet), "written": self._written}}

    def close(self) -> None:
        """End; what has no receipt yet gets it after the next start."""
        self._aside.stop()

    # -- in the thread --------------------------------------------------------------------------------

    def look(self, now: float) -> float:
        """Write the receipts that are due; returns when to look again."""
        with guarded(), self._engine.connect() as connection:
            if not self._origin:
                self._origin = origin(connection)
            news = self._by_unit(dropped(connection, self._quiet.seen))
            self._quiet.note(news, newest_source(connection), now)
        for name in self._quiet.due(now, self._config.complete_seconds):
            if self._aside.stopping.is_set():
                break
            self._settle(name, now)
        due = self._quiet.next_due(self._config.complete_seconds)
        return min(now + LOOK_AGAIN, now + LOOK_AGAIN if due is None else due)

    def _by_unit(self, news: dict[str, News]) -> dict[str, News]:
        found: dict[str, News] = {}
        for folder, rows in news.items():
            unit = self._unit(folder)
            if unit is not None:
                old = found.get(unit.folder, News(0, rows.first, rows.last))
                count = old.count + rows.count
                found[unit.folder] = News(count, min(old.first, rows.first), max(old.last, rows.last))
        return found

    def _unit(self, folder: str) -> Unit | None:
        """What a file in this folder belongs to; ``None`` for what was not dropped."""
        for root in self._roots:
            if folder == root:
                return Unit(root, root)
            if folder.startswith(f"{root}/"):
                return Unit(root, f"{root}/{folder[len(root) + 1 :].partition('/')[0]}")
        return None

    def _settle(self, name: str, now: float) -> None:
        unit = self._unit(name)
        if unit is None:  # its drop folder is not configured any more
            self._quiet.done(name, self._quiet.seen)
            return
        left = self._left(unit)
        waiting = any(isinstance(one, Candidate) for one in left)
        if waiting and now < self._quiet.quiet_since(name) + PATIENCE:
            self._quiet.put_off(name, now + max(1.0, min(self._config.complete_seconds, LOOK_AGAIN)))
            return
        with guarded(), self._engine.connect() as connection, connection.begin():
            last = newest_source(connection)
            span = Span(unit.folder, unit.below, self._quiet.reported_up_to(name), last)
            try:
                leaf, told = self._write(connection, unit, left, span)
            except OSError as error:
                self._events.trouble("receipt_not_written", os.strerror(error.errno or 0))
                raise
        number = hashlib.sha256(f"{self._origin}\0{name}\0{last}".encode("utf-8", "surrogateescape"))
        logged = {"source": log.source_id(name), "count": told["seen"], "name": leaf}
        self._events.emit("receipt", told, number=number.hexdigest()[:32], logged=logged)
        self._written += 1
        self._quiet.done(name, last)
        self._memory.save(self._quiet, self._origin)

    def _left(self, unit: Unit) -> list[Candidate | Refused]:
        """What lies in the folder and is not in the ledger: what waits, and what is ignored by rule."""
        exclude = [str(one) for one in (self._config.archive, self._config.retire_to) if one]
        found: list[Candidate | Refused] = []
        if not os.path.isdir(unit.folder):
            return found
        try:
            for part in Walker(unit.folder, ignore=self._config.ignore, exclude=exclude).walk(deep=True):
                if not unit.below and part.folder != unit.folder:
                    break  # the drop folder's own files come first
                with guarded(), self._engine.connect() as connection:
                    known = rows_of(connection, part.candidates)
                found += [
                    one for one in part.candidates if one not in known or known[one].reason in NOT_FINAL
                ]
                found += part.ignored
        except RootUnavailable:
            pass  # moved away meanwhile: nothing waits there
        return found

    # -- the file -------------------------------------------------------------------------------------

    def _write(
        self, connection: Connection, unit: Unit, left: Sequence[Candidate | Refused], span: Span
    ) -> tuple[str, dict[str, Any]]:
        """(name of the receipt, what the event says of it)."""
        counts, first, newest = receipt_totals(connection, span)
        extra = [_left_over(one, unit) for one in left]
        for one in extra:
            counts[one["outcome"]] = counts.get(one["outcome"], 0) + 1
        now = datetime.datetime.now(datetime.UTC)
        about = {
            "folder": _text(unit.folder),
            "from": first,
            "to": newest,
            "seen": sum(counts.values()),
            "counts": counts,
        }
        ledger = {"sha256": head(connection)}
        top = {"receipt": 1, "sorter": __version__, "written_at": now.isoformat(timespec="seconds")}
        rows = (_entry(row, unit) for row in receipt_rows(connection, span))
        leaf = f"{now:%Y%m%dT%H%M%SZ}-{log.source_id(unit.folder)}"
        leaf = self._publish(leaf, top | about | {"ledger": ledger}, _both(rows, extra))
        return leaf, {"receipt": leaf, **about, "ledger": ledger}

    def _publish(self, leaf: str, top: dict[str, Any], entries: Iterable[dict[str, Any]]) -> str:
        draft = self._target / f".receipt-{secrets.token_hex(8)}.part"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                _dump(file, top, entries)
                file.flush()
                os.fsync(file.fileno())
            name = _link_once(draft, leaf)
        finally:
            draft.unlink()
        sync_folder(self._target)
        return name


def _link_once(draft: Path, leaf: str) -> str:
    """Give the draft a name that no receipt has."""
    number = 1
    while True:
        name = f"{leaf}-{number}.json" if number > 1 else f"{leaf}.json"
        try:
            os.link(draft, draft.with_name(name))
        except FileExistsError:
            number += 1
            continue
        return name


def _dump(file: IO[str], top: dict[str, Any], entries: Iterable[dict[str, Any]]) -> None:
    """One JSON object, with one line for each file, written as it comes."""
    file.write(json.dumps(top, indent=1)[:-2] + ',\n "files": [')
    separator = "\n  "
    for entry in entries:
        file.write(separator + json.dumps(entry))
        separator = ",\n  "
    file.write("\n ]\n}\n")


def _both(rows: Iterator[dict[str, Any]], extra: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from rows
    yield from extra


def _entry(row: Any, unit: Unit) -> dict[str, Any]:
    return {
        "name": _relative(original(row.folder), original(row.name), unit),
        "size": row.size,
        "sha256": row.sha256,
        "outcome": row.outcome,
        "reason": row.reason,
        "detail": row.detail,
        "path": row.path,
        "recorded_at": row.recorded_at,
    }


def _left_over(one: Candidate | Refused, unit: Unit) -> dict[str, Any]:
    candidate = one if isinstance(one, Candidate) else one.candidate
    return {
        "name": _relative(candidate.folder, candidate.name, unit),
        "size": candidate.size,
        "sha256": None,
        "outcome": "waiting" if isinstance(one, Candidate) else str(one.kind),
        "reason": None if isinstance(one, Candidate) else str(one.reason),
        "detail": None,
        "path": None,
        "recorded_at": None,
    }


def _relative(folder: str, name: str, unit: Unit) -> str:
    return _text(f"{folder}/{name}"[len(unit.folder) + 1 :])


def _text(name: str) -> str:
    """A name as text that any JSON reader takes; bytes that are no UTF-8 with backslashes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
