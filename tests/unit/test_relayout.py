"""A relayout moves names and nothing else, leaves each row with its file, and can be taken back."""

import errno
import hashlib
import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline import config, inline, rows
from support import dicom, drop, tree

from sorter.audit import audit
from sorter.errors import AlreadyRunningError, ConfigError
from sorter.intake import Intake
from sorter.organizer.lease import DaemonLease
from sorter.organizer.mover import Mover
from sorter.relayout import relayout
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]

FLAT = "flat-{PatientID}/{SeriesNumber}/{InstanceNumber}.dcm"


def fill(folder, **flags):
    """Two patients, three series, a duplicate; returns the Config."""
    for number in (1, 2, 3):
        drop(folder / "in", f"a{number}", dicom(number))
    drop(folder / "in", "again", dicom(1))
    drop(folder / "in", "b", dicom(1, study=2, patient="P2"))
    drop(folder / "in", "c", dicom(1, series=2))
    found = config(folder, **flags)
    backfill(found)
    return found


def laid_out(found):
    """Path -> SOP Instance UID, by the index; each row has its file whole, and each file its row."""
    files = tree(found.archive)
    said = {}
    for path, uid, sha256 in rows(found, "SELECT path, sop_instance_uid, sha256 FROM instances"):
        assert hashlib.sha256(files[path]).hexdigest() == sha256
        said[path] = uid
    assert said.keys() == files.keys()
    assert audit(found).balanced
    return said


def fresh(folder, template):
    """How a new archive with a template would look."""
    (folder / "fresh").mkdir()
    found = config(folder / "fresh", template=template, incoming=[folder / "in"])
    backfill(found)
    return tree(found.archive)


def test_a_plan_changes_nothing_and_says_what_would(tmp_path):
    found = fill(tmp_path)
    before = laid_out(found)
    report = relayout(found.model_copy(update={"template": "uid"}))
    assert (report.instances, report.moves, report.moved) == (5, 5, 0)
    assert set(dict(report.examples)) == set(before)
    assert laid_out(found) == before


def test_the_configured_template_needs_no_move(tmp_path):
    assert relayout(fill(tmp_path)).moves == 0


@pytest.mark.parametrize(
    "template", ["uid", FLAT, "{SOPInstanceUID}.dcm", "{StudyDate:%Y}/{PatientID}/{Modality}.dcm"]
)
def test_afterwards_the_tree_is_that_of_a_new_archive_with_the_template(tmp_path, template):
    found = fill(tmp_path)
    report = relayout(found.model_copy(update={"template": template}), apply=True)
    assert (report.moved, report.kept) == (5, 0)
    assert laid_out(found).keys() == tree(found.archive).keys()
    assert tree(found.archive) == fresh(tmp_path, template)
    assert relayout(found.model_copy(update={"template": template})).moves == 0


def test_a_keyword_that_the_index_does_not_have_is_read_from_the_files(tmp_path):
    drop(tmp_path / "in", "a", dicom(1, KVP="120"))
    found = config(tmp_path)
    backfill(found)
    relayout(found.model_copy(update={"template": "{KVP}/{PatientID}/{InstanceNumber}.dcm"}), apply=True)
    assert list(laid_out(found)) == ["120/P1/1.dcm"]


def test_undo_brings_every_name_back(tmp_path):
    found = fill(tmp_path)
    before, folders = laid_out(found), rows(found, "SELECT patient_id, folder, folder_key FROM patients")
    series = rows(found, "SELECT series_instance_uid, folder FROM series")
    relayout(found.model_copy(update={"template": FLAT}), apply=True)
    assert laid_out(found) != before
    relayout(found, undo=True)
    assert laid_out(found) == before
    assert rows(found, "SELECT patient_id, folder, folder_key FROM patients") == folders
    assert rows(found, "SELECT series_instance_uid, folder FROM series") == series


def test_a_second_undo_finds_all_where_it_was(tmp_path):
    """So that one that was interrupted can simply be run again."""
    found = fill(tmp_path)
    before = laid_out(found)
    relayout(found.model_copy(update={"template": "uid"}), apply=True)
    assert [relayout(found, undo=True).moved, relayout(found, undo=True).moved] == [5, 0]
    assert laid_out(found) == before


def test_without_a_relayout_there_is_nothing_to_undo(tmp_path):
    with pytest.raises(ConfigError, match="no relayout to undo"):
        relayout(fill(tmp_path), undo=True)


def test_later_instances_follow_their_series(tmp_path):
    found = fill(tmp_path)
    again = found.model_copy(update={"template": FLAT})
    relayout(again, apply=True)
    drop(tmp_path / "in", "late", dicom(4))
    backfill(again)
    assert "flat-P1/1/4.dcm" in laid_out(found)


def test_names_that_were_exchanged_are_exchanged_back(tmp_path):
    """Two instances want each other's name: one makes room first."""
    for number in (1, 2):
        drop(tmp_path / "in", f"a{number}", dicom(number))
    found = config(tmp_path, template="{PatientID}/{InstanceNumber}.dcm")
    backfill(found)
    with closing(sqlite3.connect(found.index_location)) as connection, connection:
        change = "UPDATE instances SET instance_number = 3 - instance_number"
        connection.execute(change)
    report = relayout(found, apply=True)
    assert (report.moves, report.moved, report.kept) == (2, 2, 0)
    assert laid_out(found)
    assert not list((found.archive / ".sorter/relayout").glob("*"))


def test_a_name_that_a_strange_file_has_is_left_to_it(tmp_path):
    found = fill(tmp_path)
    drop(found.archive, "flat-P1/1/2.dcm", b"a note")
    report = relayout(found.model_copy(update={"template": FLAT}), apply=True)
    assert (report.moved, report.kept) == (4, 1)
    assert (found.archive / "flat-P1/1/2.dcm").read_bytes() == b"a note"
    for path, sha256 in rows(found, "SELECT path, sha256 FROM instances"):
        assert hashlib.sha256((found.archive / path).read_bytes()).hexdigest() == sha256


def test_empty_folders_go_and_others_stay(tmp_path):
    found = fill(tmp_path)
    drop(found.archive, "P1/notes.txt", b"a note")
    relayout(found.model_copy(update={"template": "{SOPInstanceUID}.dcm"}), apply=True)
    assert [path.name for path in sorted(found.archive.iterdir()) if path.is_dir()] == [".sorter", "P1"]
    assert [path.name for path in (found.archive / "P1").iterdir()] == ["notes.txt"]


def test_files_are_moved_only_when_nothing_else_is_at_work(tmp_path):
    found = fill(tmp_path)
    lease = DaemonLease(found.archive)
    with pytest.raises(AlreadyRunningError):
        relayout(found, apply=True)
    lease.release()
    with Intake(found), pytest.raises(AlreadyRunningError):
        relayout(found, apply=True)


def test_empty_folders_go_where_the_archive_is_reached_by_a_link(tmp_path):
    found = fill(tmp_path)
    (tmp_path / "link").symlink_to(found.archive)
    there = found.model_copy(update={"archive": tmp_path / "link", "template": "{SOPInstanceUID}.dcm"})
    assert relayout(there, apply=True).moved == 5
    assert [path.name for path in sorted(found.archive.iterdir()) if path.is_dir()] == [".sorter"]


def test_without_hard_links_files_are_renamed(tmp_path, monkeypatch):
    found = fill(tmp_path)
    before = laid_out(found)

    def unknown(*_, **__):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr("os.link", unknown)
    assert relayout(found.model_copy(update={"template": FLAT}), apply=True).moved == 5
    assert set(laid_out(found)) != set(before)
    assert relayout(found, undo=True).kept == 0
    assert laid_out(found) == before


def test_without_hard_links_a_crash_is_taken_back(tmp_path, monkeypatch):
    """The rows name files that are not there, until the next start."""
    found = fill(tmp_path)
    before = laid_out(found)

    def unknown(*_, **__):
        raise OSError(errno.EPERM, "no links")

    def crash(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", unknown)
    with monkeypatch.context() as patch:
        patch.setattr("sorter.journal._record", crash)
        with pytest.raises(KeyboardInterrupt):
            relayout(found.model_copy(update={"template": FLAT}), apply=True)
    assert tree(found.archive).keys() != before.keys()
    backfill(found)
    assert laid_out(found) == before


@pytest.mark.parametrize(("under_the_first", "left"), [(b"bytes", [False, True]), (b"strange", [True, True])])
def test_a_first_name_goes_only_with_the_bytes_that_moved(tmp_path, under_the_first, left):
    """What somebody put there after a crash is not ours to remove."""
    found = config(tmp_path)
    with Intake(found) as intake, intake.archive.turn():
        old, new = (
            drop(found.archive, "P1/old.dcm", under_the_first),
            drop(found.archive, "new.dcm", b"bytes"),
        )
        Mover(intake.archive).clear([("P1/old.dcm", "new.dcm", hashlib.sha256(b"bytes").hexdigest())])
    assert [old.exists(), new.exists()] == left


def test_two_spellings_of_one_name_are_not_two_names(tmp_path, monkeypatch):
    """Where upper and lower case are one: the folder lists only one of them."""
    found = fill(tmp_path)
    with Intake(found) as intake:
        old, new = "P1/A.dcm", "P1/a.dcm"
        drop(found.archive, old, b"bytes")
        (found.archive / new).hardlink_to(found.archive / old)  # so both names lead to one file
        mover = Mover(intake.archive)
        trip = (old, new, hashlib.sha256(b"bytes").hexdigest())
        with monkeypatch.context() as patch, intake.archive.turn():
            patch.setattr("os.listdir", lambda _: ["a.dcm"])
            for step in (mover.clear, mover.take_back):
                step([trip])
                assert {old, new} <= tree(found.archive).keys()
        with intake.archive.turn():
            mover.clear([trip])
        assert [path for path in tree(found.archive) if path in (old, new)] == [new]


def test_a_uid_that_names_another_place_leads_nowhere(tmp_path):
    for number in (1, 2):
        drop(tmp_path / "in", f"a{number}", dicom(number))
    found = config(tmp_path, template="{PatientID}/{InstanceNumber}.dcm")
    backfill(found)
    with closing(sqlite3.connect(found.index_location)) as connection, connection:
        connection.execute("UPDATE instances SET instance_number = 3 - instance_number")
        connection.execute("UPDATE instances SET sop_instance_uid = '../../../' || sop_instance_uid")
    outside = sorted(tmp_path.iterdir())
    assert relayout(found, apply=True).moved == 2
    assert sorted(tmp_path.iterdir()) == outside


TEMPLATES = [
    "descriptive",
    "uid",
    FLAT,
    "{SOPInstanceUID}.dcm",
    "{PatientID}/{InstanceNumber}.dcm",
    "{Modality}/{PatientID}/{StudyDate:%Y-%m}/{SeriesDescription|NA}/{InstanceNumber:04}.dcm",
]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(
        st.tuples(*[st.integers(1, 3)] * 3, st.sampled_from(["P", "p", "Q"])),
        min_size=1,
        max_size=12,
        unique=True,
    ),
    first=st.sampled_from(TEMPLATES),
    second=st.sampled_from(TEMPLATES),
)
def test_there_and_back_again_is_where_it_was(tmp_path_factory, made, first, second):
    folder = tmp_path_factory.mktemp("archive")
    for number, (instance, series, study, patient) in enumerate(made):
        drop(folder / "in", str(number), dicom(instance, series=series, study=study, patient=patient))
    found = config(folder, template=first)
    backfill(found)
    before = laid_out(found)
    relayout(found.model_copy(update={"template": second}), apply=True)
    laid_out(found)
    assert relayout(found.model_copy(update={"template": second})).moves == 0
    if laid_out(found) != before:
        relayout(found, undo=True)
    assert laid_out(found) == before
