"""The BIDS sidecar, and what a NIfTI file makes of Philips values."""

import io
import json

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from slice_samples import axial, one_slice, values, write

from sorter.config import Config
from sorter.export import Form, Options, export
from sorter.organizer.layout import Layout
from sorter.selection import select


def exported(folder, files, **options):
    write(folder / "in", files)
    selection = select(Config(), [str(folder / "in")])
    (found,) = export(selection, folder / "out", Options(to=Form.NIFTI, **options), layout=Layout("uid"))
    volume, sidecar = found.files
    return nibabel.load(volume), json.loads(sidecar.read_text())


def test_ct_is_told_in_the_units_of_bids(tmp_path):
    _, said = exported(tmp_path, axial((0, 1), Modality="CT", KVP=120, ExposureTime=500, XRayTubeCurrent=200,
                                       ConvolutionKernel="B30f", GantryDetectorTilt=0))  # fmt: skip
    assert {key: said[key] for key in ("KVP", "ExposureTime", "XRayTubeCurrent", "ConvolutionKernel")} == {
        "KVP": 120,
        "ExposureTime": 0.5,
        "XRayTubeCurrent": 200,
        "ConvolutionKernel": "B30f",
    }


def test_pet_is_told_in_the_units_of_bids(tmp_path):
    tracer, nuclide = Dataset(), Dataset()
    nuclide.CodeMeaning, nuclide.CodeValue, nuclide.CodingSchemeDesignator = "18F", "C-111A1", "SRT"
    tracer.Radiopharmaceutical, tracer.RadionuclideTotalDose = "FDG", 350e6
    tracer.RadionuclideHalfLife, tracer.RadionuclideCodeSequence = 6586.2, [nuclide]
    files = axial((0, 1), Modality="PT", Units="BQML", ActualFrameDuration=120000,
                  RadiopharmaceuticalInformationSequence=[tracer])  # fmt: skip
    _, said = exported(tmp_path, files)
    expected = {
        "Units": "Bq/mL",
        "TracerName": "FDG",
        "TracerRadionuclide": "18F",
        "InjectedRadioactivity": 350,
        "InjectedRadioactivityUnits": "MBq",
        "RadionuclideHalfLife": 6586.2,
        "FrameDuration": [120],
        "FrameTimesStart": [0],
    }
    assert {key: said.get(key) for key in expected} == expected


@pytest.mark.parametrize(("direction", "axis"), [("ROW", "i"), ("COL", "j")])
def test_the_axis_of_phase_encoding_is_told_where_its_sign_is_not_known(tmp_path, direction, axis):
    _, said = exported(tmp_path, axial((0, 1), InPlanePhaseEncodingDirection=direction))
    assert (said["PhaseEncodingAxis"], "PhaseEncodingDirection" in said) == (axis, False)


def test_flags_are_in_the_sidecar(tmp_path):
    _, said = exported(tmp_path, axial((0, 1, 3)), regularize=True)
    assert [flag.partition(":")[0] for flag in said["SorterFlags"]] == ["gap", "regularized"]


def test_more_frames_than_nifti_can_count_are_refused(tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(one_slice(1, (0, 0, 0), ImagePositionPatient=None)))
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 32768, 1, 1
    dataset.PixelData = b"\0" * 2 * 32768
    dataset.save_as(tmp_path / "a.dcm")
    selection = select(Config(), [str(tmp_path / "a.dcm")])
    (found,) = export(selection, tmp_path / "out", Options(to=Form.NIFTI), layout=Layout("uid"))
    assert found.detail == "NIfTI-1 holds 32767 voxels along an axis at most, not 32768"


@pytest.mark.parametrize(
    ("scaling", "slope", "intercept"), [("precise", 1 / 0.125, 4 / (2 * 0.125)), ("dicom", 2, 4)]
)
def test_philips_values_compare_between_scans_unless_dicoms_are_asked_for(
    tmp_path, scaling, slope, intercept
):
    files = []
    for data in axial((0, 1), Manufacturer="Philips Medical Systems", RescaleSlope=2, RescaleIntercept=4):
        dataset = pydicom.dcmread(io.BytesIO(data))
        dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.125)
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        files.append(out.getvalue())
    loaded, _ = exported(tmp_path, files, scaling=scaling)
    np.testing.assert_array_equal(loaded.dataobj.get_unscaled()[..., 0], values(1)[::-1].T)
    np.testing.assert_allclose(
        np.asarray(loaded.dataobj)[..., 0], values(1)[::-1].T * slope + intercept, rtol=1e-6
    )
