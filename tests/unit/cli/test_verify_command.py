"""``sorter verify`` on the command line: what it finds wrong is in the audit trail."""

from base64 import b64decode
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from inline import config, inline
from support import dicom, drop

from sorter.cli import group
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def alerts(tmp_path, monkeypatch):
    """Verifies; the security alerts in the audit trail, and the commands that it names."""
    monkeypatch.setenv("SORTER_CONFIG", "")
    monkeypatch.setenv("SORTER_MIN_FREE_MB", "0")
    monkeypatch.setenv("SORTER_AUDIT_LOG", str(tmp_path / "audit.xml"))
    for number in (1, 2, 3):
        drop(tmp_path / "in", f"{number}.dcm", dicom(number))
    backfill(config(tmp_path))

    def run():
        command = ["verify", "--quiet", "--archive", str(tmp_path / "archive")]
        CliRunner().invoke(group, command, standalone_mode=False, catch_exceptions=False)
        messages = [
            ElementTree.fromstring(line) for line in (tmp_path / "audit.xml").read_text().splitlines()
        ]
        details = [
            b64decode(one.get("value")).decode()
            for m in messages
            for one in m.iter("ParticipantObjectDetail")
        ]
        return details, {one.find("ActiveParticipant").get("UserName") for one in messages}

    return run


def archived(tmp_path):
    return sorted((tmp_path / "archive").rglob("*.dcm"))


def test_of_a_clean_archive_the_trail_has_no_alert(alerts):
    assert alerts() == ([], {"sorter verify"})


def test_what_is_missing_and_what_is_damaged_are_an_alert_each(alerts, tmp_path):
    first, second, third = archived(tmp_path)
    for path in (first, second):
        path.unlink()
    third.chmod(0o644)
    third.write_bytes(third.read_bytes()[:-1] + b"!")
    details, _ = alerts()
    assert details == [
        "sorter verify found 2 archived files missing",
        "sorter verify found 1 archived file damaged",
    ]
