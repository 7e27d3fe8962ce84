"""Receipts: what became of every file of a dropped folder, once nothing in it waits."""

import json
import os
import stat
import time

import pytest
from inline import config, inline
from support import dicom, drop
from told import Told

from sorter.errors import ConfigError
from sorter.events import receipts as module
from sorter.events.receipts import Receipts
from sorter.index.chain import head
from sorter.intake import Intake
from sorter.rescan import Rescan

__all__ = ["inline"]
pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def intake(tmp_path):
    with Intake(config(tmp_path, complete_seconds=10, receipts=tmp_path / "receipts")) as opened:
        yield opened


@pytest.fixture
def receipts(intake, told):
    return Receipts(intake, told)


def bring(intake):
    for _ in intake.take(Rescan(intake)._batches()):
        pass


def incoming(intake):
    return intake.config.incoming[0]


def written(intake):
    return [json.loads(path.read_text()) for path in sorted(intake.config.receipts.glob("*.json"))]


def settle(receipts, at=0.0):
    receipts.look(at)
    receipts.look(at + 10)


def test_a_receipt_says_what_became_of_each_file(intake, receipts):
    drop(incoming(intake), "cd/sub/a.dcm", dicom(1))
    drop(incoming(intake), "cd/b.dcm", dicom(1))
    drop(incoming(intake), "cd/c.txt", b"hello")
    bring(intake)
    settle(receipts)
    (receipt,) = written(intake)
    assert receipt["folder"] == str(incoming(intake) / "cd")
    assert (receipt["seen"], sum(receipt["counts"].values())) == (3, 3)
    assert receipt["counts"] == {"duplicate": 1, "rejected": 1, "stored": 1}
    files = {one["name"]: one for one in receipt["files"]}
    assert sorted(files) == ["b.dcm", "c.txt", "sub/a.dcm"]
    assert (files["c.txt"]["outcome"], files["c.txt"]["reason"]) == ("rejected", "not_dicom")
    assert files["sub/a.dcm"]["path"] == files["b.dcm"]["path"]
    assert (intake.config.archive / files["b.dcm"]["path"]).exists()
    assert len(files["c.txt"]["sha256"]) == 64
    assert receipt["from"] <= files["b.dcm"]["recorded_at"] <= receipt["to"]


def test_each_dropped_folder_has_a_receipt_of_its_own(intake, receipts):
    drop(incoming(intake), "one/a.dcm", dicom(1))
    drop(incoming(intake), "two/a.dcm", dicom(2))
    drop(incoming(intake), "one2/a.dcm", dicom(3))
    bring(intake)
    settle(receipts)
    assert {os.path.basename(one["folder"]): one["seen"] for one in written(intake)} == {
        "one": 1,
        "two": 1,
        "one2": 1,
    }


def test_files_in_the_drop_folder_itself_share_a_receipt(intake, receipts):
    drop(incoming(intake), "a.dcm", dicom(1))
    drop(incoming(intake), "b.dcm", dicom(2))
    drop(incoming(intake), "cd/c.dcm", dicom(3))
    bring(intake)
    settle(receipts)
    found = {one["folder"]: [file["name"] for file in one["files"]] for one in written(intake)}
    assert found == {str(incoming(intake)): ["a.dcm", "b.dcm"], str(incoming(intake) / "cd"): ["c.dcm"]}


def test_names_that_differ_in_case_only_are_two_folders(intake, receipts):
    drop(incoming(intake), "CD/a.dcm", dicom(1))
    drop(incoming(intake), "cd/a.dcm", dicom(2))
    bring(intake)
    settle(receipts)
    assert [one["seen"] for one in written(intake)] == [1, 1]


def test_nothing_is_written_while_files_still_come(intake, receipts):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    receipts.look(0.0)
    drop(incoming(intake), "cd/b.dcm", dicom(2))
    bring(intake)
    receipts.look(9.0)
    receipts.look(18.0)
    assert written(intake) == []
    receipts.look(19.0)
    assert [one["seen"] for one in written(intake)] == [2]


def test_nothing_is_written_while_a_file_waits(intake, receipts):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    drop(incoming(intake), "cd/waits.dcm", dicom(2)[:500])
    settle(receipts)
    assert written(intake) == []
    bring(intake)
    settle(receipts, 100.0)
    assert written(intake)[0]["counts"] == {"rejected": 1, "stored": 1}


def test_a_file_that_waits_for_ever_is_in_the_receipt_at_last(intake, receipts, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 60.0)
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    drop(incoming(intake), "cd/waits.dcm", b"x")
    settle(receipts)
    receipts.look(59.0)
    assert written(intake) == []
    receipts.look(70.0)
    assert written(intake)[0]["counts"] == {"stored": 1, "waiting": 1}


def test_files_that_are_ignored_by_name_are_no_obstacle(intake, receipts):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    drop(incoming(intake), "cd/.DS_Store", b"x")
    bring(intake)
    settle(receipts)
    assert written(intake)[0]["counts"].pop("stored") == 1


def test_later_files_have_a_receipt_of_their_own(intake, receipts):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    settle(receipts)
    drop(incoming(intake), "cd/b.dcm", dicom(2))
    bring(intake)
    settle(receipts, 100.0)
    assert sorted(file["name"] for one in written(intake) for file in one["files"]) == ["a.dcm", "b.dcm"]
    assert len(written(intake)) == 2, "within one second, and yet none is replaced"


def test_a_folder_that_was_removed_meanwhile_has_its_receipt(intake, receipts):
    path = drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    path.unlink()
    path.parent.rmdir()
    settle(receipts)
    assert written(intake)[0]["counts"] == {"stored": 1}


def test_paths_given_by_hand_have_no_receipt(intake, receipts, tmp_path):
    path = drop(tmp_path / "elsewhere", "a.dcm", dicom(1))
    for _ in intake.take(Rescan(intake, [path.parent])._batches()):
        pass
    settle(receipts)
    assert written(intake) == []


def test_a_receipt_carries_the_digest_of_the_ledger(intake, receipts):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    settle(receipts)
    with receipts._engine.connect() as connection:
        assert written(intake)[0]["ledger"] == {"sha256": head(connection)}


def test_the_event_names_the_receipt(intake, receipts, told):
    drop(incoming(intake), "Doe^John/a.dcm", dicom(1))
    bring(intake)
    settle(receipts)
    ((kind, data),) = told.events
    (path,) = intake.config.receipts.iterdir()
    assert (kind, data["receipt"], data["counts"]) == ("receipt", path.name, {"stored": 1})
    assert "Doe" not in str(told.logged)
    assert "Doe" not in path.name


def test_names_that_are_no_text_are_written_all_the_same(intake, receipts):
    drop(incoming(intake), "cd/odd\udcff\n\"'.dcm", dicom(1))
    bring(intake)
    settle(receipts)
    assert [file["name"] for file in written(intake)[0]["files"]] == ["odd\\xff\n\"'.dcm"]


def test_others_may_not_read_and_no_draft_stays(intake, receipts):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    settle(receipts)
    (path,) = intake.config.receipts.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_drafts_of_a_crash_are_removed(intake, told):
    draft = drop(intake.config.receipts, ".receipt-0.part", b"{")
    Receipts(intake, told)
    assert not draft.exists()


def test_what_was_open_when_the_daemon_stopped_has_its_receipt_after_the_next_start(intake, receipts, told):
    drop(incoming(intake), "one/a.dcm", dicom(1))
    bring(intake)
    settle(receipts)
    drop(incoming(intake), "two/b.dcm", dicom(2))
    bring(intake)
    receipts.look(100.0)
    receipts.close()
    settle(Receipts(intake, told))
    assert len(written(intake)) == 2


def test_files_from_before_the_first_start_have_no_receipt(intake, told):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    settle(Receipts(intake, told))
    assert written(intake) == []


def test_a_folder_that_cannot_be_written_is_an_error_of_the_configuration(tmp_path, told):
    (tmp_path / "receipts").write_text("a file")
    with (
        Intake(config(tmp_path, receipts=tmp_path / "receipts")) as intake,
        pytest.raises(ConfigError, match="receipts"),
    ):
        Receipts(intake, told)


@pytest.mark.parametrize("call", ["fsync", "link", "open"])
def test_a_receipt_that_cannot_be_written_is_trouble_and_is_written_later(
    intake, receipts, told, monkeypatch, call
):
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    receipts.look(0.0)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="space"):
        patch.setattr(os, call, full)
        receipts.look(10.0)
    assert [kind for kind, _ in told.events] == ["receipt_not_written"]
    assert list(intake.config.receipts.iterdir()) == []
    receipts.look(40.0)
    assert [one["counts"] for one in written(intake)] == [{"stored": 1}]


def test_the_thread_writes_soon(intake, receipts, told):
    receipts._config = intake.config.model_copy(update={"complete_seconds": 0.1})
    receipts.start()
    drop(incoming(intake), "cd/a.dcm", dicom(1))
    bring(intake)
    began = time.monotonic()
    receipts.note([object()])
    while not told.events and time.monotonic() - began < 10:
        time.sleep(0.02)
    receipts.close()
    assert receipts.report() == {"receipts": {"open": 0, "written": 1}}
