"""What of all that was not synced reaches the disk before the power goes: the variants of a cut."""

import random
from collections import defaultdict

from crash.power_disk import DROPPED, KEPT, SIZE_ONLY, sectors

INDEX = "/.sorter/index.sqlite"


def _strict(_disk, _change):
    """Only what was synced."""
    return DROPPED


def _names(_disk, change):
    """Names at once, bytes never: delayed allocation leaves files of no length."""
    return KEPT if change.kind == "entry" else DROPPED


def _zeros(_disk, change):
    """Names and lengths at once, bytes never: files of the right length, full of zeros."""
    return SIZE_ONLY if change.kind == "write" else KEPT


def _bytes(_disk, change):
    """Bytes at once, names never."""
    return DROPPED if change.kind == "entry" else KEPT


def _removals(_disk, change):
    """What was removed is gone at once, what was made is not there."""
    return KEPT if change.kind == "entry" and change.target is None else DROPPED


def _index(disk, change):
    """The index at once, and nothing else."""
    return KEPT if INDEX in disk.steps[change.step] else DROPPED


def _all_but_index(disk, change):
    """All at once but the index."""
    return DROPPED if INDEX in disk.steps[change.step] else KEPT


def _everything(_disk, _change):
    """All that was written, as after a SIGKILL."""
    return KEPT


PLAIN = {
    "strict": _strict,
    "names": _names,
    "zeros": _zeros,
    "bytes": _bytes,
    "removals": _removals,
    "index": _index,
    "all but the index": _all_but_index,
    "everything": _everything,
}


def fates(disk, step, variant):
    """What becomes of each pending change; a variant that is a number is the seed of a random mixture."""
    pending = disk.pending(step)
    if variant in PLAIN:
        return {change: PLAIN[variant](disk, change) for change in pending}
    chance = random.Random(f"{step} {variant}")
    by_node = defaultdict(list)
    for change in pending:
        by_node[change.node].append(change)
    found = {}
    for changes in by_node.values():
        found |= _mixture(changes, chance)
    return found


def _mixture(changes, chance):
    """Of a folder any of its names; of a file some pages and torn sectors of what was written up to a point.

    Nothing overtakes a change of a file's size: what is written after it depends on it.
    """
    if changes[0].kind == "entry":
        return {change: chance.choice((KEPT, DROPPED)) for change in changes}
    until = chance.randint(0, len(changes))
    found = dict.fromkeys(changes[until:], DROPPED)
    sized = max((n for n, one in enumerate(changes[:until]) if one.kind == "size"), default=-1)
    for number, change in enumerate(changes[:until]):
        if number <= sized or change.kind != "write":
            found[change] = KEPT
        else:
            found[change] = chance.choice((KEPT, KEPT, DROPPED, SIZE_ONLY, _torn(change, chance)))
    return found


def _torn(change, chance):
    return frozenset(one for one in sectors(change) if chance.random() < 0.5)
