"""What BIDS wants to know of a volume: JSON beside a NIfTI file, in the units of BIDS.

No name, identifier, UID, date or age of the patient is ever in it. Source of the keys and units:
https://bids-specification.readthedocs.io (MRI, PET), and dcm2niix for those that BIDS has no word for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset

import sorter
from sorter.volume.groups import Groups
from sorter.volume.model import Frame, Stack
from sorter.volume.mosaic import csa, is_mosaic
from sorter.volume.values import items, number, silenced, text

# BIDS key, DICOM keyword, the functional group it may lie in.
_TEXTS = (
    ("Modality", "Modality", ""),
    ("Manufacturer", "Manufacturer", ""),
    ("ManufacturersModelName", "ManufacturerModelName", ""),
    ("DeviceSerialNumber", "DeviceSerialNumber", ""),
    ("StationName", "StationName", ""),
    ("SoftwareVersions", "SoftwareVersions", ""),
    ("InstitutionName", "InstitutionName", ""),
    ("InstitutionalDepartmentName", "InstitutionalDepartmentName", ""),
    ("BodyPart", "BodyPartExamined", ""),
    ("PatientPosition", "PatientPosition", ""),
    ("SeriesDescription", "SeriesDescription", ""),
    ("ProtocolName", "ProtocolName", ""),
    ("MRAcquisitionType", "MRAcquisitionType", ""),
    ("ScanningSequence", "ScanningSequence", ""),
    ("SequenceVariant", "SequenceVariant", ""),
    ("ScanOptions", "ScanOptions", ""),
    ("SequenceName", "SequenceName", ""),
    ("PulseSequenceName", "PulseSequenceName", ""),
    ("ReceiveCoilName", "ReceiveCoilName", "MRReceiveCoilSequence"),
    ("ConvolutionKernel", "ConvolutionKernel", "CTReconstructionSequence"),
    ("ReconMethodName", "ReconstructionMethod", ""),
    ("AttenuationCorrectionMethod", "AttenuationCorrectionMethod", ""),
    ("DecayCorrection", "DecayCorrection", ""),
)
# And the factor from DICOM's unit to that of BIDS.
_NUMBERS = (
    ("SeriesNumber", "SeriesNumber", "", 1),
    ("MagneticFieldStrength", "MagneticFieldStrength", "", 1),
    ("ImagingFrequency", "ImagingFrequency", "", 1),
    ("EchoTime", "EffectiveEchoTime", "MREchoSequence", 1e-3),
    ("EchoTime", "EchoTime", "", 1e-3),
    ("RepetitionTime", "RepetitionTime", "MRTimingAndRelatedParametersSequence", 1e-3),
    ("InversionTime", "InversionTime", "", 1e-3),
    ("FlipAngle", "FlipAngle", "MRTimingAndRelatedParametersSequence", 1),
    ("EchoTrainLength", "EchoTrainLength", "MRTimingAndRelatedParametersSequence", 1),
    ("PixelBandwidth", "PixelBandwidth", "MRImagingModifierSequence", 1),
    ("PercentPhaseFOV", "PercentPhaseFieldOfView", "MRFOVGeometrySequence", 1),
    ("PercentSampling", "PercentSampling", "MRFOVGeometrySequence", 1),
    ("SAR", "SAR", "", 1),
    ("SliceThickness", "SliceThickness", "PixelMeasuresSequence", 1),
    ("SpacingBetweenSlices", "SpacingBetweenSlices", "PixelMeasuresSequence", 1),
    ("ParallelReductionFactorInPlane", "ParallelReductionFactorInPlane", "MRModifierSequence", 1),
    ("KVP", "KVP", "CTXRayDetailsSequence", 1),
    ("XRayTubeCurrent", "XRayTubeCurrent", "", 1),
    ("XRayExposure", "Exposure", "", 1),
    ("ExposureTime", "ExposureTime", "", 1e-3),
    ("GantryDetectorTilt", "GantryDetectorTilt", "CTGeometrySequence", 1),
    ("ScatterFraction", "ScatterFractionFactor", "", 1),
    ("DoseCalibrationFactor", "DoseCalibrationFactor", "", 1),
)
_PET_UNITS = {"BQML": "Bq/mL", "CNTS": "counts", "GML": "g/mL", "PROPCPS": "proportional to counts/s"}
# Of Siemens XA: the private sequence of a frame, and its elements.
_XA_GROUP, _XA_POSITIVE, _XA_BANDWIDTH = 0x002111FE, 0x0021111C, 0x00211153
_BANDWIDTH_IN_GROUP_19 = 0x00191028


def sidecar(stack: Stack, groups: Groups, *, is_turned: bool) -> dict[str, Any]:
    """The keys that are known of a volume.

    Parameters
    ----------
    groups
        Of the first frame of the stack.
    is_turned
        Whether the axes of the file are not those of the volume: then nothing is said of their directions.
    """
    with silenced():
        found: dict[str, Any] = {}
        for key, keyword, sequence in _TEXTS:
            if said := text(groups.item(sequence, keyword), keyword):
                found.setdefault(key, said)
        for key, keyword, sequence, factor in _NUMBERS:
            if (value := number(groups.item(sequence, keyword), keyword)) is not None:
                found.setdefault(key, _rounded(value * factor))
        found["ImageType"] = list(stack.likeness.image_type)
        if found.get("Modality") == "PT":
            found |= _pet(stack, groups.dataset)
        if found.get("Modality") == "MR" and not is_turned:
            found |= _phase_encoding(stack, groups)
            if timing := slice_timing(stack, groups):
                found["SliceTiming"] = timing
    return found | {"ConversionSoftware": "sorter", "ConversionSoftwareVersion": sorter.__version__}


def _rounded(value: float) -> float | int:
    value = float(f"{value:.9g}")  # 2.4 ms is 0.0024 s, not 0.0024000000000000002
    return int(value) if value.is_integer() else value


def _phase_encoding(stack: Stack, groups: Groups) -> dict[str, Any]:
    """Direction of phase encoding by the axes of the volume (rows run from last to first), and its speed."""
    dataset = groups.dataset
    item = groups.item("MRFOVGeometrySequence", "InPlanePhaseEncodingDirection")
    along = text(item, "InPlanePhaseEncodingDirection")
    if along not in ("ROW", "COL", "COLUMN"):
        return {}
    axis, steps = ("i", stack.likeness.columns) if along == "ROW" else ("j", stack.likeness.rows)
    header = csa(dataset)
    positive = _first(header.get("PhaseEncodingDirectionPositive"))
    if positive is None:
        positive = groups.private(_XA_GROUP, _XA_POSITIVE)
    if positive is None:
        return {"PhaseEncodingAxis": axis}
    is_reversed = bool(positive) == (axis == "j")
    found: dict[str, Any] = {"PhaseEncodingDirection": axis + ("-" if is_reversed else "")}
    bandwidth = _first(header.get("BandwidthPerPixelPhaseEncode"))
    if bandwidth is None:
        bandwidth = groups.private(0, _BANDWIDTH_IN_GROUP_19) or groups.private(_XA_GROUP, _XA_BANDWIDTH)
    if bandwidth:
        spacing = 1 / (bandwidth * steps)
        found["EffectiveEchoSpacing"] = _rounded(spacing)
        found["TotalReadoutTime"] = _rounded(spacing * (steps - 1))
    return found


def _first(values: Any) -> float | None:
    return float(values[0]) if values and isinstance(values[0], int | float) else None


def slice_timing(stack: Stack, groups: Groups) -> list[float]:
    """When each slice was taken, in s from the first of the volume, by k; empty where it is not known."""
    frames = [frame for frame in stack.frames[0] if frame is not None]
    if is_mosaic(groups.dataset):
        return _mosaic_timing(frames, groups.dataset)
    stamps = [_moment(str(frame.times.get("FrameAcquisitionDateTime", ""))) for frame in frames]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(frames) or len(set(known)) < 2:
        return []
    return [_rounded((stamp - min(known)).total_seconds()) for stamp in known]


def _mosaic_timing(frames: list[Frame], dataset: Dataset) -> list[float]:
    said = csa(dataset).get("MosaicRefAcqTimes", [])
    tiles = sorted(frame.tile for frame in frames if frame.tile is not None)
    if len(said) != len(frames) or not all(isinstance(one, int | float) for one in said):
        return []
    least = min(said)
    by_tile = dict(zip(tiles, said, strict=True))
    return [round((by_tile[frame.tile] - least) / 1000, 6) for frame in frames if frame.tile is not None]


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp.split("+", maxsplit=1)[0].split("-", maxsplit=1)[0], "%Y%m%d%H%M%S.%f")
    except ValueError:
        return None


def _pet(stack: Stack, dataset: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    units = text(dataset, "Units")
    if units:
        found["Units"] = _PET_UNITS.get(units, units)
    for tracer in items(dataset, "RadiopharmaceuticalInformationSequence")[:1]:
        found |= _tracer(tracer)
    length = number(dataset, "ActualFrameDuration")  # ms
    if length is not None and len(stack.frames) == 1:
        found |= {"FrameTimesStart": [0], "FrameDuration": [_rounded(length / 1000)]}
    return found


def _tracer(tracer: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name := text(tracer, "Radiopharmaceutical"):
        found["TracerName"] = name
    for code in items(tracer, "RadionuclideCodeSequence")[:1]:
        found["TracerRadionuclide"] = text(code, "CodeMeaning")
    if (dose := number(tracer, "RadionuclideTotalDose")) is not None:
        # Bq by the standard; some write MBq.
        found["InjectedRadioactivity"] = _rounded(dose / 1e6 if dose > 1e4 else dose)
        found["InjectedRadioactivityUnits"] = "MBq"
    if (half_life := number(tracer, "RadionuclideHalfLife")) is not None:
        found["RadionuclideHalfLife"] = _rounded(half_life)
    return found
