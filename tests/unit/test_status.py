"""The status file: replaced in one step, absent before the first daemon, never torn."""

import json
import os
from pathlib import Path

import pytest

from sorter import status


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".sorter").mkdir()
    return tmp_path


def test_what_was_written_is_read(root):
    status.write(root, {"state": "idle", "count": 3})
    assert status.read(root) == {"state": "idle", "count": 3}


def test_before_the_first_daemon_there_is_none(tmp_path):
    assert status.read(tmp_path) is None


def test_the_last_state_replaces_the_one_before(root):
    status.write(root, {"state": "starting", "more": 1})
    status.write(root, {"state": "idle"})
    assert status.read(root) == {"state": "idle"}


def test_a_reader_never_sees_half_a_file(root, monkeypatch):
    """The draft is whole, under another name, at the moment it takes the place of the old one."""
    status.write(root, {"state": "old"})
    seen = []
    real = os.replace

    def watched(source, target):
        seen.append((json.loads(Path(source).read_text()), json.loads(Path(target).read_text())))
        real(source, target)

    monkeypatch.setattr(os, "replace", watched)
    status.write(root, {"state": "new"})
    assert seen == [({"state": "new"}, {"state": "old"})]


def test_no_draft_is_left(root):
    status.write(root, {"state": "idle"})
    assert os.listdir(root / ".sorter") == ["status.json"]


def test_a_file_that_a_power_cut_emptied_counts_as_none(root):
    """The file is not synced: after a power cut it may be there without its content."""
    (root / ".sorter/status.json").write_bytes(b"")
    assert status.read(root) is None
