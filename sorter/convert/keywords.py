"""The DICOM keywords that people, sidecars and templates may state, by level. PS3.3 C.7 and C.8."""

from __future__ import annotations

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "EthnicGroup",
    "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
)  # fmt: skip
STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    "StudyDescription", "PatientAge", "PatientSize", "PatientWeight",
)  # fmt: skip
SERIES = (
    "Modality", "SeriesNumber", "SeriesDate", "SeriesTime", "SeriesDescription", "ProtocolName",
    "BodyPartExamined", "Laterality", "PatientPosition", "OperatorsName", "PerformingPhysicianName",
)  # fmt: skip
EQUIPMENT = (
    "Manufacturer", "ManufacturerModelName", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber", "SoftwareVersions",
)  # fmt: skip
IMAGE = (
    "AcquisitionDate", "AcquisitionTime", "AcquisitionNumber", "ContentDate", "ContentTime",
    "BurnedInAnnotation", "RecognizableVisualFeatures", "ImageComments", "ImageLaterality", "PixelSpacing",
    "WindowCenter", "WindowWidth",
)  # fmt: skip
FRAME_OF_REFERENCE = ("FrameOfReferenceUID", "PositionReferenceIndicator")
MR = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "AngioFlag",
    "RepetitionTime", "EchoTime", "InversionTime", "NumberOfAverages", "ImagingFrequency", "ImagedNucleus",
    "EchoNumbers", "MagneticFieldStrength", "NumberOfPhaseEncodingSteps", "EchoTrainLength",
    "PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth", "FlipAngle",
    "InPlanePhaseEncodingDirection",
    "ReceiveCoilName", "SAR",
)  # fmt: skip
CT = (
    "KVP", "DataCollectionDiameter", "ReconstructionDiameter", "GantryDetectorTilt", "TableHeight",
    "ExposureTime", "XRayTubeCurrent", "Exposure", "FilterType", "ConvolutionKernel",
)  # fmt: skip

# What goes into every instance, whatever its class.
GENERAL = PATIENT + STUDY + SERIES + EQUIPMENT
ALL = frozenset(GENERAL + IMAGE + FRAME_OF_REFERENCE + MR + CT)

# What a template may tell: what the patient and the study are, and of the series just what was looked at.
FROM_TEMPLATE = (
    *PATIENT,
    *STUDY,
    "Modality",
    "BodyPartExamined",
    "Laterality",
    "PatientPosition",
    "InstitutionName",
)

# Type 2: present in every instance, empty where nothing is known. PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1.
TYPE_2 = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber", "Manufacturer",
)  # fmt: skip

ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    "Laterality": ("R", "L"),
    "ImageLaterality": ("R", "L", "U", "B"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "BurnedInAnnotation": ("YES", "NO"),
    "RecognizableVisualFeatures": ("YES", "NO"),
    "MRAcquisitionType": ("1D", "2D", "3D", ""),
    "AngioFlag": ("Y", "N"),
    "InPlanePhaseEncodingDirection": ("ROW", "COL"),
}

# Body parts of which a person has one (PS3.16 Annex L, as dciodvfy applies it).
UNPAIRED = frozenset(
    """
    ABDOMEN AORTA BACK BLADDER BRAIN CEREBELLUM CERVIX CHEST COCCYX COLON CSPINE CTSPINE DUODENUM ESOPHAGUS
    FACE
    GALLBLADDER HEAD HEADNECK HEART ILEUM ILIUM JAW JEJUNUM LARYNX LIVER LSPINE LSSPINE MAXILLA MEDIASTINUM
    MOUTH
    NECK NOSE PANCREAS PELVIS PENIS PHARYNX PROSTATE RECTUM SCALP SKULL SPINE SPLEEN SSPINE STERNUM STOMACH
    THYMUS THYROID TLSPINE TONGUE TRACHEA TSPINE URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY
    """.split()  # noqa: SIM905 - fifty quoted words would hide the list
)
