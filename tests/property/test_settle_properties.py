"""Whatever happens to a file, it is ready only after the quiet period, and due until somebody ends it."""

from hypothesis import given
from hypothesis import strategies as st

from sorter.model import Candidate, Reason
from sorter.observer.settle import Settler

QUIET = 4
FILES = [Candidate("/in", name, 1, 1, 0, 0, 0) for name in "abc"]
steps = st.lists(
    st.tuples(
        st.integers(0, 9),  # seconds that pass
        st.sampled_from(range(len(FILES))),
        st.sampled_from(["observe", "write", "defer", "forget", "due"]),
    ),
    max_size=60,
)


@given(steps)
def test_ready_means_unchanged_for_the_quiet_period_and_nothing_is_lost(script):
    settler = Settler(quiet=QUIET, incomplete=60, backoff_max=30)
    current = list(FILES)
    seen_unchanged_since: dict[int, int] = {}
    named_by_due: set[int] = set()
    waiting: set[int] = set()
    now = 0
    for passed, n, what in script:
        now += passed
        if what == "write":
            current[n] = current[n]._replace(ctime_ns=current[n].ctime_ns + 1)
            seen_unchanged_since.pop(n, None)
        elif what == "forget":
            settler.forget("/in", current[n].name)
            seen_unchanged_since.pop(n, None)
            waiting.discard(n)
        elif what == "due":
            for candidate in settler.due(now):
                named_by_due.add("abc".index(candidate.name))
        elif what == "observe":
            since = seen_unchanged_since.setdefault(n, now)
            ready = settler.observe(current[n], now)
            assert not ready or now - since >= QUIET
            (waiting.discard if ready else waiting.add)(n)
            named_by_due.discard(n)
        else:
            settler.defer(current[n], now, Reason.INCOMPLETE)
            # A deferral follows a try, which followed a full quiet period.
            seen_unchanged_since[n] = min(seen_unchanged_since.get(n, now), now - QUIET)
            waiting.add(n)
            named_by_due.discard(n)
        assert len(settler) == len(waiting)
        assert {w.candidate.name for w in settler.waiting(now)} == {"abc"[w] for w in waiting}
        due = settler.next_due()
        assert (due is None) == (not waiting - named_by_due)
        assert due is None or due <= now + 30
    assert {"abc".index(c.name) for c in settler.due(now + 30)} == waiting - named_by_due
