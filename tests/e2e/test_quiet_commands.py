"""Commands that read files say nothing of what pydicom warns of: its warnings quote values of patients."""

import subprocess
import sys

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian

CANARY = "CANARY^SMITH"
COMMANDS = (
    ("export", "{file}", "--to", "png", "{out}"),
    ("export", "{file}", "--to", "nifti", "{out}"),
    ("export", "{file}", "--to", "dicomdir", "{out}"),
    ("show", "{file}", "--quiet"),
    ("show", "{file}", "--all", "--quiet"),
    ("explain", "{file}", "--quiet"),
    ("--rescan", "{file}"),
    ("convert", "{picture}", "--template", "{file}", "--to", "{out}"),
)


@pytest.fixture
def places(tmp_path):
    source = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    with pydicom.config.disable_value_validation():
        for keyword in ("StudyTime", "PatientBirthDate", "FrameOfReferenceUID", "NumberOfFrames"):
            source[keyword] = pydicom.DataElement(keyword, "LO", CANARY)
        source.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        source.save_as(tmp_path / "source.dcm", implicit_vr=True, little_endian=True)
    image = pytest.importorskip("PIL.Image")
    image.new("L", (8, 8), 9).save(tmp_path / "a.png")
    return {"file": tmp_path / "source.dcm", "out": tmp_path / "out", "picture": tmp_path / "a.png"}


def test_pydicom_warns_of_such_a_file_and_quotes_it(places):
    with pytest.warns(UserWarning, match="CANARY"):
        str(pydicom.dcmread(places["file"]))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:4]))
def test_stderr_has_no_value_of_a_file_that_pydicom_warns_of(places, tmp_path, command):
    words = [word.format(**places) for word in command]
    archive = ("--archive", str(tmp_path / "archive"))
    found = subprocess.run(
        [sys.executable, "-m", "sorter", *words, *archive],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ("CANARY" in found.stderr, "Warning" in found.stderr) == (False, False)
    assert (found.returncode in (0, 1), "internal error" in found.stderr) == (True, False)
