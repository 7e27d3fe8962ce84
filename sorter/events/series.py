"""Events about series in which nothing has arrived for a while."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any

from sorter import log
from sorter.events.aside import Aside
from sorter.events.completeness import Facts, assess, numbers
from sorter.events.events import Events
from sorter.events.quiet import Memory
from sorter.index.engine import guarded, make_engine
from sorter.index.events import (
    InstanceRow,
    SeriesRow,
    arrived,
    instance_rows,
    newest_source,
    origin,
    series_row,
    stored_since,
)
from sorter.intake import Intake
from sorter.model import Kind, Outcome
from sorter.organizer.lease import META
from sorter.workers import Workers

# The index is asked at least so often (seconds): a rescan beside the daemon brings instances too.
LOOK_AGAIN = 30.0
# Headers are read in tasks of so many files, and not at all for larger series.
_TASK = 16
MOST_READ = 20_000
_EXTRA = frozenset(
    (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "ImagesInAcquisition",
        "NumberOfSeriesRelatedInstances",
    )
)


class Completeness:
    """A duty of the daemon: tells when a series has gone quiet, and what is missing in it.

    The index says what has arrived, so that neither a restart nor a rescan goes unnoticed. What the index
    does not hold is read from the archived files, by a worker process of its own, in a thread of its own.
    """

    def __init__(self, intake: Intake, events: Events) -> None:
        config = intake.config
        self._archive, self._events, self._seconds = intake.archive, events, config.complete_seconds
        self._engine = make_engine(config.index_location, read_only=True)
        self._workers = Workers(count=1, memory_mb=config.worker_memory_mb, seconds=config.worker_seconds)
        self._memory = Memory(config.archive / META / "completeness.json")
        with guarded(), self._engine.connect() as connection:
            self._origin = origin(connection)
            self._quiet = self._memory.load(self._origin, newest_source(connection))
        self._memory.save(self._quiet, self._origin)  # from here on nothing is forgotten
        self._told = 0
        self._aside = Aside("completeness", self.look, self._finish)

    # -- the duty -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look."""
        self._aside.start()

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Look again where something was stored."""
        if any(one.kind is Kind.STORED for one in outcomes):
            self._aside.wake()

    def work(self, _now: float) -> float | None:
        """Nothing: the thread does it."""
        return None

    def report(self) -> dict[str, object]:
        """For ``status.json``: series in which something arrives, and those told of since the start."""
        return {"series": {"open": len(self._quiet), "told": self._told}}

    def close(self) -> None:
        """End; what was not told is told after the next start."""
        self._aside.stop()

    # -- in the thread --------------------------------------------------------------------------------

    def look(self, now: float) -> float:
        """Tell of each series that is due; returns when to look again."""
        with guarded(), self._engine.connect() as connection:
            if not self._origin:
                self._origin = origin(connection)
            found = arrived(connection, self._quiet.seen)
            news = {str(number): rows for number, rows in found.items()}
            self._quiet.note(news, newest_source(connection), now)
        for name in self._quiet.due(now, self._seconds):
            if self._aside.stopping.is_set():
                break
            self._tell(name)
        if not len(self._quiet):
            self._workers.rest()
        due = self._quiet.next_due(self._seconds)
        return min(now + LOOK_AGAIN, now + LOOK_AGAIN if due is None else due)

    def _tell(self, name: str) -> None:
        with guarded(), self._engine.connect() as connection:
            row = series_row(connection, int(name))
            instances = instance_rows(connection, int(name))
            new = stored_since(connection, int(name), self._quiet.reported_up_to(name))
        if row is not None and instances:
            facts = self._facts(instances)
            if facts is None:
                return  # told to stop meanwhile
            self._emit(row, instances, new.count, facts)
            self._told += 1
        self._quiet.done(name, new.last)
        self._memory.save(self._quiet, self._origin)

    def _emit(
        self, row: SeriesRow, instances: Sequence[InstanceRow], new: int, facts: Sequence[Facts]
    ) -> None:
        data: dict[str, Any] = {
            "study_instance_uid": row.study_instance_uid,
            "series_instance_uid": row.series_instance_uid,
            "modality": row.modality,
            "folder": row.folder,
            "new": new,
            **assess(facts),
        }
        self._events.emit(
            "series_complete",
            data,
            number=_number(row, instances),
            logged={
                "series": log.source_id(row.series_instance_uid),
                "count": len(instances),
                "missing": data["instance_numbers"]["missing"],
                "gaps": data["slices"]["gaps"] if data["slices"] else None,
            },
        )

    def _facts(self, instances: Sequence[InstanceRow]) -> list[Facts] | None:
        """What headers say of each instance; ``None`` where there is no time left to read them."""
        single = all((one.number_of_frames or 1) == 1 for one in instances)
        if len(instances) > MOST_READ or not single:
            return [_fact(one) for one in instances]
        facts: list[Facts] = []
        for start in range(0, len(instances), _TASK):
            if self._aside.stopping.is_set():
                return None
            task = instances[start : start + _TASK]
            read = self._workers.examine([self._archive.locate(one.path) for one in task], _EXTRA)
            for one, found in zip(task, read, strict=True):
                header = found.header if found else None
                facts.append(_fact(one, {key: header.text(key) for key in _EXTRA} if header else {}))
        return facts

    def _finish(self) -> None:
        with contextlib.suppress(OSError):  # a pool that is gone already
            self._workers.close()
        self._engine.dispose()


def _fact(row: InstanceRow, read: dict[str, str] | None = None) -> Facts:
    read = read or {}
    return Facts(
        instance_number=row.instance_number,
        acquisition_number=row.acquisition_number,
        number_of_frames=row.number_of_frames,
        position=numbers(read.get("ImagePositionPatient", "").split("\\"), 3),
        orientation=numbers(read.get("ImageOrientationPatient", "").split("\\"), 6),
        images_in_acquisition=_whole(read.get("ImagesInAcquisition", "")),
        series_related_instances=_whole(read.get("NumberOfSeriesRelatedInstances", "")),
    )


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _number(row: SeriesRow, instances: Sequence[InstanceRow]) -> str:
    """The event's id: the same when a crash makes us tell of the same instances twice."""
    state = (row.study_instance_uid, row.series_instance_uid, str(len(instances)), instances[-1].stored_at)
    return hashlib.sha256("\0".join(state).encode()).hexdigest()[:32]
