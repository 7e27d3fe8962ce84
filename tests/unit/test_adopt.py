"""Adoption: published files without a row get the row they would have had."""

import shutil

import pytest
from inline import config, inline, rows
from structlog.testing import capture_logs
from support import bundled, dicom, drop, tree

from sorter.adopt import adopt
from sorter.intake import Intake
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]

LEVELS = {
    "instances": "SELECT * FROM instance_view ORDER BY sop_instance_uid",
    "patients": "SELECT patient_id, issuer_of_patient_id, folder, folder_key FROM patients ORDER BY 1, 2",
    "studies": "SELECT study_instance_uid, date, study_description FROM studies ORDER BY 1",
    "series": "SELECT series_instance_uid, folder, series_description FROM series ORDER BY 1",
}


def recorded(found):
    """What the index says of every level; the time of storing set aside."""
    names = [row[1] for row in rows(found, "PRAGMA table_info(instance_view)")]
    said = {level: rows(found, query) for level, query in LEVELS.items()}
    dropped = {names.index(name) for name in names if name in ("stored_at", "instance_id", "id")}
    said["instances"] = [
        tuple(value for position, value in enumerate(row) if position not in dropped)
        for row in said["instances"]
    ]
    return said


def forget(found):
    """Lose the index."""
    for path in found.index_location.parent.glob("index.sqlite*"):
        path.unlink()


def readopt(found):
    with Intake(found) as intake, capture_logs() as lines:
        return adopt(intake), [line for line in lines if line["event"] == "files_without_row_left"]


@pytest.mark.parametrize("template", ["descriptive", "uid", "{SOPInstanceUID}.dcm"])
def test_an_index_that_was_lost_is_built_again_from_the_tree(tmp_path, template):
    for number in range(1, 4):
        drop(tmp_path / "in", f"a{number}", dicom(number, series=number, patient=f"P{number % 2}"))
    drop(tmp_path / "in", "b", dicom(1, study=2, patient="P0", StudyDate=None, SeriesDate="20200101"))
    for name in ("MR_small_RLE.dcm", "JPEG2000.dcm", "test-SR.dcm", "rtplan.dcm"):
        drop(tmp_path / "in", name, bundled(name).read_bytes())
    found = config(tmp_path, template=template)
    tally = backfill(found)
    before, files = recorded(found), tree(found.archive)
    forget(found)
    assert readopt(found) == (tally.summary()["stored"], [])
    assert (recorded(found), tree(found.archive)) == (before, files)


def test_patients_whose_folders_were_told_apart_keep_them(tmp_path):
    """Case alone differs: the second one's folder carries a mark."""
    drop(tmp_path / "in", "a", dicom(1, patient="Ab"))
    drop(tmp_path / "in", "b", dicom(1, study=2, patient="aB"))
    found = config(tmp_path)
    backfill(found)
    before = rows(found, LEVELS["patients"])
    forget(found)
    readopt(found)
    assert rows(found, LEVELS["patients"]) == before


def test_what_has_a_row_is_not_examined(tmp_path, monkeypatch):
    drop(tmp_path / "in", "a", dicom())
    found = config(tmp_path)
    backfill(found)
    monkeypatch.setattr("inline.examine", lambda *_: pytest.fail("examined"))
    assert readopt(found) == (0, [])


def test_a_file_that_is_no_instance_is_left_and_counted(tmp_path):
    found = config(tmp_path)
    backfill(found)
    notes = drop(found.archive, "P1/notes.txt", b"call back")
    adopted, lines = readopt(found)
    assert (adopted, [line["count"] for line in lines], notes.read_bytes()) == (0, [1], b"call back")


def test_a_copy_of_a_recorded_instance_is_left_and_counted(tmp_path):
    drop(tmp_path / "in", "a", dicom())
    found = config(tmp_path)
    backfill(found)
    (path,) = tree(found.archive)
    shutil.copy(found.archive / path, found.archive / "copy.dcm")
    adopted, lines = readopt(found)
    assert (adopted, [line["count"] for line in lines]) == (0, [1])
    assert rows(found, "SELECT path FROM instances") == [(path,)]


def test_one_of_two_copies_without_a_row_is_adopted(tmp_path):
    found = config(tmp_path)
    backfill(found)
    for name in ("P1/a.dcm", "P1/b.dcm"):
        drop(found.archive, name, dicom())
    adopted, lines = readopt(found)
    assert (adopted, [line["count"] for line in lines]) == (1, [1])


def test_quarantine_and_staging_are_not_adopted(tmp_path):
    found = config(tmp_path)
    drop(tmp_path / "in", "a", dicom(1))
    drop(tmp_path / "in", "b", dicom(1, pixels=1))  # in conflict
    backfill(found)
    assert readopt(found) == (0, [])


def test_a_symlink_in_the_tree_is_not_followed(tmp_path):
    found = config(tmp_path)
    backfill(found)
    outside = drop(tmp_path, "outside", dicom())
    (found.archive / "link.dcm").symlink_to(outside)
    adopted, lines = readopt(found)
    assert (adopted, [line["count"] for line in lines]) == (0, [1])


def test_a_file_that_was_moved_into_the_folder_of_another_patient_is_adopted_as_its_own(tmp_path):
    drop(tmp_path / "in", "a", dicom(1, patient="P1"))
    found = config(tmp_path)
    backfill(found)
    drop(found.archive, "P1/20240131/b.dcm", dicom(1, study=2, patient="P2"))
    assert readopt(found) == (1, [])
    assert rows(found, "SELECT patient_id, folder FROM patients ORDER BY 1") == [("P1", "P1"), ("P2", "")]


@pytest.mark.parametrize("template", ["uid", "{Modality}/{PatientID}/{SOPInstanceUID}.dcm"])
def test_a_tree_of_another_template_is_adopted(tmp_path, template):
    drop(tmp_path / "in", "a", dicom(1, patient="P1"))
    drop(tmp_path / "in", "b", dicom(1, study=2, patient="P2"))
    found = config(tmp_path, template=template)
    backfill(found)
    forget(found)
    assert readopt(config(tmp_path, template="{StudyDate}/{SOPInstanceUID}.dcm")) == (2, [])


def test_many_files_are_adopted_in_parts(tmp_path):
    found = config(tmp_path)
    backfill(found)
    for number in range(1, 131):
        drop(found.archive, f"P1/{number}.dcm", dicom(number))
    assert readopt(found) == (130, [])
    assert readopt(found) == (0, [])


def test_a_backfill_of_the_drop_folders_adopts_first(tmp_path):
    found = config(tmp_path)
    backfill(found)
    drop(found.archive, "P1/a.dcm", dicom())
    drop(tmp_path / "in", "a", dicom())
    tally = backfill(found)
    assert (tally.adopted, {str(k): n for k, n in tally.kinds.items() if n}) == (1, {"duplicate": 1})


def test_a_backfill_of_given_paths_adopts_nothing(tmp_path):
    found = config(tmp_path)
    backfill(found)
    drop(found.archive, "P1/a.dcm", dicom())
    assert backfill(found, [drop(tmp_path, "b", dicom(2))]).adopted == 0


def test_a_study_keeps_the_date_of_its_folder(tmp_path):
    """Its instances say different dates; the first that came decided, and later ones follow it."""
    found = config(tmp_path)
    (tmp_path / "late").mkdir()
    backfill(found, [drop(tmp_path, "first", dicom(1, series=1))])
    for number in range(2, 20):
        drop(tmp_path / "late", str(number), dicom(1, series=number, StudyDate="20240201"))
    backfill(found, [tmp_path / "late"])
    assert {path.split("/")[1] for path in tree(found.archive)} == {"20240131"}
    forget(found)
    readopt(found)
    assert rows(found, "SELECT date FROM studies") == [("20240131",)]
