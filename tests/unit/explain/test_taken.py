"""``explain`` tells whether a file is taken at all: the ledger and the rules have the last word."""

import pytest
from explaining import found
from inline import config, inline
from support import dicom, drop, tree

from sorter.explain import explain
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["found", "inline"]


def test_the_ledger_s_last_word_counts_and_its_history_is_told(found):
    path = drop(found.incoming[0], "new.dcm", dicom(3)[:-9])
    backfill(found)
    told = explain(found, path)
    assert (told.outcome, told.reason, told.judged["outcome"]) == ("rejected", "truncated", "rejected")
    (row,) = told.ledger
    assert (row["outcome"], row["batch"], row["batch_kind"], row["superseded"]) == (
        "rejected", 2, "ingest", False,
    )  # fmt: skip
    path.write_bytes(dicom(3))
    told = explain(found, path)
    assert (told.outcome, told.ledger, told.other_versions) == ("stored", [], 1)


def test_what_was_stored_counts_as_duplicate_now(found):
    told = explain(found, found.incoming[0] / "ct.dcm")
    assert (told.outcome, told.safe) == ("duplicate", True)
    assert told.path in tree(found.archive)


@pytest.mark.parametrize(
    ("name", "pattern"), [("a.tmp", "*.tmp"), (".hidden/deep/a.dcm", ".*"), ("a~", "*~")]
)
def test_a_name_that_matches_a_pattern_is_ignored(found, name, pattern):
    told = explain(found, drop(found.incoming[0], name, dicom(2)))
    assert (told.outcome, told.reason, told.judged["outcome"]) == ("ignored", "pattern", "stored")
    assert told.taking["matches_ignore"] == pattern


def test_named_by_hand_a_pattern_does_not_matter(found, tmp_path):
    told = explain(found, drop(tmp_path / "elsewhere", "a.tmp", dicom(2)))
    assert (told.outcome, told.taking["matches_ignore"]) == ("stored", "*.tmp")


def test_what_was_touched_just_now_is_settling(tmp_path):
    path = drop(tmp_path / "in", "new.dcm", dicom(1))
    told = explain(config(tmp_path, settle_seconds=3600), path)
    assert (told.outcome, told.reason, told.judged["outcome"]) == ("deferred", "settling", "stored")
    assert not told.taking["settled"]


def test_a_young_truncated_file_may_still_grow(found, tmp_path):
    data = dicom(3)[:-9]
    assert explain(found, drop(found.incoming[0], "new.dcm", data)).taking["may_still_grow"]
    assert not explain(found, drop(tmp_path / "elsewhere", "new.dcm", data)).taking["may_still_grow"]


@pytest.mark.parametrize(
    ("retire", "where", "said"),
    [
        ("keep", "in", "the source stays"),
        ("delete", "in", "deleted, once the archived file was recorded and read again"),
        ("move", "in", "/in/.sorted, once"),
        ("delete", "elsewhere", "never retired"),
    ],
)
def test_what_becomes_of_the_source(tmp_path, retire, where, said):
    path = drop(tmp_path / where, "new.dcm", dicom(1))
    told = explain(config(tmp_path, retire=retire), path)
    assert said in told.retire
    assert path.exists()


def test_a_refused_source_is_never_retired(tmp_path):
    told = explain(config(tmp_path, retire="delete"), drop(tmp_path / "in", "junk", b"x"))
    assert told.retire.startswith("stays")


def test_a_quarantined_file_that_would_be_stored_now_says_how(found):
    """Its ledger row decides until it is retried."""
    path = drop(found.incoming[0], "new.dcm", dicom(1, pixels=1))
    backfill(found)
    told = explain(found, path)
    assert (told.outcome, told.judged["outcome"]) == ("conflict", "conflict")
    assert told.path.startswith(".sorter/quarantine/conflict/")


def test_what_lies_in_a_folder_that_is_never_walked_is_ignored(found):
    told = explain(found, drop(found.incoming[0], ".sorted/new.dcm", dicom(2)))
    assert told.taking["lies_in"] == "the folder of retired sources"
    assert (told.outcome, told.reason, told.judged["outcome"]) == ("ignored", "pattern", "stored")


def test_an_archived_file_that_is_named_by_hand_is_judged_as_any_other(found):
    (path, *_) = tree(found.archive)
    told = explain(found, found.archive / path)
    assert (told.taking["lies_in"], told.outcome, told.path) == ("the archive", "duplicate", path)
