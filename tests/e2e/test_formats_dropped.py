"""A real daemon whose drop folder gets archives, volumes and pictures."""

import gzip
import io
import json
import tarfile
import zipfile

import pytest
from e2e.program import counts, instances, ledger, rescan, run, start, stored_count
from support import bundled, dicom

pytestmark = pytest.mark.xdist_group("formats dropped")


@pytest.fixture
def places(tmp_path):
    """(drop folder, archive)."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "archive"


@pytest.fixture
def daemon(places, tmp_path):
    """Starts daemons; they end well."""
    started = []

    def starting(**settings):
        started.append(start(*places, tmp_path / "log", **settings))
        return started[-1]

    yield starting
    for one in started:
        one.stop()


def zipped(**members):
    """The bytes of a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def volume():
    """The bytes of a NIfTI file of four slices, compressed."""
    nibabel, numpy = pytest.importorskip("nibabel"), pytest.importorskip("numpy")
    made = nibabel.Nifti1Image(numpy.arange(24, dtype=numpy.int16).reshape(2, 3, 4), numpy.eye(4))
    return gzip.compress(made.to_bytes(), mtime=0)


def waits(daemon, reason):
    """Whether one file waits for this reason."""
    return daemon.report.get("waiting_reasons", {}).get(reason, 0) >= 1 or reason in json.dumps(daemon.report)


def test_a_zip_that_is_still_being_written_is_opened_once_it_is_whole(places, daemon):
    """Its members are sources of their own; the same zip again stores nothing."""
    incoming, archive = places
    running = daemon()
    names = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")
    packed = zipped(**{name: bundled(name).read_bytes() for name in names})
    path = incoming / "a.zip"
    with path.open("wb", buffering=0) as file:
        for start_ in range(0, len(packed), 1 + len(packed) // 4):
            file.write(packed[start_ : start_ + 1 + len(packed) // 4])
            running.wait(lambda seen=running.report["heartbeat"]: running.report["heartbeat"] > seen + 1)
            assert stored_count(archive) == 0
    running.wait_stored(3)
    running.wait_counted(expanded=1)
    assert ledger(archive, incoming) == {
        "a.zip": ("expanded", None),
        **{f"a.zip/{name}": ("stored", None) for name in names},
    }
    (incoming / "b.zip").write_bytes(packed)
    running.wait_counted(expanded=2, duplicate=3)
    assert stored_count(archive) == 3


def test_a_volume_waits_for_its_sidecar_and_comes_in_by_itself(places, daemon):
    incoming, archive = places
    running = daemon()
    (incoming / "v.nii.gz").write_bytes(volume())
    running.wait(lambda: waits(running, "needs_info"), what="needs_info")
    assert stored_count(archive) == 0
    (incoming / "v.json").write_text(json.dumps({"PatientID": "P9"}))
    running.wait_stored(4)
    running.wait_counted(expanded=1, ignored=1)
    assert {row["patient_id"] for row in instances(archive)} == {"P9"}
    assert ledger(archive, incoming)["v.nii.gz"] == ("expanded", None)
    assert ledger(archive, incoming)["v.json"] == ("ignored", "sidecar")


def test_a_sidecar_may_come_before_its_volume(places, daemon):
    """It is not refused meanwhile."""
    incoming, _archive = places
    running = daemon()
    (incoming / "v.json").write_text(json.dumps({"PatientID": "P9"}))
    running.wait(lambda: waits(running, "incomplete"), what="incomplete")
    (incoming / "v.nii.gz").write_bytes(volume())
    running.wait_stored(4)
    running.wait_counted(ignored=1, expanded=1)
    assert running.report["since_start"]["rejected"] == 0


def test_json_that_belongs_to_nothing_is_refused_in_the_end(places, daemon):
    incoming, archive = places
    running = daemon(incomplete_seconds=1)
    (incoming / "v.json").write_text("{}" * 100)
    running.wait_counted(rejected=1)
    assert ledger(archive, incoming) == {"v.json": ("rejected", "not_dicom")}


def test_what_is_filled_in_in_the_note_is_noticed_by_itself(places, daemon):
    """Nobody touches the drop folder."""
    incoming, archive = places
    running = daemon(incomplete_seconds=0)
    (incoming / "v.nii.gz").write_bytes(volume())
    running.wait_counted(rejected=1)
    (note,) = (archive / ".sorter/quarantine/needs_info").iterdir()
    said = json.loads(note.read_text())
    assert said["fill_in"]["PatientID"] == ""
    said["fill_in"]["PatientID"] = "P9"
    note.write_text(json.dumps(said))
    running.wait_stored(4)
    running.wait_counted(expanded=1)
    assert {row["patient_id"] for row in instances(archive)} == {"P9"}
    assert running.report["since_start"]["rejected"] == 1


def test_pictures_come_in_only_where_that_was_chosen(places, daemon):
    incoming, archive = places
    picture = pytest.importorskip("PIL.Image")
    (incoming / "photos").mkdir()
    running = daemon(pictures=incoming / "photos", incomplete_seconds=0)
    for folder in (incoming, incoming / "photos"):
        picture.new("L", (4, 4), 9).save(folder / "a.png")
    (incoming / "photos/sorter.toml").write_text('[dicom]\nPatientID = "P9"\n')
    running.wait_stored(1)
    running.wait_counted(expanded=1, rejected=1, ignored=1)
    assert ledger(archive, incoming)["a.png"] == ("rejected", "not_dicom")


def tarred():
    """A tar with an instance, a link and a name that leads elsewhere."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("../../out.dcm", "/out2.dcm"):
            member = tarfile.TarInfo(name)
            content = dicom(1 if "2" in name else 2)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return out.getvalue()


def encrypted():
    """A zip whose entries say that they are."""
    changed = bytearray(zipped(a=dicom()))
    changed[changed.find(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def test_hostile_archives_are_refused_and_the_daemon_goes_on(places, daemon):
    incoming, archive = places
    running = daemon(incomplete_seconds=0, retire="delete")
    dropped = {
        "bomb.zip": zipped(one=dicom() + bytes(100 << 20)),
        "cut.zip": zipped(one=dicom())[:-30],
        "locked.zip": encrypted(),
        "text.zip": zipped(one=b"read me" * 99),
        "links.tgz": tarred(),
    }
    for name, content in dropped.items():
        (incoming / name).write_bytes(content)
    running.wait_counted(rejected=4, expanded=1, stored=2)
    assert ledger(archive, incoming) == {
        "bomb.zip": ("rejected", "too_large"),
        "cut.zip": ("rejected", "truncated"),
        "locked.zip": ("rejected", "undecodable"),
        "text.zip": ("rejected", "not_dicom"),
        "links.tgz": ("expanded", "partly"),
        "links.tgz/out.dcm": ("stored", None),
        "links.tgz/out2.dcm": ("stored", None),
    }
    assert {path.name for path in incoming.iterdir()} == dropped.keys()
    (incoming / "good.dcm").write_bytes(dicom(3))
    running.wait_stored(3)


def test_a_dry_run_says_what_would_become_of_the_members(places):
    """And writes nothing."""
    incoming, archive = places
    (incoming / "a.zip").write_bytes(zipped(one=dicom(1), two=dicom(2)))
    dry = rescan(archive, "--dry-run", incoming=incoming)
    assert counts(dry.facts) == {"stored": 2, "expanded": 1}
    assert not archive.exists()
    assert counts(rescan(archive, incoming=incoming).facts) == counts(dry.facts)


def test_a_retry_uses_what_was_filled_in(places):
    """For a volume that waits in the drop folder, and for one that came in an archive."""
    incoming, archive = places
    (incoming / "v.nii.gz").write_bytes(volume())
    (incoming / "a.zip").write_bytes(zipped(**{"dir/w.nii": gzip.decompress(volume())[:-1] + b"\1"}))
    assert rescan(archive, incoming=incoming).facts["reasons"]["rejected"] == {"needs_info": 2}
    shown = run("quarantine", "list", "--archive", archive).stdout
    assert shown.count("write a .json of the same name beside the file") == 2
    for note in (archive / ".sorter/quarantine/needs_info").glob("*.json"):
        shown = run("quarantine", "show", note.stem, "--archive", archive).stdout
        assert 'fill in "fill_in" in the note' in shown
        said = json.loads(note.read_text())
        said["fill_in"]["PatientID"] = "P9"
        note.write_text(json.dumps(said))
    done = run("quarantine", "retry", "--all", "--archive", archive, "--json")
    assert (done.status, done.facts["brought_in"], done.stderr) == (0, 2, "")
    assert list((archive / ".sorter/quarantine/needs_info").iterdir()) == []
    found = {path: word[0] for path, word in ledger(archive, incoming).items()}
    assert found["v.nii.gz"] == found["a.zip/dir/w.nii"] == found["a.zip"] == "expanded"
    assert found["v.nii.gz/00001.dcm"] == found["a.zip/dir/w.nii/00001.dcm"] == "stored"
    assert stored_count(archive) == 8
    assert run("audit", "--archive", archive).status == 0
