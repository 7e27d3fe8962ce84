"""Make drop folders of CT-like files for benchmarks: ``python -m benchmarks.corpus DIR --files 10000``."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SERIES = 200  # instances a series
_MARK = "9" * 8


def template(size: int) -> bytes:
    """One instance of ``size`` x ``size`` 16-bit pixels, with marks where the numbers go."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.2.{_MARK}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        "1.2.826.0.1.3680043.10.3.7777777",
        "1.2.3.4.8888888",
    )
    dataset.PatientID, dataset.PatientName = "P6666666", "Bench^Mark"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyDescription = "20240131", "Abdomen"
    dataset.ImageType, dataset.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    dataset.SeriesDescription, dataset.SeriesNumber = "Portal venous 2.0", 3
    dataset.InstanceNumber = "555555"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = size
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.random.default_rng(1).integers(0, 4096, (size, size), "u2").tobytes()
    out = io.BytesIO()
    FileDataset(None, dataset, file_meta=meta, preamble=b"\0" * 128).save_as(out, enforce_file_format=True)
    return out.getvalue()


def make(root: Path, files: int, *, size: int = 512) -> None:
    """Write ``files`` distinct instances below ``root``, a folder a series."""
    blank = template(size)
    for number in range(files):
        series = number // SERIES
        folder = root / f"study{series // 5:04}" / f"series{series:05}"
        if number % SERIES == 0:
            folder.mkdir(parents=True, exist_ok=True)
        data = blank.replace(_MARK.encode(), b"%08d" % (10_000_000 + number))
        data = data.replace(b"7777777", b"%07d" % (1_000_000 + series // 5))
        data = data.replace(b"8888888", b"%07d" % (1_000_000 + series))
        data = data.replace(b"P6666666", b"P%07d" % (series // 10))
        data = data.replace(b"555555", b"%06d" % (number % SERIES + 100_000))
        (folder / f"IM{number:07}").write_bytes(data)


def main() -> None:
    """Make a corpus and push it to the disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=512, help="rows and columns; 512 makes files of 0.5 MB")
    given = parser.parse_args()
    make(given.root, given.files, size=given.size)
    os.sync()


if __name__ == "__main__":
    main()
