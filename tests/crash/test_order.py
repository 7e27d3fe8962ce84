"""The order rules in the system calls of undisturbed runs: what matters when the power fails."""

import pytest
from crash.facts import Work
from crash.order import violations
from crash.runs import rescan
from crash.scenarios import ALL


@pytest.mark.parametrize("name", ALL)
def test_bytes_then_name_then_row_then_the_source(sorter, tmp_path, name):
    """Parent and workers in one log."""
    work = Work(tmp_path / "work", **ALL[name].work())
    finished = rescan(sorter, work, ALL[name], trace=["-f"])
    wrong, named = violations(finished.log, work)
    assert wrong == []
    assert named == finished.summary["stored"] - (name == "obstructed")  # one is there already and adopted


def test_both_ways_of_syncing_are_seen(sorter, tmp_path):
    """Small batches by fsync, large ones by syncfs; else the facts above would speak of one way only."""
    used = {}
    for name in ("small", "large", "zip", "many"):
        work = Work(tmp_path / name, **ALL[name].work())
        finished = rescan(sorter, work, ALL[name], trace=["-f"])
        used[name] = {call.name for call in finished.log} & {"syncfs"}
    assert used == {"small": set(), "large": {"syncfs"}, "zip": set(), "many": {"syncfs"}}
