"""Files that leave the archive for another folder."""

import os

import pytest
from support import drop, tree

from sorter.errors import ArchiveError
from sorter.organizer import outside as module
from sorter.organizer.outside import Outside


@pytest.fixture
def outside(tmp_path):
    """A folder elsewhere."""
    opened = Outside(tmp_path / "out")
    yield opened
    opened.close()


def test_files_are_brought_to_the_same_paths(outside, tmp_path):
    drop(tmp_path / "archive", "p/a.dcm", b"one")
    assert outside.bring(tmp_path / "archive", ["p/a.dcm", "p/gone.dcm"]) == ["p/a.dcm"]
    assert tree(tmp_path / "out") == {"p/a.dcm": b"one"}


def test_what_is_there_counts_with_the_same_bytes_and_is_not_replaced_with_others(outside, tmp_path):
    drop(tmp_path / "out", "a.dcm", b"one")
    drop(tmp_path / "out", "b.dcm", b"other")
    for name in ("a.dcm", "b.dcm"):
        drop(tmp_path / "archive", name, b"one")
    assert outside.bring(tmp_path / "archive", ["a.dcm", "b.dcm"]) == ["a.dcm"]
    assert tree(tmp_path / "out") == {"a.dcm": b"one", "b.dcm": b"other"}


def test_two_archives_that_write_to_one_folder_at_once_have_drafts_of_their_own(
    outside, tmp_path, monkeypatch
):
    """Else one would name what the other has half written. After a crash it is the same draft again."""
    drafts = []

    def seen(reader, writer):
        drafts.extend(os.listdir(tmp_path / "out"))
        raise OSError(5, "a crash")

    monkeypatch.setattr(module, "copied", seen)
    for name in ("one", "other", "one"):
        drop(tmp_path / name, "a.dcm", b"one")
        with pytest.raises(ArchiveError):
            outside.bring(tmp_path / name, ["a.dcm"])
    one, other, again = drafts
    assert (one == other, one == again) == (False, True)
