"""VL Photographic Image: a photograph of the patient. PS3.3 A.32.4, C.8.12.1.

Its pixels have 8 bits, and RGB is native only (C.8.12.1.1.1).
"""

from __future__ import annotations

from pydicom import Dataset, Sequence

VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
MODALITY = "XC"  # external-camera photography


def describe(dataset: Dataset) -> None:
    """What the class asks for beside the pixels."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.AcquisitionContextSequence = Sequence()
    if "LossyImageCompression" not in dataset:
        dataset.LossyImageCompression = "00"  # Type 2 here
