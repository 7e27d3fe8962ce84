"""Events of the real daemon: hooks, receipts, completeness and the audit trail, across restarts."""

import contextlib
import json
import os
import signal
import sys
import time
from xml.etree import ElementTree

import pytest
from support import dicom, drop
from webhook import Webhook

TOOK = """
import os, sys
with open(sys.argv[1], "ab") as out:
    out.write(sys.stdin.buffer.read() + b"\\n")
"""


def slice_(number, **more):
    return dicom(
        number, ImagePositionPatient=[0, 0, number], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **more
    )


@pytest.fixture
def configured(tmp_path, daemon):
    """``configured(hooks, key=value)`` starts a daemon with a configuration file."""

    def start(*hooks, **keys):
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        for hook in hooks:
            lines += ["[[hooks]]", *(f"{key} = {json.dumps(value)}" for key, value in hook.items())]
        file = tmp_path / "sorter.toml"
        file.write_text("\n".join(lines) + "\n")
        return daemon("--config", file)

    return start


@pytest.fixture
def took(tmp_path):
    """A command that notes each event, and what it noted."""
    path = tmp_path / "took.jsonl"

    class Took:
        command = (sys.executable, "-c", TOOK, str(path))

        @property
        def events(self):
            return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

        def of(self, kind):
            return [event["data"] for event in self.events if event["event"] == kind]

    return Took()


def test_a_series_with_a_hole_a_receipt_and_a_refusal_reach_a_command(configured, took, incoming, tmp_path):
    running = configured(
        {"events": ["series_complete", "receipt", "refused"], "command": took.command},
        complete_seconds=1.0,
        receipts=str(tmp_path / "receipts"),
    )
    for number in (1, 2, 3, 5, 6):
        drop(incoming, f"cd/{number}.dcm", slice_(number))
    drop(incoming, "cd/readme.txt", b"no DICOM at all")
    running.wait(lambda: took.of("receipt") and took.of("series_complete"), what="the events")
    (series,) = took.of("series_complete")
    assert series["instance_numbers"]["missing_ranges"] == [[4, 4]]
    assert series["slices"]["missing"] == 1
    assert (running.archive / series["folder"]).is_dir()
    (receipt,) = took.of("receipt")
    assert receipt["counts"] == {"rejected": 1, "stored": 5}
    written = json.loads((tmp_path / "receipts" / receipt["receipt"]).read_text())
    assert sorted(file["name"] for file in written["files"])[-1] == "readme.txt"
    (refused,) = took.of("refused")
    assert refused["files"][0]["reason"] == "not_dicom"
    assert (running.archive / ".sorter" / refused["files"][0]["quarantine"]).exists()


def test_events_that_a_server_did_not_take_are_sent_after_a_restart(configured, incoming, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    with Webhook([(503, {"Retry-After": "3600"})]) as server:
        hook = {"events": ["refused"], "url": server.url, "secret_file": str(secret)}
        running = configured(hook)
        drop(incoming, "a.txt", b"no DICOM at all")
        running.wait(lambda: server.requests, what="the first attempt")
        running.stop()
        assert len(list((running.archive / ".sorter" / "outbox").iterdir())) == 1
        running = configured(hook)
        running.wait(lambda: len(server.requests) == 2, what="the second attempt")
        running.wait(lambda: running.report["hooks"]["sent"] == 1, what="the status")
    first, second = (json.loads(body) for _, _, body in server.requests)
    assert first["id"] == second["id"]
    assert all(headers["X-Sorter-Signature"].startswith("sha256=") for _, headers, _ in server.requests)


def test_a_hook_that_hangs_holds_up_neither_files_nor_the_stop(configured, incoming):
    hook = {"events": ["refused"], "command": ["/bin/sleep", "600"], "timeout_seconds": 600}
    running = configured(hook)
    drop(incoming, "a.txt", b"no DICOM at all")
    running.wait_counted(rejected=1)
    drop(incoming, "a.dcm", dicom(1))
    assert running.wait_stored(1) < 10
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 10
    assert len(list((running.archive / ".sorter" / "outbox").iterdir())) == 1


def test_a_killed_daemon_tells_later_what_it_did_not_tell(configured, took, incoming):
    hook = {"events": ["series_complete"], "command": took.command}
    running = configured(hook, complete_seconds=2.0)
    drop(incoming, "1.dcm", slice_(1))
    running.wait_stored(1)
    running.signal(signal.SIGKILL)
    running.process.wait()
    running = configured(hook, complete_seconds=2.0)
    running.wait(lambda: took.of("series_complete"), what="the event")
    assert took.of("series_complete")[0]["instances"] == 1


def test_the_audit_trail_tells_start_import_and_stop(configured, incoming, tmp_path):
    path = tmp_path / "audit.xml"
    running = configured(audit_log=str(path))
    drop(incoming, "a.dcm", dicom(1, patient="P4711", PatientName="Canary^Anna"))
    running.wait_stored(1)
    running.wait(lambda: "110107" in path.read_text(), what="the message")
    running.stop()
    found = [ElementTree.fromstring(line) for line in path.read_text().splitlines()]
    events = [one.find("EventIdentification/EventID").get("csd-code") for one in found]
    assert events == ["110100", "110107", "110100"]
    assert "P4711" in path.read_text()
    assert "Canary" not in path.read_text()


def test_an_audit_trail_that_cannot_be_written_keeps_the_daemon_from_starting(configured, tmp_path):
    with pytest.raises(AssertionError, match="audit_log"):
        configured(audit_log=str(tmp_path / "missing" / "audit.xml"))


def test_no_uid_name_or_address_is_in_the_log(configured, took, incoming, tmp_path):
    with Webhook([(500, {})]) as server:
        running = configured(
            {"events": ["series_complete", "receipt", "refused"], "command": took.command},
            {"events": ["refused"], "url": f"{server.url}/token4711"},
            complete_seconds=0.5,
            receipts=str(tmp_path / "receipts"),
        )
        drop(incoming, "Canary^Anna/a.dcm", dicom(1, patient="CANARY", PatientName="Canary^Anna"))
        drop(incoming, "Canary^Anna/a.txt", b"Canary")
        running.wait(lambda: took.of("receipt") and took.of("series_complete"), what="the events")
        running.wait(lambda: server.requests, what="the attempt")
    text = running.stderr
    assert [word for word in ("anary", "CANARY", "1.2.826", "token4711") if word in text] == []
    assert "event_receipt" in text


def test_an_outbox_is_private(configured, incoming):
    running = configured({"events": ["refused"], "command": ["/bin/false"]})
    drop(incoming, "a.txt", b"no DICOM at all")
    outbox = running.archive / ".sorter" / "outbox"
    running.wait(lambda: list(outbox.iterdir()), what="the event")
    with contextlib.suppress(FileNotFoundError):
        assert [os.stat(path).st_mode & 0o077 for path in (outbox, *outbox.iterdir())] == [0, 0]
