"""Power cuts during real runs: whatever was not synced may be gone, and nothing is lost.

``SORTER_CRASH=full`` cuts after every step of every course, lays out every variant and more random mixtures,
and recovers from 400 of the different states of each. Without it a fixed sample.
"""

import pytest
from crash.facts import sha256
from crash.power import Recording
from crash.power_courses import COURSES
from crash.power_cuts import PLAIN, fates
from crash.power_disk import DROPPED, KEPT, SECTOR, Disk, Node
from crash.runs import sample

CUTS, SEEDS, RECOVERIES = 20, 1, 5  # of the sample, for each course
FULL_SEEDS, FULL_RECOVERIES = 4, 400
AGAIN = 3  # states from which a recovery is cut in its turn


@pytest.fixture
def recorded(sorter, tmp_path):
    """A course, run once without a cut."""
    return lambda name: Recording.make(sorter, COURSES[name], tmp_path / "work")


def wrong_states(recording, cuts, seeds, recoveries):
    """What is wrong after cuts, and after recovery from some; how many states and recoveries there were."""
    states = list(recording.states(cuts, seeds))
    again = set(sample(range(len(states)), recoveries))
    if not recording.course.converges:
        again = set()
    wrong = {}
    for number, (words, is_end, files) in enumerate(states):
        found = recording.wrong_after_cut(files, is_end=is_end)
        if number in again and not found:
            found = recording.wrong_after_recovery()
        if found:
            wrong[words] = found
    return wrong, len(states), len(again)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", COURSES)
def test_a_power_cut_loses_nothing_and_the_next_run_ends_as_if_there_had_been_none(recorded, full, name):
    """Before repair: rows have their files, names their bytes, what is gone is safe; then convergence."""
    recording = recorded(name)
    cuts = recording.cuts(None if full else CUTS)
    limits = (FULL_SEEDS, FULL_RECOVERIES) if full else (SEEDS, RECOVERIES)
    wrong, states, recoveries = wrong_states(recording, cuts, *limits)
    print(f"\n{name}: {len(cuts)} cuts, {states} states, {recoveries} recoveries, {len(wrong)} broken")
    assert wrong == {}
    assert states > len(cuts)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["small", "delete"])
def test_the_power_fails_again_during_recovery(sorter, recorded, full, name):
    """The run after a cut is cut itself."""
    first = recorded(name)
    states = list(first.states(first.cuts(CUTS), SEEDS))
    tried = 0
    for words, is_end, files in sample(states, 12 if full else AGAIN)[1:-1]:
        assert first.wrong_after_cut(files, is_end=is_end) == []
        second = Recording.of(sorter, first.course, first.work, first)
        wrong, count, _ = wrong_states(second, second.cuts(None if full else 12), SEEDS, 20 if full else 2)
        assert wrong == {}, f"after {words}"
        tried += count
    print(f"\n{name}, cut twice: {tried} states")
    assert tried > 0


# -- the model itself: what it takes away, and what it leaves --------------------------------------------


def disk_with(tmp_path):
    """A folder with one durable file."""
    (tmp_path / "old").write_bytes(b"old")
    return Disk.of(tmp_path, lambda _name: False)


def names_after(disk, variant, step=None):
    step = len(disk.steps) - 1 if step is None else step
    return {name: one.content for name, one in disk.after_cut(step, fates(disk, step, variant)).items()}


def make_file(disk, name, data, line):
    node = Node("file")
    disk.step(f"make {name}")
    disk.enter(f"{disk.root}/{name}", node, line)
    disk.step(f"write {name}")
    disk.write(node, 0, data, line + 1)
    return node


def test_what_was_not_synced_is_gone_in_every_way(tmp_path):
    """Name without bytes, zeros for bytes, bytes without a name, or nothing."""
    disk = disk_with(tmp_path)
    make_file(disk, "new", b"bytes", 0)
    found = {variant: names_after(disk, variant) for variant in PLAIN}
    old = {"old": b"old"}
    assert found["strict"] == found["bytes"] == found["removals"] == old
    assert found["names"] == old | {"new": b""}
    assert found["zeros"] == old | {"new": bytes(5)}
    assert found["everything"] == old | {"new": b"bytes"}


def test_the_bytes_of_a_file_are_durable_by_its_own_sync_and_its_name_by_its_folders(tmp_path):
    """Neither does for the other."""
    disk = disk_with(tmp_path)
    node = make_file(disk, "new", b"bytes", 0)
    disk.step("fsync new")
    disk.sync(node, 5)
    assert names_after(disk, "strict") == {"old": b"old"}
    assert names_after(disk, "names") == {"old": b"old", "new": b"bytes"}
    disk.step("fsync the folder")
    disk.sync(disk.top, 6)
    assert names_after(disk, "strict") == {"old": b"old", "new": b"bytes"}
    assert names_after(disk, "strict", step=2) == {"old": b"old"}


def test_a_sync_covers_only_what_had_ended_before_it_began(tmp_path):
    """Calls of several processes overlap."""
    disk = disk_with(tmp_path)
    node = make_file(disk, "new", b"bytes", 7)
    disk.step("sync")
    disk.sync(None, 8)  # the write has its end in line 8
    assert names_after(disk, "strict") == {"old": b"old", "new": b""}
    disk.step("sync")
    disk.sync(None, 9)
    assert names_after(disk, "strict") == {"old": b"old", "new": b"bytes"}
    assert all(change.is_durable(3) for change in disk.changes if change.node is node)


def test_a_removal_comes_back_and_a_rename_never_loses_both_names(tmp_path):
    """Old name, new name, or both; also where the freed name is given again."""
    disk = disk_with(tmp_path)
    disk.step("rename old new")
    added = disk.enter(f"{tmp_path}/new", disk.find(f"{tmp_path}/old"), 0)
    disk.enter(f"{tmp_path}/old", None, 0, needs=added)
    make_file(disk, "old", b"another", 1)
    found = [names_after(disk, seed) for seed in range(40)]
    assert all(b"old" in one.values() for one in found)
    assert {"new" in one for one in found} == {True, False}
    assert names_after(disk, "strict") == {"old": b"old"}


def test_a_mixture_tears_writes_at_sectors(tmp_path):
    """Each sector is old or new, and both occur."""
    disk = disk_with(tmp_path)
    node = disk.find(f"{tmp_path}/old")
    disk.step("write old")
    disk.write(node, 0, bytes([1]) * 4 * SECTOR, 0)
    kinds = set()
    for seed in range(60):
        content = names_after(disk, seed)["old"]
        for low in range(0, len(content) - SECTOR + 1, SECTOR):
            kinds.add(sha256(content[low : low + SECTOR]))
    zeros, new = sha256(bytes(SECTOR)), sha256(bytes([1]) * SECTOR)
    assert kinds == {zeros, new, sha256(b"old" + bytes(SECTOR - 3))}


def test_fates_name_every_pending_change(tmp_path):
    """No variant leaves one to chance."""
    disk = disk_with(tmp_path)
    make_file(disk, "new", b"bytes", 0)
    for variant in (*PLAIN, 1, 2):
        chosen = fates(disk, 1, variant)
        assert set(chosen) == set(disk.pending(1))
        assert variant != "everything" or set(chosen.values()) == {KEPT}
        assert variant != "strict" or set(chosen.values()) == {DROPPED}
