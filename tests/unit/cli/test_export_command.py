"""``sorter export``: what it prints, its exit status; it needs no archive, and no leave to write there."""

import json
import os

import pytest
from click.testing import CliRunner
from inline import config, inline
from slice_samples import axial, write
from support import UID, tree

from sorter.cli import group
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def export(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    monkeypatch.chdir(tmp_path)

    def run(*args):
        return CliRunner().invoke(group, ["export", *map(str, args)], standalone_mode=False)

    return run


@pytest.fixture
def series(tmp_path):
    write(tmp_path / "in", axial((0, 1, 2)))
    return tmp_path / "in"


def test_a_folder_is_exported_without_an_archive(export, series):
    result = export("in", "--to", "nifti", "out")
    assert (result.return_value, result.stdout) == (
        0,
        "wrote 1_series_1 (6 x 4 x 3): out/1_series_1.nii.gz\n",
    )


def test_a_series_of_the_archive_is_exported_by_its_uid_and_the_archive_stays_as_it_was(
    export, series, tmp_path
):
    backfill(config(tmp_path))
    before = tree(tmp_path / "archive")
    folders = [
        path for path in (tmp_path / "archive").rglob("*") if path.is_dir() and ".sorter" not in path.parts
    ]
    for folder in folders:
        os.chmod(folder, 0o500)
    result = export(f"{UID}.1.1", "--to", "dicom", "out", "--archive", tmp_path / "archive")
    for folder in folders:
        os.chmod(folder, 0o700)
    assert (result.return_value, tree(tmp_path / "archive")) == (0, before)
    assert tree(tmp_path / "out") == before


def test_nothing_is_written_into_the_archive(export, series, tmp_path):
    backfill(config(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    before = tree(tmp_path / "archive")
    for destination in (tmp_path / "archive" / "out", tmp_path / "archive", tmp_path / "link" / "x"):
        result = export("in", "--to", "dicom", destination, "--archive", tmp_path / "archive")
        assert "inside the archive" in str(result.exception.message)
    assert tree(tmp_path / "archive") == before


def test_json_is_one_object_with_the_outcome_of_each_series(export, series):
    result = export("in", "--to", "npz", "out", "--json")
    said = json.loads(result.stdout)
    assert {key: said[key] for key in ("exported", "left_out", "refused", "files", "nothing")} == {
        "exported": 1,
        "left_out": 0,
        "refused": 0,
        "files": 2,
        "nothing": [],
    }
    (one,) = said["results"]
    assert (one["series_instance_uid"], one["state"], one["shape"]) == (f"{UID}.1.1", "exported", [6, 4, 3])


def test_what_is_refused_is_told_with_the_reason_and_exit_status_1(export, tmp_path):
    write(tmp_path / "in", axial((0, 1, 4)))
    result = export("in", "--to", "nifti", "out")
    assert (result.return_value, result.stdout) == (1, "")
    assert (
        result.stderr == "REFUSED 1_series_1: gap: 2 missing between slices 2 and 3 (1 mm apart elsewhere)\n"
    )


def test_regularize_writes_it_and_tells_what_was_done(export, tmp_path):
    write(tmp_path / "in", axial((0, 1, 4)))
    result = export("in", "--to", "nifti", "--regularize", "out")
    assert (result.return_value, "2 of 5 slices interpolated" in result.stderr) == (0, True)


def test_nothing_found_is_exit_status_1(export, tmp_path):
    (tmp_path / "empty").mkdir()
    result = export("empty", "--to", "nifti", "out")
    assert (result.return_value, result.stderr) == (1, "nothing found for empty\n")


def test_a_dry_run_writes_nothing(export, series, tmp_path):
    result = export("in", "--to", "png", "--dry-run", "out")
    assert (result.return_value, result.stdout) == (
        0,
        "would write 1_series_1 (3): out/1_series_1/, 3 files\n",
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("window", ["bone", "40", "40,0", "40,-1", "nan,1", "1,inf", "1,2,3"])
def test_a_window_that_is_none_is_an_error(export, series, window):
    result = export("in", "--to", "png", "out", f"--window={window}")
    assert "window" in str(result.exception.message).lower() or "CENTER,WIDTH" in str(
        result.exception.message
    )


def test_a_negative_center_is_a_window(export, series):
    assert export("in", "--to", "png", "out", "--window=-600,1500").return_value == 0


@pytest.mark.parametrize(
    ("option", "form", "able"),
    [
        ("--montage", "nifti", "png, jpeg, gif, webp"),
        ("--animate", "dicom", "png, jpeg, gif, webp"),
        ("--window=auto", "zip", "png, jpeg, gif, webp"),
        ("--axis=k", "npz", "png, jpeg, gif, webp"),
        ("--regularize", "png", "nifti, npz"),
        ("--scaling=dicom", "npz", "nifti"),
    ],
)
def test_an_option_that_says_nothing_about_the_form_is_a_mistake(
    export, series, tmp_path, option, form, able
):
    """Whoever gives it expects something else than what would be written."""
    mistake = export("in", "--to", form, option, "out").exception
    name = option.partition("=")[0]
    assert str(mistake.message) == f"{name} says nothing about --to {form}: it is for {able}"
    assert not (tmp_path / "out").exists()
