"""The script that everybody writes: ``python plain_script.py SOURCE TARGET``; names by Instance Number."""

import shutil
import sys
from pathlib import Path

from pydicom import dcmread

source, target = Path(sys.argv[1]), Path(sys.argv[2])
for path in source.rglob("*"):
    if path.is_file():
        dataset = dcmread(path, stop_before_pixels=True)
        folder = target / str(dataset.PatientID) / str(dataset.StudyDate) / str(dataset.SeriesInstanceUID)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{dataset.Modality}.{dataset.InstanceNumber}.dcm")
