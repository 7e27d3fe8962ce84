"""CPU time of ``sorter export --to nifti`` for 200 slices of 512 x 512, beside dcm2niix.

    python -m benchmarks.exporting [--rounds N]

Both are whole processes, from start to exit, and both write ``.nii.gz``; dcm2niix with its own compressor
(``-z i``), at its default level and at level 1. Slices are CT-like: smooth shapes and noise of 12 bits. What
is counted is the CPU time of the process and its children, user and system; the best round of each.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SLICES, SIZE = 200, 512
ROOT = "1.2.826.0.1.3680043.10.1.5"


def make(folder: Path, slices: int = SLICES, size: int = SIZE) -> None:
    """Write a CT series: an ellipse in air with noise, one file a slice."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for number in range(1, slices + 1):
        body = (rows / 0.7) ** 2 + (columns / 0.9) ** 2 < 1 - (number / slices - 0.5) ** 2
        pixels = np.where(body, 1040 + 60 * np.sin(9 * rows * columns), 24) + rng.normal(0, 12, (size, size))
        dataset = pydicom.Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{ROOT}.1.{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = ROOT, f"{ROOT}.1"
        dataset.FrameOfReferenceUID = f"{ROOT}.2"
        dataset.PatientID, dataset.PatientName, dataset.Modality = "P", "P", "CT"
        dataset.StudyDate, dataset.StudyTime, dataset.Manufacturer = "20240101", "120000", "sorter"
        dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 1, number, 1
        dataset.SeriesDescription, dataset.ImageType = "Body", ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImagePositionPatient = [-180, -180, number * 1.25]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1.25
        dataset.Rows = dataset.Columns = size
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.PixelData = np.clip(pixels, 0, 4095).astype("<u2").tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


def cpu_seconds(command: Sequence[str]) -> float:
    """CPU time of one process and its children, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both and print one line each, with the size of what they wrote."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory(prefix="exporting-") as name:
        root = Path(name)
        (root / "in").mkdir()
        make(root / "in")
        rivals = {"sorter": [sys.executable, "-m", "sorter", "export", "--to", "nifti", str(root / "in")]}
        if shutil.which("dcm2niix"):
            rivals["dcm2niix -z i"] = ["dcm2niix", "-z", "i", "-f", "out", "-o"]
            rivals["dcm2niix -z i -1"] = ["dcm2niix", "-z", "i", "-1", "-f", "out", "-o"]
        seconds, voxels = {}, {}
        for rival, command in rivals.items():
            best = []
            for number in range(rounds):
                out = root / f"{rival.replace(' ', '')}{number}"
                out.mkdir()
                tail = [str(out)] if rival == "sorter" else [str(out), str(root / "in")]
                best.append(cpu_seconds([*command, *tail]))
            (written,) = out.glob("*.nii.gz")
            seconds[rival], voxels[rival] = min(best), np.asanyarray(nibabel.load(written).dataobj)
            ratio = seconds[rival] / seconds["sorter"]
            same = np.array_equal(voxels[rival], voxels["sorter"])
            print(
                f"{rival:<18}{seconds[rival]:6.2f} s CPU  {ratio:5.2f} x sorter  "
                f"{written.stat().st_size / 1e6:6.1f} MB  voxels {'equal' if same else 'DIFFER'}"
            )


if __name__ == "__main__":
    main()
