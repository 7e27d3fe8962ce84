"""Publishing: names appear once, never change, and never outside the root."""

import errno
import hashlib
import json
import os
import stat

import pytest
from archived import archive, candidate

from sorter.errors import ArchiveError, ArchiveFullError
from sorter.model import Header, Instance, Kind, Pixels, Place, Reason, Refused, Staged
from sorter.organizer import tree
from sorter.organizer.archive import Archive
from sorter.organizer.judge import KnownInstance, Verdict

__all__ = ["archive"]


def staged(archive, data=b"one", uid="1.2.3", name="s1"):
    digest = hashlib.sha256(data).hexdigest()
    archive.staging.write(name, [data], sync=True)
    instance = Instance(Header({"SOPInstanceUID": uid}), digest, digest, len(data), "x", "x", Pixels.NATIVE)
    return Staged(candidate(size=len(data)), instance, name, digest)


def stored(one):
    return Verdict(one, Kind.STORED, None, "")


PLACE = Place("p", 1, "20240131", "p/20240131/study/series", "CT.1.1.dcm", "CT.1.1.1.2.3.dcm")


def publish(archive, verdicts, places=None, refused=()):
    with archive.turn():
        return archive.publish(verdicts, places or {"1.2.3": PLACE}, refused)


def test_a_stored_instance_gets_its_name(archive):
    outcome = publish(archive, [stored(staged(archive))])[0]
    assert (outcome.kind, outcome.path) == (Kind.STORED, f"{PLACE.folder}/{PLACE.leaf}")
    assert (archive.root / outcome.path).read_bytes() == b"one"


def test_a_published_file_is_read_only(archive):
    outcome = publish(archive, [stored(staged(archive))])[0]
    assert stat.S_IMODE((archive.root / outcome.path).stat().st_mode) & 0o222 == 0


def test_the_same_bytes_under_the_name_are_adopted(archive):
    publish(archive, [stored(staged(archive))])
    outcome = publish(archive, [stored(staged(archive, name="s2"))])[0]
    assert (outcome.kind, outcome.detail) == (Kind.STORED, "adopted")


def test_a_name_taken_by_other_bytes_is_left_alone_and_the_spare_one_used(archive):
    publish(archive, [stored(staged(archive, b"other"))])
    outcome = publish(archive, [stored(staged(archive, b"one", name="s2"))])[0]
    assert outcome.path == f"{PLACE.folder}/{PLACE.spare}"
    assert (archive.root / PLACE.folder / PLACE.leaf).read_bytes() == b"other"


def test_when_both_names_are_taken_it_is_a_conflict_and_nothing_is_overwritten(archive):
    folder = archive.root / PLACE.folder
    folder.mkdir(parents=True)
    (folder / PLACE.leaf).write_bytes(b"a")
    (folder / PLACE.spare).write_bytes(b"b")
    outcome = publish(archive, [stored(staged(archive))])[0]
    assert (outcome.kind, outcome.reason) == (Kind.CONFLICT, Reason.CONFLICT)
    assert [(folder / name).read_bytes() for name in (PLACE.leaf, PLACE.spare)] == [b"a", b"b"]
    assert (archive.root / outcome.path).read_bytes() == b"one"


def test_a_planted_symlink_is_not_followed(archive, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (archive.root / "p").symlink_to(outside)
    outcome = publish(archive, [stored(staged(archive))])[0]
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, Reason.BLOCKED)
    assert list(outside.iterdir()) == []


def test_a_planted_symlink_under_the_name_is_not_followed(archive, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"one")  # even where the bytes are the same
    folder = archive.root / PLACE.folder
    folder.mkdir(parents=True)
    (folder / PLACE.leaf).symlink_to(outside)
    outcome = publish(archive, [stored(staged(archive))])[0]
    assert outcome.path == f"{PLACE.folder}/{PLACE.spare}"


def test_a_duplicate_of_a_deferred_first_is_deferred_too(archive):
    (archive.root / "p").write_bytes(b"")
    first = staged(archive)
    known = KnownInstance("1.2.3", first.instance.sha256, first.instance.source_sha256, "", ("", ""))
    again = Verdict(staged(archive, name="s2"), Kind.DUPLICATE, known, "")
    kinds = [one.kind for one in publish(archive, [stored(first), again])]
    assert kinds == [Kind.DEFERRED, Kind.DEFERRED]


def test_a_duplicate_of_the_same_batch_names_the_place_of_the_first(archive):
    first = staged(archive)
    known = KnownInstance("1.2.3", first.instance.sha256, first.instance.source_sha256, "", ("", ""))
    again = Verdict(staged(archive, name="s2"), Kind.DUPLICATE, known, "")
    outcomes = publish(archive, [stored(first), again])
    assert outcomes[1].path == outcomes[0].path == f"{PLACE.folder}/{PLACE.leaf}"


def test_a_duplicate_restores_an_archived_file_that_was_removed_by_hand(archive):
    path = publish(archive, [stored(staged(archive))])[0].path
    (archive.root / path).unlink()
    one = staged(archive, name="s2")
    known = KnownInstance("1.2.3", one.instance.sha256, one.instance.source_sha256, path, ("", ""))
    outcome = publish(archive, [Verdict(one, Kind.DUPLICATE, known, "")])[0]
    assert (outcome.kind, outcome.detail) == (Kind.DUPLICATE, "restored")
    assert (archive.root / path).read_bytes() == b"one"


def test_a_conflict_keeps_both_and_says_why(archive):
    path = publish(archive, [stored(staged(archive))])[0].path
    other = staged(archive, b"two", name="s2")
    known = KnownInstance("1.2.3", "0" * 64, "0" * 64, path, ("", ""))
    outcome = publish(archive, [Verdict(other, Kind.CONFLICT, known, "pixels differ")])[0]
    note = json.loads((archive.root / outcome.path).with_suffix(".json").read_text())
    assert (archive.root / path).read_bytes() == b"one"
    assert (archive.root / outcome.path).read_bytes() == b"two"
    assert (note["reason"], note["detail"], note["existing"]) == ("conflict", "pixels differ", path)


def test_a_rejected_source_goes_to_the_quarantine_of_its_reason(archive):
    archive.staging.write("j1", [b"junk"], sync=True)
    digest = hashlib.sha256(b"junk").hexdigest()
    refused = Refused(
        candidate(), Kind.REJECTED, Reason.NOT_DICOM, "why", "j1", digest, missing=("PatientID",)
    )
    outcome = publish(archive, [], refused=[refused])[0]
    assert (outcome.kind, outcome.reason, outcome.detail) == (Kind.REJECTED, Reason.NOT_DICOM, "why")
    assert outcome.path == f".sorter/quarantine/not_dicom/{digest[:24]}.dcm"
    note = json.loads((archive.root / outcome.path).with_suffix(".json").read_text())
    assert (note["detail"], note["sha256"], note["fill_in"]) == ("why", digest, {"PatientID": ""})


def test_what_is_ignored_leaves_nothing_behind(archive):
    outcome = publish(archive, [], refused=[Refused(candidate(), Kind.IGNORED, Reason.DICOMDIR)])[0]
    assert (outcome.kind, outcome.path) == (Kind.IGNORED, "")
    assert list((archive.root / ".sorter/quarantine").iterdir()) == []


def test_discard_removes_the_staging_name_and_keeps_the_published_one(archive):
    one = staged(archive)
    path = publish(archive, [stored(one)])[0].path
    archive.discard([one])
    assert [p.name for p in (archive.root / ".sorter/staging").rglob("s1")] == []
    assert (archive.root / path).exists()


def test_sweep_removes_what_dead_runs_left_and_spares_living_ones(tmp_path, archive):
    living = Archive(tmp_path / "archive")
    living.staging.write("kept", [b"x"], sync=False)
    dead = tmp_path / "archive/.sorter/staging/1-dead"
    dead.mkdir()
    (dead / "left").write_bytes(b"x")
    assert archive.sweep() == 1
    assert not dead.exists()
    assert (living.root / ".sorter/staging").joinpath(living.staging.folder, "kept").exists()
    living.close()


def test_names_are_never_clobbered_where_there_are_no_hard_links(archive, monkeypatch):
    def no_links(*_args, **_more):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    first = publish(archive, [stored(staged(archive))])[0]
    second = publish(archive, [stored(staged(archive, b"two", name="s2"))])[0]
    assert [(archive.root / one.path).read_bytes() for one in (first, second)] == [b"one", b"two"]
    assert first.path != second.path


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, ArchiveFullError), (errno.EDQUOT, ArchiveFullError), (errno.EIO, ArchiveError)],
)
def test_trouble_with_the_archive_is_raised_without_paths(archive, monkeypatch, number, error):
    def fail(*_args, **_more):
        raise OSError(number, os.strerror(number), "/secret/patient")

    one = staged(archive)
    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(error) as caught:
        publish(archive, [stored(one)])
    assert "secret" not in str(caught.value)


def test_every_ancestor_of_a_new_name_is_synced(archive, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1]
    )
    publish(archive, [stored(staged(archive))])
    wanted = {str(archive.root / part) for part in ("", "p", "p/20240131", "p/20240131/study", PLACE.folder)}
    assert {path.rstrip("/") for path in wanted} <= set(synced)


def test_many_folders_are_synced_by_one_syncfs(archive, monkeypatch):
    calls = []
    monkeypatch.setattr(tree.Tree, "sync_all", lambda self: calls.append(1))
    places, verdicts = {}, []
    for number in range(20):
        one = staged(archive, uid=f"1.{number}", name=f"s{number}")
        places[f"1.{number}"] = Place("p", 1, "", f"p{number}", "x.dcm", "y.dcm")
        verdicts.append(stored(one))
    publish(archive, verdicts, places)
    assert calls == [1]


def test_a_new_archive_root_is_durable_up_to_the_first_folder_that_was_there(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1]
    )
    Archive(tmp_path / "new/archive").close()
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new/archive")} <= set(synced)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_root_does_not_write_into_an_archive_of_somebody_else(tmp_path):
    (tmp_path / "archive").mkdir()
    os.chown(tmp_path / "archive", 12345, 12345)
    with pytest.raises(ArchiveError, match="user id 12345"):
        Archive(tmp_path / "archive")
    assert list((tmp_path / "archive").iterdir()) == []


def test_a_duplicate_of_a_damaged_archived_file_is_not_called_safe(archive):
    path = publish(archive, [stored(staged(archive))])[0].path
    (archive.root / path).chmod(0o600)
    (archive.root / path).write_bytes(b"x")
    one = staged(archive, name="s2")
    known = KnownInstance("1.2.3", one.instance.sha256, one.instance.source_sha256, path, ("", ""))
    outcome = publish(archive, [Verdict(one, Kind.DUPLICATE, known, "")])[0]
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, Reason.BLOCKED)


def test_a_duplicate_of_a_first_that_became_a_conflict_is_a_conflict_too(archive):
    folder = archive.root / PLACE.folder
    folder.mkdir(parents=True)
    (folder / PLACE.leaf).write_bytes(b"a")
    (folder / PLACE.spare).write_bytes(b"b")
    first = staged(archive)
    known = KnownInstance("1.2.3", first.instance.sha256, first.instance.source_sha256, "", ("", ""))
    again = Verdict(staged(archive, name="s2"), Kind.DUPLICATE, known, "")
    assert [one.kind for one in publish(archive, [stored(first), again])] == [Kind.CONFLICT, Kind.CONFLICT]


def test_a_name_that_the_file_system_does_not_allow_defers_its_own_file_and_says_why(archive):
    place = Place("p", 1, "20240131", "x" * 256, "CT.1.1.dcm", "CT.1.1.1.2.3.dcm")
    outcome = publish(archive, [stored(staged(archive))], {"1.2.3": place})[0]
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, Reason.BLOCKED)
    assert outcome.detail.startswith("the archive's file system allows no name as long as this")


def test_of_published_files_without_a_row_the_regular_ones_are_adopted(archive):
    folder = archive.root / "f"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"a")
    (folder / "link.dcm").symlink_to(folder / "a.dcm")
    with archive.turn():
        assert archive.adopt(["f/a.dcm", "f/link.dcm", "f/none.dcm"]) == ["f/a.dcm"]


def test_a_published_file_that_cannot_be_opened_for_want_of_means_is_trouble_with_the_archive(
    archive, monkeypatch
):
    (archive.root / "f").mkdir()
    (archive.root / "f/leaf.dcm").write_bytes(b"bytes")
    really_open = os.open

    def scarce(path, *rest, **more):
        if path == "leaf.dcm":
            raise OSError(errno.EMFILE, "no")
        return really_open(path, *rest, **more)

    monkeypatch.setattr(os, "open", scarce)
    with pytest.raises(ArchiveError, match="cannot adopt published files"), archive.turn():
        archive.adopt(["f/leaf.dcm"])
