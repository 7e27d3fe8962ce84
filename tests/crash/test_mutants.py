"""The crash tests have teeth: each copy of the package with one rule removed is caught by them."""

import pytest
from crash.caught import caught
from crash.mutants import ELSEWHERE, MUTANTS, STREAMED, SYNCS, Mutant, syncs
from crash.runs import skip_without_strace


@pytest.mark.parametrize("name", MUTANTS)
def test_a_package_without_the_rule_is_caught(tmp_path, name):
    """By each way of looking that the mutant names."""
    skip_without_strace()
    found = caught(MUTANTS[name], tmp_path)
    print(f"\n{name}: " + "; ".join(f"{way}: {wrong[0]}" for way, wrong in found.items() if wrong))
    assert [way for way, wrong in found.items() if not wrong] == []


def test_large_decoded_files_keep_every_rule(tmp_path):
    """No course has one, since they take long to lay out: here every decoded file is treated as one."""
    skip_without_strace()
    found = caught(Mutant("", "small", (STREAMED,)), tmp_path)
    assert found == {"order": [], "power": []}


def test_every_sync_of_the_package_is_left_out_once():
    """A new one needs a course that shows what it is for."""
    assert set(syncs()) == set(SYNCS) | ELSEWHERE
