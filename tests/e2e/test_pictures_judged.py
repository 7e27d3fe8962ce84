"""Pictures judged by others: dciodvfy, dcentvfy and dcmtk on every kind, and real pictures."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("PIL", reason="pictures need the extra formats")

from made_pictures import matrix
from PIL import Image
from support import shared_data

from sorter.convert.convert import PICTURES
from sorter.convert.errors import ConversionError
from sorter.convert.facts import facts
from sorter.convert.instance import write
from sorter.convert.options import Options
from sorter.convert.picture import from_picture
from sorter.convert.recognise import recognise
from sorter.picture import picture

KNOWN = facts([("test", {"PatientID": "P1", "PatientName": "Müller^Jürgen", "StudyDate": "20240102"})])
SPACED = facts([("test", {**KNOWN.values, "PixelSpacing": [0.5, 0.25], "BodyPartExamined": "CHEST"})])
MATRIX = matrix()
NOT_PHOTOS = {"grey16.png", "grey16.tif", "float.tif", "signed32.tif", "pages-grey16.tif"}


def judge(program):
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def made(folder, names, known=KNOWN, kind="sc"):
    """The DICOM files of these pictures of the matrix, by picture."""
    found = {}
    for name in names:
        for number, dataset in enumerate(from_picture(MATRIX[name][0], known, Options(kind=kind))):
            path = folder / f"{kind}-{name}-{number}.dcm"
            path.write_bytes(write(dataset, dataset.file_meta.TransferSyntaxUID))
            found.setdefault(name, []).append(path)
    return found


def errors(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("known", [KNOWN, SPACED], ids=["known", "spaced"])
def test_dciodvfy_finds_no_error_in_any_secondary_capture(tmp_path, known):
    program = judge("dciodvfy")
    found = made(tmp_path, MATRIX, known)
    assert {name: [errors(program, path) for path in paths] for name, paths in found.items()} == {
        name: [[]] * count for name, (_, count) in MATRIX.items()
    }


def test_dciodvfy_finds_no_error_in_any_photograph(tmp_path):
    program = judge("dciodvfy")
    found = made(tmp_path, MATRIX.keys() - NOT_PHOTOS, kind="photo")
    assert {path.name: errors(program, path) for paths in found.values() for path in paths} == {
        path.name: [] for paths in found.values() for path in paths
    }


def test_dcentvfy_finds_patient_study_and_series_consistent(tmp_path):
    program = judge("dcentvfy")
    paths = [path for found in made(tmp_path, MATRIX).values() for path in found]
    done = subprocess.run([program, *paths], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


# dcmtk rounds values to whole numbers before it windows them, so it has no picture of fractions.
@pytest.mark.parametrize("name", sorted(MATRIX.keys() - {"float.tif"}))
def test_dcmtk_shows_the_same_as_sorter(tmp_path, name):
    program = judge("dcmj2pnm")  # dcm2pnm that knows JPEG
    (first, *_) = made(tmp_path, [name])[name]
    dataset = pydicom.dcmread(first)
    # Without a window dcmtk shows a bit as half grey.
    window = ["+Wi", "1"] if "WindowWidth" in dataset else ["+Wm"]
    subprocess.run([program, "+on", *window, first, tmp_path / "shown.png"], check=True, capture_output=True)
    shown = np.asarray(Image.open(tmp_path / "shown.png")).astype(float)
    assert np.abs(shown - picture(dataset)).mean() < 1  # the two sample chrominance up in different ways


def test_real_pictures_become_instances_or_say_why_not(tmp_path):
    program = judge("dciodvfy")
    outcomes = {}
    for path in sorted(shared_data().rglob("*")):
        if not path.is_file() or recognise(path.open("rb").read(4096), path.stat().st_size) not in PICTURES:
            continue
        try:
            instances = list(from_picture(path, KNOWN, Options()))
        except ConversionError:
            outcomes[path.name] = None
            continue
        for dataset in instances:
            file = tmp_path / "one.dcm"
            file.write_bytes(write(dataset, dataset.file_meta.TransferSyntaxUID))
            assert errors(program, file) == []
        outcomes[path.name] = len(instances)
    assert outcomes["valid_tiff.tif"] == 2
    assert [name for name, count in outcomes.items() if count is None] == ["test_min_max.tif"]  # sparse tiles
    assert len(outcomes) >= 15


def test_a_real_file_that_is_no_png_is_not_recognised():
    path = Path(shared_data(), "panimg/corrupt.png")
    assert recognise(path.read_bytes(), path.stat().st_size) is None
