"""Make drop folders of DICOM files: ``python -m benchmarks.corpus DIR --kind ct --files 10000``.

Each kind has a few templates, made with pydicom; a file is a template with its own numbers put in, so that
tens of thousands take seconds. The same options always give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import get_encoder
from pydicom.uid import (
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    XRayAngiographicImageStorage,
)

SERIES = 200  # instances a series
ROOT_UID = "1.2.826.0.1.3680043.10.2"
# What stands in a template where the numbers go; none of them begins with a zero, as parts of UIDs must not.
_MARKS = {"patient": "66666666", "study": "77777777", "series": "88888888", "instance": "99999999"}
_NUMBER_MARK = "5555"
_PIXEL_DATA = b"\xe0\x7f\x10\0"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of corpus.

    Parameters
    ----------
    arc
        Of its UIDs, so that corpora may share an archive.
    rows, columns, frames
        Of each instance.
    repeated
        Every so many instances one has the Instance Number of the one before it; 0: none has.
    templates
        How many different pixel data there are.
    """

    name: str
    arc: int
    rows: int
    columns: int
    frames: int = 1
    repeated: int = 0
    templates: int = 1
    compressed: bool = False

    @property
    def megapixels(self) -> float:
        """Of one instance."""
        return self.rows * self.columns * self.frames / 1e6


KINDS = {
    one.name: one
    for one in (
        Kind("ct", 1, 512, 512),
        Kind("small", 2, 64, 64, repeated=10),
        Kind("j2k-ct", 3, 512, 512, templates=4, compressed=True),
        Kind("j2k-mg", 4, 2560, 2048, templates=2, compressed=True),
        Kind("j2k-multiframe", 5, 512, 512, frames=100, compressed=True),
    )
}


class Template:
    """The bytes of one instance, and where its numbers stand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        end = data.rindex(_PIXEL_DATA) if _PIXEL_DATA in data else len(data)
        marks = _MARKS | {"number": _NUMBER_MARK}
        self._places = {field: list(_found(data, mark.encode(), end)) for field, mark in marks.items()}

    def numbered(self, **numbers: int) -> bytes:
        """The instance with these numbers: eight digits each, ``number`` (Instance Number) four."""
        made = bytearray(self._data)
        for field, number in numbers.items():
            digits = b"%d" % number
            for place in self._places[field]:
                made[place : place + len(digits)] = digits
        return bytes(made)


def _found(data: bytes, mark: bytes, end: int) -> Iterator[int]:
    at = data.find(mark, 0, end)
    while at >= 0:
        yield at
        at = data.find(mark, at + len(mark), end)


# -- templates ----------------------------------------------------------------------------------------------


def templates(kind: Kind) -> list[Template]:
    """As many as the kind has."""
    make: Callable[[Kind, int], bytes] = _compressed if kind.compressed else _native
    return [Template(make(kind, seed)) for seed in range(kind.templates)]


def phantom(rows: int, columns: int, seed: int) -> npt.NDArray[np.uint16]:
    """A round body with an organ and noise, 12 bits: it compresses as a CT does, to about a half."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)
    body = np.hypot(x, y) < 0.85
    organ = np.hypot(x - 0.2 + seed * 0.01, y + 0.1) < 0.3
    values = 100 + body * (900 + 200 * np.cos(3 * x) * np.cos(2 * y)) + organ * 150
    return np.clip(values + rng.normal(0, 12, (rows, columns)), 0, 4095).astype("<u2")


def _native(kind: Kind, seed: int) -> bytes:
    dataset = _dataset(kind)
    if kind.name == "small":
        _add_headers(dataset)
    dataset.PixelData = phantom(kind.rows, kind.columns, seed).tobytes() * kind.frames
    return _saved(dataset, ExplicitVRLittleEndian)


def _compressed(kind: Kind, seed: int) -> bytes:
    dataset = _dataset(kind)
    distinct = [_encoded(phantom(kind.rows, kind.columns, seed + n)) for n in range(min(kind.frames, 8))]
    frames = [distinct[n % len(distinct)] for n in range(kind.frames)]
    if sum(map(len, frames)) < 1 << 31:
        dataset.PixelData = encapsulate(frames)
    else:
        dataset.PixelData, offsets, lengths = encapsulate_extended(frames)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return _saved(dataset, JPEG2000Lossless)


def _encoded(frame: npt.NDArray[np.uint16]) -> bytes:
    encoder = get_encoder(JPEG2000Lossless)
    facts = {"rows": frame.shape[0], "columns": frame.shape[1], "samples_per_pixel": 1, "number_of_frames": 1}
    facts |= {"bits_allocated": 16, "bits_stored": 12, "pixel_representation": 0}
    return encoder.encode(
        frame, encoding_plugin="pylibjpeg", photometric_interpretation="MONOCHROME2", **facts
    )


def _dataset(kind: Kind) -> Dataset:
    """Everything but the pixel data, with marks."""
    levels = ("study", "series", "instance")
    uids = {level: f"{ROOT_UID}.{kind.arc}.{n}.{_MARKS[level]}" for n, level in enumerate(levels, 1)}
    dataset = Dataset()
    dataset.SOPClassUID = {
        "j2k-mg": DigitalMammographyXRayImageStorageForPresentation,
        "j2k-multiframe": XRayAngiographicImageStorage,
    }.get(kind.name, CTImageStorage)
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = uids["instance"], uids["study"]
    dataset.SeriesInstanceUID = uids["series"]
    dataset.PatientID, dataset.PatientName = f"P{kind.arc}{_MARKS['patient']}", "Bench^Mark"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyDescription = "20240131", "101500", "Abdomen"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = _MARKS["study"], "", ""
    dataset.Modality = {"j2k-mg": "MG", "j2k-multiframe": "XA"}.get(kind.name, "CT")
    dataset.Manufacturer, dataset.ImageType = "Bench", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesDescription, dataset.SeriesNumber = "Portal venous 2.0", _MARKS["series"]
    dataset.InstanceNumber = _NUMBER_MARK
    dataset.FrameOfReferenceUID = f"{ROOT_UID}.{kind.arc}.4.{_MARKS['series']}"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = kind.rows, kind.columns
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    return dataset


def _add_headers(dataset: Dataset) -> None:
    """A hundred more elements, half of them private, and sequences two deep: 8 KB."""
    for group in (0x0019, 0x0029):
        block = dataset.private_block(group, "SORTER BENCHMARK", create=True)
        for element in range(30):
            block.add_new(element, *(("LO", f"private value {element}"), ("DS", "1.25"))[element % 2])
    block.add_new(0x80, "OB", bytes(range(256)) * 8)
    dataset.ReferencedImageSequence = [_reference(number) for number in range(20)]
    dataset.RequestAttributesSequence = [_request(number) for number in range(4)]
    dataset.ProtocolName, dataset.BodyPartExamined = "Abdomen routine", "ABDOMEN"
    for keyword in ("KVP", "DataCollectionDiameter", "ReconstructionDiameter", "GantryDetectorTilt",
                    "TableHeight", "ExposureTime", "XRayTubeCurrent", "Exposure", "GeneratorPower",
                    "RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth"):  # fmt: skip
        setattr(dataset, keyword, "1")
    dataset.ImageComments = "x" * 1000


def _reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CTImageStorage
    item.ReferencedSOPInstanceUID = f"{ROOT_UID}.5.{number + 1}"
    return item


def _request(number: int) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = str(number), "99BENCH", "Abdomen"
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = f"SPS{number}", f"RP{number}"
    item.ScheduledProtocolCodeSequence = [code]
    return item


def _saved(dataset: Dataset, transfer_syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = dataset.SOPClassUID, transfer_syntax
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = io.BytesIO()
    FileDataset(None, dataset, file_meta=meta, preamble=b"\0" * 128).save_as(out, enforce_file_format=True)
    return out.getvalue()


# -- drop folders -------------------------------------------------------------------------------------------


def instance(kind: Kind, made: list[Template], number: int) -> bytes:
    """The bytes of instance ``number`` of a corpus."""
    series = number // SERIES
    repeats = kind.repeated and number % kind.repeated == kind.repeated - 1
    return made[number % len(made)].numbered(
        patient=10_000_000 + series // 10,
        study=10_000_000 + series // 5,
        series=10_000_000 + series,
        instance=10_000_000 + number,
        number=1001 + number % SERIES - bool(repeats),
    )


def make(root: Path, kind: Kind, files: int) -> None:
    """Write ``files`` distinct instances below ``root``, a folder a series."""
    made = templates(kind)
    write = partial(instance, kind, made)
    for number in range(files):
        series = number // SERIES
        folder = root / f"study{series // 5:04}" / f"series{series:05}"
        if number % SERIES == 0:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"IM{number:07}.dcm").write_bytes(write(number))


def main() -> None:
    """Make a corpus and push it to the disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="ct")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, help="rows and columns; 512 makes CT files of 0.5 MB")
    parser.add_argument("--frames", type=int, help="frames of an instance")
    given = parser.parse_args()
    kind = KINDS[given.kind]
    if given.size:
        kind = replace(kind, rows=given.size, columns=given.size)
    make(given.root, replace(kind, frames=given.frames or kind.frames), given.files)
    os.sync()


if __name__ == "__main__":
    main()
