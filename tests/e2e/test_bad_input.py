"""Whatever lies in the drop folder: each file has its outcome and its reason, and nothing else is touched."""

import gzip
import json
import os
import socket
import struct
import subprocess
import time
import zlib
from pathlib import Path

import pytest
from e2e.program import (
    command,
    counts,
    environment,
    instances,
    ledger,
    rescan,
    small_disk,
    snapshot,
    sources,
    stored_count,
    without_root_powers,
)
from pydicom.config import disable_value_validation
from support import UID, bundled, dicom, drop, tree

STORED = ("stored", None)
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes(200)
ELF = b"\x7fELF\x02\x01\x01" + bytes(300)
HTML = b"<!DOCTYPE html><html><body>DICM</body></html>"


def odd(number, **values):
    """An instance with values that PS3.5 forbids."""
    with disable_value_validation():
        return dicom(number, **values)


def zeros(mebibytes):
    """A raw deflate stream of so many MiB of zeros, without its end; about a thousandth of that size."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes


def deflate_bomb():
    """1 MB in the Deflated Explicit VR transfer syntax, that inflates to 1 GiB of Pixel Data."""
    whole = bundled("image_dfl.dcm").read_bytes()
    meta = whole[: 144 + struct.unpack_from("<L", whole, 140)[0]]
    data = zlib.decompress(whole[len(meta) :], -15)
    head = data[: data.index(b"\xe0\x7f\x10\x00")]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    head += b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 1 << 30)
    return meta + deflater.compress(head) + deflater.flush(zlib.Z_FULL_FLUSH) + zeros(1024) + b"\x03\x00"


def gzip_bomb(head=b"", mebibytes=256):
    """A gzip of zeros behind a head, a thousandth of their size."""
    start = gzip.compress(b"")[:10]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return start + deflater.compress(head) + deflater.flush(zlib.Z_FULL_FLUSH) + zeros(mebibytes)


def truncated():
    data = dicom(60)
    jpeg = bundled("SC_rgb_jpeg_dcmtk.dcm").read_bytes()
    deflated = bundled("image_dfl.dcm").read_bytes()
    return {
        "in-pixels.dcm": data[:-7],
        "before-pixels.dcm": data[: data.index(b"\xe0\x7f\x10\x00OW")],
        "in-header.dcm": data[:400],
        "in-fragments.dcm": jpeg[: len(jpeg) // 2],
        "without-delimiter.dcm": jpeg[:-8],
        "deflated.dcm": deflated[: len(deflated) // 2],
        "gzipped.dcm.gz": gzip.compress(data)[:-30],
    }


def corpus():
    """File name (bytes) -> (content, its outcome and reason)."""
    not_dicom = ("rejected", "not_dicom")
    found = {
        b"picture.png": (PNG, not_dicom),
        b"program.dcm": (ELF, not_dicom),
        b"page.html": (HTML, not_dicom),
        b"empty.dcm": (b"", not_dicom),
        b"random.dcm": (bytes(range(1, 256)) * 40, not_dicom),
        b"only-preamble.dcm": (bytes(128) + b"DICM", ("rejected", "truncated")),
        b"text.gz": (gzip.compress(HTML), not_dicom),
        b"deflate-bomb.dcm": (deflate_bomb(), ("rejected", "too_large")),
        b"bomb.gz": (gzip_bomb(), not_dicom),
        b"dicom-bomb.dcm.gz": (gzip_bomb(dicom(61)), ("rejected", "too_large")),
        b"gzipped.dcm.gz": (gzip.compress(dicom(62)), STORED),
        b"-rf": (dicom(1), STORED),
        b"--help": (dicom(2), STORED),
        b"n" * 251 + b".dcm": (dicom(3), STORED),
        b"new\nline.dcm": (dicom(4), STORED),
        b"invalid\xff\xfe.dcm": (dicom(5), STORED),
        "\u202egpj.right-to-left".encode(): (dicom(6), STORED),
        b"junk\xff\n": (PNG, not_dicom),
        b"$(touch hacked);`id`.dcm": (dicom(7), STORED),
    }
    found |= {f"cut-{n}".encode(): (data, ("rejected", "truncated")) for n, data in truncated().items()}
    for number, keyword in enumerate(
        ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"), 20
    ):
        name = f"no-{keyword}".encode()
        found[name] = (dicom(number, **{keyword: None}), ("rejected", "missing_uid"))
    hostile = ("../../etc/passwd", f"{UID}.{'1' * 60}", "1.2..3", "1.2.3/4", "1.2 3", "1.2\n3", "-1.2.3")
    for number, uid in enumerate(hostile, 30):
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            name = f"hostile-{keyword}-{number}".encode()
            found[name] = (odd(number, **{keyword: uid}), ("rejected", "invalid_uid"))
    return found


@pytest.mark.parametrize(
    "data", [gzip.compress(dicom(1), mtime=0)[:-30], gzip.compress(dicom(1), mtime=0)[:-30] + b"x" * 30]
)
def test_a_refused_gzip_keeps_its_bytes_in_quarantine(data, incoming, archive):
    drop(incoming, "a.dcm.gz", data)
    rescan(archive, incoming=incoming)
    (row,) = sources(archive)
    assert row["outcome"] == "rejected"
    assert (archive / row["path"]).read_bytes() == data


def test_a_gzip_bomb_that_would_fill_the_disk_costs_only_itself(incoming, tmp_path):
    drop(incoming, "a.dcm", dicom(1))
    drop(incoming, "bomb.dcm.gz", gzip_bomb(dicom(2)))
    with small_disk(tmp_path / "disk") as disk:
        done = rescan(disk / "archive", incoming=incoming)
        assert (done.status, ledger(disk / "archive", incoming)["a.dcm"]) == (1, STORED)


PATIENTS = (
    "../../etc", "..", "/etc/passwd", "a\0b", "\u202e1234", "\N{PILE OF POO}", "x" * 5_000, "A\\B", "CON",
    "-rf", "a\nb", ".hidden", "a/../../b", "~root", " ", "trailing.", "e\u0301", "\u00e9",
)  # fmt: skip


def make(incoming, files):
    for name, data in files.items():
        Path(os.fsdecode(os.path.join(os.fsencode(incoming), name))).write_bytes(data)


def check_quarantine(archive, incoming):
    """Each refused source's bytes lie in quarantine, with a JSON that names source and reason."""
    for row in sources(archive):
        if row["outcome"] not in ("rejected", "conflict"):
            continue
        kept = archive / row["path"]
        note = json.loads(kept.with_suffix(".json").read_text())
        assert kept.parent.parent == archive / ".sorter" / "quarantine"
        assert kept.suffix == ".dcm"
        assert kept.read_bytes() == Path(row["source"]).read_bytes()
        assert (kept.parent.name, note["reason"]) == (row["reason"], row["reason"])
        assert (note["sha256"], note["detail"]) == (row["sha256"], row["detail"])


def test_each_bad_file_has_its_outcome_and_nothing_else_is_touched(incoming, archive, tmp_path):
    files = corpus()
    make(incoming, {name: data for name, (data, _) in files.items()})
    (tmp_path / "beside").mkdir()
    before = snapshot(tmp_path)
    done = rescan(archive, incoming=incoming, worker_memory_mb=512)
    assert done.status == 1
    expected = {os.fsdecode(name): outcome for name, (_, outcome) in files.items()}
    assert ledger(archive, incoming) == expected
    assert done.facts["stored"] == list(expected.values()).count(STORED)
    after = snapshot(tmp_path)
    assert {path: one for path, one in after.items() if not path.startswith(str(archive))} == before
    assert sorted(tree(archive).values()) == sorted(
        gzip.decompress(data) if name.endswith(b".gz") else data
        for name, (data, outcome) in files.items()
        if outcome == STORED
    )
    check_quarantine(archive, incoming)


def test_the_daemon_says_the_same_of_each_bad_file(daemon, incoming, archive):
    files = corpus()
    running = daemon(settle_seconds=0.1, incomplete_seconds=0, worker_memory_mb=512)
    make(incoming, {name: data for name, (data, _) in files.items()})
    expected = {os.fsdecode(name): outcome for name, (_, outcome) in files.items()}
    running.wait(lambda: len(sources(archive)) >= len(expected), what="all outcomes")
    running.stop()
    assert ledger(archive, incoming) == expected
    check_quarantine(archive, incoming)


def test_hostile_patient_ids_are_stored_each_in_a_folder_of_its_own_inside_the_archive(
    incoming, archive, tmp_path
):
    for number, patient in enumerate(PATIENTS):
        data = odd(1, study=number + 1, patient=patient, SpecificCharacterSet="ISO_IR 192")
        drop(incoming, f"{number}.dcm", data)
    before = snapshot(tmp_path)
    assert counts(rescan(archive, incoming=incoming).facts) == {"stored": len(PATIENTS)}
    after = snapshot(tmp_path)
    assert {path: one for path, one in after.items() if not path.startswith(str(archive))} == before
    owners = {}
    for row in instances(archive):
        owners.setdefault(row["path"].split("/")[0], set()).add(row["patient_id"])
    assert max(map(len, owners.values())) == 1
    # "e" with a combining accent and its composed form are one text (NFC); a blank is no PatientID.
    assert len(owners) == len(PATIENTS) - 1
    for folder in owners:
        assert folder.isprintable()
        assert not folder.startswith((".", "-"))
        assert len(folder.encode()) <= 255


def test_what_is_no_regular_file_is_ignored_and_never_followed(incoming, archive, tmp_path):
    outside = tmp_path / "outside"
    drop(outside, "secret.dcm", dicom(1, patient="outside"))
    os.mkfifo(incoming / "fifo.dcm")
    (incoming / "file.dcm").symlink_to(outside / "secret.dcm")
    (incoming / "folder").symlink_to(outside)
    (incoming / "dangling.dcm").symlink_to(tmp_path / "nowhere")
    (incoming / "loop").symlink_to(incoming)
    drop(incoming, "good.dcm", dicom(2))
    drop(incoming, ".hidden.dcm", dicom(3))
    drop(incoming, "half.part", dicom(4))
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(incoming)  # the name of a socket has at most 107 bytes
        try:
            listening.bind("socket.dcm")
        finally:
            os.chdir(here)
    before = snapshot(tmp_path)
    facts = rescan(archive, incoming=incoming, seconds=30).facts
    assert counts(facts) == {"stored": 1, "ignored": 8}
    assert facts["reasons"] == {"ignored": {"not_regular": 2, "pattern": 2, "symlink": 4}}
    assert list(tree(archive).values()) == [dicom(2)]
    after = snapshot(tmp_path)
    assert {path: one for path, one in after.items() if not path.startswith(str(archive))} == before


def test_the_daemon_does_not_hang_on_a_fifo(daemon, incoming, archive):
    os.mkfifo(incoming / "a.dcm")
    running = daemon()
    drop(incoming, "b.dcm", dicom(1))
    running.wait_stored(1)
    running.stop()
    assert ledger(archive, incoming) == {"b.dcm": STORED}


def test_paths_by_hand_that_are_no_regular_files_are_ignored(incoming, archive):
    os.mkfifo(incoming / "fifo")
    (incoming / "link").symlink_to(drop(incoming, "a.dcm", dicom(1)))
    facts = rescan(archive, incoming / "fifo", incoming / "link", seconds=30).facts
    assert counts(facts) == {"ignored": 2}


def test_an_unreadable_file_is_refused_and_taken_once_it_is_readable(incoming, archive):
    locked = drop(incoming, "a.dcm", dicom(1))
    drop(incoming, "b.dcm", dicom(2))
    locked.chmod(0)
    done = rescan(archive, incoming=incoming, wrapper=without_root_powers())
    assert counts(done.facts) == {"stored": 1, "rejected": 1}
    assert ledger(archive, incoming) == {"a.dcm": ("rejected", "unreadable"), "b.dcm": STORED}
    locked.chmod(0o644)
    done = rescan(archive, incoming=incoming, wrapper=without_root_powers())
    assert counts(done.facts) == {"stored": 1, "duplicate": 1}


def test_an_unreadable_folder_is_told_and_the_run_goes_on(incoming, archive):
    drop(incoming, "locked/a.dcm", dicom(1))
    drop(incoming, "b.dcm", dicom(2))
    (incoming / "locked").chmod(0)
    facts = rescan(archive, incoming=incoming, wrapper=without_root_powers()).facts
    (incoming / "locked").chmod(0o755)
    assert counts(facts) == {"stored": 1, "rejected": 1}
    assert facts["reasons"] == {"rejected": {"unreadable": 1}}


def test_the_daemon_waits_for_an_unreadable_file_to_become_readable(daemon, incoming, archive):
    running = daemon(settle_seconds=0.2, wrapper=without_root_powers())
    locked = incoming / "a.dcm"
    locked.touch(0)
    locked.write_bytes(dicom(1))
    running.wait(lambda: running.report.get("waiting") == {"unreadable": 1}, what="the file to wait")
    locked.chmod(0o644)
    running.wait_stored(1)
    running.stop()


def test_a_file_that_vanishes_while_it_settles_is_ignored(incoming, archive):
    drop(incoming, "stays.dcm", dicom(1))
    vanishing = drop(incoming, "a.dcm", dicom(2))
    args = ("--rescan", "--incoming", incoming, "--archive", archive, "--json")
    with subprocess.Popen(command(*args), env=environment(settle_seconds=3), stdout=subprocess.PIPE) as one:
        deadline = time.monotonic() + 20
        while not (archive / ".sorter" / "index.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.7)
        vanishing.unlink()
        facts = json.loads(one.communicate(timeout=30)[0])
    assert counts(facts) == {"stored": 1, "ignored": 1}
    assert facts["reasons"] == {"ignored": {"vanished": 1}}
    assert stored_count(archive) == 1


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit"])
def test_a_dicomdir_is_ignored(name, incoming, archive):
    drop(incoming, "a/DICOMDIR", bundled(name).read_bytes())
    rescan(archive, incoming=incoming)
    assert ledger(archive, incoming) == {"a/DICOMDIR": ("ignored", "dicomdir")}
