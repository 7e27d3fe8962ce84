"""A small sample of ``python -m tests.fuzz``; and that its facts notice what they are there for."""

import hashlib
import os
import random
import sqlite3
import subprocess
import sys

import pytest
from fuzz.cases import Source
from fuzz.facts import check
from fuzz.fuzz import Fuzz
from fuzz.oracle import Oracle, other_instance, other_pixels, truncated
from fuzz.round import Limits, Round
from fuzz.seeds import ROOT as DICOM
from fuzz.seeds import corpus
from support import ROOT, bundled, dicom, tree

from sorter.parser.codecs import SYNTAXES

SEED, CASES = 4711, 200
LIMITS = Limits(worker_seconds=5)
NATIVE = {DICOM, f"{DICOM}.1", f"{DICOM}.1.99", f"{DICOM}.2"}


@pytest.fixture(scope="module")
def source():
    return Source(corpus(), SEED)


@pytest.fixture(scope="module")
def oracle():
    asked = Oracle()
    yield asked
    asked.close()


@pytest.mark.parametrize(("mode", "first"), [("rescan", 0), ("daemon", CASES)])
def test_damaged_files_are_all_told_and_nothing_is_lost_or_wrongly_published(tmp_path, source, mode, first):
    with Fuzz(source, tmp_path, LIMITS) as fuzz:
        fuzz.take(range(first, first + CASES), mode)
    print(*fuzz.report(), sep="\n")
    assert fuzz.faults == []
    assert fuzz.totals.outcomes["stored transcoded"] > 0


def test_there_are_seeds_in_every_transfer_syntax_that_is_read(source):
    assert set(source.corpus) >= NATIVE | set(SYNTAXES) - {f"{DICOM}.4.{n}" for n in (52, 54, 56, 58)}


def test_a_case_is_the_same_wherever_it_is_made(source):
    """In another process, with other hashes."""
    program = (
        "import hashlib; from fuzz.cases import Source; from fuzz.seeds import corpus; "
        f"source = Source(corpus(), {SEED}); "
        "print(*(hashlib.sha256(source.make(number).data).hexdigest() for number in range(99)))"
    )
    environ = os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    expected = [hashlib.sha256(source.make(number).data).hexdigest() for number in range(99)]
    assert expected == done.stdout.split()


# -- the facts have teeth -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory, source):
    """A round in which all went well, with the bytes of all that it left."""
    ran = Round(
        tmp_path_factory.mktemp("fuzz"), [source.make(number) for number in range(40)], "rescan", LIMITS
    )
    ran.run()
    return ran, {path: path.read_bytes() for path in ran.folder.rglob("*") if path.is_file()}


def published(ran):
    return ran.archive / min(tree(ran.archive))


def quarantined(ran):
    return min((ran.archive / ".sorter" / "quarantine").rglob("*.dcm"))


def execute(statement):
    def change(ran):
        with sqlite3.connect(ran.archive / ".sorter" / "index.sqlite") as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            assert connection.execute(statement).rowcount > 0
        connection.close()

    return change


def flip(find):
    def change(ran):
        path = find(ran)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    return change


def unlink(find):
    def change(ran):
        find(ran).unlink()

    return change


def copy(ran):
    (ran.archive / "strange.dcm").write_bytes(dicom())


def leave_in_staging(ran):
    (ran.archive / ".sorter" / "staging" / "left").touch()


def sing(ran):
    ran.output = "of Kanarienvogel^3\n" + ran.output


def count_less(ran):
    ran.summary = ran.summary | {"seen": 39}


WRONG = {
    "a published file with other bytes": flip(published),
    "a published file that is gone": unlink(published),
    "a file that nobody knows": copy,
    "a quarantined file with other bytes": flip(quarantined),
    "a quarantined file that is gone": unlink(quarantined),
    "a source with other bytes": flip(lambda ran: ran.path(ran.cases[0])),
    "a row that is gone": execute("DELETE FROM instances WHERE id = (SELECT max(id) FROM instances)"),
    "a source without a word": execute("DELETE FROM sources WHERE id = (SELECT max(id) FROM sources)"),
    "a source that is called a duplicate": execute(
        "UPDATE sources SET outcome = 'duplicate' WHERE outcome = 'stored'"
    ),
    "something in staging": leave_in_staging,
    "a canary that sings": sing,
    "a file that was not counted": count_less,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_facts_notice(finished, oracle, wrong):
    ran, files = finished
    output, summary = ran.output, ran.summary
    assert check(ran, oracle) == []
    try:
        WRONG[wrong](ran)
        assert check(ran, oracle) != []
    finally:
        ran.output, ran.summary = output, summary
        for path in [path for path in ran.folder.rglob("*") if path.is_file() and path not in files]:
            path.unlink()
        for path, data in files.items():
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)


def test_pydicom_notices_a_file_that_was_cut(oracle):
    assert oracle.ask(truncated, dicom()) == ""
    assert oracle.ask(truncated, dicom()[:-1]) == "cut short at (7FE0,0010): 127 of 128 bytes"
    assert oracle.ask(truncated, bundled("MR_small_RLE.dcm").read_bytes()[:-200]) != ""


def test_pydicom_notices_other_pixels_and_other_elements(oracle):
    mine, other = dicom(pixels=1), dicom(pixels=2)
    assert oracle.ask(other_pixels, mine, mine) == ""
    assert oracle.ask(other_pixels, mine, other) == "64 of 64 pixels differ"
    assert oracle.ask(other_instance, mine, dicom(pixels=1, StudyTime="101010")) != ""
    assert (
        oracle.ask(other_instance, mine, dicom(pixels=1, PatientName="A^B"))
        == "elements that differ: ['(0010,0010)']"
    )


def test_leaving_a_step_out_changes_no_other_step(source):
    """So that a failing case can be made smaller."""
    for number in random.Random(1).sample(range(900), 40):
        case = source.make(number)
        for step in range(case.planned):
            smaller = source.make(number, {step})
            assert smaller.steps == case.steps[:step] + case.steps[step + 1 :]
