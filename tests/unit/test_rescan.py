"""The backfill: everything that is not yet in the archive, once; what is given by hand stays."""

import os
import time
from pathlib import Path

import pytest
from inline import config, inline, rows
from support import bundled, dicom, drop, tree

from sorter import rescan as module
from sorter.errors import ArchiveFullError, ConfigError, IndexUnusableError
from sorter.intake import Batches, Intake
from sorter.model import Kind, Reason
from sorter.rescan import Rescan, backfill, check_paths, estimate
from sorter.room import Room

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


def counts(tally):
    """The outcomes that are not zero."""
    return {str(kind): count for kind, count in tally.kinds.items() if count}


# -- the drop folders -----------------------------------------------------------------------------------


def test_all_files_of_all_drop_folders_are_brought_in(tmp_path):
    for number in (1, 2):
        drop(tmp_path / f"in{number}" / "deep/er", "a", dicom(number))
    tally = backfill(config(tmp_path, incoming=[tmp_path / "in1", tmp_path / "in2"]))
    assert (counts(tally), len(tree(tmp_path / "archive"))) == ({"stored": 2}, 2)


def test_every_kind_of_outcome_is_counted(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    drop(tmp_path / "in", "b", dicom())
    drop(tmp_path / "in", "c", dicom(pixels=1))
    drop(tmp_path / "in", "d", bundled("MR_small.dcm").read_bytes())
    drop(tmp_path / "in", "e", bundled("MR_small_RLE.dcm").read_bytes())
    drop(tmp_path / "in", "f", dicom(2)[:-9])
    drop(tmp_path / "in", "g.part", dicom(3))
    tally = backfill(config(tmp_path))
    expected = {"stored": 2, "duplicate": 1, "conflict": 1, "equivalent": 1, "rejected": 1, "ignored": 1}
    assert (counts(tally), tally.seen, tally.refused) == (expected, 7, True)


def test_a_second_run_reads_nothing_and_calls_what_was_stored_a_duplicate(tmp_path, monkeypatch):
    drop(tmp_path / "in", "a", dicom())
    drop(tmp_path / "in", "b", b"junk")
    assert counts(backfill(config(tmp_path))) == {"stored": 1, "rejected": 1}
    before = tree(tmp_path / "archive")
    monkeypatch.setattr("inline.stage", lambda _job: pytest.fail("read"))
    assert counts(backfill(config(tmp_path))) == {"duplicate": 1, "rejected": 1}
    assert tree(tmp_path / "archive") == before


def test_what_an_earlier_run_stored_is_retired_where_that_is_now_asked_for(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    drop(tmp_path / "in", "b", b"junk")
    backfill(config(tmp_path))
    backfill(config(tmp_path, retire="delete"))
    assert os.listdir(tmp_path / "in") == ["b"]


def test_a_new_version_of_a_known_source_is_read(tmp_path):
    path = drop(tmp_path / "in", "a", dicom(1))
    backfill(config(tmp_path))
    path.write_bytes(dicom(2))
    assert counts(backfill(config(tmp_path))) == {"stored": 1}


def test_what_is_named_twice_is_still_told_where_it_came_from(tmp_path):
    path, found = drop(tmp_path / "in", "a", dicom()), config(tmp_path)
    assert counts(backfill(found, [path, path.parent])) == {"stored": 1, "duplicate": 1}
    assert rows(found, "SELECT outcome FROM sources") == [("stored",)]


def test_an_archive_in_the_drop_folder_is_not_walked(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    found = config(tmp_path, archive=tmp_path / "in/archive")
    assert counts(backfill(found)) == {"stored": 1}
    assert counts(backfill(found)) == {"duplicate": 1}


def test_a_missing_drop_folder_is_an_error_and_nothing_is_made(tmp_path):
    with pytest.raises(ConfigError, match="does not exist or is not a folder"):
        backfill(config(tmp_path, incoming=[tmp_path / "absent"]))
    assert not (tmp_path / "archive").exists()


def test_files_are_taken_in_batches_with_space_checked_before_each(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Batches", lambda: Batches(files=2))
    for number in range(5):
        drop(tmp_path / "in", str(number), dicom(number + 1))
    checks = []
    monkeypatch.setattr(Intake, "check_space", lambda _intake, batch: checks.append(len(batch)))
    assert (counts(backfill(config(tmp_path))), checks) == ({"stored": 5}, [2, 2, 1])


def test_without_space_nothing_is_read_and_the_run_ends(tmp_path, monkeypatch):
    drop(tmp_path / "in", "a", dicom())
    monkeypatch.setattr("inline.stage", lambda _job: pytest.fail("read"))
    with pytest.raises(ArchiveFullError):
        backfill(config(tmp_path, min_free_mb=1 << 40))
    assert tree(tmp_path / "archive") == {}


def test_a_file_larger_than_all_the_room_waits_and_holds_nothing_else_up(tmp_path, monkeypatch):
    for number, name in enumerate("abc", 1):
        drop(tmp_path / "in", name, dicom(number))
    os.truncate(tmp_path / "in/b", 1 << 20)
    monkeypatch.setattr(Intake, "room", lambda _intake: Room(100 << 10, 100))
    tally = backfill(config(tmp_path))
    assert counts(tally) == {"stored": 2, "deferred": 1}
    assert tally.reasons == {(Kind.DEFERRED, Reason.NO_SPACE): 1}


def test_where_many_are_larger_than_the_room_it_is_the_disk_that_is_full(tmp_path, monkeypatch):
    for number in range(3):
        drop(tmp_path / "in", str(number), b"x" * 9000)
    monkeypatch.setattr(module, "MOST_SET_ASIDE", 2)
    monkeypatch.setattr(Intake, "room", lambda _intake: Room(8 << 10, 100))
    with pytest.raises(ArchiveFullError):
        backfill(config(tmp_path))


# -- paths given by hand --------------------------------------------------------------------------------


def test_given_files_and_folders_are_brought_in_and_never_retired(tmp_path):
    drop(tmp_path / "cd", "a", dicom(1))
    file = drop(tmp_path, "b", dicom(2))
    tally = backfill(config(tmp_path, retire="delete"), [tmp_path / "cd", file])
    assert (counts(tally), file.exists(), os.listdir(tmp_path / "cd")) == ({"stored": 2}, True, ["a"])


def test_given_paths_are_not_retired_at_the_second_look_either(tmp_path):
    file = drop(tmp_path, "a", dicom())
    for _ in range(2):
        backfill(config(tmp_path, retire="delete"), [file])
    assert file.exists()


def test_a_path_in_the_drop_folder_that_is_given_by_hand_stays(tmp_path):
    file = drop(tmp_path / "in", "a", dicom())
    backfill(config(tmp_path, retire="delete"), [file])
    assert file.exists()


def test_given_paths_begin_no_empty_index_where_the_old_one_is_lost(tmp_path):
    """Status and daemon say that it is gone; the empty one would hide that, and every known instance."""
    drop(tmp_path / "in", "a", dicom())
    served = config(tmp_path)
    backfill(served)
    served.index_location.unlink()
    with pytest.raises(IndexUnusableError, match="sorter reindex"):
        backfill(served, [tmp_path / "in"])
    assert not served.index_location.exists()
    assert (backfill(served).adopted, served.index_location.exists()) == (1, True)


def test_with_given_paths_the_drop_folders_are_left_alone(tmp_path):
    drop(tmp_path / "in", "a", dicom(1))
    tally = backfill(config(tmp_path), [drop(tmp_path, "b", dicom(2))])
    assert counts(tally) == {"stored": 1}


def test_a_relative_path_is_taken_from_here(tmp_path, monkeypatch):
    drop(tmp_path, "b", dicom(2))
    monkeypatch.chdir(tmp_path)
    assert counts(backfill(config(tmp_path), [Path("b")])) == {"stored": 1}
    assert rows(config(tmp_path), "SELECT path FROM folders") == [(str(tmp_path),)]


def test_a_given_path_that_is_not_there_is_named_by_its_number(tmp_path):
    file = drop(tmp_path, "a", dicom())
    with pytest.raises(ConfigError, match=r"^path number 2 on the command line does not exist$"):
        check_paths(config(tmp_path), [file, tmp_path / "Doe^Jane"])


@pytest.mark.parametrize(("kind", "reason"), [("fifo", Reason.NOT_REGULAR), ("link", Reason.SYMLINK)])
def test_a_given_path_that_is_no_file_is_ignored(tmp_path, kind, reason):
    path = tmp_path / "given"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to(drop(tmp_path, "real", dicom()))
    tally = backfill(config(tmp_path), [path])
    assert dict(tally.reasons) == {(Kind.IGNORED, reason): 1}


def test_what_there_is_to_look_at_is_counted_beforehand(tmp_path):
    for name in ("cd/a", "cd/deep/b", "c"):
        drop(tmp_path, name, b"")
    assert estimate(config(tmp_path), [tmp_path / "cd", tmp_path / "c"]) == 3


# -- files that change ----------------------------------------------------------------------------------


def test_a_fresh_file_waits_for_the_quiet_period(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    began = time.monotonic()
    tally = backfill(config(tmp_path, settle_seconds=0.5))
    assert (counts(tally), time.monotonic() - began >= 0.4) == ({"stored": 1}, True)


def test_a_file_that_keeps_changing_is_left_for_later(tmp_path):
    path = drop(tmp_path / "in", "a", dicom())
    drop(tmp_path / "in", "b", dicom(2))
    with Intake(config(tmp_path, settle_seconds=0.2)) as intake:
        changes = iter(range(10**6))

        def touch(_tally):
            os.utime(path, ns=(0, next(changes)))

        rescan = Rescan(intake, progress=touch)
        real = rescan._settled

        def settled():
            touch(None)
            return real()

        rescan._settled = settled
        tally = rescan.run()
    assert (counts(tally), tally.refused) == ({"stored": 1, "deferred": 1}, True)
    assert dict(tally.reasons) == {(Kind.DEFERRED, Reason.CHANGING): 1}


def test_a_file_that_vanishes_while_it_settles_is_ignored(tmp_path):
    path = drop(tmp_path / "in", "a", dicom())
    with Intake(config(tmp_path, settle_seconds=0.2)) as intake:
        tally = Rescan(intake, progress=lambda _tally: path.unlink(missing_ok=True)).run()
    assert dict(tally.reasons) == {(Kind.IGNORED, Reason.VANISHED): 1}


def test_progress_is_told_along_the_way(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    seen = []
    backfill(config(tmp_path), progress=lambda tally: seen.append(tally.seen))
    assert (seen == sorted(seen), seen[-1]) == (True, 1)
