"""The quarantine: what is listed, brought in once more with its history, handed out and given up."""

import hashlib
import json
import os
from contextlib import closing

import pytest
from inline import Inline, config, inline, rows
from support import bundled, dicom, drop, tree

from sorter import stage
from sorter.audit import audit
from sorter.errors import ArchiveFullError, ConfigError, IndexUnusableError
from sorter.index import Index
from sorter.index.chain import open_batch, seal
from sorter.index.ledger import append
from sorter.index.schema import instances, sources
from sorter.intake import Intake
from sorter.model import BatchKind, Reason
from sorter.organizer.archive import Archive
from sorter.parser.elements import Unparsable
from sorter.quarantine import Chosen, entries
from sorter.quarantine import retry as retrying
from sorter.quarantine.discard import discard
from sorter.quarantine.entries import BAD_NOTE, NO_COPY, NO_FILE, NO_NOTE
from sorter.quarantine.export import export
from sorter.quarantine.retry import DAMAGED, retry
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]

QUARANTINE = ".sorter/quarantine"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def older(monkeypatch):
    """``older(config)`` brings files in as a sorter that cannot read those of patient OLD."""

    def run(found, reason=Reason.TRUNCATED):
        def walk(data, wanted, **more):
            if b"OLD" in data[:]:
                raise Unparsable(reason, "an old parser's mistake")
            return real(data, wanted, **more)

        real = stage.walk
        with monkeypatch.context() as patch:
            patch.setattr(stage, "walk", walk)
            return backfill(found)

    return run


def old(number=1, **more):
    return dicom(number, patient="OLD", **more)


def ledger(found):
    """Name -> the last word about it."""
    query = (
        "SELECT name, outcome, reason, detail, sources.path FROM sources WHERE NOT superseded ORDER BY name"
    )
    return {name: tuple(word) for name, *word in rows(found, query)}


def quarantine(found):
    """Every file of the quarantine: path below it -> bytes."""
    folder = found.archive / QUARANTINE
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def listed(found, **criteria):
    return list(entries(found.archive, Chosen(**criteria)))


def snapshot(folder):
    """What tells whether anything was written."""
    facts = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {path: (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in facts.items()}


def batch_kinds(found):
    return [kind for (kind,) in rows(found, "SELECT kind FROM batches ORDER BY id")]


def withdraw(found, number=1):
    """What ``sorter undo`` does with one instance: its file and its rows go, its source is told so."""
    with Intake(found) as intake, intake.archive.turn(), intake.index.writing() as connection:
        row = connection.execute(instances.select().where(instances.c.id == number)).one()
        (found.archive / row.path).unlink()
        batch = open_batch(connection, BatchKind.WITHDRAW, "2026-01-01T00:00:00+00:00")
        words = connection.execute(sources.select().where(sources.c.instance_fk == number)).all()
        new = [
            {
                **{key: value for key, value in word._mapping.items() if key != "id"},
                "outcome": "ignored", "reason": "withdrawn", "path": None, "instance_fk": None,
                "archived_sha256": None, "batch_fk": batch, "replaces": word.id,
            }
            for word in words
        ]  # fmt: skip
        connection.execute(sources.update().values(instance_fk=None).where(sources.c.instance_fk == number))
        append(connection, new)
        connection.execute(instances.delete().where(instances.c.id == number))
        seal(connection, batch)


# -- what is listed -------------------------------------------------------------------------------------


@pytest.fixture
def refused(tmp_path):
    """An archive with one stored file and four that were refused for three reasons."""
    found = config(tmp_path)
    drop(tmp_path / "in", "good.dcm", dicom(1))
    backfill(found)
    drop(tmp_path / "in", "other.dcm", dicom(1, pixels=7))
    drop(tmp_path / "in", "short.dcm", dicom(2, patient="P2", study=2)[:-9])
    drop(tmp_path / "in", "short again.dcm", dicom(2, patient="P2", study=2)[:-9])
    drop(tmp_path / "in", "junk.txt", b"no DICOM")
    backfill(found)
    return found


def test_each_refused_file_is_one_entry(refused):
    found = [(one.reason, one.id, one.trouble) for one in listed(refused)]
    expected = [
        ("conflict", dicom(1, pixels=7)),
        ("not_dicom", b"no DICOM"),
        ("truncated", dicom(2, patient="P2", study=2)[:-9]),
    ]
    assert found == [(reason, sha256(data)[:24], "") for reason, data in expected]


def test_an_archive_without_a_quarantine_has_no_entries(tmp_path):
    assert listed(config(tmp_path)) == []


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({"reasons": ("not_dicom", "truncated")}, ["not_dicom", "truncated"]),
        ({"patients": ("P1",)}, ["conflict"]),
        ({"studies": ("1.2.826.0.1.3680043.10.1.2",)}, ["truncated"]),
        ({"series": ("1.2.826.0.1.3680043.10.1.2.1", "other")}, ["truncated"]),
        ({"patients": ("P1",), "reasons": ("truncated",)}, []),
        ({"since": "2999"}, []),
        ({"before": "2999"}, ["conflict", "not_dicom", "truncated"]),
        ({"ids": (sha256(b"no DICOM")[:6],)}, ["not_dicom"]),
    ],
)
def test_criteria_choose(refused, criteria, expected):
    assert [one.reason for one in listed(refused, **criteria)] == expected


@pytest.mark.parametrize(
    ("number", "message"),
    [("0" * 6, "nothing in quarantine"), ("abc", "is no id"), ("../../", "is no id")],
)
def test_an_id_that_stands_for_nothing_is_an_error(refused, number, message):
    with pytest.raises(ConfigError, match=message):
        listed(refused, ids=(number,))


def test_a_beginning_that_several_ids_share_is_an_error(refused):
    folder = refused.archive / QUARANTINE / "truncated"
    for digit in "12":
        (folder / f"abcdef{digit}{'0' * 17}.dcm").write_bytes(b"")
    with pytest.raises(ConfigError, match="2 ids begin with abcdef"):
        listed(refused, ids=("abcdef",))


def test_what_is_missing_of_an_entry_is_said(refused):
    folder = refused.archive / QUARANTINE
    next((folder / "truncated").glob("*.dcm")).unlink()
    next((folder / "not_dicom").glob("*.json")).unlink()
    note = next((folder / "conflict").glob("*.json"))
    note.unlink()
    note.write_bytes(b"{")
    assert {one.reason: one.trouble for one in listed(refused)} == {
        "truncated": NO_FILE,
        "not_dicom": NO_NOTE,
        "conflict": BAD_NOTE,
    }


def test_a_source_that_could_not_be_read_has_no_copy(tmp_path):
    found = config(tmp_path)
    backfill(found)
    with Intake(found) as intake:
        from sorter.model import Candidate, Kind, Refused

        gone = Refused(
            Candidate("/in", "a", 1, 2, 3, 4, 5), Kind.REJECTED, Reason.UNREADABLE, "EIO: Input/output error"
        )
        with intake.archive.turn():
            intake.archive.publish([], {}, [gone])
    assert [one.trouble for one in listed(found)] == [NO_COPY]


def test_foreign_files_and_links_are_no_entries(refused, tmp_path):
    folder = refused.archive / QUARANTINE
    before = listed(refused)
    (folder / "truncated" / "readme.txt").write_text("x")
    (folder / "truncated" / f"{'a' * 24}.dcm").symlink_to("/etc/passwd")
    (folder / "planted").symlink_to(tmp_path)
    assert listed(refused) == before


# -- retry ----------------------------------------------------------------------------------------------


def test_what_an_upgrade_can_read_is_stored_with_its_history(tmp_path, older):
    data = old()
    drop(tmp_path / "in", "a.dcm", data)
    found = config(tmp_path)
    assert older(found).reasons == {("rejected", "truncated"): 1}
    (one,) = retry(found, Chosen())
    assert (one.first_reason, one.outcome, one.removed) == ("truncated", "stored", True)
    assert tree(found.archive) == {one.path: data}
    assert quarantine(found) == {}
    assert ledger(found) == {"a.dcm": ("stored", None, "retried", one.path)}
    history = rows(found, "SELECT outcome, superseded, replaces FROM sources ORDER BY id")
    assert history == [("rejected", 1, None), ("stored", 0, 1)]
    assert batch_kinds(found) == ["ingest", "retry"]
    assert audit(found).balanced


def test_a_source_that_was_brought_in_by_a_retry_is_known_and_may_be_retired(tmp_path, older):
    path = drop(tmp_path / "in", "a.dcm", old())
    found = config(tmp_path, retire="delete")
    older(found)
    list(retry(found, Chosen()))
    assert path.exists()
    assert backfill(found).summary()["duplicate"] == 1
    assert not path.exists()
    assert len(tree(found.archive)) == 1


def test_of_sources_with_the_same_bytes_the_first_was_stored(tmp_path, older):
    for name in ("a", "b", "c"):
        drop(tmp_path / "in", name, old())
    found = config(tmp_path)
    older(found)
    list(retry(found, Chosen()))
    assert sorted(word[0] for word in ledger(found).values()) == ["duplicate", "duplicate", "stored"]
    assert audit(found).summary()["seen"] == 3
    assert audit(found).balanced


def test_a_retry_brings_in_what_it_chose_only(tmp_path, older):
    drop(tmp_path / "in", "a", old(1))
    drop(tmp_path / "in", "b", old(1, study=2))
    found = config(tmp_path)
    older(found)
    (chosen,) = retry(found, Chosen(ids=(sha256(old(1))[:8],)))
    assert chosen.outcome == "stored"
    assert {name: word[0] for name, word in ledger(found).items()} == {"a": "stored", "b": "rejected"}
    assert [one.id for one in listed(found)] == [sha256(old(1, study=2))[:24]]


def test_what_is_still_refused_stays_with_its_first_note_and_the_time_of_the_retry(refused):
    before, words = quarantine(refused), ledger(refused)
    found = list(retry(refused, Chosen()))
    assert [(one.first_reason, one.reason, one.removed) for one in found] == [
        (reason, reason, False) for reason in ("conflict", "not_dicom", "truncated")
    ]
    after = quarantine(refused)
    assert after.keys() == before.keys()
    for path, data in after.items():
        if path.endswith(".json"):
            note = json.loads(data)
            assert note.pop("retried")["reason"] == note["reason"]
            assert note == json.loads(before[path])
        else:
            assert data == before[path]
    assert ledger(refused) == words
    assert batch_kinds(refused) == ["ingest", "ingest"]
    assert audit(refused).balanced


def test_a_conflict_is_brought_in_once_the_other_is_withdrawn(refused):
    withdraw(refused)
    (one,) = retry(refused, Chosen(reasons=("conflict",)))
    assert (one.outcome, one.removed) == ("stored", True)
    assert list(tree(refused.archive).values()) == [dicom(1, pixels=7)]
    assert ledger(refused)["other.dcm"][:3] == ("stored", None, "retried")
    assert ledger(refused)["good.dcm"][:2] == ("ignored", "withdrawn")
    assert audit(refused).balanced


def test_a_conflict_that_was_decoded_keeps_the_memory_of_its_source(tmp_path):
    """So its rows are those that the tree alone gives (reindex), and its source stays a duplicate."""
    source = bundled("MR_small_RLE.dcm").read_bytes()
    import pydicom

    other = pydicom.dcmread(bundled("MR_small.dcm"))
    other.PatientName = "Somebody^Else"
    found = config(tmp_path)
    other.save_as(tmp_path / "in" / "1.dcm")
    backfill(found)
    drop(tmp_path / "in", "2.dcm", source)
    assert backfill(found).summary()["conflict"] == 1
    withdraw(found)
    (one,) = retry(found, Chosen())
    assert one.outcome == "stored"
    query = "SELECT source_sha256, source_transfer_syntax_uid, pixels, sha256 FROM instances"
    ((source_sha256, syntax, pixels, digest),) = rows(found, query)
    assert (source_sha256, syntax, pixels) == (sha256(source), "1.2.840.10008.1.2.5", "transcoded")
    assert digest == sha256((found.archive / one.path).read_bytes()) != source_sha256
    drop(tmp_path / "in", "3.dcm", source)
    assert backfill(found).summary()["duplicate"] == 2


def test_a_conflict_that_proves_to_be_the_same_is_equivalent(tmp_path, monkeypatch):
    found = config(tmp_path)
    drop(tmp_path / "in", "1.dcm", bundled("MR_small.dcm").read_bytes())
    backfill(found)
    drop(tmp_path / "in", "2.dcm", bundled("MR_small_RLE.dcm").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(Inline, "fingerprints", lambda _self, _paths: None)
        assert backfill(found).summary()["conflict"] == 1
    (one,) = retry(found, Chosen())
    assert (one.outcome, one.removed) == ("equivalent", True)
    assert quarantine(found) == {}
    assert ledger(found)["2.dcm"][0] == "equivalent"
    assert audit(found).balanced


def test_refused_for_another_reason_it_moves_there_with_its_history(tmp_path, older):
    drop(tmp_path / "in", "a.dcm", dicom(1))
    drop(tmp_path / "in", "b.dcm", old(1))
    found = config(tmp_path)
    older(found)
    (before,) = listed(found)
    (one,) = retry(found, Chosen())
    assert (one.first_reason, one.outcome, one.removed) == ("truncated", "conflict", True)
    (after,) = listed(found)
    assert (after.reason, after.trouble, after.sha256) == ("conflict", "", sha256(old(1)))
    assert after.text("source") == before.text("source") == str(tmp_path / "in/b.dcm")
    assert after.note["first"]["reason"] == "truncated"
    assert after.note["first"]["time"] == before.time
    assert ledger(found)["b.dcm"][:2] == ("conflict", "conflict")
    assert ledger(found)["b.dcm"][3] == after.files[0]
    assert audit(found).balanced


def test_a_damaged_copy_is_never_brought_in(tmp_path, older):
    drop(tmp_path / "in", "a.dcm", old())
    found = config(tmp_path)
    older(found)
    (path,) = (found.archive / QUARANTINE / "truncated").glob("*.dcm")
    path.chmod(0o600)
    path.write_bytes(old().replace(b"Head", b"Heat"))
    before = quarantine(found)
    (one,) = retry(found, Chosen())
    assert (one.outcome, one.detail, one.removed) == ("", DAMAGED, False)
    assert tree(found.archive) == {}
    assert quarantine(found) == before


def test_beside_a_damaged_copy_the_good_one_is_brought_in(tmp_path, older):
    drop(tmp_path / "in", "a.dcm", old())
    found = config(tmp_path)
    older(found)
    (path,) = (found.archive / QUARANTINE / "truncated").glob("*.dcm")
    path.chmod(0o600)
    path.write_bytes(b"bit rot")
    drop(tmp_path / "in", "b.dcm", old())
    older(found)
    assert {one.outcome for one in retry(found, Chosen())} == {"", "stored"}
    assert {name: word[0] for name, word in ledger(found).items()} == {"a.dcm": "rejected", "b.dcm": "stored"}
    (left,) = listed(found)
    assert (len(left.files), left.trouble) == (1, "")


def test_what_has_no_copy_is_said(refused):
    folder = refused.archive / QUARANTINE / "truncated"
    next(folder.glob("*.dcm")).unlink()
    (one,) = retry(refused, Chosen(reasons=("truncated",)))
    assert (one.outcome, one.detail) == ("", NO_FILE)


def test_the_copy_stays_until_the_archived_file_is_read_again(tmp_path, older, monkeypatch):
    drop(tmp_path / "in", "a.dcm", old())
    found = config(tmp_path)
    older(found)
    before = quarantine(found)
    real = Archive.digest

    def lost(archive, path):
        if not path.startswith(".sorter"):
            (found.archive / path).chmod(0o600)
            (found.archive / path).write_bytes(b"other bytes")
        return real(archive, path)

    monkeypatch.setattr(Archive, "digest", lost)
    (one,) = retry(found, Chosen())
    assert (one.outcome, one.removed) == ("stored", False)
    assert quarantine(found) == before


def test_a_source_refused_meanwhile_keeps_its_copy(tmp_path, older, monkeypatch):
    """An old daemon beside a new retry: what it refuses after the retry has recorded still has its bytes."""
    drop(tmp_path / "in", "a.dcm", old())
    found = config(tmp_path)
    older(found)
    real = retrying._Run.settle

    def later(run, outcomes):
        drop(tmp_path / "in", "b.dcm", old())
        older(found)
        return real(run, outcomes)

    with monkeypatch.context() as patch:
        patch.setattr(retrying._Run, "settle", later)
        (one,) = retry(found, Chosen())
    assert (one.outcome, one.removed) == ("stored", False)
    assert ledger(found)["b.dcm"][0] == "rejected"
    assert audit(found).balanced
    (again,) = retry(found, Chosen())
    assert (again.outcome, again.removed) == ("duplicate", True)
    assert (quarantine(found), ledger(found)["b.dcm"][0]) == ({}, "duplicate")
    assert audit(found).balanced


def test_without_a_ledger_the_quarantined_file_is_its_own_source(tmp_path, older):
    drop(tmp_path / "in", "a.dcm", old())
    found = config(tmp_path)
    older(found)
    for path in found.index_location.parent.glob("index.sqlite*"):
        path.unlink()
    list(retry(found, Chosen()))
    ((name, word),) = ledger(found).items()
    assert (name, word[0], word[2]) == (f"{sha256(old())[:24]}.dcm", "stored", "retried")
    assert audit(found).findings == []


def test_a_dry_run_says_what_a_retry_then_does_and_writes_nothing(tmp_path, older):
    drop(tmp_path / "in", "a", old(1))
    drop(tmp_path / "in", "b", old(1, pixels=3))
    drop(tmp_path / "in", "c", b"no DICOM")
    found = config(tmp_path)
    older(found)
    before = snapshot(found.archive)
    would = [(one.id, one.outcome, one.reason) for one in retry(found, Chosen(), dry_run=True)]
    assert snapshot(found.archive) == before
    assert would == [(one.id, one.outcome, one.reason) for one in retry(found, Chosen())]
    assert sorted(outcome for _, outcome, _ in would) == ["conflict", "rejected", "stored"]


def test_a_full_disk_ends_a_retry_and_changes_nothing(tmp_path, older):
    drop(tmp_path / "in", "a.dcm", old())
    older(config(tmp_path))
    found = config(tmp_path, min_free_mb=1 << 40)
    before = quarantine(found)
    with pytest.raises(ArchiveFullError):
        list(retry(found, Chosen()))
    assert (quarantine(found), tree(found.archive)) == (before, {})


def test_a_lost_index_is_not_begun_anew_by_a_retry(refused):
    for path in refused.index_location.parent.glob("index.sqlite*"):
        path.unlink()
    with pytest.raises(IndexUnusableError, match="reindex"):
        list(retry(refused, Chosen()))
    with pytest.raises(IndexUnusableError, match="reindex"):
        discard(refused, listed(refused))


# -- export ---------------------------------------------------------------------------------------------


def test_an_export_has_every_file_and_note_and_is_repeatable(refused, tmp_path):
    target = tmp_path / "out" / "deep"
    assert export(refused, listed(refused), target) == {"exported": 6}
    copied = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert copied == quarantine(refused)
    assert export(refused, listed(refused), target) == {"there already": 6}


def test_an_export_never_replaces_a_file(refused, tmp_path):
    (chosen,) = listed(refused, reasons=("not_dicom",))
    mine = drop(tmp_path / "out", f"not_dicom/{chosen.id}.dcm", b"my repaired file")
    assert export(refused, [chosen], tmp_path / "out") == {"name taken": 1, "exported": 1}
    assert mine.read_bytes() == b"my repaired file"
    assert sorted(os.listdir(tmp_path / "out/not_dicom")) == [f"{chosen.id}.dcm", f"{chosen.id}.json"]


def test_an_export_says_what_is_damaged_or_gone(refused, tmp_path):
    (damaged,) = listed(refused, reasons=("not_dicom",))
    (gone,) = listed(refused, reasons=("truncated",))
    (refused.archive / damaged.files[0]).chmod(0o600)
    (refused.archive / damaged.files[0]).write_bytes(b"bit rot")
    (refused.archive / gone.files[0]).unlink()
    found = export(refused, [damaged, gone], tmp_path / "out")
    assert found == {"damaged": 1, "gone": 1, "exported": 2}


@pytest.mark.parametrize("where", ["archive", "archive/x", "in/out", "link"])
def test_an_export_goes_neither_into_the_archive_nor_into_a_drop_folder(refused, tmp_path, where):
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(ConfigError, match="the target lies in"):
        export(refused, listed(refused), tmp_path / where)


# -- discard --------------------------------------------------------------------------------------------


def test_a_discard_is_recorded_and_then_the_copies_go(refused):
    chosen = listed(refused, reasons=("truncated",))
    assert discard(refused, chosen) == 2
    word = ("rejected", "truncated", "copy discarded", None)
    assert [ledger(refused)[name] for name in ("short.dcm", "short again.dcm")] == [word, word]
    assert listed(refused, reasons=("truncated",)) == []
    assert len(listed(refused)) == 2
    query = "SELECT kind, sources, detail FROM batches ORDER BY id DESC LIMIT 1"
    assert rows(refused, query) == [("discard", 2, sha256(dicom(2, patient="P2", study=2)[:-9]))]
    assert audit(refused).balanced


def test_a_discarded_source_in_the_drop_folder_is_not_taken_again(refused):
    discard(refused, listed(refused))
    summary = backfill(refused).summary()
    assert (summary["rejected"], summary["conflict"], summary["stored"]) == (3, 1, 0)
    assert quarantine(refused) == {}
    assert audit(refused).balanced


def test_an_orphan_is_discarded_as_well(refused):
    (chosen,) = listed(refused, reasons=("not_dicom",))
    (refused.archive / chosen.note_path).unlink()
    assert discard(refused, listed(refused, ids=(chosen.id,))) == 1
    assert listed(refused, reasons=("not_dicom",)) == []


def test_a_note_alone_is_discarded_with_its_rows(refused):
    (chosen,) = listed(refused, reasons=("not_dicom",))
    (refused.archive / chosen.files[0]).unlink()
    assert not audit(refused).balanced
    assert discard(refused, listed(refused, ids=(chosen.id,))) == 1
    assert audit(refused).balanced


# -- the ledger -----------------------------------------------------------------------------------------


def test_the_chain_holds_after_retry_and_discard(tmp_path, older):
    for number in range(5):
        drop(tmp_path / "in", str(number), old(number))
    drop(tmp_path / "in", "junk", b"no DICOM")
    found = config(tmp_path)
    older(found)
    list(retry(found, Chosen()))
    discard(found, listed(found))
    assert batch_kinds(found) == ["ingest", "retry", "discard"]
    account = audit(found)
    assert (account.balanced, account.seen) == (True, 6)
    with closing(Index.open(found.index_location, read_only=True)) as index:
        assert index.counts()["instances"] == 5
