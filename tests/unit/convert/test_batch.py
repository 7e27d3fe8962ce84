"""Many files: an outcome for each, nothing overwritten."""

import json
import os
import sys

import pytest
from made_volumes import MADE, save

from sorter.convert import convert as entry
from sorter.convert.batch import Job, Setting, convert_all, convert_one
from sorter.convert.convert import PICTURES, VOLUMES
from sorter.convert.errors import ConversionError, FormatsMissingError
from sorter.convert.files import form, named, place, sources
from sorter.convert.recognise import Format

GIVEN = (("here", {"PatientID": "P1"}),)


@pytest.fixture
def volumes(tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name, file in (("axial", "b.nii"), ("oblique", "a.nii.gz"), ("single slice", "sub/a.nii")):
        save(MADE[name](), folder / file)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.nii").write_bytes((folder / "b.nii").read_bytes())
    return folder


def test_folders_are_walked_in_order_for_what_can_be_converted(volumes):
    assert [(path.name, name) for path, name in sources([volumes], PICTURES | VOLUMES)] == [
        ("a.nii.gz", "a"),
        ("b.nii", "b"),
        ("a.nii", "sub/a"),
    ]


def test_the_voxels_of_a_pair_stand_for_its_header(tmp_path):
    for name in ("a.hdr", "a.img"):
        (tmp_path / name).touch()
    assert list(sources([tmp_path / "a.img"], VOLUMES)) == [(tmp_path / "a.hdr", "a")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_in_a_folder_has_an_outcome(volumes):
    (volumes / "b.nii").chmod(0)
    jobs = [Job(path, name, GIVEN) for path, name in sources([volumes], VOLUMES)]
    assert [bool(result.error) for result in convert_all(jobs, Setting())] == [False, True, False]


def test_without_the_extra_formats_it_is_said_what_to_install(volumes, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(FormatsMissingError, match=r"sorter\[formats\]"):
        convert_one(Job(volumes / "b.nii", "b", GIVEN), Setting())


def test_what_lies_in_gzip_is_seen(volumes, tmp_path):
    assert Format.NIFTI1 is form(volumes / "a.nii.gz")
    damaged = tmp_path / "x.gz"
    damaged.write_bytes(b"\x1f\x8b\x08" + b"\xff" * 50)
    assert form(damaged) is None


def test_equal_names_are_told_apart(tmp_path):
    found = [(tmp_path / name, stem) for name, stem in (("a.png", "a"), ("a.jpg", "a"), ("b.png", "b"))]
    again = [(tmp_path / "x" / "a.png", "a")]
    assert [name for _, name in named(found + again)] == ["a.png", "a.jpg", "b", "a.png-2"]


def test_several_instances_have_a_folder_and_one_is_a_file(volumes, tmp_path):
    jobs = [Job(path, name, GIVEN) for path, name in sources([volumes], VOLUMES)]
    results = convert_all(jobs, Setting(to=tmp_path / "out"))
    assert [result.instances for result in results] == [6, 6, 1]
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.dcm"))
    assert [made[0], made[-1]] == ["a/00001.dcm", "sub/a.dcm"]
    assert len(made) == 13


def test_processes_side_by_side_give_the_same_in_the_same_order(volumes, tmp_path):
    jobs = [Job(path, name, GIVEN) for path, name in sources([volumes], VOLUMES)]
    jobs += [Job(volumes / "notes.txt", "notes", GIVEN), Job(volumes / "b.nii", "unowned")]
    seen = []
    one = convert_all(
        jobs, Setting(to=tmp_path / "one"), progress=lambda done, all_: seen.append((done, all_))
    )
    two = convert_all(jobs, Setting(to=tmp_path / "two"), processes=2)
    assert [(number, 5) for number in range(6)] == seen
    assert [(r.job, r.instances, r.error, r.missing) for r in one] == [
        (r.job, r.instances, r.error, r.missing) for r in two
    ]
    assert [r.error for r in one[:4]] == [
        "",
        "",
        "",
        "it is neither a volume nor a picture that is understood here",
    ]
    assert one[4].missing == ("PatientID",)
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.dcm")}
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert files[0] == files[1]


def test_what_is_there_stays_and_the_same_again_is_fine(tmp_path):
    target = tmp_path / "x" / "a.dcm"
    place(target, b"one")
    place(target, b"one")
    with pytest.raises(ConversionError, match="overwritten"):
        place(target, b"two")
    assert (b"one", [target]) == (target.read_bytes(), list(target.parent.iterdir()))


def test_nothing_is_written_without_a_place(volumes):
    result = convert_one(Job(volumes / "b.nii", "b", GIVEN), Setting())
    assert (result.instances, result.output, result.error) == (6, None, "")


def test_a_fault_of_one_file_is_its_outcome_without_its_text(volumes, monkeypatch):
    def fail(*_args):
        raise RuntimeError("Doe^John")

    monkeypatch.setattr(entry, "read", fail)
    result = convert_one(Job(volumes / "b.nii", "b", GIVEN), Setting())
    assert result.error == "it is not understood (RuntimeError)"


def test_a_file_that_is_gone_is_its_outcome(tmp_path):
    assert "No such file" in convert_one(Job(tmp_path / "x.nii", "x", GIVEN), Setting()).error


def test_a_sidecar_completes_what_is_given(volumes):
    (volumes / "b.json").write_text(json.dumps({"PatientID": "P9", "Modality": "CT"}))
    assert convert_one(Job(volumes / "b.nii", "b"), Setting()).error == ""
