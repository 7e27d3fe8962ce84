"""The real program: refused under one limit, brought in under another, beside a running daemon too."""

import io
import random

import pydicom
import pytest
from e2e import program
from pydicom.uid import DeflatedExplicitVRLittleEndian
from support import dicom, drop, tree

MIB = 100  # inflated, and twice so much is needed to inflate it
SMALL, LARGE = 128, 1024


@pytest.fixture(scope="module")
def large_file():
    """A small file that needs much memory."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(1, size=8)))
    dataset.Rows, dataset.Columns = 8192, MIB * 64
    noise = random.Random(1).randbytes(4 << 20)  # what deflates too well is refused as a bomb
    dataset.PixelData = noise + bytes((MIB - 4) << 20)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def quarantine(archive, *args, **settings):
    return program.run("quarantine", *args, "--archive", archive, **settings)


def test_a_larger_worker_brings_in_what_a_smaller_one_refused(incoming, archive, large_file):
    drop(incoming, "large.dcm", large_file)
    drop(incoming, "junk.txt", b"no DICOM")
    done = program.rescan(archive, incoming=incoming, worker_memory_mb=SMALL)
    assert done.facts["reasons"]["rejected"] == {"not_dicom": 1, "too_large": 1}
    assert "1 not_dicom, 1 too_large" in quarantine(archive, "list").stdout
    dry = quarantine(archive, "retry", "--all", "--dry-run", "--json", worker_memory_mb=LARGE)
    assert (dry.status, dry.facts["outcomes"]) == (1, {"rejected": 1, "stored": 1})
    assert tree(archive) == {}
    tried = quarantine(archive, "retry", "--reason", "too_large", "--json", worker_memory_mb=LARGE)
    assert (tried.status, tried.facts["brought_in"], tried.facts["removed"]) == (0, 1, 1)
    assert list(tree(archive).values()) == [large_file]
    assert program.ledger(archive, incoming) == {
        "large.dcm": ("stored", None),
        "junk.txt": ("rejected", "not_dicom"),
    }
    audit = program.run("audit", "--incoming", incoming, "--archive", archive)
    assert (audit.status, audit.stderr) == (0, "")


def test_beside_a_daemon_the_source_is_retired_after_the_retry(incoming, archive, daemon, large_file):
    running = daemon(worker_memory_mb=SMALL, retire="delete", walk_seconds=0.5)
    path = drop(incoming, "large.dcm", large_file)
    running.wait_counted(rejected=1)
    assert path.exists()
    tried = quarantine(archive, "retry", "--all", "--json", worker_memory_mb=LARGE)
    assert (tried.status, tried.facts["brought_in"]) == (0, 1)
    running.wait(lambda: not path.exists(), what="the source's retirement")
    assert list(tree(archive).values()) == [large_file]
    running.stop()
    assert program.run("audit", "--incoming", incoming, "--archive", archive).status == 0


def test_a_discard_beside_a_daemon_stays_discarded(incoming, archive, daemon):
    running = daemon(walk_seconds=0.5)
    path = drop(incoming, "junk.txt", b"no DICOM")
    running.wait_counted(rejected=1)
    assert quarantine(archive, "discard", "--all").status == 2
    done = quarantine(archive, "discard", "--all", "--yes", "--json")
    assert (done.status, done.facts["entries"], done.facts["sources"]) == (0, 1, 1)
    drop(incoming, "later.dcm", dicom(1))
    running.wait_stored(1)
    assert path.read_bytes() == b"no DICOM"
    assert quarantine(archive, "list").stdout == "nothing in quarantine\n"
    running.stop()
    assert program.run("audit", "--incoming", incoming, "--archive", archive).status == 0


def test_explain_reads_a_file_as_a_run_does(incoming, archive, large_file):
    path = drop(incoming, "large.dcm", large_file)
    small = program.run("explain", path, "--archive", archive, "--json", worker_memory_mb=SMALL)
    assert (small.status, small.facts["outcome"], small.facts["reason"]) == (1, "rejected", "too_large")
    large = program.run("explain", path, "--archive", archive, "--json", worker_memory_mb=LARGE)
    assert (large.status, large.facts["outcome"]) == (0, "stored")
    assert not archive.exists()
