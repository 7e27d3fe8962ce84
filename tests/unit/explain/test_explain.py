"""``explain`` tells what a run then does, for every outcome, and writes nothing."""

import os

import pydicom
import pytest
from explaining import found
from inline import config, inline, rows
from support import bundled, dicom, drop, tree

from sorter.errors import ConfigError
from sorter.explain import explain
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["found", "inline"]


def snapshot(folder):
    """What tells whether anything was written."""
    facts = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {path: (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in facts.items()}


CASES = {
    "stored": lambda: dicom(2),
    "duplicate": lambda: dicom(1),
    "equivalent": lambda: bundled("MR_small_RLE.dcm").read_bytes(),
    "conflict": lambda: dicom(1, pixels=1, PatientName="Somebody^Else"),
    "rejected": lambda: dicom(3)[:-9],
}


@pytest.mark.parametrize("outcome", CASES)
def test_it_tells_what_a_run_then_does(found, outcome):
    path = drop(found.incoming[0], "new.dcm", CASES[outcome]())
    told = explain(found, path)
    backfill(found)
    query = "SELECT outcome, reason, path FROM source_view WHERE source LIKE '%/new.dcm'"
    ((then, reason, where),) = rows(found, query)
    assert (told.outcome, told.reason or None) == (then, reason) == (outcome, reason)
    if outcome in ("stored", "duplicate", "equivalent"):
        assert told.path == where
        assert told.safe
    else:
        assert not told.safe


@pytest.mark.parametrize("outcome", CASES)
def test_nothing_is_written(found, tmp_path, outcome):
    path = drop(tmp_path / "elsewhere", "new.dcm", CASES[outcome]())
    before = snapshot(tmp_path)
    explain(found, path)
    assert snapshot(tmp_path) == before


def test_without_an_archive_none_is_made(tmp_path):
    path = drop(tmp_path / "elsewhere", "new.dcm", dicom(1))
    told = explain(config(tmp_path), path)
    assert (told.outcome, told.ledger) == ("stored", [])
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "in"]


def test_what_is_read_of_it(found):
    told = explain(found, drop(found.incoming[0], "new.dcm", bundled("MR_small_RLE.dcm").read_bytes()))
    assert told.read["whole"]
    assert told.read["transfer_syntax"] == "RLE Lossless (1.2.840.10008.1.2.5)"
    assert told.read["archived_transfer_syntax"] == "Explicit VR Little Endian (1.2.840.10008.1.2.1)"
    assert told.read["pixels"] == "transcoded"
    assert told.read["values"]["PatientID"] == "4MR1"


def test_pixels_that_stay_compressed_say_why(tmp_path):
    path = drop(tmp_path / "in", "new.dcm", bundled("MR_small_RLE.dcm").read_bytes())
    told = explain(config(tmp_path, decompress=["jpeg"]), path)
    assert told.read["pixels"] == "kept_config"
    assert "`decompress` does not name" in told.read["pixels_in_words"]


def test_of_a_damaged_file_it_tells_what_could_be_read(found):
    told = explain(found, drop(found.incoming[0], "new.dcm", dicom(3, patient="P9")[:-9]))
    assert (told.read["whole"], told.read["values"]["PatientID"]) == (False, "P9")
    assert told.place == {}


def test_each_component_tells_what_it_was_made_of(found):
    data = dicom(1, study=5, patient="A/B", StudyDate=None, SeriesDate="20200101", StudyDescription=None)
    told = explain(found, drop(found.incoming[0], "new.dcm", data))
    patient, date, study, series, leaf = told.place["steps"]
    assert (patient["name"], patient["mark"]) == ("A_B-c4540ad1", "-c4540ad1")
    assert patient["why"] == "the Patient ID does not stand there unchanged"
    assert (told.place["study_date"], told.place["study_date_from"]) == ("20200101", "SeriesDate")
    assert date["name"] == "20200101"
    assert [one["keyword"] for one in study["parts"][0]["tried"]] == ["StudyDescription", "StudyID"]
    assert (study["name"], study["parts"][0]["used"]) == ("NA", "")
    (tried,) = series["parts"][0]["tried"]
    assert (tried["value"], tried["text"], tried["origin"]) == ("Series 1", "series_1", "header")
    assert leaf["template"] == "{Modality}.{SeriesInstanceUID}.{InstanceNumber}.dcm"
    assert told.path == "/".join(step["name"] for step in told.place["steps"])


def test_a_known_series_keeps_its_folder_and_the_template_s_is_told(found):
    told = explain(found, drop(found.incoming[0], "new.dcm", dicom(2, SeriesDescription="Other words")))
    assert told.place["steps"][0]["rule"] == "series"
    assert told.path.startswith("P1/20240131/head/series_1/")
    assert told.place["folder_by_template"] == "P1/20240131/head/other_words"


def test_a_known_patient_and_study_give_their_recorded_values(found):
    told = explain(found, drop(found.incoming[0], "new.dcm", dicom(1, series=2, StudyDescription="Foot")))
    patient, date, study, *_ = told.place["steps"]
    assert (patient["rule"], date["name"], study["name"]) == ("patient", "20240131", "head")
    (tried,) = study["parts"][0]["tried"]
    assert (tried["value"], tried["origin"]) == ("Head", "study")
    assert told.place["study_date_from"] == "record"


def test_a_taken_name_tells_why_the_uid_is_there(found):
    data = dicom(2, InstanceNumber=1)
    told = explain(found, drop(found.incoming[0], "new.dcm", data))
    leaf = told.place["steps"][-1]
    assert leaf["why"] == "another instance has the name without the SOP Instance UID"
    assert leaf["mark"] == ".1.2.826.0.1.3680043.10.1.1.1.2"
    backfill(found)
    assert told.path in tree(found.archive)


@pytest.mark.parametrize(
    ("there", "outcome", "detail"),
    [
        (dicom(2), "stored", "its bytes lie there without a row, and are adopted"),
        (b"notes", "stored", "a file without a row holds the name, so it carries the UID"),
    ],
)
def test_a_file_without_a_row_under_its_name_is_seen(found, there, outcome, detail):
    path = drop(found.incoming[0], "new.dcm", dicom(2))
    where = explain(found, path).path
    drop(found.archive, where, there)
    told = explain(found, path)
    assert (told.outcome, told.detail) == (outcome, detail)
    backfill(found, [path])
    ((then,),) = rows(found, "SELECT path FROM source_view WHERE source LIKE '%/new.dcm'")
    assert told.path == then


def test_a_conflict_tells_with_what_and_in_which_elements(found):
    told = explain(found, drop(found.incoming[0], "new.dcm", CASES["conflict"]()))
    assert told.identity["existing"] in tree(found.archive)
    assert told.identity["differs_in"] == "1 element differs: (0010,0010); pixels differ"


def test_a_decoded_file_tells_the_name_that_it_would_get(found):
    dataset = pydicom.dcmread(bundled("MR_small_RLE.dcm"))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    path = found.incoming[0] / "new.dcm"
    dataset.save_as(path)
    told = explain(found, path)
    backfill(found)
    assert told.path in tree(found.archive)


# -- what is no file to read -----------------------------------------------------------------------------


def test_links_are_ignored(found):
    (found.incoming[0] / "link").symlink_to(found.incoming[0] / "ct.dcm")
    told = explain(found, found.incoming[0] / "link")
    assert (told.outcome, told.reason) == ("ignored", "symlink")


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_is_no_file_is_an_error_that_does_not_name_it(found, name):
    with pytest.raises(ConfigError) as error:
        explain(found, found.incoming[0] / name)
    assert str(found.incoming[0]) not in str(error.value)
