"""The DICOM keywords that the index keeps, by level: PS3.3 C.7, PS3.4 C.6. Columns are their snake_case."""

from __future__ import annotations

PATIENT_KEYWORDS = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY_KEYWORDS = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName", "InstitutionName",
)  # fmt: skip
SERIES_KEYWORDS = (
    "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDate", "SeriesTime", "SeriesDescription",
    "ProtocolName", "BodyPartExamined", "Laterality", "Manufacturer", "ManufacturerModelName",
    "StationName", "FrameOfReferenceUID",
)  # fmt: skip
INSTANCE_KEYWORDS = (
    "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "AcquisitionNumber", "AcquisitionDate", "ContentDate",
    "ImageType", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel",
    "PhotometricInterpretation",
)  # fmt: skip
INDEXED_KEYWORDS = PATIENT_KEYWORDS + STUDY_KEYWORDS + SERIES_KEYWORDS + INSTANCE_KEYWORDS

# Keywords whose values are whole numbers in a Header (VR IS or US).
INTEGER_KEYWORDS = frozenset(
    ("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "NumberOfFrames", "Rows", "Columns",
     "BitsAllocated", "BitsStored", "SamplesPerPixel")
)  # fmt: skip
