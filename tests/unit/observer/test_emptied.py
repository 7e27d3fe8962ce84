"""Folders that retiring emptied are removed, when nobody uses them any more, and no others."""

import os
import shutil

import pytest

from sorter.observer import emptied as module
from sorter.observer.emptied import Emptied
from sorter.observer.listing import look


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def retired(root, path):
    """A source that was there, and is retired now."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"x")
    candidate = look(str(root / path), str(root))
    (root / path).unlink()
    return candidate


def sweeps(emptied, *times):
    for now in times:
        emptied.sweep(now)


def test_a_tree_that_was_emptied_goes_once_it_is_quiet_and_the_drop_folder_stays(root):
    emptied = Emptied(quiet=2)
    emptied.note(retired(root, "a/b/c/1"), 0)
    sweeps(emptied, 1, 2)
    assert (root / "a/b/c").is_dir()
    sweeps(emptied, *range(3, 20))
    assert (os.listdir(root), len(emptied), emptied.next_due()) == ([], 0, None)


def test_a_file_at_the_top_touches_no_folder(root):
    emptied = Emptied(quiet=0)
    emptied.note(retired(root, "1"), 0)
    emptied.sweep(1)
    assert (root.is_dir(), len(emptied)) == (True, 0)


def test_a_folder_in_which_something_lies_or_appears_stays(root):
    emptied = Emptied(quiet=2)
    emptied.note(retired(root, "full/1"), 0)
    emptied.note(retired(root, "growing/1"), 0)
    (root / "full/2").write_bytes(b"x")
    sweeps(emptied, 2)
    (root / "growing/2").write_bytes(b"x")
    sweeps(emptied, *range(3, 20))
    assert (sorted(os.listdir(root)), len(emptied)) == (["full", "growing"], 0)


def test_a_folder_that_changes_is_given_its_quiet_time_again(root):
    emptied = Emptied(quiet=2)
    emptied.note(retired(root, "a/1"), 0)
    sweeps(emptied, 2)
    (root / "a/new").write_bytes(b"x")
    (root / "a/new").unlink()
    sweeps(emptied, 4)
    assert (root / "a").is_dir()
    sweeps(emptied, 6)
    assert not (root / "a").exists()


def test_an_empty_folder_out_of_which_nothing_was_retired_stays(root):
    emptied = Emptied(quiet=0)
    (root / "theirs").mkdir()
    emptied.note(retired(root, "a/1"), 0)
    sweeps(emptied, 1, 2)
    assert os.listdir(root) == ["theirs"]


def test_nothing_is_removed_through_a_planted_link(root, tmp_path):
    emptied = Emptied(quiet=0)
    emptied.note(retired(root, "a/b/1"), 0)
    (tmp_path / "elsewhere/b").mkdir(parents=True)
    shutil.rmtree(root / "a")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    sweeps(emptied, 1, 2)
    assert (tmp_path / "elsewhere/b").is_dir()


def test_no_more_are_remembered_than_are_allowed(root, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    emptied = Emptied(quiet=0)
    for number in range(4):
        emptied.note(retired(root, f"{number}/1"), 0)
    assert len(emptied) == 2
