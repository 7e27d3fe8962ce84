"""What every instance that is made has in common."""

import shutil
import subprocess

import pytest

pytest.importorskip("PIL", reason="pictures need the extra formats")

from made_pictures import grey, saved

from sorter.convert.facts import Facts
from sorter.convert.instance import write
from sorter.convert.keywords import UNPAIRED
from sorter.convert.options import Options
from sorter.convert.picture import from_picture


def made(**known):
    (dataset,) = from_picture(saved(grey(), "png"), Facts({"PatientID": "P1"} | known), Options())
    return dataset


@pytest.mark.parametrize(
    ("known", "laterality"),
    [
        ({}, ""),
        ({"BodyPartExamined": "HAND"}, ""),
        ({"BodyPartExamined": "HAND", "Laterality": "L"}, "L"),
        ({"BodyPartExamined": "HAND", "ImageLaterality": "L"}, None),
        ({"BodyPartExamined": "CHEST"}, None),
    ],
)
def test_laterality_is_empty_only_where_the_body_part_is_or_may_be_a_paired_one(known, laterality):
    """PS3.3 C.7.3.1: Type 2C."""
    dataset = made(**known)
    assert (dataset.get("Laterality") or "" if "Laterality" in dataset else None) == laterality


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is not installed (Debian: dicom3tools)")
def test_no_body_part_makes_an_error(tmp_path):
    wrong = {}
    for part in (*sorted(UNPAIRED), "HAND", "KNEE", "BREAST", "KIDNEY", "SOMEWHERE"):
        dataset = made(BodyPartExamined=part)
        (tmp_path / "a.dcm").write_bytes(write(dataset, dataset.file_meta.TransferSyntaxUID))
        judged = subprocess.run(
            ["dciodvfy", str(tmp_path / "a.dcm")], capture_output=True, text=True, check=False
        )
        if errors := [line for line in judged.stderr.splitlines() if line.startswith("Error")]:
            wrong[part] = errors
    assert wrong == {}
