"""Small drop folders in which everything that can become of a source does."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

import pydicom
import pytest
from pydicom.uid import RLELossless
from support import dicom

from sorter.organizer.direct import DIRECT_FROM

CANARY = "Zzyzx^Canary"  # a patient's name that must never be seen in any output
PATIENT = "canary7731"  # and a Patient ID
SERIES = f"{PATIENT}/20240131/head/series_1"


@dataclass(frozen=True)
class Scenario:
    """Sources, what becomes of them once they are safe, and what lies in the archive before."""

    sources: Callable[[], dict[str, bytes]]
    retire: str = "keep"
    by_hand: bool = False  # the drop folder is given as a PATH: published files are then not adopted first
    leftovers: Callable[[], dict[str, bytes]] = dict
    links: dict[str, str] = field(default_factory=dict)

    @property
    def retires(self):
        """Whether sources may vanish."""
        return self.retire != "keep"

    def work(self):
        """The arguments of a Work."""
        return {"sources": self.sources(), "leftovers": self.leftovers(), "links": self.links}


def _encapsulated(number, **more):
    """The bytes of a small RLE instance, which a worker decodes."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(number, **more)))
    dataset.compress(RLELossless, generate_instance_uid=False)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _mine(number, **more):
    return dicom(number, patient=PATIENT, PatientName=CANARY, **more)


def _small():
    """Two patients, a series of three, one to decode, a duplicate, a conflict, a truncated file and junk.

    The third of the series is written past the page cache, where it has one.
    """
    files = {f"a/{number}.dcm": _mine(number) for number in (1, 2)}
    files["a/3.dcm"] = _mine(3, size=260)
    assert len(files["a/3.dcm"]) > DIRECT_FROM
    files["b/rle.dcm"] = _encapsulated(1, study=2, patient="P2", pixels=3)
    files["b/duplicate.dcm"] = files["a/1.dcm"]
    files["c/conflict.dcm"] = _mine(2, pixels=7)
    files["c/truncated.dcm"] = _mine(9)[:-40]
    files["junk.txt"] = b"no DICOM at all, of " + CANARY.encode()
    return files


def _large():
    """More than is synced file by file, so that ``syncfs`` does it."""
    return _small() | {
        f"d/{number}.dcm": dicom(number, study=3, series=number % 3) for number in range(1, 15)
    }


def _obstructed():
    """Instances whose names are taken: by their own bytes, by others, and by a planted link."""
    return {
        "a/1.dcm": _mine(1),
        "a/2.dcm": _mine(2),
        "a/3.dcm": _mine(3),
        "b/4.dcm": dicom(4, study=2, patient="P2"),
    }


def _taken():
    name = "CT.1.2.826.0.1.3680043.10.1.1.1.{}.dcm"
    return {f"{SERIES}/{name.format(1)}": _mine(1), f"{SERIES}/{name.format(2)}": b"somebody's notes"}


def _zipped(members):
    """The bytes of a zip, the same every time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _zip():
    """Three instances, two of them of one series, one to decode."""
    rle = _encapsulated(1, study=2, patient="P2", pixels=3)
    return {"discs/disc.zip": _zipped({"a/1.dcm": _mine(1), "a/2.dcm": _mine(2), "b/rle.dcm": rle})}


def _nested():
    """A zip in a zip: the members of the outer one are recorded before those of the inner one are named."""
    inner = _zipped({"2.dcm": _mine(2), "3.dcm": dicom(3, study=2, patient="P2")})
    return {"discs/outer.zip": _zipped({"1.dcm": _mine(1), "inner.zip": inner})}


def _many():
    """More members, and more folders for them, than are synced one by one."""
    members = {f"{number}.dcm": _mine(number, series=number) for number in range(1, 18)}
    return {"discs/many.zip": _zipped(members)}


def _nifti():
    """A volume of three slices, and beside it who it is of."""
    nibabel, numpy = pytest.importorskip("nibabel"), pytest.importorskip("numpy")
    made = nibabel.Nifti1Image(numpy.arange(24, dtype=numpy.int16).reshape(2, 4, 3), numpy.eye(4))
    return {"v/head.nii": made.to_bytes(), "v/head.json": b'{"PatientID": "P1"}'}


SCENARIOS = {
    "small": Scenario(_small),
    "large": Scenario(_large),
    "delete": Scenario(_small, retire="delete"),
    "move": Scenario(_small, retire="move"),
    "obstructed": Scenario(_obstructed, by_hand=True, leftovers=_taken, links={"P2": "../outside"}),
}
# What holds others: it has its outcome once its members have theirs.
CONTAINERS = {
    "zip": Scenario(_zip),
    "nested": Scenario(_nested, retire="delete"),
    "many": Scenario(_many, retire="delete"),
    "nifti": Scenario(_nifti),
}
ALL = SCENARIOS | CONTAINERS
