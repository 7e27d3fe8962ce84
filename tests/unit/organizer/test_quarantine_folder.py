"""The quarantine: bytes are kept once per reason, beside a note; nothing else is changed or removed."""

import hashlib
import json
import os

import pytest
from archived import archive, candidate

from sorter.errors import ArchiveError
from sorter.model import Header, Reason

__all__ = ["archive"]
JUNK = hashlib.sha256(b"junk").hexdigest()
FOLDER = ".sorter/quarantine/not_dicom"


def keep(archive, *, name="j1", source="a.dcm", sha256=JUNK, header=None, **more):
    """Keep a staged file as a run does; returns its path."""
    if name:
        archive.staging.write(name, [b"junk"], sync=True)
    with archive.turn():
        return archive.quarantine.keep(
            candidate(source, 4), Reason.NOT_DICOM, more.pop("detail", "why"),
            name=name, sha256=sha256, header=header or Header(), **more,
        )  # fmt: skip


def note(archive, path):
    return json.loads((archive.root / path).with_suffix(".json").read_text())


def left(archive):
    return sorted(os.listdir(archive.root / FOLDER))


# -- what is kept ---------------------------------------------------------------------------------------


def test_refused_bytes_get_their_digest_for_a_name_below_their_reason_and_a_note(archive):
    path = keep(archive, source="x\nname")
    assert path == f"{FOLDER}/{JUNK[:24]}.dcm"
    assert (archive.root / path).read_bytes() == b"junk"
    said = note(archive, path)
    assert (said["source"], said["detail"], said["sha256"]) == ("/drop/x\nname", "why", JUNK)
    assert (said["reason"], said["size"]) == ("not_dicom", 4)


def test_of_the_header_the_note_has_what_tells_whose_it_is(archive):
    header = Header({"PatientID": "P1", "Modality": "CT", "Rows": 8})
    assert note(archive, keep(archive, header=header))["header"] == {"PatientID": "P1", "Modality": "CT"}


@pytest.mark.parametrize(
    ("more", "key", "expected"),
    [
        ({"existing": "p/a.dcm"}, "existing", "p/a.dcm"),
        ({"missing": ("PatientID",)}, "fill_in", {"PatientID": ""}),
        ({}, "existing", None),
        ({}, "fill_in", None),
    ],
)
def test_the_note_has_more_only_where_there_is_more_to_say(archive, more, key, expected):
    assert note(archive, keep(archive, **more)).get(key) == expected


def test_the_same_bytes_are_kept_once_with_their_first_note(archive):
    paths = {keep(archive, detail="first"), keep(archive, name="j2", detail="second")}
    assert len(paths) == 1
    assert left(archive) == [f"{JUNK[:24]}.dcm", f"{JUNK[:24]}.json"]
    assert note(archive, paths.pop())["detail"] == "first"


def test_a_damaged_file_does_not_stop_the_next_one(archive):
    folder = archive.root / FOLDER
    folder.mkdir()
    (folder / f"{JUNK[:24]}.dcm").write_bytes(b"damaged")
    path = keep(archive)
    assert path == f"{FOLDER}/{JUNK[:24]}-1.dcm"
    assert (archive.root / path).read_bytes() == b"junk"
    assert (folder / f"{JUNK[:24]}.dcm").read_bytes() == b"damaged"


def test_of_what_could_not_be_read_there_is_a_note_alone(archive):
    path = keep(archive, name="", sha256="")
    assert left(archive) == [path.rpartition("/")[2]]
    assert note(archive, path)["sha256"] == ""


def test_what_is_kept_leaves_no_more_in_staging_than_was_there(archive):
    before = set(os.listdir(archive.staging.folder))
    keep(archive)
    assert set(os.listdir(archive.staging.folder)) - before == {"j1"}


# -- what is changed ------------------------------------------------------------------------------------


def test_a_note_is_replaced_as_a_whole(archive):
    path = keep(archive).replace(".dcm", ".json")
    with archive.turn():
        archive.quarantine.annotate(path, {"retried": "yes"})
    assert json.loads((archive.root / path).read_text()) == {"retried": "yes"}
    assert left(archive) == [f"{JUNK[:24]}.dcm", f"{JUNK[:24]}.json"]


def test_a_note_has_its_name_only_once_its_bytes_are_durable(archive, monkeypatch):
    path, calls = keep(archive).replace(".dcm", ".json"), []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "rename", lambda *a, **more: (calls.append("rename"), rename(*a, **more))[1])
    with archive.turn():
        archive.quarantine.annotate(path, {})
    first, named, *folders = calls
    assert (first, named, set(folders)) == ("fsync", "rename", {"fsync"})


def test_what_is_removed_is_gone_and_what_is_gone_already_is_no_error(archive):
    path = keep(archive)
    for _ in range(2):
        with archive.turn():
            archive.quarantine.remove([path])
    assert left(archive) == [f"{JUNK[:24]}.json"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "p/20240131/study/series/a.dcm",
        ".sorter/index.sqlite",
        ".sorter/quarantine/x",
        ".sorter/quarantine/not_dicom/",
        ".sorter/quarantine/../../x",
        ".sorter/quarantine/../x",
    ],
)
def test_what_lies_elsewhere_is_neither_removed_nor_changed(archive, elsewhere):
    path = keep(archive)
    with archive.turn():
        with pytest.raises(ValueError, match="does not lie in the quarantine"):
            archive.quarantine.remove([path, elsewhere])
        with pytest.raises(ValueError, match="does not lie in the quarantine"):
            archive.quarantine.annotate(elsewhere, {})
    assert left(archive) == [f"{JUNK[:24]}.dcm", f"{JUNK[:24]}.json"]


def test_what_stands_in_the_way_within_sorter_s_own_folder_is_trouble_with_the_archive(archive):
    (archive.root / FOLDER).write_bytes(b"")
    with archive.turn(), pytest.raises(ArchiveError, match="move it away"):
        archive.quarantine.remove([f"{FOLDER}/a.dcm"])
    with archive.turn(), pytest.raises(ArchiveError, match="move it away"):
        archive.quarantine.annotate(f"{FOLDER}/a.json", {})
