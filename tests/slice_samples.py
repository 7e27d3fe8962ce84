"""Series of small slices whose values tell where each voxel came from, and what spoils them."""

import io

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage
from support import UID, dicom

ROWS, COLUMNS = 4, 6
AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
SPACING = (0.8, 0.5)  # between rows, between columns
BASIC = {"Rows", "Columns", "PixelData", "Modality"}  # those that every sample of `dicom` has


def values(mark):
    """(rows, columns): the mark in the thousands, then the number of the pixel."""
    return (mark * 1000 + np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)).astype("<u2")


def one_slice(number, position, *, mark=None, orientation=AXIAL, pixels=None, **more):
    """The bytes of one slice; ``mark`` is its number where none is given."""
    pixels = values(number if mark is None else mark) if pixels is None else pixels
    elements = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "PixelData": pixels.tobytes(),
        "ImagePositionPatient": [float(f"{one:.6f}") for one in position],
        "ImageOrientationPatient": list(orientation),
        "PixelSpacing": list(SPACING),
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
    }
    dropped = {keyword for keyword, value in more.items() if value is None} & set(elements)
    kept = {keyword: value for keyword, value in (elements | more).items() if keyword not in dropped - BASIC}
    return dicom(number, **kept)


def write(folder, files):
    """Write files into a folder, in an order that is not that of their places; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, data in enumerate(files):
        path = folder / f"{(number * 7) % 101:03}.dcm"
        path.write_bytes(data)
        paths.append(path)
    return sorted(paths)


def axial(heights, **more):
    """Axial slices at these heights in mm, numbered from 1."""
    return [one_slice(number, (10, 20, z), **more) for number, z in enumerate(heights, 1)]


def enhanced(positions, *, times=(1,), echoes=None, orientation=AXIAL):
    """The bytes of one enhanced MR file: for each time all positions, in an order that is not theirs."""
    source = pydicom.dcmread(io.BytesIO(one_slice(1, (0, 0, 0))))
    source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(source, keyword)
    plane, measures, shared = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = list(orientation), list(SPACING)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    source.SharedFunctionalGroupsSequence = [shared]
    per_frame, pixels = [], []
    for time in times:
        for number, position in reversed(list(enumerate(positions, 1))):
            content, place, frame = Dataset(), Dataset(), Dataset()
            content.TemporalPositionIndex = time
            place.ImagePositionPatient = list(position)
            frame.FrameContentSequence, frame.PlanePositionSequence = [content], [place]
            if echoes:
                echo = Dataset()
                echo.EffectiveEchoTime = echoes[time - 1]
                frame.MREchoSequence = [echo]
            per_frame.append(frame)
            pixels.append(values(10 * time + number))
    source.PerFrameFunctionalGroupsSequence = per_frame
    source.NumberOfFrames = len(per_frame)
    source.PixelData = np.stack(pixels).tobytes()
    source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = f"{UID}.99"
    out = io.BytesIO()
    source.save_as(out, enforce_file_format=True)
    return out.getvalue()
