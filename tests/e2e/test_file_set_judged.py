"""A DICOM file set in the eyes of dcmtk and dicom3tools."""

import shutil
import subprocess

import pydicom
import pytest
from pydicom.fileset import FileSet
from slice_samples import axial, write
from support import bundled, dicom, drop

from sorter.config import Config
from sorter.export import Form, Options, State, export
from sorter.organizer.layout import Layout
from sorter.selection import select


def judge(*command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def file_set(tmp_path):
    """Two patients, and instances that lack what a directory needs."""
    write(tmp_path / "in" / "a", axial((0, 1, 2)))
    drop(tmp_path, "in/b", dicom(1, study=2, patient="P2", StudyDate=None, SeriesNumber=None))
    drop(tmp_path, "in/c", bundled("CT_small.dcm").read_bytes())
    drop(tmp_path, "in/d", bundled("MR_small.dcm").read_bytes())
    selection = select(Config(), [str(tmp_path / "in")])
    found = list(export(selection, tmp_path / "out", Options(to=Form.DICOMDIR), layout=Layout("uid")))
    assert {one.state for one in found} == {State.EXPORTED}
    return tmp_path / "out"


def test_dciodvfy_finds_no_error_in_the_directory(file_set):
    _, said = judge("dciodvfy", str(file_set / "DICOMDIR"))
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def records(directory):
    """Of each record that names a file: its type, the name and the SOP Instance UID."""
    return {
        (one.DirectoryRecordType, tuple(one.ReferencedFileID), one.ReferencedSOPInstanceUIDInFile)
        for one in pydicom.dcmread(directory).DirectoryRecordSequence
        if "ReferencedFileID" in one
    }


def test_dcmmkdir_makes_the_same_records_of_the_same_files(file_set, tmp_path):
    ours = (file_set / "DICOMDIR").rename(tmp_path / "ours")
    again = tmp_path / "again"
    status, said = judge("dcmmkdir", "-Pgp", "+I", "+id", str(file_set), "+r", "+D", str(again), "-v")
    assert (status, [line for line in said.splitlines() if line.startswith("E:")]) == (0, [])
    assert (records(ours), len(records(ours))) == (records(again), 6)


def test_the_directory_says_of_each_instance_what_its_file_says(file_set):
    for one in FileSet(file_set / "DICOMDIR"):
        dataset = pydicom.dcmread(one.path)
        assert (one.SOPInstanceUID, one.SOPClassUID, one.StudyInstanceUID, one.TransferSyntaxUID) == (
            dataset.SOPInstanceUID,
            dataset.SOPClassUID,
            dataset.StudyInstanceUID,
            dataset.file_meta.TransferSyntaxUID,
        )
