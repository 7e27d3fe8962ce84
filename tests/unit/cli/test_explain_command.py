"""``sorter explain`` prints a page that says why, and its exit status says whether it is archived."""

import json

import pytest
from click.testing import CliRunner
from inline import config, inline
from support import dicom, drop

from sorter.cli import group
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def explain(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    monkeypatch.setenv("SORTER_SETTLE_SECONDS", "0")
    drop(tmp_path / "in", "known.dcm", dicom(1))
    backfill(config(tmp_path))

    def run(data, *args, name="new.dcm"):
        path = drop(tmp_path / "in", name, data)
        where = ("--incoming", str(tmp_path / "in"), "--archive", str(tmp_path / "archive"))
        return CliRunner().invoke(group, ["explain", str(path), *where, *args], standalone_mode=False)

    return run


def test_a_new_file_ends_with_0_and_says_why_it_goes_there(explain):
    result = explain(dicom(1, study=2, patient="A B", StudyDescription=None, StudyID=""))
    assert result.return_value == 0
    for line in (
        "OUTCOME  stored",
        "A whole DICOM stream.",
        "Yes: its SOP Instance UID is not in the archive.",
        "Date of the study: 20240131, from StudyDate",
        "PatientID is 'A B', which in a name is 'A_B'",
        "-50b3c306 is appended: the Patient ID does not stand there unchanged.",
        "StudyID has no value",
        "so the fallback 'NA' is used",
        "Nothing: it was not seen yet.",
        "retire = keep: the source stays",
    ):
        assert line in result.stdout


def test_a_conflict_ends_with_1_and_says_with_what(explain):
    result = explain(dicom(1, pixels=1))
    assert result.return_value == 1
    assert "It is in conflict with P1/20240131/head/series_1/CT" in result.stdout
    assert "pixels differ" in result.stdout
    assert "Nowhere: as a new instance it would get this place." in result.stdout


def test_what_is_ignored_says_by_which_pattern_and_what_it_would_be(explain):
    result = explain(dicom(2), name="a.part")
    assert result.return_value == 1
    assert "OUTCOME  ignored (pattern)" in result.stdout
    assert "matches the ignore pattern `*.part`" in result.stdout
    assert "By what is in it, it would be stored." in result.stdout


def test_a_known_file_has_its_history(explain):
    result = explain(dicom(1), name="known.dcm")
    assert "OUTCOME  duplicate" in result.stdout


def test_a_series_on_record_is_one_line(explain):
    result = explain(dicom(2, SeriesDescription="Other"))
    assert "P1/20240131/head/series_1/  on record: the folder of this series" in result.stdout
    assert "(The template alone would make it P1/20240131/head/other/)" in result.stdout


def test_no_value_can_forge_a_line(explain):
    result = explain(dicom(2), name="x\nOUTCOME  stored\x1b[31m")
    assert "x\\x0aOUTCOME  stored\\x1b[31m" in result.stdout
    assert "\x1b" not in result.stdout


def test_json_has_the_same(explain):
    result = explain(dicom(2), "--json")
    facts = json.loads(result.stdout)
    assert (facts["outcome"], facts["place"]["path"]) == ("stored", facts["path"])


def test_the_template_may_be_another_for_a_try(explain):
    result = explain(dicom(1, study=3, patient="P3"), "--template", "uid", "--json")
    assert json.loads(result.stdout)["path"].startswith("P3/1.2.826.0.1.3680043.10.1.3/")
