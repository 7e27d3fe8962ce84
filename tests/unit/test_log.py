"""Logging: an allow-list of keys, no text of exceptions, nothing of what libraries say."""

import json
import logging
import subprocess
import sys
import threading
import warnings

import pytest
import structlog

from sorter import log

CANARY = "Mustermann^Erika"


@pytest.fixture(autouse=True)
def restored():
    """What configure() changes in this process is put back."""
    root, pydicom = logging.getLogger(), logging.getLogger("pydicom")
    before = (logging.lastResort, list(root.handlers), pydicom.level, threading.excepthook)
    with warnings.catch_warnings():
        yield
    logging.lastResort, root.handlers[:] = before[:2]
    pydicom.setLevel(before[2])
    threading.excepthook = before[3]
    structlog.reset_defaults()


def objects(capsys):
    """The log lines so far."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_has_an_event_a_level_a_time_and_the_given_keys(capsys):
    log.configure(form="json")
    log.get().info("batch", count=3)
    (line,) = objects(capsys)
    assert (line["event"], line["level"], line["count"]) == ("batch", "info", 3)
    assert line["timestamp"].endswith("Z")


def test_a_key_that_is_not_allowed_is_withheld_and_named(capsys):
    log.configure(form="json")
    log.get().info("batch", count=3, patient=CANARY)
    (line,) = objects(capsys)
    assert line["detail"] == "[withheld patient]"
    assert CANARY not in json.dumps(line)


def test_what_is_withheld_leaves_the_detail_in_place(capsys):
    log.configure(form="json")
    log.get().info("batch", detail="two", path=CANARY, header=CANARY)
    assert objects(capsys)[0]["detail"] == "two [withheld path] [withheld header]"


def test_no_key_of_the_allow_list_is_meant_for_patient_data():
    assert log.ALLOWED & {"path", "file", "folder", "patient", "value", "header", "message", "url"} == set()


def raised():
    """An exception with causes, all of whose texts hold patient data."""
    try:
        try:
            raise PermissionError(13, CANARY, f"/in/{CANARY}.dcm")
        except PermissionError as error:
            raise ValueError(CANARY) from error
    except ValueError as error:
        return error


@pytest.mark.parametrize("info", ["given", "current"])
def test_an_exception_appears_without_its_text(capsys, info):
    log.configure(form="json")
    if info == "given":
        log.get().error("failed", exc_info=raised())
    else:
        try:
            raise raised()
        except ValueError:
            log.get().exception("failed")
    (line,) = objects(capsys)
    assert line["exception"].startswith("ValueError at ")
    assert "PermissionError errno 13 at test_log.py:" in line["exception"]
    assert CANARY not in json.dumps(line)


def test_describe_names_the_chain_from_the_outside_in():
    names = [part.split(" at ")[0] for part in log.describe(raised()).split(" <- ")]
    assert names == ["ValueError", "PermissionError errno 13"]


def test_describe_leaves_out_what_was_suppressed():
    try:
        try:
            raise KeyError(CANARY)
        except KeyError:
            raise ValueError(CANARY) from None
    except ValueError as error:
        text = log.describe(error)
    assert ("KeyError" in text, " <- " in text) == (False, False)


def test_describe_takes_an_exception_that_was_never_raised():
    assert log.describe(ValueError(CANARY)) == "ValueError at ?"


def test_a_thread_that_dies_is_logged_without_text(capsys):
    log.configure(form="json")

    def die():
        raise ValueError(CANARY)

    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    (line,) = objects(capsys)
    assert (line["event"], line["exception"].split(" at ")[0]) == ("thread_died", "ValueError")
    assert CANARY not in json.dumps(line)


def test_the_level_decides_what_is_written(capsys):
    log.configure(level="warning", form="json")
    log.get().info("quiet")
    log.get().warning("loud")
    assert [line["event"] for line in objects(capsys)] == ["loud"]


def test_console_lines_are_no_json_and_withhold_as_well(capsys):
    log.configure(form="console")
    log.get().info("batch", count=3, patient=CANARY)
    text = capsys.readouterr().err
    assert ("batch" in text, "count=3" in text, "[withheld patient]" in text) == (True, True, True)
    assert (CANARY in text, text.startswith("{")) == (False, False)


def test_without_a_terminal_auto_means_json(capsys):
    log.configure(form="auto")
    log.get().info("batch")
    assert objects(capsys)[0]["event"] == "batch"


def test_nothing_goes_to_stdout(capsys):
    log.configure(form="json")
    log.get().error("failed")
    assert capsys.readouterr().out == ""


def test_a_source_has_the_same_name_always_and_another_has_another():
    assert log.source_id("/in/a.dcm") == "7fbc11223d44"
    assert log.source_id("/in/b.dcm") != log.source_id("/in/a.dcm")


def test_a_source_whose_name_is_no_text_has_a_name_too():
    assert len(log.source_id("/in/\udcff.dcm")) == 12


LIBRARIES = """
import logging, sys, warnings
from sorter import log
log.quiet_libraries()
import pydicom
from pydicom.dataset import Dataset
warnings.warn("canary")
logging.getLogger("pydicom").error("canary")
logging.getLogger("sqlalchemy.engine").warning("canary")
dataset = Dataset()
dataset.PatientID = "canary" * 20
dataset.StudyDate = "canary"
dataset.StudyInstanceUID = "canary"
"""


def test_warnings_and_records_of_libraries_are_silent():
    done = subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
