"""One round of a daemon: its candidates in batches, each of them once, as long as there is room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from sorter.intake import Batches, Intake
from sorter.model import Candidate, Outcome, Reason
from sorter.observer.settle import Settler

# So many files in one round may wait for room by themselves; beyond, it is the disk that is too small.
MOST_SET_ASIDE = 100


class Round:
    """What is handed out in one round. A file that is larger than the room left waits; smaller ones come in.

    Parameters
    ----------
    intake
        Knows how much room there is.
    settler
        Remembers what waits for room.
    stopping
        Asked after each candidate.

    Attributes
    ----------
    full
        It ended for want of room.
    """

    def __init__(self, intake: Intake, settler: Settler, stopping: Callable[[], bool]) -> None:
        self._intake, self._settler, self._stopping = intake, settler, stopping
        self._in_flight: dict[tuple[str, str], int] = {}  # handed out: its bytes until it is in
        self._aside = 0
        self.full = False

    def batches(self, candidates: Iterable[Candidate], batches: Batches) -> Iterator[list[Candidate]]:
        """Those candidates that were not handed out in this round yet, and for which there is room."""
        for candidate in candidates:
            key = (candidate.folder, candidate.name)
            if key in self._in_flight:
                continue
            self._in_flight[key] = 0
            if batch := batches.add(candidate):
                yield from self._fitting(batch)
            if self.full or self._stopping():
                return
        if batch := batches.rest():
            yield from self._fitting(batch)

    def _fitting(self, batch: list[Candidate]) -> Iterator[list[Candidate]]:
        """What of a batch there is room for; a few files that are too large wait, many end the round."""
        under_way = sum(self._in_flight.values())
        room = self._intake.room(under_way)
        fits = room.fitting(batch)
        if len(fits) < len(batch) and under_way:
            self.full = True  # once the batch under way is in, the next round knows what is left
            return
        if fits:
            self._in_flight.update(((one.folder, one.name), one.size) for one in fits)
            yield fits
        chosen = set(fits)
        too_large = [one for one in batch if one not in chosen]
        if too_large and not (room and self.set_aside(too_large)):
            self.full = True

    def set_aside(self, candidates: Sequence[Candidate]) -> bool:
        """Let files wait until there is room for them; False where that would be too many."""
        if self._aside + len(candidates) > MOST_SET_ASIDE:
            return False
        self._aside += len(candidates)
        for one in candidates:
            self._settler.defer(one, time.monotonic(), Reason.NO_SPACE)
        return True

    def landed(self, outcome: Outcome) -> None:
        """A candidate has its outcome: the free space tells of its bytes from now on."""
        self._in_flight[outcome.candidate.folder, outcome.candidate.name] = 0
