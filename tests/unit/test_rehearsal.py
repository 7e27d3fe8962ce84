"""A dry run: says what a run would do, and writes nothing below archive and drop folder."""

import os
import tempfile
from pathlib import Path

import pytest
from inline import config, inline
from support import bundled, dicom, drop

from sorter.errors import IndexUnusableError
from sorter.intake import Intake
from sorter.model import Kind
from sorter.observer.listing import look
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


def snapshot(*folders):
    """Every path below the folders, with what tells whether it was written."""
    found = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            seen = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            found[str(path)] = (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_nlink, content)
    return found


def counts(tally):
    return {str(kind): count for kind, count in tally.kinds.items() if count}


FILES = {
    "a": dicom(1),
    "b": dicom(1),
    "c": dicom(1, pixels=1),
    "d": dicom(2)[:-9],
    "e": b"junk",
}


def test_a_dry_run_says_what_a_run_then_does(tmp_path):
    for name, data in FILES.items():
        drop(tmp_path / "in", name, data)
    for name in ("MR_small.dcm", "MR_small_RLE.dcm"):
        drop(tmp_path / "in", name, bundled(name).read_bytes())
    dry = counts(backfill(config(tmp_path), dry_run=True))
    assert dry == counts(backfill(config(tmp_path)))
    assert dry == {"stored": 2, "duplicate": 1, "conflict": 1, "equivalent": 1, "rejected": 2}


def test_a_dry_run_makes_no_archive(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    backfill(config(tmp_path), dry_run=True)
    assert sorted(os.listdir(tmp_path)) == ["in"]


@pytest.mark.parametrize("retire", ["keep", "delete", "move"])
def test_a_dry_run_writes_nothing_below_archive_and_drop_folder(tmp_path, retire):
    drop(tmp_path / "in", "old", dicom(9))
    backfill(config(tmp_path))
    for name, data in FILES.items():
        drop(tmp_path / "in", name, data)
    before = snapshot(tmp_path / "archive", tmp_path / "in")
    tally = backfill(config(tmp_path, retire=retire), dry_run=True)
    assert counts(tally) == {"stored": 1, "duplicate": 2, "conflict": 1, "rejected": 2}
    assert snapshot(tmp_path / "archive", tmp_path / "in") == before


def test_a_dry_run_knows_what_is_archived(tmp_path):
    drop(tmp_path / "in", "a", dicom(1))
    backfill(config(tmp_path))
    drop(tmp_path / "in", "twin", dicom(1))
    drop(tmp_path / "in", "other", dicom(1, pixels=1))
    tally = backfill(config(tmp_path), dry_run=True)
    assert counts(tally) == {"duplicate": 2, "conflict": 1}


def test_a_dry_run_counts_what_would_be_adopted(tmp_path):
    backfill(config(tmp_path))
    drop(tmp_path / "archive", "P1/a.dcm", dicom())
    before = snapshot(tmp_path / "archive")
    assert backfill(config(tmp_path), dry_run=True).adopted == 1
    assert snapshot(tmp_path / "archive") == before


def test_a_dry_run_sees_what_a_running_daemon_has_just_recorded(tmp_path):
    """That is in the index's log, not yet in its file."""
    drop(tmp_path / "in", "a", dicom(1))
    with Intake(config(tmp_path)) as running:
        batch = [look(str(tmp_path / "in/a"), str(tmp_path / "in"))]
        assert [len(outcomes) for outcomes in running.take([batch])] == [1]
        assert counts(backfill(config(tmp_path), dry_run=True)) == {"duplicate": 1}


def test_a_damaged_index_ends_a_dry_run_as_it_ends_a_run(tmp_path):
    drop(tmp_path / "archive/.sorter", "index.sqlite", b"garbage" * 1000)
    with pytest.raises(IndexUnusableError):
        backfill(config(tmp_path), dry_run=True)


def test_a_dry_run_leaves_nothing_in_the_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    drop(tmp_path / "in", "a", dicom())
    backfill(config(tmp_path), dry_run=True)
    assert os.listdir(tmp_path / "tmp") == []


def test_the_free_space_does_not_matter(tmp_path):
    """Nothing is stored, and the temporary folder's disk says nothing about the archive's."""
    drop(tmp_path / "in", "a", dicom())
    tally = backfill(config(tmp_path, min_free_mb=1 << 40), dry_run=True)
    assert tally.kinds[Kind.STORED] == 1
