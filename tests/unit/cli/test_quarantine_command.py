"""``sorter quarantine`` on the command line: choices, pages, JSON, confirmation, exit statuses."""

import hashlib
import json
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner
from inline import config, inline
from support import dicom, drop, tree

from sorter.cli import group
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]

JUNK = b"no DICOM"
SHORT = dicom(2, patient="P2", study=2)[:-9]


def number(data):
    return hashlib.sha256(data).hexdigest()[:24]


@pytest.fixture
def quarantine(tmp_path, monkeypatch):
    """An archive with a conflict, a truncated file (dropped twice) and junk with an odd name."""
    monkeypatch.setenv("SORTER_CONFIG", "")
    monkeypatch.setenv("SORTER_MIN_FREE_MB", "0")
    drop(tmp_path / "in", "a.dcm", dicom(1))
    backfill(config(tmp_path))
    drop(tmp_path / "in", "other.dcm", dicom(1, pixels=7, PatientComments="seen\x1b[31m"))
    drop(tmp_path / "in", "junk\n\x1b[2J", JUNK)
    drop(tmp_path / "in", "short.dcm", SHORT)
    drop(tmp_path / "in", "short 2.dcm", SHORT)
    backfill(config(tmp_path))

    def run(*args, **more):
        where = ("--archive", str(tmp_path / "archive"))
        return CliRunner().invoke(group, ["quarantine", *args, *where], standalone_mode=False, **more)

    run.folder = tmp_path
    return run


def left(quarantine):
    return sorted(json.loads(line)["reason"] for line in quarantine("list", "--json").stdout.splitlines())


def test_list_has_a_line_for_each_and_totals(quarantine):
    *lines, total = quarantine("list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [number(dicom(1, pixels=7, PatientComments="seen\x1b[31m")), "conflict"],
        [number(JUNK), "not_dicom"],
        [number(SHORT), "truncated"],
    ]
    assert total.startswith("3 in quarantine, 0.0 MiB: 1 conflict, 1 not_dicom, 1 truncated")
    assert "[and 1 more source of the same bytes]" in lines[2]


def test_a_file_name_cannot_forge_a_line(quarantine):
    line = quarantine("list", "--reason", "not_dicom").stdout.splitlines()[0]
    assert "junk\\x0a\\x1b[2J" in line


def test_list_as_json_is_one_object_a_line(quarantine):
    found = [json.loads(line) for line in quarantine("list", "--json").stdout.splitlines()]
    assert [(one["reason"], one["sources"], one["trouble"]) for one in found] == [
        ("conflict", 1, None),
        ("not_dicom", 1, None),
        ("truncated", 2, None),
    ]


def test_an_empty_quarantine_says_so(quarantine):
    quarantine("discard", "--all", "--yes")
    assert quarantine("list").stdout == "nothing in quarantine\n"


def test_list_needs_no_index(quarantine):
    for path in (quarantine.folder / "archive/.sorter").glob("index.sqlite*"):
        path.unlink()
    assert len(quarantine("list").stdout.splitlines()) == 4
    assert "there is no index to ask" in quarantine("show", number(JUNK)).stdout


def test_options_may_stand_before_the_action(quarantine):
    where = ("--archive", str(quarantine.folder / "archive"))
    result = CliRunner().invoke(group, ["quarantine", "--json", *where, "list"], standalone_mode=False)
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.parametrize("action", [["retry"], ["discard", "--yes"], ["export", "out"]])
def test_nothing_chosen_is_a_usage_error(quarantine, action):
    result = quarantine(*action)
    assert isinstance(result.exception, click.UsageError)
    assert "--all" in result.exception.message
    assert len(left(quarantine)) == 3


def test_all_and_a_choice_contradict_each_other(quarantine):
    assert isinstance(quarantine("retry", "--all", "--reason", "conflict").exception, click.UsageError)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (["retry", "--all"], ["sorter quarantine retry"] * 2),
        (["retry", "--all", "--dry-run"], []),
        (["discard", "--all", "--yes"], ["sorter quarantine discard"] * 2),
        (["list"], []),
    ],
)
def test_the_audit_trail_has_start_and_stop_of_what_changes_the_quarantine(
    quarantine, monkeypatch, action, expected
):
    trail = quarantine.folder / "audit.xml"
    monkeypatch.setenv("SORTER_AUDIT_LOG", str(trail))
    assert quarantine(*action).exception is None
    messages = [ElementTree.fromstring(line) for line in trail.read_text().splitlines()] if expected else []
    assert [one.find("ActiveParticipant").get("UserName") for one in messages] == expected
    assert trail.exists() == bool(expected)


# -- show -----------------------------------------------------------------------------------------------


def test_show_puts_both_sides_of_a_conflict_beside_each_other(quarantine):
    text = quarantine("show", number(dicom(1, pixels=7, PatientComments="seen\x1b[31m"))[:8]).stdout
    assert "ARCHIVED" in text
    assert "1 element differs" in text
    assert "(0010,4000) Patient Comments" in text
    assert "archived       (not there)" in text
    assert "\x1b" not in text
    assert "pixels: different in 1 of 1 frames, 64 of 64 values; the largest difference is 7" in text


def test_show_has_the_history(quarantine):
    text = quarantine("show", number(SHORT)).stdout
    assert text.count("rejected truncated") == 2
    (one,) = map(json.loads, quarantine("show", number(SHORT), "--json").stdout.splitlines())
    assert [row["outcome"] for row in one["history"]] == ["rejected", "rejected"]
    assert one["file"] is None


def test_show_says_that_the_archived_instance_is_gone(quarantine):
    (path,) = tree(quarantine.folder / "archive")
    (quarantine.folder / "archive" / path).unlink()
    text = quarantine("show", number(dicom(1, pixels=7, PatientComments="seen\x1b[31m"))).stdout
    assert "is not there any more" in text
    assert "PatientID" in text


def test_a_comparison_that_hangs_ends_at_the_deadline(quarantine, monkeypatch):
    def late(_self, _future):
        raise TimeoutError

    monkeypatch.setattr("sorter.workers.Workers._result", late)
    result = quarantine("show", number(dicom(1, pixels=7, PatientComments="seen\x1b[31m")))
    assert "They cannot be compared" in result.stdout
    assert result.exception is None


def test_show_of_an_unknown_id_is_a_plain_error(quarantine):
    assert "nothing in quarantine" in str(quarantine("show", "abcdef").exception)


# -- retry, export, discard -----------------------------------------------------------------------------


def test_a_retry_that_brings_nothing_in_ends_with_1(quarantine):
    result = quarantine("retry", "--all")
    assert result.return_value == 1
    assert result.stdout.splitlines()[-1] == "0 brought in, 3 stay in quarantine"
    assert "[retried " in quarantine("list").stdout


def test_a_retry_as_json(quarantine):
    facts = json.loads(quarantine("retry", "--all", "--json").stdout)
    assert (facts["tried"], facts["brought_in"], facts["outcomes"]) == (3, 0, {"conflict": 1, "rejected": 2})
    assert [one["id"] for one in facts["files"] if one["first_reason"] == "not_dicom"] == [number(JUNK)]


def test_a_dry_run_says_so(quarantine):
    result = quarantine("retry", "--reason", "not_dicom", "--dry-run")
    assert result.stdout.splitlines()[-1] == (
        "0 would be brought in, 1 would stay. Dry run: nothing was written."
    )
    assert "[retried " not in quarantine("list").stdout


def test_export_copies_what_is_chosen(quarantine, tmp_path):
    result = quarantine("export", "--patient", "P2", str(tmp_path / "out"))
    assert (result.return_value, result.stdout) == (0, "files and notes: 2 exported\n")
    assert (tmp_path / f"out/truncated/{number(SHORT)}.dcm").read_bytes() == SHORT
    assert len(left(quarantine)) == 3


def test_discard_asks_with_the_counts_and_the_words_must_be_typed(quarantine):
    for words in ("", "yes\n", "discard 1\n"):
        result = quarantine("discard", "--all", input=words)
        assert isinstance(result.exception, click.UsageError)
        assert "1 conflict, 1 not_dicom, 1 truncated" in result.stderr
        assert len(left(quarantine)) == 3
    assert quarantine("discard", "--all", input="discard 3\n").exception is None
    assert left(quarantine) == []


def test_discard_with_yes_does_not_ask(quarantine):
    result = quarantine("discard", number(SHORT)[:6], "--yes", "--json")
    assert json.loads(result.stdout) == {
        "entries": 1,
        "bytes": len(SHORT),
        "reasons": {"truncated": 1},
        "sources": 2,
    }
    assert left(quarantine) == ["conflict", "not_dicom"]


def test_discard_of_what_is_not_there_changes_nothing(quarantine):
    assert quarantine("discard", "--reason", "too_large", "--yes").stdout == "nothing chosen\n"
