"""A new index, made from the tree alone, has the rows of the old one: all tables, but for ids and times."""

import os
import random
import shutil
import time

import pydicom
import pytest
from inline import config, inline, rows
from pydicom.uid import RLELossless
from support import bundled, dicom, drop, tree

from sorter.care import reindex
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]

TABLES = {
    "patients": ("patients", "patient_id, issuer_of_patient_id"),
    "studies": ("studies JOIN patients ON patients.id = patient_fk", "study_instance_uid, patient_id"),
    "series": (
        "series JOIN studies ON studies.id = study_fk JOIN patients ON patients.id = patient_fk",
        "series_instance_uid, study_instance_uid, patient_id",
    ),
    "instances": (
        "instances JOIN series ON series.id = series_fk JOIN studies ON studies.id = study_fk"
        " JOIN patients ON patients.id = patient_fk",
        "sop_instance_uid",
    ),
}
TIMES = ("id", "patient_fk", "study_fk", "series_fk", "stored_at", "verified_at", "problem")


def tables(found):
    """Every row of every table with the keys of the levels above it."""
    said = {}
    for name, (source, order) in TABLES.items():
        columns = [row[1] for row in rows(found, f"PRAGMA table_info({name})") if row[1] not in TIMES]
        own = [f"{name}.{column}" for column in columns]
        said[name] = rows(found, f"SELECT {', '.join(own)}, {order} FROM {source} ORDER BY {order}")
    return said


def check(found, most=None):
    """Make the index anew: same rows, untouched tree, in the same order of arrival."""
    before, files = tables(found), tree(found.archive)
    order = rows(found, "SELECT sop_instance_uid FROM instances ORDER BY id")
    seconds = dict(rows(found, "SELECT sop_instance_uid, stored_at FROM instances"))
    count, aside = reindex(found)
    assert count == len(order)
    after = tables(found)
    for name, expected in before.items():
        assert after[name] == expected, name
    assert tree(found.archive) == files
    assert rows(found, "SELECT sop_instance_uid FROM instances ORDER BY id") == order
    assert dict(rows(found, "SELECT sop_instance_uid, stored_at FROM instances")).keys() == seconds.keys()
    assert aside.exists()


def rle(number, **more):
    """An instance whose pixels are encapsulated."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(dicom(number, **more)))
    dataset.compress(RLELossless, generate_instance_uid=False)
    out = pydicom.filebase.DicomBytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def disagreeing():
    """Instances of one patient and series whose values disagree, in an order that names do not tell."""
    for number in (7, 3, 9, 1, 5):
        values = {
            "PatientName": f"Name^{number}",
            "PatientSex": "FMO"[number % 3],
            "StudyDescription": f"Head {number}",
            "StudyDate": f"2024010{number}",
            "AccessionNumber": str(number),
            "ReferringPhysicianName": f"Doctor^{number}",
            "Manufacturer": f"Maker {number}",
            "SeriesDescription": f"Series {number}",
            "SeriesDate": f"2024020{number}",
            "Modality": "CT" if number % 2 else "MR",
        }
        yield f"{number}.dcm", dicom(number, **values)


@pytest.mark.parametrize("template", ["descriptive", "uid", "{Modality}/{SOPInstanceUID}.dcm"])
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_the_first_instance_to_come_speaks_for_its_levels_again(tmp_path, template, together):
    found = config(tmp_path, template=template)
    for name, data in disagreeing():
        drop(tmp_path / "in", name, data)
        if not together:
            backfill(found)
    backfill(found)
    check(found)


def test_everything_that_is_odd_comes_back(tmp_path):
    """Issuers, odd names, names told apart, spare names, no patient, adopted, kept and decoded pixels."""
    found = config(tmp_path)
    things = [
        dicom(1, patient="AB/C"),
        dicom(1, study=2, patient="AB:C"),
        dicom(1, study=3, patient="ab_c"),
        dicom(1, study=4, patient="P4", IssuerOfPatientID="H1"),
        dicom(1, study=5, patient="P4", IssuerOfPatientID="H2"),
        dicom(1, study=6, patient="P4"),
        dicom(1, study=7, patient="", PatientName="Nobody^A"),
        dicom(1, study=8, patient="", PatientName="Nobody^B"),
        dicom(1, study=9, patient="P9", StudyDate=None, SeriesDate="20200202"),
        dicom(1, study=10, patient="P10", StudyDate=None, StudyDescription="20190101"),
        *(dicom(number, study=11, InstanceNumber=4) for number in (3, 2, 1)),
        dicom(1, study=12, SeriesDescription="Größe/..\\CON", StudyDescription="\u202eevil"),
        dicom(1, study=13, patient="CON", InstanceNumber=None),
        *(
            bundled(name).read_bytes()
            for name in ("JPEG2000.dcm", "MR_small_RLE.dcm", "test-SR.dcm", "rtplan.dcm")
        ),
    ]
    for number, data in enumerate(things):
        drop(tmp_path / "in", f"{100 - number}.dcm", data)
        backfill(found)
    drop(found.archive, "by hand/x.dcm", dicom(1, study=20, patient="P20"))
    kept = config(tmp_path, decompress=[])
    drop(tmp_path / "in", "rle.dcm", rle(1, study=21))
    backfill(kept)
    check(kept)


def test_what_came_by_two_runs_keeps_its_order_even_when_the_clock_is_set_back(tmp_path, monkeypatch):
    found = config(tmp_path)
    real = time.time_ns
    for turn, (name, data) in enumerate(disagreeing()):
        monkeypatch.setattr(time, "time_ns", lambda turn=turn: real() - turn * 3600 * 10**9)
        drop(tmp_path / "in", name, data)
        backfill(found)
    monkeypatch.undo()
    check_order = rows(found, "SELECT sop_instance_uid FROM instances ORDER BY id")
    stamps = [
        os.stat(found.archive / path).st_mtime_ns
        for (path,) in rows(found, "SELECT path FROM instances ORDER BY id")
    ]
    assert stamps == sorted(set(stamps))
    assert len(check_order) == 5


def test_pixels_that_were_kept_keep_their_reason_and_note(tmp_path):
    """Every bundled file, once with all families decoded and once with none."""
    for families in (["jpeg2000", "htj2k", "jpeg", "jpegls", "rle", "deflate"], [], ["jpeg"]):
        folder = tmp_path / "-".join(["d", *families])
        folder.mkdir()
        found = config(folder, decompress=families)
        names = sorted(bundled("CT_small.dcm").parent.glob("*.dcm"))
        random.Random(5).shuffle(names)
        for name in names:
            shutil.copy(name, folder / "in" / name.name)
        backfill(found)
        states = dict(rows(found, "SELECT pixels, count(*) FROM instances GROUP BY 1"))
        assert sum(states.values()) > 30
        check(found)


def test_a_reindex_that_fails_leaves_the_old_index_in_place(tmp_path, monkeypatch):
    found = config(tmp_path)
    drop(tmp_path / "in", "a.dcm", dicom())
    backfill(found)
    before = tables(found)

    def die(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("sorter.care.adopt", die)
    with pytest.raises(KeyboardInterrupt):
        reindex(found)
    assert tables(found) == before
    monkeypatch.undo()
    monkeypatch.setattr("sorter.intake.Workers", inline_workers())
    check(found)


def inline_workers():
    from inline import Inline

    return Inline


def test_a_new_index_has_one_batch_of_its_ledger_for_each_part_adopted(tmp_path):
    found = config(tmp_path)
    for number in range(1, 131):
        drop(tmp_path / "in", f"{number}.dcm", dicom(number))
    backfill(found)
    told = []
    reindex(found, progress=lambda done, total: told.append((done, total)))
    assert rows(found, "SELECT kind, sources FROM batches ORDER BY id") == [
        ("adopt", 64),
        ("adopt", 64),
        ("adopt", 2),
    ]
    assert told == [(64, 130), (128, 130), (130, 130)]


def test_an_instance_counts_as_stored_when_it_came(tmp_path):
    found = config(tmp_path)
    drop(tmp_path / "in", "a.dcm", dicom())
    backfill(found)
    ((path,),) = rows(found, "SELECT path FROM instances")
    os.utime(found.archive / path, (1.7e9, 1.7e9))
    reindex(found)
    assert rows(found, "SELECT stored_at FROM instances") == [("2023-11-14T22:13:20+00:00",)]
