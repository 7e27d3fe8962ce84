"""What every instance made here has in common, and how it becomes bytes."""

from __future__ import annotations

import io
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from sorter.convert.facts import Facts, decimal
from sorter.convert.keywords import GENERAL, TYPE_2, UNPAIRED
from sorter.convert.uids import Uids
from sorter.parser.provenance import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def new_dataset(
    facts: Facts,
    uids: Uids,
    *,
    sop_class_uid: str,
    modality: str,
    series_part: int = 0,
    instance_number: int = 1,
) -> Dataset:
    """Patient, general study, general series, general equipment and SOP common of one instance.

    Type 2 attributes are there, empty where nothing is known; nothing depends on the clock.
    PS3.3 C.7, C.12.1.

    Parameters
    ----------
    modality
        Where the facts name none.
    series_part
        Which of the series that the file becomes, from 0.
    instance_number
        From 1.
    """
    dataset = Dataset()
    for keyword in TYPE_2:
        setattr(dataset, keyword, None)
    put(dataset, facts, GENERAL)
    dataset.SOPClassUID = sop_class_uid
    dataset.Modality = facts.modality or modality
    dataset.StudyInstanceUID = uids.study()
    dataset.SeriesInstanceUID = uids.series(series_part)
    dataset.SeriesNumber = int(facts.number("SeriesNumber") or 1) + series_part
    sided = facts.values.keys() & {"Laterality", "ImageLaterality"}
    if not sided and facts.text("BodyPartExamined") not in UNPAIRED:  # it is, or may be, one of two
        dataset.Laterality = None  # Type 2C: PS3.3 C.7.3.1
    if not all(map(_plain, facts.values.values())):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    number(dataset, uids, series_part, instance_number)
    return dataset


def _plain(value: Any) -> bool:
    return str(value).isascii()


def number(dataset: Dataset, uids: Uids, series_part: int, instance_number: int) -> None:
    """Make the dataset the instance with this number: its UID and Instance Number."""
    dataset.SOPInstanceUID = uids.instance(series_part, instance_number)
    dataset.InstanceNumber = instance_number


def put(dataset: Dataset, facts: Facts, keywords: tuple[str, ...]) -> None:
    """Set those of these attributes that are known."""
    for keyword in keywords:
        if keyword in facts.values:
            value = facts.values[keyword]
            if dictionary_VR(keyword) == "DS":
                value = [decimal(one) for one in value] if isinstance(value, list) else decimal(value)
            setattr(dataset, keyword, value)


def write(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """The instance as a DICOM file: preamble, File Meta Information, dataset. PS3.10 7.

    The same dataset always gives the same bytes. Its own File Meta Information, if any, is replaced.
    """
    dataset.file_meta = file_meta(dataset, transfer_syntax_uid)
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def file_meta(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> FileMetaDataset:
    """The File Meta Information of the dataset. PS3.10 7.1."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
