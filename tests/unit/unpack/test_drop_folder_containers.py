"""Archives and volumes in a drop folder."""

import bz2
import errno
import io
import json
import random
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from inline import config, inline, rows  # noqa: F401 - a fixture
from pydicom.data import get_testdata_file

from sorter.audit import audit
from sorter.cli import group
from sorter.explain import explain
from sorter.model import Candidate, Expanded, Kind, Outcome, Reason
from sorter.quarantine.entries import Chosen
from sorter.quarantine.retry import retry
from sorter.rescan import backfill
from sorter.undo import Selection, undo
from sorter.unpack.account import Account

CT = get_testdata_file("CT_small.dcm", download=False)
WORDS = (
    "select folders.path || '/' || name, outcome, reason from sources join folders on folders.id = folder_fk"
)

pytestmark = pytest.mark.usefixtures("inline")


def words(folder, found):
    """(path in the drop folder, outcome, reason) of each row of the ledger."""
    return sorted((path.removeprefix(f"{folder}/in/"), *more) for path, *more in rows(found, WORDS))


def bring_in(folder, **flags):
    """Bring in what lies in the drop folder; what the ledger says then."""
    found = config(folder, **flags)
    backfill(found)
    assert not list((folder / "archive/.sorter/staging").iterdir())
    return words(folder, found)


def packed(folder, **members):
    """A zip in the drop folder."""
    (folder / "in").mkdir(exist_ok=True)
    path = folder / "in/a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def content():
    """The bytes of one CT image."""
    return Path(CT).read_bytes()


def test_members_of_a_zip_are_sources_of_their_own(tmp_path):
    """The zip has its own word, after theirs."""
    packed(tmp_path, one=content(), two=content())
    expected = [("a.zip", "expanded", None), ("a.zip/one", "stored", None), ("a.zip/two", "duplicate", None)]
    assert bring_in(tmp_path) == expected


def test_a_zip_that_an_earlier_run_did_not_come_to_retire_is_retired_by_the_next(tmp_path):
    path = packed(tmp_path, one=content())
    bring_in(tmp_path)
    bring_in(tmp_path, retire="delete")
    assert not path.exists()


def test_a_zip_stays_while_the_archive_lacks_one_of_its_members(tmp_path):
    path = packed(tmp_path, one=content())
    bring_in(tmp_path)
    (archived,) = (tmp_path / "archive").rglob("*.dcm")
    archived.unlink()
    bring_in(tmp_path, retire="delete")
    assert path.exists()


def test_a_zip_that_is_safe_is_retired(tmp_path):
    """Every member is in the archive with its bytes."""
    path = packed(tmp_path, one=content())
    bring_in(tmp_path, retire="delete")
    assert not path.exists()


def test_a_zip_with_anything_else_inside_stays(tmp_path):
    """What is not DICOM would be lost with it."""
    path = packed(tmp_path, one=content(), readme=b"read me" * 100)
    assert bring_in(tmp_path, retire="delete")[0] == ("a.zip", "expanded", "partly")
    assert path.exists()


def test_a_zip_without_dicom_is_refused_once(tmp_path):
    """As an office document is."""
    packed(tmp_path, one=b"<xml/>" * 100, two=b"<xml/>" * 100)
    assert bring_in(tmp_path) == [("a.zip", "rejected", "not_dicom")]


def test_nothing_is_unpacked_where_that_is_switched_off(tmp_path):
    """Then a zip is what it was: no DICOM."""
    packed(tmp_path, one=content())
    assert bring_in(tmp_path, unpack=False) == [("a.zip", "rejected", "not_dicom")]


def test_a_bomb_is_too_large(tmp_path):
    """Its members stop at the bound, and none of them stays in staging."""
    packed(tmp_path, one=content() + bytes(100 << 20))
    assert bring_in(tmp_path) == [("a.zip", "rejected", "too_large")]


@pytest.mark.parametrize("how", ["bz2", "xz"])
def test_a_bomb_of_members_that_nobody_wants_is_too_large(tmp_path, how):
    """To pass over them is to unpack them."""
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/a.tar", f"w:{how}") as archive:
        for number in range(7):
            entry = tarfile.TarInfo(f"zeros{number}.txt")
            entry.size = 10 << 20
            archive.addfile(entry, io.BytesIO(b"text" + bytes(entry.size)))
    assert bring_in(tmp_path) == [("a.tar", "rejected", "too_large")]


def test_members_of_a_zip_that_nobody_wants_are_passed_over_unread(tmp_path):
    """They are looked into, no more, and do not count as unpacked."""
    packed(tmp_path, one=content(), **{f"zeros{number}": b"text" + bytes(1 << 20) for number in range(80)})
    assert bring_in(tmp_path) == [("a.zip", "expanded", "partly"), ("a.zip/one", "stored", None)]


def test_a_tar_of_several_compressed_streams_is_one(tmp_path):
    """As pbzip2 writes it."""
    (tmp_path / "in").mkdir()
    with tarfile.open(plain := tmp_path / "a.tar", "w") as archive:
        archive.add(CT, "ct.dcm")
    data = plain.read_bytes()
    (tmp_path / "in/a.tar.bz2").write_bytes(bz2.compress(data[:5000]) + bz2.compress(data[5000:]))
    expected = [("a.tar.bz2", "expanded", None), ("a.tar.bz2/ct.dcm", "stored", None)]
    assert bring_in(tmp_path) == expected


@pytest.mark.parametrize("how", ["bz2", "xz"])
def test_a_cut_compressed_tar_is_truncated(tmp_path, how):
    """As a zip is."""
    (tmp_path / "in").mkdir()
    with tarfile.open(path := tmp_path / "in/a.tar", f"w:{how}") as archive:
        archive.add(CT, "ct.dcm")
    path.write_bytes(path.read_bytes()[:-1000])
    assert bring_in(tmp_path) == [("a.tar", "rejected", "truncated")]


@pytest.mark.parametrize("how", ["zip", "bz2", "xz"])
def test_an_archive_that_is_damaged_in_a_large_member_is_malformed(tmp_path, how):
    """The archive it goes into has no trouble, and the next file comes in."""
    noise = content() + random.Random(1).randbytes(3 << 20)
    if how == "zip":
        path = packed(tmp_path, one=noise)
    else:
        path = tmp_path / "in/a.tar"
        path.parent.mkdir()
        with tarfile.open(path, f"w:{how}") as archive:
            entry = tarfile.TarInfo("one")
            entry.size = len(noise)
            archive.addfile(entry, io.BytesIO(noise))
    data = bytearray(path.read_bytes())
    half = len(data) * 3 // 4
    data[half : half + 5000] = bytes(5000)
    path.write_bytes(data)
    shutil.copy(CT, tmp_path / "in/b.dcm")
    expected = [(path.name, "rejected", "malformed"), ("b.dcm", "stored", None)]
    assert bring_in(tmp_path) == expected


def test_an_archive_that_cannot_be_read_to_its_end_is_unreadable(tmp_path, monkeypatch):
    """So that it is looked at again; the archive it goes into has no trouble."""
    packed(tmp_path, one=content())

    def fails(*_):
        raise OSError(errno.EIO, "a bad sector")

    monkeypatch.setattr(zipfile.ZipExtFile, "read", fails)
    assert bring_in(tmp_path) == [("a.zip", "rejected", "unreadable")]


def test_members_with_long_names_are_stored_and_accounted_for(tmp_path):
    """Also where they share the beginning of their name, in an archive in an archive."""
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for last in "ab":
            archive.writestr("/".join(["folder" * 30] * 20) + f"/{'x' * 60_000}{last}.dcm", content())
    packed(tmp_path, **{"y" * 60_000: inner.read_bytes()})
    told = bring_in(tmp_path)
    assert sorted(kind for _, kind, _ in told) == ["duplicate", "expanded", "expanded", "stored"]
    assert max(len(path) for path, *_ in told) < 1024
    assert audit(config(tmp_path)).findings == []


@pytest.mark.parametrize(("name", "removed"), [("CT_small.dcm", True), ("DICOMDIR", False)])
def test_a_retry_removes_a_zip_from_quarantine_only_for_what_is_in_the_archive_instead(
    tmp_path, name, removed
):
    """A DICOMDIR is passed over: of such a zip the archive has nothing."""
    packed(tmp_path, one=Path(get_testdata_file(name, download=False)).read_bytes())
    bring_in(tmp_path, unpack=False)
    (retried,) = retry(config(tmp_path), Chosen())
    assert (retried.outcome, retried.removed) == ("expanded", removed)


def test_a_cut_zip_is_truncated(tmp_path):
    """So that a daemon waits for the rest of it."""
    path = packed(tmp_path, one=content())
    path.write_bytes(path.read_bytes()[:-30])
    assert bring_in(tmp_path) == [("a.zip", "rejected", "truncated")]


def test_an_encrypted_zip_is_refused(tmp_path):
    """Nobody here knows the password."""
    path = packed(tmp_path, one=content())
    changed = bytearray(path.read_bytes())
    changed[changed.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(changed)
    assert bring_in(tmp_path) == [("a.zip", "rejected", "undecodable")]


@pytest.mark.parametrize("how", ["", "gz", "bz2", "xz"])
def test_a_tar_is_unpacked_and_its_links_are_not_followed(tmp_path, how):
    """However it is compressed."""
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/a.tar", f"w:{how}") as archive:
        archive.add(CT, "ct.dcm")
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert bring_in(tmp_path) == [("a.tar", "expanded", "partly"), ("a.tar/ct.dcm", "stored", None)]


def test_a_volume_needs_to_be_told_whose_it_is(tmp_path):
    """It is looked at again, and becomes DICOM once a sidecar says so."""
    nibabel, numpy = pytest.importorskip("nibabel"), pytest.importorskip("numpy")
    (tmp_path / "in").mkdir()
    volume = nibabel.Nifti1Image(numpy.arange(24, dtype=numpy.int16).reshape(2, 3, 4), numpy.eye(4))
    nibabel.save(volume, tmp_path / "in/v.nii.gz")
    assert bring_in(tmp_path) == [("v.nii.gz", "rejected", "needs_info")]
    (tmp_path / "in/v.json").write_text(json.dumps({"PatientID": "1"}))
    expected = [("v.json", "ignored", "sidecar"), ("v.nii.gz", "expanded", None)]
    expected += [("v.nii.gz", "rejected", "needs_info")]  # superseded
    expected += [(f"v.nii.gz/0000{number}.dcm", "stored", None) for number in range(1, 5)]
    assert [(path, kind, reason or None) for path, kind, reason in bring_in(tmp_path)] == expected


@pytest.fixture
def volume(tmp_path):
    """A NIfTI volume of one slice in the drop folder, with its sidecar."""
    nibabel, numpy = pytest.importorskip("nibabel"), pytest.importorskip("numpy")
    (tmp_path / "in").mkdir()
    nibabel.save(
        nibabel.Nifti1Image(numpy.zeros((2, 3, 1), numpy.int16), numpy.eye(4)), tmp_path / "in/v.nii"
    )
    (tmp_path / "in/v.json").write_text(json.dumps({"PatientID": "1"}))
    return tmp_path / "in/v.nii"


def archived(folder):
    """The one instance in the archive."""
    (found,) = (folder / "archive").rglob("*.dcm")
    return pydicom.dcmread(found)


def test_a_dropped_volume_becomes_what_sorter_convert_makes_with_the_same_configuration(tmp_path, volume):
    """The namespace of the UIDs and the facts of the site are those of the configuration."""
    file = tmp_path / "sorter.toml"
    file.write_text('namespace = "city"\n[facts]\nStationName = "A7"\n')
    bring_in(tmp_path, namespace="city", facts={"StationName": "A7"})
    assert archived(tmp_path).StationName == "A7"
    words = ["convert", str(volume), "--to", str(tmp_path / "out"), "--config", str(file)]
    assert CliRunner().invoke(group, words, standalone_mode=False).return_value == 0
    (made,) = (tmp_path / "out").rglob("*.dcm")
    (kept,) = (tmp_path / "archive").rglob("*.dcm")
    assert made.read_bytes() == kept.read_bytes()


def test_dropped_again_a_volume_is_a_duplicate_and_under_another_namespace_another_instance(tmp_path, volume):
    """The same bytes each time."""
    for name in ("again.nii", "elsewhere.nii"):
        shutil.copy(volume, volume.with_name(name))
        shutil.copy(volume.with_suffix(".json"), (volume.with_name(name)).with_suffix(".json"))
    other = volume.with_name("elsewhere.nii").rename(tmp_path / "elsewhere.nii")
    told = bring_in(tmp_path, namespace="city")
    assert sorted(kind for path, kind, _ in told if path.endswith(".dcm")) == ["duplicate", "stored"]
    other.rename(tmp_path / "in/elsewhere.nii")
    assert ("elsewhere.nii/00001.dcm", "stored", None) in bring_in(tmp_path, namespace="county")


@pytest.fixture
def volume_without_nibabel(inline, volume, tmp_path, monkeypatch):  # noqa: F811 - the fixture
    """It was met where the extra ``formats`` was not installed."""
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "nibabel", None)
        assert bring_in(tmp_path)[1] == ("v.nii", "rejected", "needs_info")


@pytest.mark.usefixtures("volume_without_nibabel")
def test_where_formats_are_not_installed_the_note_says_what_to_install(tmp_path):
    """The file itself is well, and is not copied."""
    (kept,) = [one for one in (tmp_path / "archive/.sorter/quarantine").rglob("*") if one.is_file()]
    assert json.loads(kept.read_text())["detail"] == (
        "cannot become DICOM here: nibabel is not installed; converting needs it: "
        "pip install 'sorter[formats]'"
    )


@pytest.mark.usefixtures("volume_without_nibabel")
def test_once_formats_are_installed_a_retry_brings_the_volume_in(tmp_path):
    (retried,) = retry(config(tmp_path), Chosen())
    assert (retried.first_reason, retried.brought_in, retried.removed) == ("needs_info", True, True)
    assert ("v.nii/00001.dcm", "stored", None) in words(tmp_path, config(tmp_path))


@pytest.mark.usefixtures("volume_without_nibabel")
def test_once_formats_are_installed_the_next_run_brings_the_volume_in(tmp_path):
    assert ("v.nii/00001.dcm", "stored", None) in bring_in(tmp_path)


def test_pictures_are_converted_only_where_asked(tmp_path):
    """Below the folders that the configuration names."""
    picture = pytest.importorskip("PIL.Image")
    (tmp_path / "in/photos").mkdir(parents=True)
    for path in ("in/a.png", "in/photos/a.png"):
        picture.new("L", (4, 4)).save(tmp_path / path)
    (tmp_path / "in/photos/a.json").write_text(json.dumps({"PatientID": "1"}))
    told = bring_in(tmp_path, pictures=[tmp_path / "in/photos"])
    assert told[0] == ("a.png", "rejected", "not_dicom")
    assert ("photos/a.png", "expanded", None) in told
    assert ("photos/a.png/00001.dcm", "stored", None) in told


def test_a_deferred_member_defers_what_is_around_it():
    """It is opened again later, as nothing of it was recorded."""
    outer = Candidate("/in", "a.zip", 1, 2, 3, 4, 5)
    member = outer._replace(folder="/in/a.zip", name="x", held="1~0", depth=1)
    account = Account()
    account.open(Expanded(outer, "digest", (member,)))
    assert [(member,)] == list(account.before(iter([])))
    (closed,) = account.closed([Outcome(member, Kind.DEFERRED, Reason.BLOCKED)])
    assert (closed.candidate, closed.kind, closed.reason) == (outer, Kind.DEFERRED, Reason.BLOCKED)


def test_explain_tells_what_becomes_of_the_members(tmp_path):
    """As the run does it then."""
    path = packed(tmp_path, one=content(), two=content())
    told = explain(config(tmp_path), path)
    assert (told.outcome, told.reason) == ("expanded", "")
    assert told.detail == "2 members; of what is inside: 1 duplicate, 1 stored"
    assert told.safe
    bring_in(tmp_path)
    assert explain(config(tmp_path), path).outcome == "expanded"


def test_an_undo_withdraws_the_archive_with_its_members(tmp_path):
    """The same file does not come in again; a copy of it that is dropped does."""
    path = packed(tmp_path, one=content())
    bring_in(tmp_path)
    found = config(tmp_path)
    assert undo(found, Selection(under=str(tmp_path / "in"))).withdrawn == 1
    assert ("a.zip", "ignored", "withdrawn") in words(tmp_path, found)
    assert backfill(found).summary()["stored"] == 0
    shutil.copy(path, tmp_path / "in/b.zip")
    assert backfill(found).summary()["stored"] == 1
    assert audit(found).findings == []
