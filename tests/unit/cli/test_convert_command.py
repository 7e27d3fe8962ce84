"""``sorter convert``: what it prints, its exit status, and what is in the archive afterwards."""

import json

import pydicom
import pytest
from click.testing import CliRunner
from inline import inline
from made_volumes import MADE, save
from PIL import Image

from sorter.cli import group

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def convert(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    monkeypatch.setenv("SORTER_MIN_FREE_MB", "1")
    monkeypatch.setenv("SORTER_WORKERS", "1")
    monkeypatch.chdir(tmp_path)

    def run(*args):
        return CliRunner().invoke(group, ["convert", *map(str, args)], standalone_mode=False)

    return run


@pytest.fixture
def brain(tmp_path):
    (tmp_path / "in").mkdir()
    return save(MADE["differing"](), tmp_path / "in" / "brain.nii.gz")


def test_a_volume_becomes_a_folder_of_instances(convert, brain, tmp_path):
    result = convert("in/brain.nii.gz", "--set", "PatientID=P1", "--modality", "MR", "--to", "out")
    assert (result.return_value, result.stdout) == (0, "in/brain.nii.gz: 6 instances in out/brain\n"
               "  note: sform and qform differ: the sform is used\n"
               "1 file, 6 instances\n")  # fmt: skip
    dataset = pydicom.dcmread(tmp_path / "out" / "brain" / "00001.dcm")
    assert (dataset.PatientID, dataset.Modality, dataset.SOPClassUID) == (
        "P1",
        "MR",
        "1.2.840.10008.5.1.4.1.1.4",
    )


def test_a_second_time_is_fine_and_other_facts_overwrite_nothing(convert, brain, tmp_path):
    for _ in range(2):
        assert convert(brain, "--set", "PatientID=P1", "--to", "out").return_value == 0
    before = (tmp_path / "out" / "brain" / "00001.dcm").read_bytes()
    result = convert(brain, "--set", "PatientID=P2", "--to", "out")
    assert (result.return_value, "nothing is overwritten" in result.stdout) == (1, True)
    assert before == (tmp_path / "out" / "brain" / "00001.dcm").read_bytes()


def test_what_is_missing_is_told_with_the_remedy_and_the_remedy_works(convert, brain, tmp_path):
    result = convert("in", "--to", "out")
    assert result.return_value == 1
    remedy = result.stdout.splitlines()[1].rpartition("brain.json beside it: ")[2]
    (tmp_path / "in" / "brain.json").write_text(json.dumps(json.loads(remedy) | {"PatientID": "P1"}))
    assert convert("in", "--to", "out").return_value == 0


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(convert, brain, tmp_path):
    result = convert("in", "--set", "PatientID=P1", "--dry-run")
    assert (result.return_value, "6 instances\n" in result.stdout) == (0, True)
    assert [tmp_path / "in"] == list(tmp_path.iterdir())


def test_a_table_and_numbers_for_files_that_have_nothing_in_common(convert, brain, tmp_path):
    save(MADE["axial"](), tmp_path / "in" / "other.nii")
    (tmp_path / "facts.csv").write_text("file,patient\nin/other.nii,P9\n")
    result = convert("in", "--meta", "facts.csv", "--number-from", "007", "--to", "out", "--json")
    assert (result.return_value, *(json.loads(result.stdout)[key] for key in ("converted", "instances"))) == (
        0,
        2,
        12,
    )
    found = {name: pydicom.dcmread(tmp_path / "out" / name / "00001.dcm") for name in ("brain", "other")}
    assert (found["brain"].PatientID, found["brain"].AccessionNumber) == ("007", "007")
    assert (found["other"].PatientID, found["other"].AccessionNumber or None) == ("P9", None)


def test_a_table_alone_names_the_files(convert, brain, tmp_path):
    (tmp_path / "facts.csv").write_text("file,patient\nin/brain.nii.gz,P9\n")
    assert convert("--meta", "facts.csv", "--to", "out").return_value == 0
    assert pydicom.dcmread(tmp_path / "out" / "brain" / "00001.dcm").PatientID == "P9"


def test_a_template_gives_patient_and_study(convert, brain, tmp_path):
    template = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    template.save_as(tmp_path / "like.dcm")
    assert convert(brain, "--template", "like.dcm", "--to", "out").return_value == 0
    made = pydicom.dcmread(tmp_path / "out" / "brain" / "00001.dcm")
    assert (template.StudyInstanceUID, template.PatientName, "CT") == (
        made.StudyInstanceUID,
        made.PatientName,
        made.Modality,
    )
    assert template.SeriesInstanceUID != made.SeriesInstanceUID


def test_what_is_ingested_is_stored_once(convert, brain, tmp_path):
    Image.new("L", (8, 6)).save(tmp_path / "in" / "photo.png")
    words = ("in", "--set", "PatientID=P1", "--ingest", "--archive", "archive", "--json")
    first, again = (convert(*words) for _ in range(2))
    assert (first.return_value, again.return_value) == (0, 0)
    assert tuple(json.loads(result.stdout)["ingest"]["stored"] for result in (first, again)) == (7, 0)
    assert json.loads(again.stdout)["ingest"]["duplicate"] == 7
    assert len(list((tmp_path / "archive").rglob("*.dcm"))) == 7


def test_one_bad_file_does_not_stop_the_others(convert, brain, tmp_path):
    (tmp_path / "in" / "cut.nii").write_bytes(save(MADE["axial"](), tmp_path / "x.nii").read_bytes()[:900])
    result = convert("in", "--set", "PatientID=P1", "--to", "out")
    assert (result.return_value, result.stdout.splitlines()[-1]) == (
        1,
        "2 files, 6 instances; 1 not converted",
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("in",), "--to DIR"),
        (("in", "--to", "out", "--ingest"), "not both"),
        (("--to", "out"), "what to convert"),
        (("in", "--to", "out", "--set", "PatientID"), "KEYWORD=VALUE"),
        (("in", "--to", "out", "--number-from", "x"), "number"),
        (("in", "--to", "out", "--orientation", "XYZ"), "three letters"),
        (("in", "--to", "out", "--template", "none.dcm"), "not a file"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told(convert, brain, words, why):
    result = convert(*words)
    assert why in str(result.exception)
