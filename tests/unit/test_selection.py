"""What the words of a command mean: UIDs, files, folders and queries, in one order."""

import os

import pytest
from inline import config, inline
from support import UID, dicom, drop

from sorter.errors import ConfigError
from sorter.rescan import backfill
from sorter.selection import select

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def archived(tmp_path):
    for number in (3, 1, 2):
        drop(tmp_path / "in", f"a{number}", dicom(number))
    drop(tmp_path / "in", "b", dicom(1, series=2, Modality="MR"))
    drop(tmp_path / "in", "c", dicom(1, study=2, patient="P2"))
    backfill(config(tmp_path))
    return config(tmp_path)


def sop_instance_uids(selection):
    return [one.header.text("SOPInstanceUID") for one in selection.instances]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([f"{UID}.1"], ["1.1.1", "1.1.2", "1.1.3", "1.2.1"]),
        ([f"{UID}.1.2"], ["1.2.1"]),
        ([f"{UID}.1.1.2"], ["1.1.2"]),
        (["PatientID=P2"], ["2.1.1"]),
        (["PatientID=P1", "Modality=MR"], ["1.2.1"]),
        ([f"{UID}.2", "Modality=MR"], ["1.2.1", "2.1.1"]),
    ],
    ids=["study", "series", "instance", "query", "two criteria", "UID and query"],
)
def test_the_archive_is_asked_by_uid_and_by_query(archived, words, expected):
    selection = select(archived, words)
    assert sop_instance_uids(selection) == [f"{UID}.{one}" for one in expected]
    assert all(path.is_file() for path in selection.paths)


def test_a_folder_is_sorted_by_series_and_instance_number_without_an_archive(tmp_path):
    for number in (10, 9, 1):
        drop(tmp_path / "mixed", f"s1/{number}", dicom(number))
    drop(tmp_path / "mixed", "s0/x", dicom(5, series=2))
    selection = select(config(tmp_path), [str(tmp_path / "mixed")])
    assert [series.uid for series in selection.series] == [f"{UID}.1.1", f"{UID}.1.2"]
    assert sop_instance_uids(selection) == [f"{UID}.1.{one}" for one in ("1.1", "1.9", "1.10", "2.5")]


def test_a_file_named_twice_is_chosen_once(tmp_path, monkeypatch):
    drop(tmp_path, "in/a", dicom())
    monkeypatch.chdir(tmp_path)
    assert len(select(config(tmp_path), ["in", "in/a", str(tmp_path / "in/a")]).instances) == 1


def test_what_is_not_dicom_is_told_apart_from_what_is_damaged(tmp_path):
    drop(tmp_path, "in/picture.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 200)
    drop(tmp_path, "in/cut.dcm", dicom()[:-20])
    os.mkfifo(tmp_path / "in" / "pipe")
    selection = select(config(tmp_path), [str(tmp_path / "in"), str(tmp_path / "in" / "pipe")])
    assert [path.name for path in selection.other] == ["picture.png"]
    assert [(path.name, why.partition(":")[0]) for path, why in selection.refused] == [
        ("cut.dcm", "truncated"),
        ("pipe", "not_regular"),
    ]


def test_hidden_files_and_links_below_a_folder_are_passed_over(tmp_path):
    file = drop(tmp_path, "elsewhere/a", dicom())
    drop(tmp_path, "in/.sorter/staging/x", dicom(2))
    (tmp_path / "in" / "link").symlink_to(file)
    selection = select(config(tmp_path), [str(tmp_path / "in")])
    assert (selection.instances, selection.nothing) == ((), (str(tmp_path / "in"),))


def test_words_that_give_nothing_are_named(archived):
    selection = select(archived, ["1.2.3.4", "PatientID=nobody", f"{UID}.2"])
    assert selection.nothing == ("1.2.3.4", "PatientID=nobody")
    assert sop_instance_uids(selection) == [f"{UID}.2.1.1"]


@pytest.mark.parametrize("word", ["nonsense", "no such/file.dcm", ""])
def test_a_word_that_can_mean_nothing_is_an_error_that_counts_it_and_does_not_quote_it(tmp_path, word):
    with pytest.raises(ConfigError, match="argument 1 is no file or folder that is there") as caught:
        select(config(tmp_path), [word])
    assert not word or word not in str(caught.value)


def test_a_keyword_that_is_not_indexed_is_an_error(archived):
    with pytest.raises(ConfigError, match="did you mean"):
        select(archived, ["PatientIDD=1"])
