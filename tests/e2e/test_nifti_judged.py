"""What becomes of volumes, judged by other programs: dciodvfy, dcentvfy (dicom3tools) and dcm2niix.

Round trip: NIfTI -> DICOM -> dcm2niix gives the same voxels at the same places. The real volumes are in
SORTER_TEST_DATA or ../shared/data.
"""

import os
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from made_volumes import MADE, axis_orders, save, turned, volume, voxels

from sorter.convert.convert import convert
from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts
from sorter.convert.options import Options
from sorter.volume import read

DATA = Path(os.environ.get("SORTER_TEST_DATA", Path(__file__).parents[3] / "shared/data"))
FACTS = {"PatientID": "P1", "PatientName": "A^B", "StudyDate": "20200102"}
MODALITIES = {"SC": {}, "MR": {"Modality": "MR"}, "CT": {"Modality": "CT"}}


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def written(path, folder, facts, options):
    folder.mkdir()
    for leaf, content in convert(path, options, Facts({**FACTS, **facts})):
        (folder / leaf).write_bytes(content)
    return sorted(folder.iterdir())


def complaints(program, *files):
    told = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


def as_array(source):
    """Shape (i, j, k, volume[, channel]), as floats."""
    data = np.asanyarray(source.dataobj)
    if data.dtype.names:
        channels = [data[name].reshape(*data.shape, *[1] * (4 - data.ndim)) for name in data.dtype.names[:3]]
        return np.stack(channels, -1).astype(float)
    return data.reshape(*(*data.shape, 1)[:3], -1).astype(float)


def difference(source, images):
    """(largest of the voxels, largest of the corners in mm) between a volume and what came back of it."""
    data, volumes, worst, apart = as_array(source), 0, 0.0, 0.0
    indices = np.indices(data.shape[:3]).reshape(3, -1)
    corners = np.array([[*(np.array(data.shape[:3]) - 1) * place, 1] for place in np.ndindex(2, 2, 2)]).T
    for image in images:
        back = as_array(image)
        across = np.linalg.inv(image.affine) @ source.affine
        to = np.rint(across[:3, :3] @ indices + across[:3, 3:]).astype(int)
        there = image.affine @ np.vstack([np.rint((across @ corners)[:3]), np.ones(8)])
        apart = max(apart, float(np.abs(there - source.affine @ corners).max()))
        assert (to.min(axis=1) == 0).all()
        assert (to.max(axis=1) + 1).tolist() == list(back.shape[:3])
        for one in range(back.shape[3]):
            gap = data[..., volumes + one, *[slice(None)] * (data.ndim - 4)].reshape(-1, *data.shape[4:])
            worst = max(worst, float(np.nanmax(np.abs(gap - back[(*to, one)]))))
        volumes += back.shape[3]
    assert data.shape[3] == volumes
    return worst, apart


def returned(files, folder):
    """What dcm2niix makes of them, in the order of the series."""
    folder.mkdir()
    subprocess.run(
        ["dcm2niix", "-z", "n", "-b", "n", "-m", "o", "-f", "%s", "-o", folder, files[0].parent],
        check=True,
        capture_output=True,
    )
    return [
        nib.load(path) for path in sorted(folder.glob("*.nii"), key=lambda path: int(path.stem.split("_")[0]))
    ]


def allowed(source):
    data = as_array(source)
    wide = source.get_data_dtype().kind == "f"
    return 8e-6 * float(np.nanmax(data) - np.nanmin(data)) if wide else 0.0


@needs("dciodvfy")
@pytest.mark.parametrize("facts", MODALITIES.values(), ids=MODALITIES)
@pytest.mark.parametrize("name", MADE)
def test_dciodvfy_and_dcentvfy_find_no_error(tmp_path, name, facts):
    files = written(save(MADE[name](), tmp_path / "v.nii"), tmp_path / "out", facts, Options())
    assert [line for file in (files[0], files[-1]) for line in complaints("dciodvfy", "-new", file)] == []
    assert complaints("dcentvfy", *files) == []


@needs("dciodvfy")
@pytest.mark.parametrize(
    ("name", "options", "facts"),
    [
        ("axial", Options(one_file=True), MODALITIES["MR"]),
        ("4-D", Options(one_file=True), MODALITIES["MR"]),
        ("NaN", Options(one_file=True), MODALITIES["MR"]),
        ("uint8", Options(one_file=True), {}),
        ("uint16", Options(one_file=True), {}),
        ("RGB24", Options(one_file=True), {}),
        ("NaN", Options(kind="pmap"), {}),
        ("float64", Options(kind="pmap"), {}),
        ("4-D", Options(kind="pmap"), {}),
        ("uint8", Options(kind="seg"), {}),
    ],
)
def test_objects_of_many_frames_have_no_error(tmp_path, name, options, facts):
    files = written(save(MADE[name](), tmp_path / "v.nii"), tmp_path / "out", facts, options)
    assert [line for file in files for line in complaints("dciodvfy", "-new", file)] == []
    assert complaints("dcentvfy", *files) == []


@needs("dciodvfy")
def test_names_in_all_letters_and_many_facts_have_no_error(tmp_path):
    facts = {
        "PatientName": "Müller^Jörg=山田^太郎", "PatientSex": "M", "PatientBirthDate": "19500101",
        "BodyPartExamined": "KNEE", "Laterality": "L", "EchoTime": 30.0, "RepetitionTime": 2000.0,
        "MagneticFieldStrength": 3.0, "PatientPosition": "HFS", "PatientWeight": 70.5,
        "SoftwareVersions": ["a", "b"], "Modality": "MR",
    }  # fmt: skip
    files = written(save(MADE["axial"](), tmp_path / "v.nii"), tmp_path / "out", facts, Options())
    assert complaints("dciodvfy", "-new", files[0]) == []


@needs("dcm2niix")
@pytest.mark.parametrize("facts", MODALITIES.values(), ids=MODALITIES)
@pytest.mark.parametrize("name", MADE)
def test_dcm2niix_gives_back_what_was_converted(tmp_path, name, facts):
    source = nib.load(save(MADE[name](), tmp_path / "v.nii"))
    files = written(tmp_path / "v.nii", tmp_path / "out", facts, Options())
    worst, apart = difference(source, returned(files, tmp_path / "back"))
    assert allowed(source) >= worst
    assert apart < 1e-3


@needs("dcm2niix")
def test_dcm2niix_gives_back_every_order_of_axes(tmp_path):
    for number, affine in enumerate(axis_orders()):
        source = nib.load(save(volume(voxels(shape=(5, 4, 3)), affine), tmp_path / f"{number}.nii"))
        files = written(tmp_path / f"{number}.nii", tmp_path / f"out{number}", {}, Options())
        worst, apart = difference(source, returned(files, tmp_path / f"back{number}"))
        assert (worst, apart < 1e-3) == (0.0, True), number


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("RGB24", "4-D")])
def test_sorters_own_volumes_are_what_was_converted(tmp_path, name):
    source = nib.load(save(MADE[name](), tmp_path / "v.nii"))
    [back] = read(written(tmp_path / "v.nii", tmp_path / "out", {"Modality": "CT"}, Options()))
    worst, apart = difference(source, [nib.Nifti1Image(back.array.astype(np.float64), back.affine)])
    assert allowed(source) * 1.01 >= worst  # float32
    assert apart < 1e-3


@pytest.mark.parametrize("name", ["oblique", "4-D", "float32", "int8"])
@pytest.mark.parametrize("kind", ["auto", "pmap"])
def test_sorters_own_volumes_of_one_file_are_what_was_converted(tmp_path, name, kind):
    source = nib.load(save(MADE[name](), tmp_path / "v.nii"))
    facts, options = MODALITIES["MR"], Options(kind=kind, one_file=True)
    found = read(written(tmp_path / "v.nii", tmp_path / "out", facts, options))
    images = [nib.Nifti1Image(back.array.astype(np.float64), back.affine) for back in found]
    worst, apart = difference(source, images)
    assert allowed(source) * 1.01 >= worst  # float32
    assert apart < 1e-3


def test_a_tilted_gantry_comes_back(tmp_path):
    # dcm2niix knows a tilt of a CT by its Gantry/Detector Tilt alone, so sorter's own reader is asked.
    affine = turned(0, (1.0, 1.0, 3.0))
    affine[1, 2] = 0.6
    source = nib.load(save(volume(voxels(), affine, qform=0), tmp_path / "v.nii"))
    [back] = read(written(tmp_path / "v.nii", tmp_path / "out", {"Modality": "CT"}, Options()))
    worst, apart = difference(source, [nib.Nifti1Image(back.array, back.affine)])
    assert (worst, apart < 1e-3) == (0.0, True)


def _real():
    return sorted(path for ending in ("nii", "nii.gz") for path in DATA.rglob(f"*.{ending}"))


@needs("dcm2niix")
def test_real_volumes_come_back(tmp_path):
    if not _real():
        pytest.skip("the real test data are not there: set SORTER_TEST_DATA")
    refused, bad = [], []
    for number, path in enumerate(_real()):
        try:
            files = written(path, tmp_path / f"out{number}", {"Modality": "MR"}, Options())
        except ConversionError as error:
            refused.append((path.name, str(error)))
            continue
        source = nib.load(path)
        worst, apart = difference(source, returned(files, tmp_path / f"back{number}"))
        if worst > allowed(source) or apart > 1e-3:
            bad.append((path.name, worst, apart))
        shutil.rmtree(tmp_path / f"out{number}")
    print(f"{len(_real()) - len(refused)} of {len(_real())} real volumes converted; refused: {refused}")
    assert bad == []
    assert [name for name, _ in refused] == ["row_major.dconn.nii"]
