"""``sorter audit`` prints an account that adds up, and its exit status says whether it does."""

import json
import re
import sqlite3
from contextlib import closing

import click
import pytest
from click.testing import CliRunner
from inline import config, inline
from support import dicom, drop

from sorter.cli import group
from sorter.cli.times import Moment
from sorter.rescan import backfill

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def audit(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    drop(tmp_path / "in", "a.dcm", dicom(1))
    drop(tmp_path / "in", "junk", b"no DICOM")
    backfill(config(tmp_path))

    def run(*args):
        where = ["--incoming", str(tmp_path / "in"), "--archive", str(tmp_path / "archive")]
        return CliRunner().invoke(group, ["audit", *where, *args], standalone_mode=False)

    return run


def test_a_balanced_account_ends_with_success(audit):
    result = audit()
    assert result.return_value == 0
    assert "BALANCED: every source is accounted for." in result.stdout


def test_the_numbers_on_the_page_add_up(audit):
    numbers = {
        name: int(count) for name, count in re.findall(r"^(seen|  \w+) +(\d+)$", audit().stdout, re.MULTILINE)
    }
    assert numbers.pop("seen") == sum(numbers.values()) == 2


def test_json_holds_the_same(audit):
    facts = json.loads(audit("--json").stdout)
    assert (facts["seen"], facts["stored"], facts["rejected"], facts["balanced"]) == (2, 1, 1, True)
    assert re.fullmatch("[0-9a-f]{64}", facts["head"])


def test_meddling_ends_with_status_1_and_its_name(audit, tmp_path):
    with closing(sqlite3.connect(tmp_path / "archive/.sorter/index.sqlite")) as connection, connection:
        connection.execute("UPDATE sources SET detail = 'x'")
    result = audit()
    assert result.return_value == 1
    assert "tampered          batch 1: its rows are not what they were" in result.stdout
    assert "NOT BALANCED" in result.stdout


def test_an_unknown_digest_ends_with_status_1(audit):
    assert audit("--expect", "0" * 64).return_value == 1


def test_a_file_name_cannot_forge_a_line(audit, tmp_path):
    drop(tmp_path / "in", "x\nBALANCED: \x1b[31m", b"new")
    assert "x\\x0aBALANCED: \\x1b[31m" in audit().stdout


@pytest.mark.parametrize(
    "text", ["2024-01-31", "2024-01-31T12:00", "2024-01-31T12:00+02:00", "90m", "12h", "7d", "1.5w"]
)
def test_times_are_utc_to_the_second(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", Moment().convert(text, None, None))


def test_a_time_with_an_offset_is_converted():
    assert Moment().convert("2024-01-31T12:00+02:00", None, None) == "2024-01-31T10:00:00+00:00"


@pytest.mark.parametrize("text", ["yesterday", "", "7", "99999999999w"])
def test_what_is_no_time_is_a_usage_error(text):
    with pytest.raises(click.BadParameter, match="is no time"):
        Moment().convert(text, None, None)
