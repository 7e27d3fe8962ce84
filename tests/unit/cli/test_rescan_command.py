"""``sorter --rescan``: one JSON object or a table on stdout, and an exit status that says whether to look."""

import json
import os

import pytest
from click.testing import CliRunner
from inline import inline
from support import dicom, drop, tree

from sorter import log
from sorter.cli import group
from sorter.model import Kind

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def sorter(tmp_path, monkeypatch):
    """Runs ``sorter --rescan`` on the folders of the test."""
    monkeypatch.setattr(log, "configure", lambda **_: None)  # it would outlive the test
    monkeypatch.setenv("SORTER_CONFIG", "")
    monkeypatch.setenv("SORTER_SETTLE_SECONDS", "0")
    monkeypatch.setenv("SORTER_MIN_FREE_MB", "0")
    (tmp_path / "in").mkdir()
    folders = ["--incoming", str(tmp_path / "in"), "--archive", str(tmp_path / "archive")]

    def run(*args, front=()):
        result = CliRunner().invoke(group, [*front, "--rescan", *args, *folders], standalone_mode=False)
        assert result.exception is None, result.exception
        return result

    return run


def test_the_object_has_every_count_and_seen_is_their_sum(sorter, tmp_path):
    drop(tmp_path / "in", "a", dicom(1))
    drop(tmp_path / "in", "b", dicom(1))
    drop(tmp_path / "in", "c.tmp", dicom(1))
    facts = json.loads(sorter("--json").stdout)
    expected = {"seen", *Kind, "adopted", "seconds", "bytes", "reasons"}
    assert set(facts) == expected
    assert facts["seen"] == sum(facts[kind] for kind in Kind) == 3
    assert (facts["stored"], facts["duplicate"], facts["ignored"]) == (1, 1, 1)


def test_options_before_the_command_count_as_well(sorter, tmp_path):
    drop(tmp_path / "in", "a", dicom(1))
    assert json.loads(sorter(front=["--json", "--dry-run"]).stdout)["stored"] == 1
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize(
    ("data", "expected"), [(dicom(), 0), (b"junk", 1), (dicom()[:-9], 1)], ids=["good", "junk", "truncated"]
)
def test_the_exit_status_is_one_where_a_person_is_needed(sorter, tmp_path, data, expected):
    drop(tmp_path / "in", "a", data)
    assert sorter("--json").return_value == expected


def test_an_empty_drop_folder_is_all_well(sorter):
    result = sorter("--json")
    assert (json.loads(result.stdout)["seen"], result.return_value) == (0, 0)


def test_the_table_has_outcomes_and_reasons_and_where_to_look(sorter, tmp_path):
    drop(tmp_path / "in", "a", dicom())
    drop(tmp_path / "in", "b", b"junk")
    lines = sorter().stdout.splitlines()
    table = [line.split() for line in lines]
    assert table[:4] == [["seen", "2"], ["stored", "1"], ["rejected", "1"], ["not_dicom", "1"]]
    assert lines[-1] == f"Refused files, each with its reason: {tmp_path}/archive/.sorter/quarantine"


def test_a_dry_run_says_that_it_is_one_and_writes_nothing(sorter, tmp_path):
    drop(tmp_path / "in", "a", dicom())
    assert sorter("--dry-run").stdout.splitlines()[-1] == "Dry run: nothing was written."
    assert os.listdir(tmp_path) == ["in"]


def test_given_paths_are_taken_instead_of_the_drop_folder(sorter, tmp_path):
    drop(tmp_path / "in", "a", dicom(1))
    path = drop(tmp_path, "b", dicom(2))
    assert json.loads(sorter("--json", str(path)).stdout)["seen"] == 1
    assert list(tree(tmp_path / "archive").values()) == [dicom(2)]
