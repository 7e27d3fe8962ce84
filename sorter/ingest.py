"""The one screen: how a batch of candidates gets into the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sorter.index import Index, Known
from sorter.model import Candidate, Expanded, Kind, Outcome, Refused, Staged
from sorter.organizer.archive import Archive
from sorter.organizer.judge import KnownInstance, Verdict, collides, judge
from sorter.organizer.layout import Layout, path_key
from sorter.organizer.place import place
from sorter.unpack.account import Account
from sorter.workers import Recipe, Workers


def ingest(
    batches: Iterable[Sequence[Candidate]],
    *,
    archive: Archive,
    index: Index,
    workers: Workers,
    layout: Layout,
    recipe: Recipe,
    refuse: Callable[[Refused], Refused] = lambda refused: refused,
) -> Iterator[list[Outcome]]:
    """Bring batches of candidates into the archive; safe to repeat after a crash at any line.

    While batch N is published here, batch N+1 is synced and batch N+2 staged by the workers.

    Parameters
    ----------
    refuse
        Has the last word on what a worker refused: a daemon defers a truncated file that may still grow.

    Yields
    ------
    list of Outcome
        One per candidate of a batch, recorded: only now may the caller retire its sources (rule 3).
    """
    account, more = Account(), iter(batches)
    while True:
        for batch in workers.stage(account.before(more), recipe):  # read, digest, parse, decode, write
            staged = [one for one in batch.results if isinstance(one, Staged)]
            refused = [refuse(one) for one in batch.results if isinstance(one, Refused)]
            for one in batch.results:
                if isinstance(one, Expanded):
                    account.open(one)  # its members come next, and its own word with the last of theirs
            with archive.turn():  # one writer at a time: daemon and rescan take turns
                known = index.lookup([one.instance.header for one in staged])
                verdicts = _judged(staged, known, archive, workers)
                places = place(verdicts, known, layout, owners=index.folder_owners, taken=index.taken)
                outcomes = archive.publish(verdicts, places, refused)
                outcomes += account.closed(outcomes)
                index.record(outcomes, places, _path_keys(outcomes))  # one transaction: instances and ledger
            archive.discard(batch.results)
            yield outcomes
        if not account.waits:
            return


def _path_keys(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """By SOP Instance UID, of what was stored."""
    return {
        one.instance.header.text("SOPInstanceUID"): path_key(one.path)
        for one in outcomes
        if one.kind is Kind.STORED and one.instance
    }


def _judged(staged: Sequence[Staged], known: Known, archive: Archive, workers: Workers) -> list[Verdict]:
    """A verdict for each, in order; the first of a new instance counts as known for the rest of the batch."""
    seen: dict[str, tuple[KnownInstance, str]] = {}  # with the absolute path of the bytes
    verdicts: list[Verdict] = []
    for one in staged:
        uid = one.instance.header.text("SOPInstanceUID")
        if uid not in seen and (row := known.instances.get(uid)):
            existing = KnownInstance(uid, row.sha256, row.source_sha256, row.path, row.patient)
            seen[uid] = existing, archive.locate(row.path)
        first = seen.get(uid)
        mine = archive.staging.path(one.name)
        verdict = _verdict(one, first, mine, workers)
        if verdict.kind is Kind.STORED:
            instance = one.instance
            new = KnownInstance(uid, instance.sha256, instance.source_sha256, "", instance.header.patient)
            seen[uid] = new, mine
        verdicts.append(verdict)
    return verdicts


def _verdict(one: Staged, first: tuple[KnownInstance, str] | None, mine: str, workers: Workers) -> Verdict:
    if first is None:
        return judge(one, None, None)
    known, theirs = first
    if not collides(one.instance, known):
        return judge(one, known, None)
    prints = workers.fingerprints((theirs, mine))
    if prints is None:
        return Verdict(one, Kind.CONFLICT, known, "other bytes, which could not be compared")
    return judge(one, known, (prints[0], prints[1]))
