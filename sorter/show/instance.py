"""One instance: person, study, series, instance, geometry, encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.uid import UID

from sorter.picture import frames
from sorter.picture.reading import groups
from sorter.volume.values import numbers, silenced, value, whole

About = dict[str, dict[str, str]]

_PERSON = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge")
_STUDY = (
    "StudyDate", "StudyTime", "StudyDescription", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    "InstitutionName", "StudyInstanceUID",
)  # fmt: skip
_SERIES = (
    "Modality", "SeriesNumber", "SeriesDescription", "ProtocolName", "BodyPartExamined", "Laterality",
    "PatientPosition", "Manufacturer", "ManufacturerModelName", "SeriesInstanceUID",
)  # fmt: skip
_INSTANCE = (
    "SOPClassUID", "InstanceNumber", "AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "ContentDate",
    "ImageType", "SOPInstanceUID",
)  # fmt: skip
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PLANES = ("sagittal", "coronal", "axial")
_STRAIGHT = 0.999  # cosine of the angle up to which a plane is not called oblique


class UnreadableError(Exception):
    """A file cannot be shown; says why, without values and paths."""


def open_instance(path: Path) -> Dataset:
    """The dataset of a DICOM file, however much of it there is.

    Raises
    ------
    UnreadableError
        There is no DICOM element in it.
    OSError
        It cannot be read.
    """
    with silenced():
        try:
            dataset = dcmread(path, force=True)
        except Exception as error:
            # pydicom raises many kinds, whose texts may quote values, and OSError where data end.
            if isinstance(error, OSError) and error.errno:
                raise
            raise UnreadableError(f"cannot be parsed ({type(error).__name__})") from None
    if "SOPClassUID" not in dataset and "Rows" not in dataset and "PatientID" not in dataset:
        raise UnreadableError("is no DICOM file")
    return dataset


def about_instance(dataset: Dataset) -> About:
    """The summary, by section, then by DICOM keyword or word; what is missing or empty is left out."""
    with silenced():
        return {
            "person": _values(dataset, _PERSON),
            "study": _values(dataset, _STUDY),
            "series": _values(dataset, _SERIES),
            "instance": _values(dataset, _INSTANCE),
            "geometry": _geometry(dataset),
            "encoding": _encoding(dataset),
        }


def level(about: About, *names: str) -> About:
    """These sections of a summary, as far as they hold anything."""
    return {name: about[name] for name in names if about.get(name)}


def _values(dataset: Dataset, keywords: tuple[str, ...]) -> dict[str, str]:
    found = {keyword: text(dataset, keyword).strip() for keyword in keywords}
    if found.get("SOPClassUID"):
        found["SOPClassUID"] = _named(found["SOPClassUID"])
    return {keyword: said for keyword, said in found.items() if said}


def text(dataset: Dataset, keyword: str) -> str:
    """The value as text, several joined by backslashes; empty where there is none."""
    found = value(dataset, keyword)
    if found is None:
        return ""
    return "\\".join(map(str, found)) if isinstance(found, MultiValue) else str(found)


def _named(uid: str) -> str:
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def _geometry(dataset: Dataset) -> dict[str, str]:
    rows, columns = whole(dataset, "Rows"), whole(dataset, "Columns")
    if not rows or not columns:
        return {}
    count = frames(dataset)
    found = {"size": f"{columns} x {rows} pixels" + (f", {count} frames" if count > 1 else "")}
    spacing = _first(dataset, "PixelMeasuresSequence", ("PixelSpacing", "ImagerPixelSpacing"), 2)
    if spacing:
        found["spacing"] = f"{spacing[0]:g} x {spacing[1]:g} mm (between rows, between columns)"
        width, height = columns * spacing[1], rows * spacing[0]
        found["field of view"] = f"{width:.1f} x {height:.1f} mm"
    for words, keyword in (("thickness", "SliceThickness"), ("slices apart", "SpacingBetweenSlices")):
        if one := _first(dataset, "PixelMeasuresSequence", (keyword,), 1):
            found[words] = f"{one[0]:g} mm"
    if cosines := _first(dataset, "PlaneOrientationSequence", ("ImageOrientationPatient",), 6):
        found["plane"] = plane(cosines)
    if place := _first(dataset, "PlanePositionSequence", ("ImagePositionPatient",), 3):
        found["position"] = " ".join(f"{one:.6g}" for one in place) + " mm (left, back, up)"
    found["FrameOfReferenceUID"] = text(dataset, "FrameOfReferenceUID")
    return {name: said for name, said in found.items() if said}


def plane(cosines: tuple[float, ...]) -> str:
    """``axial``, ``coronal`` or ``sagittal``, ``oblique`` where it is only near it, with its angle."""
    across = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(across))
    if not length:
        return "unknown"
    straight = np.abs(across) / length
    nearest = int(straight.argmax())
    cosine = float(straight[nearest])
    if cosine >= _STRAIGHT:
        return _PLANES[nearest]
    return f"{_PLANES[nearest]}, oblique by {np.degrees(np.arccos(cosine)):.1f} degrees"


def _first(dataset: Dataset, sequence: str, keywords: tuple[str, ...], count: int) -> tuple[float, ...]:
    """The numbers of the first frame."""
    for group in groups(dataset, 0, sequence):
        for keyword in keywords:
            if found := numbers(group, keyword, count):
                return found
    return ()


def _encoding(dataset: Dataset) -> dict[str, str]:
    meta = getattr(dataset, "file_meta", Dataset())
    found = {"transfer syntax": _named(text(meta, "TransferSyntaxUID"))}
    keyword = next((one for one in _PIXELS if one in dataset), None)
    if keyword is None:
        found["pixels"] = "none"
    else:
        samples = value(dataset, "SamplesPerPixel") or 1
        sign = {0: "unsigned ", 1: "signed "}.get(value(dataset, "PixelRepresentation"), "")
        allocated, stored = value(dataset, "BitsAllocated"), value(dataset, "BitsStored")
        bits = f"{allocated} bits" if stored in (None, allocated) else f"{stored} of {allocated} bits"
        found["pixels"] = f"{text(dataset, 'PhotometricInterpretation')}, {samples} x {sign}{bits}"
        found["bytes of pixels"] = _bytes(dataset, keyword)
    found["window"] = _window(dataset)
    found["rescale"] = _rescale(dataset)
    found["lossy"] = _lossy(dataset)
    found["character set"] = text(dataset, "SpecificCharacterSet")
    found["written by"] = text(meta, "ImplementationVersionName")
    return {name: said for name, said in found.items() if said}


def _bytes(dataset: Dataset, keyword: str) -> str:
    length = len(dataset[keyword].value or b"")
    native = frames(dataset)
    for one in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"):
        native *= whole(dataset, one) or (1 if one == "SamplesPerPixel" else 0)
    native //= 8
    smaller = native / length if length else 0
    return f"{length:,}" + (f" (1 : {smaller:.1f} of native)" if smaller > 1.05 else "")


def _window(dataset: Dataset) -> str:
    for group in groups(dataset, 0, "FrameVOILUTSequence"):
        if value(group, "VOILUTSequence"):
            return "VOI LUT"
        centers, widths = numbers(group, "WindowCenter"), numbers(group, "WindowWidth")
        if centers and widths:
            pairs = zip(centers, widths, strict=False)
            return "; ".join(f"center {center:g}, width {width:g}" for center, width in pairs)
    return ""


def _rescale(dataset: Dataset) -> str:
    for group in groups(dataset, 0, "PixelValueTransformationSequence"):
        if value(group, "ModalityLUTSequence"):
            return "Modality LUT"
        slope, intercept = numbers(group, "RescaleSlope", 1), numbers(group, "RescaleIntercept", 1)
        if slope and intercept:
            unit = text(group, "RescaleType")
            return f"x {slope[0]:g} + {intercept[0]:g}" + (f" ({unit})" if unit else "")
    return ""


def _lossy(dataset: Dataset) -> str:
    if text(dataset, "LossyImageCompression") != "01":
        return ""
    ratio, method = text(dataset, "LossyImageCompressionRatio"), text(dataset, "LossyImageCompressionMethod")
    return "yes" + (f", 1 : {ratio}" if ratio else "") + (f", {method}" if method else "")
