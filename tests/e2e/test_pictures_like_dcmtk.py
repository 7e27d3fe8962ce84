"""Pictures of real instances are those of dcmtk (dcm2pnm, dcmj2pnm, dcml2pnm), within two grey levels.

A sample of the census by default; all of it with SORTER_SLOW=1.
"""

import csv
import os
import shutil
import subprocess
import warnings

import numpy as np
import pydicom
import pytest
from support import shared_data

from sorter.picture import NoPictureError, decoded, frames, picture, rescaled, shades

MOST = 2  # grey levels
SAMPLE = 12  # one file of so many
# What dcmtk does wrong, or differently for a reason.
EXCEPTIONS = {
    "pydicom/test_files/rtdose_expb.dcm": "dcmtk swaps bytes, not words, of 32 bits in big endian",
    "pydicom/test_files/rtdose_expb_1frame.dcm": "dcmtk swaps bytes, not words, of 32 bits in big endian",
    "cornerstone3D/TestPattern_JPEG-Baseline_YBR422.dcm": "dcmtk repeats subsampled colours",
}
TOOLS = ("dcm2pnm", "dcmj2pnm", "dcml2pnm")
_ROOT = "1.2.840.10008.1.2"
_JPEG = {f"{_ROOT}.4.{n}" for n in range(50, 71)}
_LOSSY = {f"{_ROOT}.4.{n}" for n in range(50, 57)}  # but 57 and 70


def tool(syntax):
    """The program of dcmtk that reads a transfer syntax; ``None`` where none does."""
    if syntax in _JPEG or syntax == f"{_ROOT}.5":
        return "dcmj2pnm"
    if syntax in (f"{_ROOT}.4.80", f"{_ROOT}.4.81"):
        return "dcml2pnm"
    return None if syntax.startswith(f"{_ROOT}.4.") else "dcm2pnm"


def shown_by_dcmtk(path, dataset, frame, how):
    """dcmtk's picture without overlays; ``None`` where it makes none."""
    program = tool(dataset.file_meta.TransferSyntaxUID)
    if program is None:
        return None
    command = [program, "--quiet", "--no-overlays", "--frame", str(frame + 1), *how, str(path)]
    made = subprocess.run(command, capture_output=True, check=False, timeout=60).stdout
    return read_pnm(made) if made else None


def read_pnm(data):
    """A binary PGM or PPM file."""
    words = []
    rest = data
    while len(words) < 4:
        line, _, rest = rest.partition(b"\n")
        words += line.partition(b"#")[0].split()
    kind, columns, rows, _ = words
    shape = (int(rows), int(columns), 3)[: 3 if kind == b"P6" else 2]
    return np.frombuffer(rest, "u1", int(np.prod(shape))).reshape(shape)


def asked(dataset, frame):
    """(The options that ask dcmtk for our window, grey levels for one stored value)."""
    stored = decoded(dataset, frame)
    if stored.ndim == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        return [], 1.0
    values = rescaled(stored, dataset, frame)
    how = shades(dataset, frame, stored, values, "auto")
    if how.origin == "voi_lut":
        return ["--use-voi-lut", "1"], 1.0
    if how.origin == "range":
        return ["--min-max-window"], 1.0
    slope, intercept = line(stored, values)
    own = dataset.get("PerFrameFunctionalGroupsSequence")
    if how.origin == "window" and "WindowCenter" in dataset and not own:  # dcmtk does not look at those
        return ["--use-window", "1"], 255 * abs(slope) / how.width
    exact = how.function == "LINEAR_EXACT"  # dcmtk knows LINEAR
    center, width = how.center + exact * 0.5, how.width + exact
    if own and "PixelValueTransformationSequence" in own[frame]:  # dcmtk finds a shared rescale only
        center, width = (center - intercept) / slope, width / slope
    return ["--set-window", str(center), str(width)], 255 * abs(slope) / how.width


def line(stored, values):
    """Slope and intercept from stored to real values."""
    x, y = stored.reshape(-1).astype(float), values.reshape(-1).astype(float)
    first, last = x.argmin(), x.argmax()
    slope = (y[last] - y[first]) / (x[last] - x[first]) if x[last] != x[first] else 1.0
    return slope or 1.0, y[first] - (slope or 1.0) * x[first]


def difference(path, dataset, frame):
    """(The largest difference, how much of it lossy JPEG explains); ``None``: nothing to compare."""
    try:
        ours = picture(dataset, frame=frame, square=False)
    except NoPictureError:
        return None
    how, level = asked(dataset, frame)
    theirs = shown_by_dcmtk(path, dataset, frame, how)
    if theirs is None:
        return None
    if ours.ndim != theirs.ndim:  # a palette of greys
        theirs = np.repeat(theirs[..., None], 3, 2) if theirs.ndim == 2 else theirs[..., 0]
    assert ours.shape == theirs.shape
    # Two decoders of lossy JPEG may differ by one stored value, or by two once converted to RGB.
    lossy = dataset.file_meta.TransferSyntaxUID in _LOSSY
    return int(np.abs(ours.astype(int) - theirs).max()), np.ceil(level) if lossy else 0


def real_files():
    root = shared_data()
    with (root / "census.csv").open(newline="") as census:
        names = [row["path"] for row in csv.DictReader(census) if row["kind"] == "dicom"]
    step = 1 if os.environ.get("SORTER_SLOW") else SAMPLE
    for name in names[::step]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(root / name, force=True)
            if "TransferSyntaxUID" in getattr(dataset, "file_meta", ()) and "Rows" in dataset:
                yield name, root / name, dataset


@pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="dcm2pnm, dcmj2pnm, dcml2pnm are not here: install dcmtk"
)
def test_pictures_of_real_instances_are_those_of_dcmtk():
    differing, compared = {}, 0
    for name, path, dataset in real_files():
        for frame in {0, frames(dataset) - 1}:
            found = None if name in EXCEPTIONS else difference(path, dataset, frame)
            compared += found is not None
            if found is not None and found[0] > MOST + found[1]:
                differing[name, frame] = found
    assert (differing, compared > 90) == ({}, True)
