"""The Python API: rows, instances, volumes and pictures of an archive; the examples of docs/api.md run."""

import doctest
import shutil
import subprocess
import sys

import numpy as np
import pytest
from inline import Inline, config, inline
from slice_samples import axial, write
from support import ROOT, UID, bundled, dicom, drop

import sorter
from sorter import intake
from sorter.rescan import backfill

__all__ = ["inline"]
PLACED = {"PixelSpacing": [1, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
SERIES, INSTANCE = f"{UID}.1.1", f"{UID}.1.1.2"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An archive of two patients, three series and six instances; nothing here writes to it."""
    tmp_path = tmp_path_factory.mktemp("api")
    for number in (1, 2, 3):
        place = {"ImagePositionPatient": [0, 0, 2 * number], "RescaleSlope": 1, "RescaleIntercept": -1000}
        drop(tmp_path / "in", str(number), dicom(number, pixels=number, **place, **PLACED))
    for echo in (1, 2):
        data = dicom(echo, series=2, EchoTime=echo, ImagePositionPatient=[0, 0, 0], **PLACED)
        drop(tmp_path / "in", f"echo{echo}", data)
    drop(tmp_path / "in", "other", dicom(1, study=2, patient="P2", StudyDescription="<b>x</b>"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "Workers", Inline)
        backfill(config(tmp_path))
    return tmp_path / "archive"


@pytest.fixture
def archive(root, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    with sorter.open(root) as opened:
        yield opened


def test_a_row_is_a_mapping_and_rows_are_a_list(archive):
    rows = archive.find("patient")
    assert [row["patient_id"] for row in rows] == ["P1", "P2"]
    assert (isinstance(rows, list), isinstance(rows[0], dict)) == (True, True)


@pytest.mark.parametrize(
    ("level", "count"), [("patients", 2), ("studies", 2), ("series", 3), ("instances", 6)]
)
def test_every_level_has_its_method(archive, level, count):
    assert len(getattr(archive, level)()) == count


def test_criteria_are_those_of_sorter_find(archive):
    assert len(archive.instances(PatientID="P*", SeriesNumber=1, StudyDate="2024-")) == 4
    assert len(archive.instances(limit=2)) == 2


@pytest.mark.parametrize(("level", "criteria"), [("patients", {}), ("study", {"PatientNam": "x"})])
def test_a_level_or_keyword_that_is_none_is_said(archive, level, criteria):
    with pytest.raises(sorter.SorterError, match=r"is no level|did you mean"):
        archive.find(level, **criteria)


def test_an_instance_is_a_dataset_and_its_path_a_file(archive):
    assert archive.instance(INSTANCE).InstanceNumber == 2
    assert archive.path(INSTANCE).is_relative_to(archive.root)
    assert [archive.path(f"{SERIES}.{number}") for number in (1, 2, 3)] == archive.paths(SERIES)


@pytest.mark.parametrize("uid", ["1.2.3", "", "*", f"{UID}.*", f"{INSTANCE},{SERIES}.1", SERIES])
def test_what_is_not_there_is_not_found(archive, uid):
    with pytest.raises(LookupError, match="nothing with this SOPInstanceUID"):
        archive.instance(uid)


def test_a_volume_has_array_affine_and_spacing(archive):
    volume = archive.volume(SERIES)
    assert volume.array[0, 0].tolist() == [-999, -998, -997]
    assert (volume.affine.shape, volume.spacing) == ((4, 4), (1.0, 1.0, 2.0))


def test_a_series_of_several_volumes_is_not_one(archive):
    with pytest.raises(sorter.VolumeError, match=r"2 volumes, not one \(8 x 8 x 1, 8 x 8 x 1\)"):
        archive.volume(f"{UID}.1.2")
    assert [volume.shape for volume in archive.volumes(f"{UID}.1.2")] == [(8, 8, 1)] * 2


def test_a_picture_is_an_array(archive):
    shown = archive.picture(INSTANCE, window=(-998, 1))
    assert (shown.shape, shown.dtype) == ((8, 8), np.uint8)


def test_a_window_may_be_a_list(archive):
    as_list, as_tuple = (archive.picture(INSTANCE, window=kind((-998, 1))) for kind in (list, tuple))
    assert as_list.tolist() == as_tuple.tolist()


@pytest.mark.parametrize("window", ["bone", "range", (40,), [1, 2, 3], 400])
def test_what_is_no_window_is_an_error_and_not_another_window(archive, window):
    with pytest.raises(sorter.NoPictureError, match="a window is"):
        archive.picture(INSTANCE, window=window)


def test_notebooks_get_a_table_in_which_no_value_is_markup(archive):
    table = archive.studies()._repr_html_()
    assert ("<td>&lt;b&gt;x&lt;/b&gt;</td>" in table, "<b>" in table) == (True, False)
    assert archive.studies(PatientID="nobody")._repr_html_().startswith("<table>")


def test_reprs_hold_no_values(archive):
    assert repr(archive.patients()).startswith("<2 rows: patient_id, ")
    assert (repr(archive.patients(PatientID="nobody")), repr(archive)) == (
        "<0 rows>",
        f"<sorter archive {archive.root}>",
    )


def test_an_archive_that_is_open_is_not_written_to(archive):
    def state():
        return {path: path.stat().st_mtime_ns for path in archive.root.rglob("*") if path.is_file()}

    before = state()
    archive.studies()
    archive.volume(SERIES)
    assert before == state()


def test_no_archive_is_made_by_opening_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")
    with pytest.raises(sorter.SorterError):
        sorter.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_or_files_are_read_without_an_archive(archive, tmp_path):
    folder = archive.path(INSTANCE).parent
    assert sorter.read_volume(folder).shape == (8, 8, 3)
    assert sorter.read_volume(reversed(archive.paths(SERIES))).shape == (8, 8, 3)
    assert sorter.read(archive.path(INSTANCE)).InstanceNumber == 2
    assert sorter.read_picture(str(archive.path(INSTANCE))).shape == (8, 8)


def test_what_is_hidden_in_a_folder_is_no_part_of_its_volumes(tmp_path):
    write(tmp_path / "in", axial((0, 1, 2)))
    write(tmp_path / "in/.sorter/quarantine/conflict", axial((3,)))
    assert sorter.read_volume(tmp_path / "in").shape[2] == 3


def test_a_file_that_is_no_dicom_is_unreadable(tmp_path):
    with pytest.raises(sorter.UnreadableError):
        sorter.read(drop(tmp_path, "a", b"hello"))


def test_importing_sorter_imports_nothing_heavy():
    code = "import sorter, sys; print(sorted({'numpy', 'pydicom', 'sqlalchemy', 'click'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout == "[]\n"


def test_every_name_of_the_api_is_in_the_package():
    from sorter import api

    assert set(api.__all__) | {"__version__"} == set(sorter.__all__)
    assert set(sorter.__all__) <= set(dir(sorter))
    assert {getattr(sorter, name) for name in api.__all__} == {getattr(api, name) for name in api.__all__}


def test_type_checkers_see_every_name():
    from sorter import api

    stub = (ROOT / "sorter/__init__.pyi").read_text()
    assert [name for name in api.__all__ if f"import {name} as {name}\n" not in stub] == []


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sorter.nothing


@pytest.mark.usefixtures("inline")
def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch):
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not here: install sorter[formats]")
    monkeypatch.setenv("SORTER_CONFIG", "")
    (tmp_path / "in").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm"):
        shutil.copy(bundled(name), tmp_path / "in" / name)
    backfill(config(tmp_path))
    values = np.arange(24, dtype=np.int16).reshape(3, 4, 2)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "in/t1.nii.gz")
    names = {"archive_root": tmp_path / "archive", "files": tmp_path / "in"}
    text = (ROOT / "docs/api.md").read_text()
    examples = doctest.DocTestParser().get_doctest(text, names, "docs/api.md", "docs/api.md", 0)
    said = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert ("".join(said), result.attempted > 15) == ("", True)
