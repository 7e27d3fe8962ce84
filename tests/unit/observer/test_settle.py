"""Facts about settling: a file is ready when it was left alone for long enough, and is never forgotten."""

import pytest

from sorter.model import Candidate, Reason
from sorter.observer.settle import Settler, Waiting, quiet_by_clock

A = Candidate("/in", "a", 1, 10, 100, 5, 5)
B = Candidate("/in", "b", 1, 11, 100, 5, 5)


def grown(candidate: Candidate, size: int) -> Candidate:
    return candidate._replace(size=size, ctime_ns=candidate.ctime_ns + size)


def test_unchanged_for_the_quiet_period_is_ready():
    s = Settler(quiet=2, incomplete=60)
    assert [s.observe(A, 0), s.observe(A, 1.9), s.observe(A, 2)] == [False, False, True]


@pytest.mark.parametrize("field", ["device", "inode", "size", "mtime_ns", "ctime_ns"])
def test_a_change_of_any_field_starts_the_period_again(field):
    s = Settler(quiet=2, incomplete=60)
    changed = A._replace(**{field: 999})
    assert not s.observe(A, 0)
    assert not s.observe(changed, 1.5)
    assert not s.observe(changed, 3)
    assert s.observe(changed, 3.5)


def test_no_quiet_period_means_first_sight_is_enough():
    assert Settler(quiet=0, incomplete=60).observe(A, 0)


def test_where_the_time_of_the_change_is_known_the_period_counts_from_there():
    s = Settler(quiet=2, incomplete=60)
    assert not s.observe(A, 10, changed=9)
    assert s.next_due() == 11
    assert not s.observe(grown(A, 200), 10.9, changed=10.5)
    assert (s.next_due(), s.observe(grown(A, 200), 12.5, changed=10.5)) == (12.5, True)
    assert s.waiting(12.5) == []


def test_the_age_that_is_shown_counts_from_the_first_sight_whenever_the_file_changed():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 10, changed=9)
    assert [one.age for one in s.waiting(10.5)] == [0.5]


def test_due_names_each_file_once_at_its_time():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.observe(B, 1)
    assert s.next_due() == 2
    assert s.due(1.9) == []
    assert s.due(2.5) == [A]
    assert s.due(2.6) == []
    assert s.next_due() == 3
    assert s.due(3) == [B]
    assert s.next_due() is None


def test_due_follows_a_change_and_names_the_new_version():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.observe(grown(A, 200), 1)
    assert s.next_due() == 3
    assert s.due(2.9) == []
    assert s.due(3) == [grown(A, 200)]


def test_a_file_handed_over_waits_no_longer_but_keeps_answering_ready():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    assert s.observe(A, 2)
    assert (len(s), s.due(100), s.waiting(100)) == (0, [], [])
    assert s.observe(A, 3)


def test_a_file_handed_over_that_changes_waits_again():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    assert s.observe(A, 2)
    assert not s.observe(grown(A, 200), 3)
    assert len(s) == 1
    assert s.due(5) == [grown(A, 200)]


def test_deferrals_double_up_to_the_maximum_and_keep_the_age():
    s = Settler(quiet=2, incomplete=60, backoff_max=10)
    s.observe(A, 0)
    now, waits = 2.0, []
    for _ in range(5):
        assert s.observe(A, now)
        s.defer(A, now, Reason.INCOMPLETE)
        assert not s.observe(A, now)
        due = s.next_due()
        waits.append(due - now)
        now = due
    assert waits == [2, 4, 8, 10, 10]
    assert s.waiting(now) == [Waiting(A, 0, now, Reason.INCOMPLETE, 5)]


def test_a_thousand_deferrals_neither_overflow_nor_give_up():
    s = Settler(quiet=2, incomplete=60)
    for n in range(1_000):
        s.defer(A, n, Reason.CHANGING)
    assert s.next_due() == 999 + 300


def test_deferring_without_a_quiet_period_does_not_spin():
    s = Settler(quiet=0, incomplete=60)
    s.defer(A, 0, Reason.INCOMPLETE)
    assert s.next_due() == 0.1


def test_a_change_ends_the_backoff_since_the_slow_sender_may_be_done():
    s = Settler(quiet=2, incomplete=60)
    for second in (0, 2, 6):
        s.defer(A, second, Reason.INCOMPLETE)
    assert s.next_due() == 6 + 8
    s.observe(grown(A, 200), 7)
    assert s.next_due() == 7 + 2


def test_incomplete_and_unchanged_for_long_had_enough_time():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.defer(A, 2, Reason.INCOMPLETE)
    assert not s.gave_enough_time(A, 59)
    assert s.gave_enough_time(A, 60)


def test_a_change_gives_new_time():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.observe(grown(A, 200), 50)
    assert not s.gave_enough_time(grown(A, 200), 100)
    assert not s.gave_enough_time(A, 200), "another version than the one remembered"
    assert s.gave_enough_time(grown(A, 200), 110)


def test_a_change_seen_only_when_deferring_gives_new_time():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.defer(grown(A, 200), 50, Reason.INCOMPLETE)
    assert not s.gave_enough_time(grown(A, 200), 100)


def test_an_unknown_file_was_given_no_time():
    assert not Settler(quiet=2, incomplete=0).gave_enough_time(A, 1e9)


def test_forgotten_files_are_not_due_and_forgetting_twice_is_no_error():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.forget("/in", "a")
    s.forget("/in", "a")
    assert (len(s), s.next_due(), s.due(100)) == (0, None, [])


def test_a_name_used_again_after_forgetting_starts_anew():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.forget("/in", "a")
    s.observe(A, 1)
    assert s.next_due() == 3
    assert s.due(3) == [A]


def test_equal_names_in_different_folders_are_different_files():
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    assert not s.observe(A._replace(folder="/in/x"), 2)
    assert len(s) == 2


def test_the_oldest_waits_first_in_the_list():
    s = Settler(quiet=2, incomplete=60)
    s.observe(B, 0)
    s.observe(A, 1)
    s.observe(grown(B, 200), 2)
    assert [w.candidate.name for w in s.waiting(3)] == ["b", "a"]
    assert [w.age for w in s.waiting(3)] == [3, 2]


def test_a_hundred_thousand_waiting_files_that_keep_changing_need_one_heap_item_each():
    s = Settler(quiet=2, incomplete=60)
    files = [A._replace(name=str(n)) for n in range(100_000)]
    for now in (0, 1):
        for file in files:
            s.observe(file._replace(size=now), now)
    assert len(s) == 100_000
    assert len(s._heap) == 100_000
    assert len(s.due(3)) == 100_000


@pytest.mark.parametrize(
    ("wall_ns", "quiet", "expected"),
    [
        (3_000_000_005, 3, True),
        (3_000_000_004, 3, False),
        (5, 0, True),
        (4, 0, False),  # ctime in the future
        (0, 3, False),
    ],
)
def test_the_wall_clock_vouches_only_for_a_ctime_that_is_old_enough(wall_ns, quiet, expected):
    assert quiet_by_clock(A, wall_ns, quiet) is expected


def test_a_change_ends_a_long_backoff_also_where_another_file_is_due_before():
    """The earlier time must come up by itself: nothing else makes the heap look at this entry."""
    s = Settler(quiet=2, incomplete=60)
    s.observe(A, 0)
    s.due(2)
    assert s.observe(A, 2)
    for _ in range(5):  # up to 32 seconds
        s.defer(A, 2, Reason.INCOMPLETE)
    assert s.next_due() == 34
    s.observe(B, 31)
    s.observe(grown(A, 200), 20)
    assert s.next_due() == 22
    assert s.due(22) == [grown(A, 200)]
    assert s.due(40) == [B]
