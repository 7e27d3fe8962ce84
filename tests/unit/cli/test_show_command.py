"""``sorter show``: pages, JSON, elements, troubles and exit statuses; no patient data on stderr."""

import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from inline import config, inline
from support import UID, bundled, dicom, drop

from sorter.cli import group
from sorter.errors import ConfigError
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]
PLACED = {"PixelSpacing": [1, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}


@pytest.fixture
def show(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")

    def run(*args):
        command = ["show", "--archive", str(tmp_path / "archive"), *map(str, args)]
        return CliRunner().invoke(group, command, standalone_mode=False)

    return run


@pytest.fixture
def archive(tmp_path):
    for number in (1, 2, 3):
        drop(tmp_path / "in", str(number), dicom(number, ImagePositionPatient=[0, 0, 2 * number], **PLACED))
    drop(tmp_path / "in", "4", dicom(1, study=2, patient="P2"))
    backfill(config(tmp_path))


@pytest.mark.usefixtures("archive")
def test_an_instance_is_found_by_its_uid(show):
    result = show(f"{UID}.2.1.1")
    assert (result.return_value, result.stderr) == (0, "")
    assert "  PatientID               P2\n" in result.stdout


@pytest.mark.usefixtures("archive")
def test_a_series_is_shown_with_its_volume(show):
    said = show(f"{UID}.1.1").stdout
    assert "Series of 3 instances\n" in said
    assert "  size                    8 x 8 x 3\n  spacing                 1 x 1 x 2 mm\n" in said


@pytest.mark.usefixtures("archive")
def test_a_query_shows_what_it_finds(show):
    assert "  PatientID               P2\n" in show("PatientID=P2").stdout


@pytest.mark.usefixtures("archive")
def test_json_of_a_series_is_its_summary_and_of_an_instance_its_dicom_json_model(show):
    summary, model = (json.loads(line) for line in show("--json", "PatientID=P*").stdout.splitlines())
    assert (summary["series_instance_uid"], summary["volumes"][0]["shape"]) == (f"{UID}.1.1", [8, 8, 3])
    assert model["00100020"] == {"vr": "LO", "Value": ["P2"]}


def test_large_values_are_uris_in_the_json_model(show):
    path = bundled("CT_small.dcm")
    model = json.loads(show("--json", path).stdout)
    assert model["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{path.as_uri()}#7FE00010"}


def test_a_file_needs_no_archive(show, tmp_path):
    assert show(drop(tmp_path, "a", dicom(1))).return_value == 0
    assert not (tmp_path / "archive").exists()


def test_all_elements_are_listed(show, tmp_path):
    result = show("--all", drop(tmp_path, "a", dicom(1)))
    assert "(0010,0020) LO PatientID                        P1\n" in result.stdout


def test_a_multi_frame_instance_is_shown_with_its_volumes(show):
    assert "\nVolume\n" in show(bundled("rtdose.dcm")).stdout


def test_a_pipe_gets_no_thumbnail_unless_it_asks_for_one(show):
    path = bundled("CT_small.dcm")
    assert ["\u2580" in show(path, *how).stdout for how in ([], ["--picture"], ["--no-picture"])] == [
        False,
        True,
        False,
    ]


def test_why_there_is_no_thumbnail_is_said(show, tmp_path):
    said = show("--picture", drop(tmp_path, "a", dicom(1, PixelData=None, Rows=None, Columns=None))).stdout
    assert "No picture: it has no pixel data." in said


def test_the_thumbnail_is_of_the_frame_and_window_that_are_asked_for(show):
    path = bundled("rtdose.dcm")
    several = {
        show("--picture", *how, path).stdout
        for how in ([], ["--frame", "0"], ["--window", "1,1"], ["--window", "range"])
    }
    assert len(several) == 4
    assert "No picture: there is no frame 99: it has 15" in show("--picture", "--frame", "99", path).stdout


@pytest.mark.parametrize("window", ["wide", "1", "1,0", "1,-2", "1,nan", "nan,1", "1,inf"])
def test_a_window_that_is_none_is_a_mistake(show, window):
    mistake = show("--window", window, bundled("CT_small.dcm")).exception
    assert isinstance(mistake, click.BadParameter)
    assert mistake.message.startswith(
        ("write auto, range, or CENTER,WIDTH", "the width of a window is above 0")
    )


def test_a_file_that_is_cut_is_shown_as_far_as_it_goes(show, tmp_path):
    result = show(drop(tmp_path, "a", dicom(1)[:-20]))
    assert (result.return_value, "not whole: truncated" in result.stderr) == (1, True)
    assert "  PatientID               P1\n" in result.stdout


def test_what_is_neither_dicom_nor_nifti_is_said(show, tmp_path):
    result = show(drop(tmp_path, "a.txt", b"hello"))
    assert (result.return_value, result.stdout) == (1, "")
    assert result.stderr.endswith("a.txt: is neither DICOM nor NIfTI\n")


@pytest.mark.usefixtures("archive")
def test_a_uid_that_nothing_has_is_said(show):
    result = show("1.2.3.4")
    assert (result.return_value, result.stderr) == (1, "nothing found for 1.2.3.4\n")


def test_a_word_that_is_nothing_is_a_mistake(show):
    assert isinstance(show("no-such-file").exception, ConfigError)


def test_no_value_can_forge_a_line_of_the_page(show, tmp_path):
    said = show(drop(tmp_path, "a", dicom(1, StudyDescription="x\x1b[2J\nForged"))).stdout
    assert "\x1b" not in said
    assert "\nForged" not in said


def test_a_nifti_file_is_shown(show, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not here: install sorter[formats]")
    import numpy as np

    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), path)
    result = show(path, "--picture")
    assert (result.return_value, "  axes                    RAS\n" in result.stdout) == (0, True)
    assert json.loads(show("--json", path).stdout)["shape"] == [2, 3, 4]


def test_a_closed_stdout_is_no_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    found = subprocess.run(
        [sys.executable, "-m", "sorter", "show", bundled("CT_small.dcm")],
        stderr=subprocess.PIPE, check=False, cwd=tmp_path, preexec_fn=lambda: os.close(1),
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, b"")
