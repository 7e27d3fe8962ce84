"""Volumes of real series, with dcm2niix as the referee: its published answers, its word on the whole corpus.

``SORTER_COUNT_SERIES=1 pytest -n 0 -s tests/e2e/test_volumes_judged.py -k corpus`` prints what becomes of
each real series.
"""

import csv
import json
import os
import shutil
import subprocess
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import nibabel
import numpy as np
import pytest
from slice_samples import SAGITTAL, axial, one_slice, write
from support import shared_data

from sorter.config import Config
from sorter.export import Form, Options, export
from sorter.organizer.layout import Layout
from sorter.selection import select

LEAST_EQUAL = 70  # of the real series with a geometry that dcm2niix converts
REFERENCES = (
    *(f"dcm_qa_nih/Ref/DCM2NIIX_regression_test_{n}.nii" for n in (4, 5, 6, 7)),
    *(f"dcm_qa_nih/Ref/EPI_PE={name}.nii" for name in ("AP_3", "LR_6", "PA_4", "RL_5")),
    *(f"dcm_qa_enh/Ref/Philips_WIP_B0_NS_801_{name}.nii" for name in ("e1", "e2_fieldmaphz")),
    "dcm_qa_enh/Ref/Siemens_REST1_w_SMS_PF7-8_6.nii",
)


def to_nifti(*words, out, **options):
    selection = select(Config(), [str(word) for word in words])
    return list(export(selection, out, Options(to=Form.NIFTI, **options), layout=Layout("uid")))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    data = shared_data()
    out = tmp_path_factory.mktemp("exported")
    to_nifti(data / "dcm_qa_nih/In", data / "dcm_qa_enh/In", out=out)
    return [(nibabel.load(path), path) for path in sorted(out.rglob("*.nii.gz"))]


def answer(exported, reference):
    """The one exported file that holds the stored voxels of a reference."""
    stored = reference.dataobj.get_unscaled()
    (found,) = [
        (one, path)
        for one, path in exported
        if one.shape == reference.shape and np.array_equal(one.dataobj.get_unscaled(), stored)
    ]
    return found


@pytest.mark.parametrize("name", REFERENCES, ids=lambda name: Path(name).stem)
def test_an_export_equals_the_published_answer_in_voxels_and_affine(exported, name):
    reference = nibabel.load(shared_data() / name)
    found, _ = answer(exported, reference)
    np.testing.assert_allclose(found.affine, reference.affine, atol=3e-5)
    # The stored voxels are equal; the slope of the field map has but 5 exact digits in dcm2niix.
    expected = np.asarray(reference.dataobj)
    np.testing.assert_allclose(np.asarray(found.dataobj), expected, rtol=1e-6, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize("name", ["dcm_qa_nih/Ref/EPI_PE=" + one for one in ("AP_3", "LR_6", "PA_4", "RL_5")])
def test_a_sidecar_says_of_time_and_phase_what_dcm2niix_says(exported, name):
    data = shared_data()
    _, path = answer(exported, nibabel.load(data / f"{name}.nii"))
    said = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    expected = json.loads((data / f"{name}.json").read_text())
    assert said["PhaseEncodingDirection"] == expected["PhaseEncodingDirection"]
    for key in ("EffectiveEchoSpacing", "TotalReadoutTime", "RepetitionTime", "EchoTime"):
        assert said[key] == pytest.approx(expected[key], rel=1e-5)
    # dcm2niix takes the times of the second volume; the scanner rounds to 2.5 ms.
    assert said["SliceTiming"] == pytest.approx(expected["SliceTiming"], abs=0.003)


def dcm2niix(folder, out):
    """The NIfTI files that dcm2niix makes of a folder."""
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")
    out.mkdir(parents=True)
    command = ["dcm2niix", "-b", "n", "-z", "n", "-f", "%s_%e", "-o", str(out), str(folder)]
    subprocess.run(command, check=False, capture_output=True, timeout=60)
    return [nibabel.load(path) for path in sorted(out.glob("*.nii"))]


def canonical(values, affine):
    """Voxels and affine with the axes nearest to RAS."""
    if values.dtype.names:
        values = np.stack([values[name] for name in ("R", "G", "B")], axis=-1)
    found = nibabel.as_closest_canonical(nibabel.Nifti1Image(values.astype(np.float64), affine))
    return np.asarray(found.dataobj), found.affine


def is_equal(one, other):
    mine, affine = canonical(np.asanyarray(one.dataobj), one.affine)
    theirs, their_affine = canonical(np.asanyarray(other.dataobj), other.affine)
    return (
        mine.shape == theirs.shape
        and np.allclose(affine, their_affine, atol=2e-3)
        and np.allclose(mine, theirs, rtol=1e-5, atol=max(1e-3, 1e-5 * np.ptp(theirs)))
    )


@pytest.mark.parametrize(
    "files",
    [
        axial((0, 2, 4)),
        [one_slice(k, (k * 1.5, 0, 0), orientation=SAGITTAL) for k in (1, 2, 3, 4)],
        [one_slice(k, (0, 0, -k), orientation=(0.6, 0.8, 0, -0.8, 0.6, 0)) for k in (1, 2, 3)],
        axial((0, 2, 4), RescaleSlope="0.5", RescaleIntercept="-3"),
        [one_slice(10 * t + k, (0, 0, k), AcquisitionNumber=t, TemporalPositionIdentifier=t)
         for t in (1, 2, 3) for k in (1, 2)],
    ],
    ids=["axial", "sagittal", "oblique, downwards", "rescaled", "in time"],
)  # fmt: skip
def test_dcm2niix_makes_the_same_of_generated_series(tmp_path, files):
    write(tmp_path / "in", files)
    (found,) = to_nifti(tmp_path / "in", out=tmp_path / "mine")
    (other,) = dcm2niix(tmp_path / "in", tmp_path / "out")
    assert is_equal(nibabel.load(found.files[0]), other)


def real_series(data):
    """Files of each real series with a geometry: MR, CT and PET, by folder and Series Instance UID."""
    found = defaultdict(list)
    with (data / "census.csv").open(newline="") as census:
        for row in csv.DictReader(census):
            if row["kind"] == "dicom" and row["has_pixel"] == "yes" and row["modality"] in ("MR", "CT", "PT"):
                found[(str(Path(row["path"]).parent), row["series_uid"])].append(data / row["path"])
    return found


def judged(paths, work):
    """``equal``, ``refused`` or ``differs``, and why; ``none`` where dcm2niix makes nothing of it."""
    (work / "in").mkdir(parents=True)
    for number, path in enumerate(paths):
        (work / "in" / f"{number:04}.dcm").symlink_to(path)
    others = dcm2niix(work / "in", work / "out")
    if not others:
        return "none", ""
    found = to_nifti(*paths, out=work / "mine")
    if refused := [one.detail for one in found if one.state != "exported"]:
        return "refused", "; ".join(refused)
    mine = [nibabel.load(one.files[0]) for one in found]
    same = [any(is_equal(one, other) for one in mine) for other in others]
    return ("equal", "") if all(same) else ("differs", f"{sum(same)} of {len(same)} equal")


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("SORTER_COUNT_SERIES"), reason="a count of minutes: set SORTER_COUNT_SERIES"
)
def test_the_real_series_of_the_corpus_equal_what_dcm2niix_makes_of_them(tmp_path):
    counts = Counter()
    for number, ((folder, _), paths) in enumerate(sorted(real_series(shared_data()).items())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            verdict, why = judged(paths, tmp_path / str(number))
        counts[verdict] += 1
        if verdict != "equal":
            print(f"{verdict:<8} {len(paths):4} {folder}: {why}")
    print(dict(counts))
    assert counts["equal"] >= LEAST_EQUAL
