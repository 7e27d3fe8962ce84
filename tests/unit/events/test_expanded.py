"""A dropped archive in receipts and in the audit trail: with its members, each a source of its own."""

import io
import json
import socket
import zipfile
from xml.etree import ElementTree

import pytest
from inline import config, inline
from support import dicom, drop
from told import Told

from sorter.auditlog import AuditTrail
from sorter.auditmessage import uri
from sorter.events.receipts import Receipts
from sorter.intake import Intake
from sorter.rescan import Rescan

__all__ = ["inline"]
pytestmark = pytest.mark.usefixtures("inline")


def zipped(**members):
    """The bytes of a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def brought_in(tmp_path, paths=(), **flags):
    """What lies in the drop folder, or there, is brought in; the receipts, and what the trail was told."""
    found = config(
        tmp_path,
        complete_seconds=0,
        receipts=tmp_path / "receipts",
        audit_log=tmp_path / "audit.xml",
        **flags,
    )
    with Intake(found) as intake, AuditTrail(found, "rescan") as trail:
        receipts = Receipts(intake, Told())
        for outcomes in intake.take(Rescan(intake, paths)._batches()):
            trail.note(outcomes)
        receipts.look(0.0)
        receipts.look(1.0)
    written = [json.loads(path.read_text()) for path in (tmp_path / "receipts").glob("*.json")]
    messages = [ElementTree.fromstring(line) for line in (tmp_path / "audit.xml").read_text().splitlines()]
    return {one["folder"].removeprefix(f"{tmp_path}/in/"): one for one in written}, messages


def test_the_receipt_of_a_folder_has_the_archive_and_its_members(tmp_path):
    drop(tmp_path / "in", "cd/a.zip", zipped(one=dicom(1), two=dicom(2), three=dicom(2)))
    receipts, _ = brought_in(tmp_path)
    receipt = receipts["cd"]
    assert (receipt["seen"], receipt["counts"]) == (4, {"duplicate": 1, "expanded": 1, "stored": 2})
    told = {one["name"]: (one["outcome"], one["reason"]) for one in receipt["files"]}
    assert told.pop("a.zip") == ("expanded", None)
    assert told.keys() == {"a.zip/one", "a.zip/two", "a.zip/three"}
    assert sorted(outcome for outcome, _ in told.values()) == ["duplicate", "stored", "stored"]


def test_the_receipt_says_that_not_all_of_an_archive_is_safe(tmp_path):
    drop(tmp_path / "in", "cd/a.zip", zipped(one=dicom(1), two=dicom(2)[:-10], three=b"read me" * 99))
    receipts, _ = brought_in(tmp_path)
    told = {one["name"]: (one["outcome"], one["reason"]) for one in receipts["cd"]["files"]}
    assert told == {
        "a.zip": ("expanded", "partly"),
        "a.zip/one": ("stored", None),
        "a.zip/two": ("rejected", "truncated"),
    }


def test_an_archive_in_the_drop_folder_itself_is_a_folder_of_its_members(tmp_path):
    """The archive is among the files of the drop folder."""
    drop(tmp_path / "in", "a.zip", zipped(one=dicom(1)))
    receipts, _ = brought_in(tmp_path)
    told = {folder: [one["outcome"] for one in receipt["files"]] for folder, receipt in receipts.items()}
    assert told == {f"{tmp_path}/in": ["expanded"], "a.zip": ["stored"]}


def test_the_audit_trail_has_an_import_of_the_members_and_none_of_the_archive(tmp_path):
    drop(tmp_path / "in", "cd/a.zip", zipped(one=dicom(1), two=dicom(2), other=b"read me" * 99))
    _, messages = brought_in(tmp_path)
    codes = [one.find("EventIdentification/EventID").get("csd-code") for one in messages]
    assert codes == ["110100", "110107", "110100"]  # start, Data Import, stop
    (classes,) = messages[1].iter("SOPClass")
    assert classes.get("NumberOfInstances") == "2"
    assert "a.zip" not in (tmp_path / "audit.xml").read_text()


def test_the_audit_trail_says_which_drop_folder_the_members_came_from(tmp_path):
    drop(tmp_path / "in", "cd/a.zip", zipped(one=dicom(1), two=dicom(2)))
    _, messages = brought_in(tmp_path)
    media = [one.get("UserID") for one in messages[1].iter("ActiveParticipant")][1]
    assert media == uri(socket.gethostname(), tmp_path / "in")


def test_of_an_archive_given_by_hand_the_audit_trail_says_the_host_only(tmp_path):
    drop(tmp_path / "usb", "Doe^John/a.zip", zipped(one=dicom(1)))
    _, messages = brought_in(tmp_path, paths=[tmp_path / "usb"])
    media = [one.get("UserID") for one in messages[1].iter("ActiveParticipant")][1]
    assert media == uri(socket.gethostname(), "/")
