"""What show tells: summaries of instances and series, elements, NIfTI files, thumbnails."""

import io
import struct
import zlib
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from support import bundled, dicom, drop

from sorter.config import load
from sorter.selection import select
from sorter.show import (
    Screen,
    about_instance,
    about_nifti,
    about_series,
    element_lines,
    open_instance,
    open_nifti,
    screen,
    slice_of,
    thumbnail,
)
from sorter.show.drawing import drawn
from sorter.show.instance import UnreadableError, plane

AXIAL = [1, 0, 0, 0, 1, 0]


def about(**more):
    return about_instance(pydicom.dcmread(io.BytesIO(dicom(1, **more))))


# -- instances ----------------------------------------------------------------------------------------------


def test_the_sections_hold_what_the_header_says_and_nothing_empty():
    found = about(PatientBirthDate="", PatientSex="F")
    assert found["person"] == {"PatientName": "Test^Person", "PatientID": "P1", "PatientSex": "F"}
    assert (found["study"]["StudyDescription"], found["series"]["Modality"]) == ("Head", "CT")
    assert found["instance"]["SOPClassUID"] == "CT Image Storage (1.2.840.10008.5.1.4.1.1.2)"


def test_geometry_is_in_millimetres_and_names_the_plane():
    found = about(
        PixelSpacing=[0.5, 0.25],
        SliceThickness=2,
        ImageOrientationPatient=AXIAL,
        ImagePositionPatient=[1, 2, 3],
    )["geometry"]
    assert found == {
        "size": "8 x 8 pixels",
        "spacing": "0.5 x 0.25 mm (between rows, between columns)",
        "field of view": "2.0 x 4.0 mm",
        "thickness": "2 mm",
        "plane": "axial",
        "position": "1 2 3 mm (left, back, up)",
    }


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        (AXIAL, "axial"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([1, 0, 0, 0, np.cos(np.radians(20)), np.sin(np.radians(20))], "axial, oblique by 20.0 degrees"),
        ([0, 0, 0, 0, 0, 0], "unknown"),
    ],
)
def test_a_plane_is_named_by_the_axis_that_it_is_nearest_to(cosines, expected):
    assert plane(tuple(cosines)) == expected


def test_encoding_tells_bits_windows_rescale_and_loss():
    found = about(
        BitsStored=12, WindowCenter=[40, 300], WindowWidth=[400, 1500],
        RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU",
        LossyImageCompression="01", LossyImageCompressionRatio=10,
        LossyImageCompressionMethod="ISO_10918_1",
    )["encoding"]  # fmt: skip
    assert found["pixels"] == "MONOCHROME2, 1 x unsigned 12 of 16 bits"
    assert found["window"] == "center 40, width 400; center 300, width 1500"
    assert (found["rescale"], found["lossy"]) == ("x 1 + -1024 (HU)", "yes, 1 : 10.0, ISO_10918_1")


def test_sizes_that_are_no_numbers_are_no_fault():
    assert "pixels" in about(Rows=[8, 8], Columns=[8, 8])["encoding"]


def test_of_encapsulated_pixels_it_tells_how_much_smaller_they_are():
    found = about_instance(open_instance(bundled("MR_small_jp2klossless.dcm")))["encoding"]
    assert found["bytes of pixels"] == "4,330 (1 : 1.9 of native)"


def test_an_enhanced_instance_has_the_geometry_of_its_first_frame():
    frames = [Dataset(), Dataset()]
    for place, frame in enumerate(frames):
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [Dataset()], [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 5 * place]
        frame.PlaneOrientationSequence[0].ImageOrientationPatient = AXIAL
    found = about(NumberOfFrames=2, PixelData=bytes(256), PerFrameFunctionalGroupsSequence=frames)["geometry"]
    assert (found["size"], found["plane"]) == ("8 x 8 pixels, 2 frames", "axial")
    assert found["position"] == "0 0 0 mm (left, back, up)"


@pytest.mark.parametrize("data", [b"", b"no dicom at all" * 99, b"\x89PNG\r\n\x1a\n" + bytes(200)])
def test_what_is_no_dicom_is_said_to_be_none(tmp_path, data):
    with pytest.raises(UnreadableError, match=r"is no DICOM file|cannot be parsed \(\w+\)"):
        open_instance(drop(tmp_path, "a", data))


# -- elements -----------------------------------------------------------------------------------------------


def test_every_element_is_a_line_and_items_are_indented():
    inner = Dataset()
    inner.CodeValue = "T-A0100"
    lines = list(element_lines(pydicom.dcmread(io.BytesIO(dicom(1, AnatomicRegionSequence=[inner])))))
    assert "(0010,0010) PN PatientName                      Test^Person" in lines
    where = lines.index("(0008,2218) SQ AnatomicRegionSequence           1 item")
    assert lines[where + 1 : where + 3] == [
        "  item 1",
        "    (0008,0100) SH CodeValue                        T-A0100",
    ]


def test_long_values_and_bytes_are_cut_and_say_how_long_they_are():
    lines = "\n".join(element_lines(pydicom.dcmread(io.BytesIO(dicom(1, ImageComments="x" * 200)))))
    assert f"{'x' * 70} ... (200 characters)" in lines
    assert "128 bytes: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ..." in lines


def test_no_value_can_forge_a_line_or_move_the_cursor():
    hostile = pydicom.dcmread(io.BytesIO(dicom(1, ImageComments="a\n(0010,0010) PN \x1b[2J")))
    (line,) = [line for line in element_lines(hostile) if "ImageComments" in line]
    assert line.endswith(r"a\x0a(0010,0010) PN \x1b[2J")


def test_private_elements_have_the_names_that_are_known():
    lines = list(element_lines(open_instance(bundled("CT_small.dcm"))))
    assert any(line.startswith("(0009,1002) SH [Suite id]") and line.endswith("CT01") for line in lines)


# -- series -------------------------------------------------------------------------------------------------


def series(tmp_path, places):
    for number, place in enumerate(places, 1):
        data = dicom(
            number, PixelSpacing=[1, 1], ImageOrientationPatient=AXIAL, ImagePositionPatient=[0, 0, place],
            FrameOfReferenceUID="1.2.3",
        )  # fmt: skip
        drop(tmp_path, f"{number:03}", data)
    (found,) = select(load(environ={"SORTER_CONFIG": ""}), [str(tmp_path)]).series
    return about_series(found)


def test_a_series_tells_its_volume(tmp_path):
    found = series(tmp_path, [0, 2, 4, 6])
    (volume,) = found["volumes"]
    assert (found["instances"], volume["shape"], volume["spacing"]) == (4, [8, 8, 4], [1, 1, 2])
    assert (volume["plane"], volume["is_volume"], volume["flags"]) == ("axial", True, [])


def test_a_gap_is_a_flag_that_keeps_it_from_being_a_volume(tmp_path):
    (volume,) = series(tmp_path, [0, 2, 4, 8, 10])["volumes"]
    assert [(flag["code"], flag["is_fault"]) for flag in volume["flags"]] == [("gap", True)]
    assert volume["is_volume"] is False


# -- NIfTI --------------------------------------------------------------------------------------------------


@pytest.fixture
def nifti(tmp_path):
    """4 x 5 x 6 voxels, i to the left: a bright one at the right front top, a grey one behind it."""
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not here: install sorter[formats]")
    values = np.zeros((4, 5, 6), np.int16)
    values[0, 4, 5], values[0, 0, 5] = 200, 100
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, 2.0, 3.0, 1.0])), path)
    return path


def test_a_nifti_file_tells_shape_spacing_and_where_its_axes_lead(nifti):
    found = about_nifti(open_nifti(nifti))
    assert (found["format"], found["shape"], found["spacing"]) == ("Nifti1", [4, 5, 6], [1, 2, 3])
    assert (found["type"], found["axes"], found["affine"][0]) == ("int16", "LAS", [-1, 0, 0, 0])


@pytest.mark.parametrize(
    ("axis", "number", "shape", "bright", "grey"),
    [
        ("k", 5, (5, 4), (0, 0), (4, 0)),  # front is up, the patient's right is left
        ("j", 4, (6, 4), (0, 0), None),
        ("i", 3, (6, 5), (0, 0), (0, 4)),  # front is left
    ],
)
def test_a_slice_is_seen_as_a_radiologist_sees_it(nifti, axis, number, shape, bright, grey):
    shown = slice_of(open_nifti(nifti), axis, number, window=(100.5, 201))
    lit = {(0, 0): 255} | ({} if grey is None else {grey: 127})
    assert shown.shape == shape
    assert {
        tuple(map(int, place)): int(shown[tuple(place)]) for place in np.argwhere(shown)
    } == pytest.approx(lit, abs=1)
    assert shown[bright] == 255


def test_a_slice_that_is_not_there_is_a_reason(nifti):
    with pytest.raises(UnreadableError, match="has no slice 6 along k: 6, counted from 0"):
        slice_of(open_nifti(nifti), "k", 6)


def test_a_file_that_is_no_nifti_says_so_without_its_name(tmp_path):
    pytest.importorskip("nibabel", reason="nibabel is not here: install sorter[formats]")
    with pytest.raises(UnreadableError, match="is neither DICOM nor NIfTI") as caught:
        open_nifti(drop(tmp_path, "SECRET.nii", b"x" * 999))
    assert "SECRET" not in str(caught.value)


# -- thumbnails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"TERM": "dumb"}, None),
        ({"TERM": "xterm", "NO_COLOR": "1"}, None),
        ({"TERM": "xterm-256color"}, Screen.BLOCKS),
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, Screen.KITTY),
        ({"TERM": "screen", "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, Screen.BLOCKS),
        ({"TERM": "xterm", "TERM_PROGRAM": "iTerm.app"}, Screen.ITERM),
    ],
)
def test_the_environment_tells_what_a_terminal_can_draw(environ, expected):
    assert screen(environ) == expected


def test_two_pixels_share_a_half_block():
    assert thumbnail(np.array([[0], [255]], "u1"), 60) == (
        "\x1b[38;2;0;0;0;48;2;255;255;255m\u2580\x1b[0m"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "columns", "lines"),
    [((512, 512), 60, 30), ((512, 256), 30, 30), ((5, 7), 7, 3), ((1, 900), 60, 1)],
)
def test_a_thumbnail_fits_and_keeps_its_proportions(shape, columns, lines):
    drawn_lines = thumbnail(np.zeros(shape, "u1"), 60).splitlines()
    assert (len(drawn_lines), drawn_lines[0].count("\u2580")) == (lines, columns)


def test_a_smaller_picture_has_the_means_of_the_larger():
    (line,) = thumbnail(np.array([[0, 100, 7, 7], [100, 0, 7, 7]] * 2, "u1"), 2).splitlines()
    assert line.count("50;50;50") == 2


def test_colours_stay_colours():
    assert "38;2;1;2;3" in thumbnail(np.array([[[1, 2, 3]]], "u1"), 9)


def test_kitty_gets_a_png_in_chunks():
    noise = np.random.default_rng(1).integers(0, 256, (200, 200), "u1")
    said = thumbnail(noise, 25, Screen.KITTY)
    first, *others = said.split("\x1b\\")[:-1]
    assert first.startswith("\x1b_Ga=T,f=100,m=1;iVBORw0KGgo")
    assert others[-1].startswith("\x1b_Gm=0;")
    assert all(len(one) < 4200 for one in (first, *others))


def test_the_png_is_one_that_others_read():
    import base64

    said = thumbnail(np.arange(64, dtype="u1").reshape(8, 8), 60, Screen.ITERM)
    data = base64.b64decode(said.partition(":")[2].rstrip("\a"))
    where = data.index(b"IDAT")
    (length,) = struct.unpack(">L", data[where - 4 : where])
    rows = np.frombuffer(zlib.decompress(data[where + 4 : where + 4 + length]), "u1").reshape(8, 25)
    assert rows[:, 1::3].tolist() == np.arange(64).reshape(8, 8).tolist()


# -- decoders in a worker -----------------------------------------------------------------------------------


def test_what_needs_a_decoder_is_decoded_in_a_worker_and_is_the_same():
    from sorter.picture import picture

    path = bundled("MR_small_jp2klossless.dcm")
    dataset = open_instance(path)
    config = load(environ={"SORTER_CONFIG": ""})
    assert np.array_equal(picture(dataset), drawn(path, dataset, config))


@pytest.mark.parametrize("death", [TimeoutError, MemoryError, BrokenProcessPool])
def test_a_worker_that_dies_is_a_reason(monkeypatch, death):
    from sorter.picture import NoPictureError

    def died(self, future):
        raise death

    monkeypatch.setattr("sorter.show.drawing._Painters._result", died)
    path = bundled("MR_small_jp2klossless.dcm")
    with pytest.raises(NoPictureError, match="the decoder crashed, hung or ran out of memory"):
        drawn(path, open_instance(path), load(environ={"SORTER_CONFIG": ""}))


def test_why_a_worker_made_no_picture_is_told():
    from sorter.picture import NoPictureError

    path = bundled("MR_small_jp2klossless.dcm")
    with pytest.raises(NoPictureError, match="there is no frame 5: it has 1"):
        drawn(path, open_instance(path), load(environ={"SORTER_CONFIG": ""}), frame=5)
