"""No patient data in what the program says, whatever it says: a patient of the name of a canary never sings.

The canary is in headers, file names and folder names, in files that make pydicom warn, in pixels that do not
decode, in conflicts, and while the archive or the index fails.
"""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import threading
from pathlib import Path

import pydicom
import pytest
from e2e.program import (
    index,
    ledger,
    rescan,
    run,
    small_disk,
    sources,
    stored_count,
    tree_of_processes,
    without_root_powers,
)
from pydicom.config import disable_value_validation
from support import bundled, dicom, drop

CANARIES = ("Kanarienvogel", "KANARI4711", "19031207", "Canaryville", "kanari")
NAME, PATIENT, BIRTH, STREET = CANARIES[:4]


def canary(number, **more):
    more = {"patient": PATIENT, "PatientName": f"{NAME}^Hans", "PatientBirthDate": BIRTH} | more
    with disable_value_validation():
        return dicom(number, InstitutionName=STREET, **more)


def undecodable():
    """Encapsulated pixels that no decoder takes, of the canary."""
    dataset = pydicom.dcmread(bundled("SC_rgb_jpeg_dcmtk.dcm"))
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{NAME}^J", PATIENT, BIRTH
    dataset.PixelData = b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0" + b"\x14\0\0\0" + NAME.encode() + b"      \0"
    out = pydicom.filebase.DicomBytesIO()
    dataset.save_as(out)
    return out.getvalue()


def corpus():
    """Files of the canary, by name; each name sings too."""
    whole = canary(1)
    warned = {
        "birth": {"PatientBirthDate": NAME[:8], "StudyDate": PATIENT},
        "numbers": {"SeriesNumber": None, "StudyDate": NAME, "ImageType": [NAME, PATIENT]},
        "long": {"PatientID": PATIENT * 20, "StudyDescription": NAME * 90, "AccessionNumber": PATIENT * 9},
        "uid": {"SOPInstanceUID": f"1.2.{PATIENT}/{NAME}"},
        "no-uid": {"StudyInstanceUID": None},
    }
    latin = canary(42, SpecificCharacterSet="ISO_IR 100", PatientName=f"{NAME}\u00e4\u00f6^Hans")
    found = {
        f"{NAME}/unknown-charset.dcm": latin.replace(b"ISO_IR 100", b"ISO_KANARI"),
        f"{NAME}/wrong-charset.dcm": latin.replace(b"ISO_IR 100", b"GB18030   ").replace(b"42", b"43"),
        f"{NAME}/{PATIENT}/whole.dcm": whole,
        f"{NAME}/conflict-{BIRTH}.dcm": canary(1, pixels=1),
        f"{NAME}/other-patient.dcm": canary(1, patient=f"{PATIENT}X", PatientName=f"{NAME}^Grete"),
        f"{NAME}/cut.dcm": whole[:-9],
        f"{NAME}/cut-header.dcm": whole[: whole.index(NAME.encode()) + 20],
        f"{NAME}/undecodable.dcm": undecodable(),
        f"{NAME}/text-{PATIENT}.txt": f"{NAME} {PATIENT} {BIRTH}".encode(),
        f"{NAME}/odd\xff\n{PATIENT}": whole[:300],
        f"{NAME}/number.dcm": canary(41, InstanceNumber=1).replace(b"IS\x02\x001 ", b"IS\x02\x00x "),
    }
    return found | {f"{NAME}/{n}.dcm": canary(50 + i, **v) for i, (n, v) in enumerate(warned.items())}


@pytest.fixture
def singing(incoming):
    for name, data in corpus().items():
        drop(incoming, name, data)
    return incoming


def silent(*texts):
    """None of these texts has a canary in any case or in escaped form."""
    for text in texts:
        assert [word for word in CANARIES if word.casefold() in text.casefold()] == []


@pytest.mark.parametrize("flags", [("--json", "-v"), (), ("--dry-run", "-v")])
def test_a_rescan_does_not_sing(flags, singing, archive):
    args = ("--incoming", singing, "--archive", archive, *flags)
    done = run("--rescan", *args, log_format="json" if "--json" in flags else "console")
    assert done.status == 1
    assert "conflict" in done.stdout
    silent(done.stdout, done.stderr)


def test_the_corpus_holds_what_it_should(singing, archive):
    """Guards the other tests: the canary reaches index, tree and quarantine, where it belongs."""
    facts = rescan(archive, incoming=singing).facts
    assert (facts["conflict"], facts["reasons"]["rejected"]) == (
        2,
        {"invalid_uid": 1, "missing_uid": 1, "not_dicom": 1, "truncated": 3},
    )
    with index(archive) as connection:
        names = {row[0] for row in connection.execute("SELECT patient_name FROM patients")}
        notes = {row[0] for row in connection.execute("SELECT note FROM instances WHERE note IS NOT NULL")}
    assert f"{NAME}^Hans" in names
    assert len(notes) == 1
    silent(*notes, *(row["detail"] or "" for row in sources(archive)))


def test_paths_on_the_command_line_do_not_sing(singing, archive):
    done = rescan(archive, singing / NAME / f"{PATIENT}.missing")
    assert done.status == 2
    silent(done.stdout, done.stderr)
    silent(rescan(archive, singing / NAME, env={}).stderr)


class Listener(threading.Thread):
    """What the daemon tells systemd."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.start()

    def run(self):
        while message := self.socket.recv(65536):
            self.lines.append(message.decode())


def titles(pid):
    """Command line, title and environment-free names of a process, its children and their threads."""
    found = []
    for one in tree_of_processes(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(Path(f"/proc/{one}/cmdline").read_bytes().decode(errors="replace"))
            found += [task.read_text() for task in Path(f"/proc/{one}/task").glob("*/comm")]
    return found


def test_the_daemon_does_not_sing(daemon, incoming, archive, tmp_path):
    address = f"@sorter-e2e-{os.getpid()}"
    listener = Listener("\0" + address[1:])
    running = daemon("-v", settle_seconds=0.1, incomplete_seconds=2, env={"NOTIFY_SOCKET": address})
    for name, data in corpus().items():
        drop(incoming, name, data)
    said = []

    def over():
        said.extend((json.dumps(running.report), *titles(running.process.pid)))
        return len(sources(archive)) == len(corpus())

    running.wait(over, what="all outcomes")
    said += [run("status", *flags, "--archive", archive).stdout for flags in ((), ("--json",))]
    said += titles(running.process.pid)
    running.stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
        last.sendto(b"", "\0" + address[1:])
    listener.join(5)
    assert "STATUS=" in "".join(listener.lines)
    assert set(ledger(archive, incoming)) == set(corpus())
    silent(running.stderr, *said, *listener.lines)


# -- while it fails -------------------------------------------------------------------------------------


def test_a_full_disk_does_not_sing(incoming, tmp_path):
    for number in range(30):
        drop(incoming, f"{NAME}/{number}.dcm", canary(number, size=512))
    with small_disk(tmp_path / "disk") as disk:
        done = rescan(disk / "archive", incoming=incoming, min_free_mb=0, seconds=60)
        assert done.status == 5
        silent(done.stdout, done.stderr)


def test_a_read_only_archive_does_not_sing(singing, tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        rescan(disk / "archive", incoming=singing)
        drop(singing, f"{NAME}/new.dcm", canary(99))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = rescan(disk / "archive", incoming=singing)
        assert done.status == 4
        silent(done.stdout, done.stderr)


def test_an_archive_without_write_permission_does_not_sing(singing, archive):
    rescan(archive, incoming=singing)
    drop(singing, f"{NAME}/new.dcm", canary(99, study=9))
    archive.chmod(0o555)
    for folder in archive.glob("*"):
        folder.chmod(0o755 if folder.name == ".sorter" else 0o555)
    done = rescan(archive, incoming=singing, wrapper=without_root_powers())
    archive.chmod(0o755)
    for folder in archive.glob("*"):
        folder.chmod(0o755)
    assert done.status == 4
    silent(done.stdout, done.stderr)


def test_an_index_that_refuses_rows_does_not_sing(singing, archive):
    """The texts of database errors quote the values they were given."""
    rescan(archive, incoming=singing)
    before = stored_count(archive)
    with contextlib.closing(sqlite3.connect(archive / ".sorter" / "index.sqlite")) as connection:
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON instances BEGIN SELECT raise(abort, 'refused'); END"
        )
        connection.commit()
    drop(singing, f"{NAME}/new.dcm", canary(99))
    done = rescan(archive, incoming=singing)
    assert (done.status, stored_count(archive)) == (3, before)
    silent(done.stdout, done.stderr)


@pytest.mark.parametrize("damage", ["page", "cut", "no database", "no folder"])
def test_a_damaged_index_does_not_sing(damage, singing, archive):
    rescan(archive, incoming=singing)
    path = archive / ".sorter" / "index.sqlite"
    data = path.read_bytes()
    if damage == "page":
        path.write_bytes(data[:4096] + os.urandom(4096) * (len(data) // 4096 - 1))
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "no database":
        path.write_bytes(NAME.encode() * 1000)
    else:
        path.unlink()
        path.mkdir()
    drop(singing, f"{NAME}/new.dcm", canary(99))
    done = rescan(archive, incoming=singing)
    assert done.status == 3
    silent(done.stdout, done.stderr)
