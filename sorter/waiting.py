"""What waits in a daemon and why, for the people who ask."""

from __future__ import annotations

import heapq
from collections import Counter

from sorter import log
from sorter.observer.settle import Settler

OLDEST = 20


def report(settler: Settler, now: float) -> dict[str, object]:
    """Keys for ``status.json``: counts by reason, and the oldest; sources appear as short hashes.

    Parameters
    ----------
    now
        Seconds, by the settler's clock.
    """
    waiting = settler.waiting(now)
    return {
        "waiting": dict(Counter(str(one.reason) for one in waiting)),
        "waiting_oldest": [
            {
                "source": log.source_id(one.candidate.path),
                "reason": str(one.reason),
                "age_seconds": round(now - one.since),
                "attempts": one.attempts,
            }
            for one in heapq.nsmallest(OLDEST, waiting, key=lambda one: one.since)
        ],
    }
