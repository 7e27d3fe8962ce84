"""What several tests share: small DICOM files, and drop folders full of them."""

import io
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = Path(__file__).parent.parent
UID = "1.2.826.0.1.3680043.10.1"


def shared_data():
    """The folder of real files, or a skip that says how to get it."""
    path = Path(os.environ.get("SORTER_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "census.csv").exists():
        pytest.skip("real files are not here: set SORTER_TEST_DATA to a folder with a census.csv")
    return path


def bundled(name):
    """A file that pydicom bundles; never from the network."""
    path = pydicom.data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not bundle {name}")
    return Path(path)


def dicom(number=1, *, series=1, study=1, patient="P1", pixels=0, size=8, **more):
    """The bytes of one small CT instance; keywords override or add elements, ``None`` removes them."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"{UID}.{study}.{series}.{number}"
    dataset.StudyInstanceUID = f"{UID}.{study}"
    dataset.SeriesInstanceUID = f"{UID}.{study}.{series}"
    dataset.PatientID, dataset.PatientName = patient, "Test^Person"
    dataset.StudyDate, dataset.StudyDescription = "20240131", "Head"
    dataset.Modality, dataset.SeriesDescription = "CT", f"Series {series}"
    dataset.SeriesNumber, dataset.InstanceNumber = series, number
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.full((size, size), pixels, "<u2").tobytes()
    for keyword, value in more.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", f"{UID}.0")
    out = io.BytesIO()
    FileDataset(None, dataset, file_meta=meta, preamble=b"\0" * 128).save_as(out, enforce_file_format=True)
    return out.getvalue()


def drop(folder, name, data):
    """Write one file into a drop folder; returns its path."""
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tree(root):
    """Every published file below an archive root: relative path -> bytes."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        if path.is_file() and ".sorter" not in path.relative_to(root).parts:
            found[str(path.relative_to(root))] = path.read_bytes()
    return found
