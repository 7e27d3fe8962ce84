"""``sorter.export``: what is written, under which names, and what is refused."""

import json
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.fileset import FileSet
from pydicom.uid import BasicTextSRStorage
from slice_samples import COLUMNS, ROWS, axial, enhanced, one_slice, values, write
from support import UID, dicom, drop

from sorter.config import Config
from sorter.errors import ConfigError
from sorter.export import Form, Options, State, export
from sorter.organizer.layout import Layout
from sorter.selection import select


def run(to, destination, *words, dry_run=False, **options):
    selection = select(Config(), [str(word) for word in words])
    made = Options(to=Form(to), **options)
    return list(export(selection, destination, made, layout=Layout("descriptive"), dry_run=dry_run))


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def series(tmp_path):
    write(tmp_path / "in", axial((0, 2, 4), EchoTime=30, RepetitionTime=2000, FlipAngle=60))
    return tmp_path / "in"


def test_a_series_becomes_one_nifti_file_with_its_sidecar(series, tmp_path):
    (found,) = run("nifti", tmp_path / "out", series)
    loaded = nibabel.load(tmp_path / "out" / "1_series_1.nii.gz")
    facts = json.loads((tmp_path / "out" / "1_series_1.json").read_text())
    assert (found.state, found.shape) == (State.EXPORTED, (COLUMNS, ROWS, 3))
    np.testing.assert_array_equal(np.asarray(loaded.dataobj)[..., 2], values(3)[::-1].T)
    np.testing.assert_allclose(
        loaded.affine, [[-0.5, 0, 0, -10], [0, 0.8, 0, -22.4], [0, 0, 2, 0], [0, 0, 0, 1]], atol=1e-6
    )
    assert (int(loaded.header["sform_code"]), int(loaded.header["qform_code"])) == (1, 1)
    assert {key: facts[key] for key in ("EchoTime", "RepetitionTime", "FlipAngle", "Modality")} == {
        "EchoTime": 0.03,
        "RepetitionTime": 2,
        "FlipAngle": 60,
        "Modality": "MR",
    }


def test_a_sidecar_has_nothing_of_the_patient(tmp_path):
    secret = "Canary"
    words = ("PatientName", "PatientID", "PatientComments", "AccessionNumber", "StudyID", "OperatorsName")
    write(tmp_path / "in", axial((0, 1), PatientBirthDate="19700101", **dict.fromkeys(words, secret)))
    run("nifti", tmp_path / "out", tmp_path / "in")
    run("npz", tmp_path / "npz", tmp_path / "in")
    for file in (*(tmp_path / "out").iterdir(), *(tmp_path / "npz").iterdir()):
        data = file.read_bytes() + file.name.encode()
        assert [word for word in (secret.encode(), UID.encode(), b"19700101") if word in data] == []


def test_the_same_series_makes_the_same_bytes(series, tmp_path):
    for name in ("a", "b"):
        run("nifti", tmp_path / name, series)
    assert (tmp_path / "a" / "1_series_1.nii.gz").read_bytes() == (
        tmp_path / "b" / "1_series_1.nii.gz"
    ).read_bytes()


def test_a_tilted_volume_has_no_quaternion(tmp_path):
    write(tmp_path / "in", [one_slice(k, (0, k * 0.4, k * 2)) for k in (1, 2, 3)])
    run("nifti", tmp_path / "out", tmp_path / "in")
    header = nibabel.load(tmp_path / "out" / "1_series_1.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


def test_a_3d_acquisition_is_turned_as_dcm2niix_does(tmp_path):
    write(tmp_path / "in", axial((0, 2, 4), MRAcquisitionType="3D"))
    run("nifti", tmp_path / "out", tmp_path / "in")
    loaded = nibabel.load(tmp_path / "out" / "1_series_1.nii.gz")
    assert nibabel.aff2axcodes(loaded.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(np.asarray(loaded.dataobj)[..., 0], values(1)[::-1, ::-1].T)


def test_npz_holds_array_affine_and_spacing(series, tmp_path):
    run("npz", tmp_path / "out", series)
    with np.load(tmp_path / "out" / "1_series_1.npz") as held:
        np.testing.assert_array_equal(held["array"][..., 0], values(1)[::-1].T)
        np.testing.assert_allclose(held["spacing"], [0.5, 0.8, 2])
    facts = json.loads((tmp_path / "out" / "1_series_1.json").read_text())
    assert (facts["shape"], facts["dtype"]) == ([COLUMNS, ROWS, 3], "uint16")


def test_one_file_may_be_named(series, tmp_path):
    run("nifti", tmp_path / "out" / "brain.nii", series)
    assert written(tmp_path / "out") == ["brain.json", "brain.nii"]
    assert nibabel.load(tmp_path / "out" / "brain.nii").shape == (COLUMNS, ROWS, 3)


def test_one_file_named_for_a_mixed_series_becomes_several(tmp_path):
    write(tmp_path / "in", [*axial((0, 1), EchoTime=5), one_slice(8, (10, 20, 0), EchoTime=9)])
    run("nifti", tmp_path / "out" / "brain.nii.gz", tmp_path / "in")
    assert written(tmp_path / "out") == ["brain_1.json", "brain_1.nii.gz", "brain_2.json", "brain_2.nii.gz"]


def test_a_damaged_file_of_a_series_is_refused_beside_its_volume(series, tmp_path):
    drop(series, "odd", one_slice(9, (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]))
    found = run("nifti", tmp_path / "out", series)
    assert [(one.state, one.source and one.source.name) for one in found] == [
        (State.REFUSED, "odd"),
        (State.EXPORTED, None),
    ]


def test_one_file_named_for_several_series_is_an_error(series, tmp_path):
    drop(series, "other", dicom(1, series=2))
    with pytest.raises(ConfigError, match="name a folder"):
        run("nifti", tmp_path / "brain.nii.gz", series)


def test_a_gap_is_refused_with_the_reason_and_nothing_is_written(tmp_path):
    write(tmp_path / "in", axial((0, 1, 4, 5)))
    (found,) = run("nifti", tmp_path / "out", tmp_path / "in")
    assert (found.state, found.detail) == (
        State.REFUSED,
        "gap: 2 missing between slices 2 and 3 (1 mm apart elsewhere)",
    )
    assert written(tmp_path) == [f"in/{path.name}" for path in sorted((tmp_path / "in").iterdir())]


@pytest.mark.parametrize("form", Form)
def test_nothing_is_written_over(series, tmp_path, form):
    out = tmp_path / "out"
    assert {one.state for one in run(form, out, series)} == {State.EXPORTED}
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = run(form, out, series)
    assert {one.state for one in again} == {State.REFUSED}
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("form", Form)
def test_a_dry_run_names_what_would_be_written_and_writes_nothing(series, tmp_path, form):
    promised = [path for one in run(form, tmp_path / "out", series, dry_run=True) for path in one.files]
    assert not (tmp_path / "out").exists()
    done = [path for one in run(form, tmp_path / "out", series) for path in one.files]
    assert promised == done
    assert all(path.exists() for path in done)


def test_mixed_series_give_a_file_a_volume(tmp_path):
    write(tmp_path / "in", [*axial((0, 1), EchoTime=5), one_slice(8, (10, 20, 0), EchoTime=9)])
    found = run("nifti", tmp_path / "out", tmp_path / "in")
    assert [path.name for one in found for path in one.files if path.suffix == ".gz"] == [
        "1_series_1_1.nii.gz",
        "1_series_1_2.nii.gz",
    ]


def test_series_of_one_name_do_not_meet(tmp_path):
    for number in (1, 2):
        drop(tmp_path / "in", f"{number}", dicom(1, series=number, SeriesDescription="T1", SeriesNumber=4))
    run("png", tmp_path / "out", tmp_path / "in")
    assert written(tmp_path / "out") == ["4_t1.png", "4_t1_2.png"]


def test_several_studies_have_folders_of_their_own(tmp_path):
    for number in (1, 2):
        drop(tmp_path / "in", f"{number}", dicom(1, study=number, StudyDescription=f"No {number}"))
    run("png", tmp_path / "out", tmp_path / "in")
    assert written(tmp_path / "out") == ["20240131_no_1/1_series_1.png", "20240131_no_2/1_series_1.png"]


def test_a_report_is_left_out_of_volumes_and_is_no_failure(series, tmp_path):
    report = dicom(1, series=2, SOPClassUID=BasicTextSRStorage, Rows=None, Columns=None, PixelData=None,
                   Modality="SR", ContentSequence=[pydicom.Dataset()])  # fmt: skip
    drop(series, "report", report)
    assert [one.state for one in run("nifti", tmp_path / "out", series)] == [State.EXPORTED, State.LEFT_OUT]


def test_pictures_are_numbered_and_windowed(series, tmp_path):
    run("png", tmp_path / "out", series, window=(1012, 24))
    assert written(tmp_path / "out") == [f"1_series_1/000{k}.png" for k in (1, 2, 3)]
    first = np.asarray(Image.open(tmp_path / "out" / "1_series_1" / "0001.png"))
    assert (first.min() < 10, first.max() > 245) == (True, True)


def test_frames_of_one_instance_are_numbered_too(tmp_path):
    drop(tmp_path / "in", "e", enhanced([(0, 0, 0), (0, 0, 1)]))
    run("jpeg", tmp_path / "out", tmp_path / "in")
    assert written(tmp_path / "out") == ["1_series_1/0001_0001.jpg", "1_series_1/0001_0002.jpg"]


def test_one_file_is_no_place_for_several_pictures(series, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / "a.nii")
    for source in (series, tmp_path / "a.nii"):
        (result,) = run("png", tmp_path / "out.png", source)
        assert (result.state, "one file was named for" in result.detail) == ("refused", True)
        assert not (tmp_path / "out.png").exists()
        (result,) = run("png", tmp_path / f"{source.name}.png", source, montage=True)
        assert written(tmp_path).count(f"{source.name}.png") == 1


def test_one_slice_of_a_nifti_file_may_be_named(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 1), np.int16), np.eye(4)), tmp_path / "a.nii")
    run("png", tmp_path / "out.png", tmp_path / "a.nii")
    assert (tmp_path / "out.png").is_file()


def test_a_montage_shows_all_slices_on_one_sheet(series, tmp_path):
    (found,) = run("png", tmp_path / "out", series, montage=True)
    with Image.open(found.files[0]) as sheet:
        assert (sheet.size[0] >= 2 * COLUMNS, sheet.size[1] >= 2 * ROWS, found.count) == (True, True, 3)


@pytest.mark.parametrize(("form", "more"), [("gif", {}), ("webp", {}), ("png", {"animate": True})])
def test_a_moving_picture_has_all_frames_and_their_speed(tmp_path, form, more):
    write(tmp_path / "in", axial((0, 1, 2), FrameTime=50))
    (found,) = run(form, tmp_path / "out", tmp_path / "in", window=(2000, 4000), **more)
    with Image.open(found.files[0]) as moving:
        moving.seek(2)
        moving.load()
        assert (moving.n_frames, moving.info["duration"]) == (3, 50)


def test_a_jpeg_does_not_move(series, tmp_path):
    (found,) = run("jpeg", tmp_path / "out", series, animate=True)
    assert (found.state, found.detail) == (
        State.REFUSED,
        "JPEG does not move: choose png, gif or webp",
    )


def test_slices_of_a_nifti_file_are_shown_along_an_axis(tmp_path):
    data = np.zeros((5, 4, 3), np.int16)
    data[4, 0, 2] = 100  # the patient's left, back, top in RAS: i runs to the right
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "brain.nii.gz")
    run("png", tmp_path / "out", tmp_path / "brain.nii.gz", axis="k", window=(50, 100))
    assert written(tmp_path / "out") == [f"brain/k000{k}.png" for k in (1, 2, 3)]
    top = np.asarray(Image.open(tmp_path / "out" / "brain" / "k0003.png"))
    assert (top.shape, np.argwhere(top).tolist()) == ((4, 5), [[3, 0]])


def test_slices_of_voxels_that_are_not_square_are_enlarged(tmp_path):
    nibabel.save(
        nibabel.Nifti1Image(np.ones((5, 4, 3), np.int16), np.diag([1, 1, 2.5, 1])), tmp_path / "a.nii"
    )
    (found,) = run("png", tmp_path / "out", tmp_path / "a.nii", axis="i")
    assert {Image.open(path).size for path in found.files} == {(4, round(3 * 2.5))}


def test_one_instance_that_cannot_be_shown_does_not_keep_the_others_back(series, tmp_path):
    drop(series, "short", one_slice(9, (0, 0, 9), PixelData=b"\0\0"))
    found = run("png", tmp_path / "out", series)
    assert [(one.state, one.count, one.source and one.source.name) for one in found] == [
        (State.REFUSED, 0, "short"),
        (State.EXPORTED, 3, None),
    ]


def test_reports_of_a_series_are_told_in_one_line(tmp_path):
    without = {"Rows": None, "Columns": None, "PixelData": None, "ContentSequence": [pydicom.Dataset()]}
    reports = [dicom(number, SOPClassUID=BasicTextSRStorage, **without) for number in (1, 2, 3)]
    write(tmp_path / "in", reports)
    (left,) = run("png", tmp_path / "out", tmp_path / "in")
    assert (left.state, left.detail) == ("left_out", "3 instances have no pixel data")


def test_a_report_has_no_picture_and_is_no_failure(series, tmp_path):
    drop(series, "report", dicom(1, series=2, SOPClassUID=BasicTextSRStorage, Rows=None, Columns=None,
                                 PixelData=None, ContentSequence=[pydicom.Dataset()]))  # fmt: skip
    assert [one.state for one in run("png", tmp_path / "out", series)] == [State.EXPORTED, State.LEFT_OUT]


def test_copies_are_the_bytes_in_the_tree_of_an_archive(series, tmp_path):
    run("dicom", tmp_path / "out", series)
    assert written(tmp_path / "out") == [
        f"P1/20240131/head/series_1/MR.{UID}.1.1.{number}.dcm" for number in (1, 2, 3)
    ]
    copies = {path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    assert copies == {path.read_bytes() for path in series.iterdir()}


def test_a_zip_holds_the_same_tree_and_the_same_bytes_each_time(series, tmp_path):
    run("zip", tmp_path / "a.zip", series)
    run("zip", tmp_path / "b.zip", series)
    with zipfile.ZipFile(tmp_path / "a.zip") as held:
        assert sorted(held.namelist()) == [
            f"P1/20240131/head/series_1/MR.{UID}.1.1.{number}.dcm" for number in (1, 2, 3)
        ]
        assert {held.read(name) for name in held.namelist()} == {
            path.read_bytes() for path in series.iterdir()
        }
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_file_set_reads_back_with_names_of_8_characters_and_the_same_bytes(series, tmp_path):
    (found,) = run("dicomdir", tmp_path / "out", series)
    file_set = FileSet(tmp_path / "out" / "DICOMDIR")
    assert (found.state, len(file_set)) == (State.EXPORTED, 3)
    parts = [part for one in file_set for part in one.ReferencedFileID]
    assert all(len(part) <= 8 and part.upper() == part for part in parts)
    copies = {(tmp_path / "out").joinpath(*one.ReferencedFileID).read_bytes() for one in file_set}
    assert copies == {path.read_bytes() for path in series.iterdir()}


def test_a_file_set_tells_copies_of_a_file_from_two_files_with_one_uid(series, tmp_path):
    drop(series, "again", (series / "000.dcm").read_bytes())
    drop(series, "other", one_slice(1, (0, 0, 99)))
    found = run("dicomdir", tmp_path / "out", series)
    assert [(one.state, one.count, one.source and one.source.name) for one in found] == [
        (State.REFUSED, 0, "other"),
        (State.EXPORTED, 3, None),
    ]


def test_a_file_that_a_file_set_cannot_hold_does_not_keep_the_others_back(series, tmp_path):
    drop(series, "no_series", dicom(1, series=7, SeriesInstanceUID=None))
    found = run("dicomdir", tmp_path / "out", series)
    assert {one.detail: one.state for one in found} == {
        "": State.EXPORTED,
        "it lacks a UID of study, series or instance": State.REFUSED,
    }
    assert len(FileSet(tmp_path / "out" / "DICOMDIR")) == 3


@pytest.mark.parametrize("form", ["nifti", "npz", "png", "gif", "dicom", "zip"])
def test_where_nothing_can_be_written_each_series_says_so(series, tmp_path, form):
    (tmp_path / "full").write_bytes(b"")
    found = {(one.state, one.detail) for one in run(form, tmp_path / "full/out", series)}
    assert found == {("refused", "DEST cannot be written: Not a directory")}


@pytest.mark.parametrize("form", ["nifti", "npz", "png", "gif", "dicom", "dicomdir"])
def test_a_file_that_is_there_is_no_destination(series, tmp_path, form):
    (tmp_path / "b.dcm").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="a file that is there already"):
        run(form, tmp_path / "b.dcm", series)
    assert (tmp_path / "b.dcm").read_bytes() == b"precious"


def test_a_destination_named_as_another_form_is_a_mistake(series, tmp_path):
    with pytest.raises(ConfigError, match="named as jpeg, and --to says png"):
        run("png", tmp_path / "out.jpg", series)


@pytest.mark.parametrize("form", ["nifti", "png", "dicom", "zip"])
def test_files_that_are_not_dicom_are_left_out_and_told_once(series, tmp_path, form):
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).write_text("x")
    left = [one for one in run(form, tmp_path / "out", tmp_path / "in") if one.state == "left_out"]
    assert [one.detail for one in left] == ["2 files are not DICOM"]


@pytest.mark.parametrize("form", ["nifti", "npz", "png", "gif"])
def test_what_does_not_fit_into_memory_is_refused_and_the_rest_goes_on(series, tmp_path, form, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("sorter.export.volumes.read_stack", full)
    monkeypatch.setattr("sorter.export.pictures.picture", full)
    details = {one.detail for one in run(form, tmp_path / "out", series)}
    assert details == {"there is not enough memory for it"}


def test_a_file_set_goes_to_an_empty_folder_only(series, tmp_path):
    drop(tmp_path, "out/there", b"x")
    (found,) = run("dicomdir", tmp_path / "out", series)
    assert (found.state, written(tmp_path / "out")) == (State.REFUSED, ["there"])


def test_a_damaged_file_is_refused_and_the_others_are_written(series, tmp_path):
    drop(series, "cut", dicom(9)[:-20])
    found = run("dicom", tmp_path / "out", series)
    assert [(one.state, one.source and one.source.name) for one in found] == [
        (State.REFUSED, "cut"),
        (State.EXPORTED, None),
    ]


def test_nothing_is_left_behind_where_writing_fails(series, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", fails)
    found = run("dicom", tmp_path / "out", series)
    assert [(one.state, one.detail) for one in found] == [(State.REFUSED, "No space left on device")] * 3
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize(("form", "module"), [("nifti", "nibabel"), ("png", "PIL")])
def test_a_missing_extra_says_what_to_install(series, tmp_path, monkeypatch, form, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'sorter\[formats\]'"):
        run(form, tmp_path / "out", series)
