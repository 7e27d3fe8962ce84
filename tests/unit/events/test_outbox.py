"""The outbox: durable, private, bounded."""

import stat

import pytest

from sorter.config import Hook
from sorter.errors import ArchiveError
from sorter.events.outbox import Outbox, hook_key

KEY, OTHER = "a" * 16, "b" * 16


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "outbox"


def test_events_come_out_in_the_order_in_which_they_went_in(folder):
    outbox = Outbox(folder, [KEY])
    for number in range(3):
        outbox.put(KEY, b"%d" % number)
    taken = []
    while found := outbox.next(KEY):
        taken.append(found[1])
        outbox.remove(KEY, found[0])
    assert taken == [b"0", b"1", b"2"]
    assert list(folder.iterdir()) == []


def test_events_survive_a_restart(folder):
    Outbox(folder, [KEY]).put(KEY, b"event")
    assert Outbox(folder, [KEY]).next(KEY)[1] == b"event"


def test_only_the_owner_may_read(folder):
    Outbox(folder, [KEY]).put(KEY, b"event")
    (path,) = folder.iterdir()
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


def test_the_oldest_goes_when_it_is_full(folder):
    outbox = Outbox(folder, [KEY, OTHER], most=2)
    outbox.put(KEY, b"first")
    outbox.put(OTHER, b"second")
    outbox.put(OTHER, b"third")
    assert (outbox.next(KEY), outbox.next(OTHER)[1], outbox.dropped) == (None, b"second", 1)
    assert 2 == len(outbox) == len(list(folder.iterdir()))


def test_one_that_is_put_last_lets_the_others_go_first(folder):
    outbox = Outbox(folder, [KEY])
    outbox.put(KEY, b"first")
    outbox.put(KEY, b"second")
    outbox.put_last(KEY, outbox.next(KEY)[0])
    assert outbox.next(KEY)[1] == b"second"


def test_what_waits_for_a_hook_that_is_gone_is_dropped_at_the_start(folder):
    Outbox(folder, [KEY]).put(KEY, b"event")
    assert len(Outbox(folder, [OTHER])) == 0
    assert list(folder.iterdir()) == []


def test_drafts_of_a_crash_are_removed(folder):
    Outbox(folder, [KEY])
    (folder / f".00000000000000000001-000001-{KEY}.json.new").write_bytes(b"half")
    assert len(Outbox(folder, [KEY])) == 0
    assert list(folder.iterdir()) == []


def test_a_file_that_somebody_removed_is_no_trouble(folder):
    outbox = Outbox(folder, [KEY])
    outbox.put(KEY, b"event")
    for path in folder.iterdir():
        path.unlink()
    assert outbox.next(KEY) is None
    assert len(outbox) == 0


def test_a_folder_that_cannot_be_made_is_trouble_with_the_archive(tmp_path):
    with pytest.raises(ArchiveError, match="open the outbox"):
        Outbox(tmp_path / "missing" / "outbox", [KEY])


def test_a_hook_keeps_its_key_whatever_events_it_wants():
    first = Hook(events=("refused",), command=("a", "b"))
    second = Hook(events=("trouble",), command=("a", "b"))
    assert hook_key(first) == hook_key(second) != hook_key(Hook(events=("refused",), command=("a b",)))
