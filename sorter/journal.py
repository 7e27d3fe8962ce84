"""Moves within the archive, batch by batch, so that no crash loses a file or leaves a row without one.

For each batch, within one turn:

1. the journal: what goes where (table ``moves``, state ``planned``);
2. the second names, durable;
3. one transaction: the rows, the ledger's batch with its chain, state ``moved``;
4. the first names go; state ``done``.

A crash before 3 is taken back by :func:`finish`, a crash after 3 is finished by it. Every start of a daemon,
a rescan or any other run that writes calls it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection

from sorter.index import Index, chain, moves
from sorter.index.moves import MOVED, PLANNED, Move
from sorter.model import BatchKind
from sorter.organizer.archive import Archive
from sorter.organizer.layout import path_key
from sorter.organizer.mover import Mover, Trip

Commit = Callable[[Connection, Sequence[Move], int, str], None]


def carry(
    archive: Archive,
    index: Index,
    plan: str,
    choose: Callable[[], Sequence[Move]],
    commit: Commit,
    *,
    kind: BatchKind,
    detail: str,
) -> list[Move]:
    """Move one batch of files; returns those that moved.

    Parameters
    ----------
    plan
        The name under which the journal keeps them.
    choose
        What is to move: asked once the turn is ours, so that nobody changes the rows in between.
    commit
        Changes the rows: called with the connection, the moves, the batch's number and the time.

    Raises
    ------
    ArchiveError, IndexUnusableError
        It stopped; nothing is lost, and :func:`finish` puts the rest right.
    """
    mover = Mover(archive)
    with archive.turn():
        if not (wanted := choose()):
            return []
        with index.writing() as connection:
            moves.begin(connection, plan, wanted)
        named = mover.name(_trips(wanted))
        moved = [one for one, has in zip(wanted, named, strict=True) if has]
        with index.writing() as connection:
            _record(connection, plan, moved, commit, kind=kind, detail=detail)
        mover.clear(_trips(moved))
        with index.writing() as connection:
            moves.end(connection)
    return moved


def _record(
    connection: Connection, plan: str, moved: Sequence[Move], commit: Commit, *, kind: BatchKind, detail: str
) -> None:
    if not moved:
        moves.forget(connection)
        return
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    batch = chain.open_batch(connection, kind, now, detail)
    commit(connection, moved, batch, now)
    moves.settle(connection, plan, [one.sop_instance_uid for one in moved], batch)
    chain.seal(connection, batch)


def finish(archive: Archive, index: Index) -> int:
    """Put right what a crash left of a move; returns how many files it concerned. Within a turn.

    A name that a row names stays, whatever the journal says: a daemon that ran on after the crash may have
    brought in again what was withdrawn.
    """
    with index.reading() as connection:
        planned, moved = (moves.unsettled(connection, state) for state in (PLANNED, MOVED))
        going = [one.new_path for one in planned] + [one.old_path for one in moved]
        named = moves.named(connection, {path_key(path) for path in going})
    if not planned and not moved:
        return 0
    mover = Mover(archive)
    mover.take_back(_trips(one for one in planned if one.new_path not in named))
    mover.clear(_trips(one for one in moved if one.old_path not in named))
    with index.writing() as connection:
        moves.forget(connection)
        moves.end(connection)
    return len(planned) + len(moved)


def _trips(wanted: Iterable[Move]) -> list[Trip]:
    return [(one.old_path, one.new_path, one.sha256) for one in wanted]
