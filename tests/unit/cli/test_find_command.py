"""``sorter find``: rows as a table, as JSON lines or as paths; values are never markup."""

import json
import os

import pytest
from click.testing import CliRunner
from inline import config, inline
from support import dicom, drop, tree

from sorter.cli import group
from sorter.errors import ConfigError, IndexUnusableError
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]
MARKUP = "[bold]x[/bold] [/] [link=file:///etc/passwd]"


@pytest.fixture
def archive(tmp_path):
    drop(tmp_path / "in", "a", dicom(1, patient="P1"))
    drop(tmp_path / "in", "b", dicom(2, patient="P1"))
    drop(tmp_path / "in", "c", dicom(1, study=2, patient="P2", StudyDescription=MARKUP, StudyDate="20200101"))
    backfill(config(tmp_path))
    return tmp_path / "archive"


@pytest.fixture
def find(archive, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")

    def run(*args):
        command = ["find", "--archive", str(archive), *args]
        return CliRunner().invoke(group, command, standalone_mode=False)

    return run


def test_without_criteria_all_studies_are_shown(find):
    header, *rows = find().stdout.splitlines()
    assert header.split() == [
        "patient_id",
        "study_date",
        "study_description",
        "modalities",
        "series",
        "instances",
    ]
    assert [row.split()[0] for row in rows] == ["P1", "P2"]


def test_values_are_shown_as_they_are_and_never_taken_for_markup(find):
    assert MARKUP in find("PatientID=P2").stdout


def test_a_pipe_gets_no_colours_and_no_folded_lines(find):
    result = find("--level", "instance")
    lines = result.stdout.splitlines()
    assert ("\x1b" in result.stdout, len(lines)) == (False, 4)
    assert lines[1].rstrip().endswith(".dcm")


@pytest.mark.parametrize(
    ("level", "expected"), [("patient", 2), ("study", 2), ("series", 2), ("instance", 3)]
)
def test_a_row_is_what_the_level_says(find, level, expected):
    rows = [json.loads(line) for line in find("--json", "--level", level).stdout.splitlines()]
    assert len(rows) == expected


def test_a_json_line_has_every_column_of_its_level(find):
    (row,) = [json.loads(line) for line in find("--json", "PatientID=P2").stdout.splitlines()]
    assert (row["patient_id"], row["study_description"], row["instances"]) == ("P2", MARKUP, 1)


def test_paths_are_absolute_and_there(find, archive):
    lines = find("--paths", "PatientID=P1").stdout.splitlines()
    assert len(lines) == 2
    assert all(os.path.isabs(line) and os.path.isfile(line) for line in lines)
    assert {os.path.relpath(line, archive) for line in lines} <= set(tree(archive))


def test_criteria_are_joined(find):
    assert len(find("--json", "PatientID=P*", "StudyDate=2020").stdout.splitlines()) == 1


def test_a_limit_is_kept(find):
    assert len(find("--json", "--limit", "1", "--level", "instance").stdout.splitlines()) == 1


@pytest.mark.parametrize("how", [[], ["--json"], ["--paths"]])
def test_nothing_found_is_exit_status_one_and_an_empty_stdout(find, how):
    result = find("PatientID=nobody", *how)
    assert (result.return_value, result.stdout) == (1, "")


@pytest.mark.parametrize("how", [[], ["--json"], ["--paths"]])
def test_something_found_is_exit_status_zero(find, how):
    assert find("PatientID=P1", *how).return_value == 0


def test_a_criterion_without_a_value_sign_is_a_mistake(find):
    result = find("P1")
    assert str(result.exception) == "write criteria as KEYWORD=VALUE, for example PatientID=A*"


def test_an_unknown_keyword_names_the_nearest(find):
    result = find("PatientNam=x")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean patient_name?" in str(result.exception)


def test_without_an_index_it_says_so_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    command = ["find", "--archive", str(tmp_path / "empty")]
    result = CliRunner().invoke(group, command, standalone_mode=False)
    assert isinstance(result.exception, IndexUnusableError)
    assert not (tmp_path / "empty").exists()
