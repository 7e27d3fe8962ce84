"""The account balances after an honest run, and names whatever was meddled with since."""

import os
import sqlite3
import time
from contextlib import closing

import pytest
from inline import config, inline
from support import dicom, drop

from sorter.audit import KEPT, audit
from sorter.errors import IndexUnusableError
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def settled(tmp_path):
    """An archive with every kind of outcome, and a second batch."""
    drop(tmp_path / "in", "a.dcm", dicom(1))
    drop(tmp_path / "in", "again.dcm", dicom(1))
    drop(tmp_path / "in", "other.dcm", dicom(1, pixels=7))
    drop(tmp_path / "in", "junk.txt", b"no DICOM")
    drop(tmp_path / "in", ".hidden", b"not taken")
    backfill(config(tmp_path))
    drop(tmp_path / "in", "b.dcm", dicom(2))
    found = config(tmp_path)
    backfill(found)
    return found


def meddle(found, *statements):
    with closing(sqlite3.connect(found.index_location)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def findings(found, **how):
    return [(one.kind, one.what) for one in audit(found, **how).findings]


def test_after_an_honest_run_every_source_is_accounted_for(settled):
    account = audit(settled)
    summary = account.summary()
    kinds = ("stored", "duplicate", "equivalent", "conflict", "rejected", "ignored", "waiting")
    assert [summary[kind] for kind in kinds] == [2, 1, 0, 1, 1, 0, 0]
    assert summary["seen"] == sum(summary[kind] for kind in kinds) == 5
    assert summary["not_taken"] == {"pattern": 1}
    assert (account.balanced, account.findings, account.open) == (True, [], [])


def test_what_lies_in_the_drop_folder_without_a_word_waits_with_its_age(settled):
    path = drop(settled.incoming[0], "c.dcm", dicom(3))
    account = audit(settled)
    assert (account.seen, account.waiting, account.balanced) == (6, 1, True)
    assert [(one.why, one.what) for one in account.open] == [("waiting", str(path))]
    assert account.open[0].age_seconds < 60


def test_what_waits_for_longer_than_it_should_is_overdue(settled, monkeypatch):
    drop(settled.incoming[0], "c.dcm", dicom(3))
    now = time.time() + 3600
    monkeypatch.setattr("sorter.audit.time.time", lambda: now)
    account = audit(settled)
    assert (account.overdue, account.balanced) == (1, False)
    assert account.open[0].age_seconds >= 3600


def test_only_the_oldest_that_wait_are_named_and_all_are_counted(settled, monkeypatch):
    now = time.time()
    for number in range(KEPT + 5):
        path = drop(settled.incoming[0], f"x{number}", b"new")
        os.utime(path)
    monkeypatch.setattr("sorter.audit.time.time", lambda: now + 10)
    account = audit(settled)
    assert (account.waiting, len(account.open)) == (KEPT + 5, KEPT)


@pytest.mark.parametrize(
    ("meddling", "expected"),
    [
        (
            ["UPDATE sources SET outcome = 'ignored' WHERE outcome = 'stored' AND batch_fk = 2"],
            {"tampered", "no_source"},
        ),
        (["DELETE FROM sources WHERE batch_fk = 2"], {"tampered", "no_source"}),
        (["UPDATE sources SET batch_fk = NULL WHERE batch_fk = 2"], {"tampered", "no_batch"}),
        (
            ["UPDATE sources SET outcome = 'nonsense' WHERE outcome = 'rejected'"],
            {"tampered", "unknown_outcome"},
        ),
        (["UPDATE sources SET superseded = 1 WHERE outcome = 'rejected'"], {"superseded"}),
        (["UPDATE instances SET sha256 = 'x'"], {"other_digest"}),
        (["DELETE FROM instances"], {"no_instance"}),
        (["DELETE FROM batches WHERE id = 1"], {"tampered"}),
    ],
)
def test_what_was_meddled_with_is_found(settled, meddling, expected):
    meddle(settled, *meddling)
    account = audit(settled)
    assert set(account.findings_count) == expected
    assert not account.balanced


def test_an_end_that_was_cut_off_is_found_by_the_digest_kept_elsewhere(settled):
    head = audit(settled).head
    assert findings(settled, expect=head) == []
    last = "SELECT id FROM instances ORDER BY id DESC LIMIT 1"
    meddle(
        settled,
        "DELETE FROM sources WHERE batch_fk = 2",
        f"DELETE FROM instances WHERE id = ({last})",
        "DELETE FROM batches WHERE id = 2",
    )
    assert findings(settled, expect=head) == [("tampered", "the ledger")]


def test_a_digest_of_an_earlier_audit_stays_true_as_the_ledger_grows(settled):
    head = audit(settled).head
    drop(settled.incoming[0], "c.dcm", dicom(3))
    backfill(settled)
    assert audit(settled).head != head
    assert findings(settled, expect=head) == []


def test_a_quarantined_file_that_is_gone_is_found(settled):
    (path,) = (settled.archive / ".sorter/quarantine/not_dicom").glob("*.dcm")
    path.unlink()
    assert findings(settled) == [("not_in_quarantine", str(path.relative_to(settled.archive)))]


def test_a_drop_folder_that_vanished_is_not_an_empty_one(settled):
    found = settled.model_copy(update={"incoming": (*settled.incoming, settled.archive.parent / "gone")})
    assert findings(found) == [("drop_folder", str(found.incoming[1]))]


def test_the_default_drop_folder_needs_not_exist(settled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert findings(settled.model_copy(update={"incoming": (tmp_path / "incoming",)})) == []


def test_a_source_that_could_not_be_read_is_open(settled):
    path = drop(settled.incoming[0], "c.dcm", dicom(3))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    backfill(settled)
    account = audit(settled)
    assert (account.seen, account.open_count) == (6, {"unreadable": 1})


def test_a_source_that_was_unreadable_and_is_another_version_now_is_not_open(settled):
    """``chmod`` makes it readable, and makes it another version."""
    unread = "UPDATE sources SET outcome = 'rejected', reason = 'unreadable'"
    meddle(settled, f"{unread} WHERE name = 'junk.txt'")
    assert audit(settled).open_count == {"unreadable": 1}
    (settled.incoming[0] / "junk.txt").chmod(0o600)
    assert audit(settled).open_count == {"waiting": 1}
    backfill(settled)
    assert audit(settled).open_count == {}


def test_a_source_that_was_unreadable_and_is_gone_is_not_open(settled):
    meddle(settled, "UPDATE sources SET outcome = 'rejected', reason = 'unreadable' WHERE name = 'junk.txt'")
    (settled.incoming[0] / "junk.txt").unlink()
    assert audit(settled).open_count == {}


def test_only_what_was_recorded_since_is_counted(settled):
    meddle(settled, "UPDATE batches SET recorded_at = '2020-01-01T00:00:00+00:00' WHERE id = 1")
    assert audit(settled, since="2021-01-01T00:00:00+00:00").summary()["seen"] == 1
    assert audit(settled, since="2019-01-01T00:00:00+00:00").summary()["seen"] == 5


def test_archived_files_with_a_problem_are_findings(settled):
    meddle(settled, "UPDATE instances SET problem = 'damaged' WHERE id = 1")
    assert {kind for kind, _ in findings(settled)} == {"damaged"}


def test_adopted_files_are_accounted_for(settled):
    for path in settled.index_location.parent.glob("index.sqlite*"):
        path.unlink()
    backfill(settled)
    summary = audit(settled).summary()
    assert (summary["stored"], summary["adopted"], summary["balanced"]) == (2, 2, True)
    assert summary["duplicate"] == 3


def test_without_an_index_there_is_no_account(tmp_path):
    with pytest.raises(IndexUnusableError, match="there is no index"):
        audit(config(tmp_path))


def test_a_known_file_whose_mode_was_changed_waits_for_the_next_deep_walk_and_is_not_overdue(
    settled, monkeypatch
):
    (settled.incoming[0] / "a.dcm").chmod(0o600)
    now = time.time() + 3600
    monkeypatch.setattr("sorter.audit.time.time", lambda: now)
    account = audit(settled)
    assert (account.waiting, account.overdue, account.balanced) == (1, 0, True)
