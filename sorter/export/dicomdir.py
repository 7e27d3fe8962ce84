"""Instances -> a DICOM file set with its DICOMDIR (PS3.10 section 8, PS3.3 annex F).

pydicom makes the directory and the File IDs (``PT000000/ST000000/SE000000/IM000000``: at most 8 characters,
so that any medium takes them). The files themselves are copied byte for byte: what the directory needs and a
file lacks, such as a Study ID, stands in the directory only.
"""

from __future__ import annotations

import filecmp
import secrets
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from pydicom import Dataset
from pydicom.fileset import FileSet

from sorter.export.names import series_name
from sorter.export.outcome import Exported, State
from sorter.export.writing import ExportError, why
from sorter.selection import Chosen, Selection, Series
from sorter.volume import VolumeError
from sorter.volume.frames import open_header
from sorter.volume.values import silenced, text, value

# Type 1 in records of PS3.3 F.5 but not in the instances themselves, and what stands for a missing value.
_NEEDED = (
    ("PatientID", "NA"),
    ("PatientName", ""),
    ("StudyDate", "19000101"),
    ("StudyTime", "000000"),
    ("StudyID", "NA"),
    ("StudyDescription", ""),
    ("AccessionNumber", ""),
    ("Modality", "OT"),
    ("SeriesNumber", 0),
    ("InstanceNumber", 0),
    ("ContentDate", "19000101"),
    ("ContentTime", "000000"),
)


_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def export_dicomdir(selection: Selection, folder: Path, *, dry_run: bool = False) -> Iterator[Exported]:
    """Write a file set to ``folder``, which must not exist or be empty; one outcome a series.

    A file that cannot be in a file set has its own outcome; the others are written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        yield Exported(folder.name, "", State.REFUSED, detail="the folder is there already, and is not empty")
        return
    if dry_run:
        for series in selection.series:
            yield _exported(series, folder, len(series.instances))
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{secrets.token_hex(8)}.part")
    try:
        outcomes = _write(selection, folder, part)
        if part.exists():
            part.replace(folder)  # whole or not at all; an empty folder may be replaced, a full one not
    except OSError as error:
        yield Exported(folder.name, "", State.REFUSED, detail=why(error))
    else:
        yield from outcomes
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(selection: Selection, folder: Path, part: Path) -> list[Exported]:
    """Write the file set to ``part``, unless no file can be in it; returns what became of each series."""
    file_set = FileSet()
    sources: dict[str, Path] = {}
    outcomes = []
    with silenced():
        for series in selection.series:
            before = len(sources)
            for one in series.instances:
                uid = one.header.text("SOPInstanceUID")
                if uid in sources and filecmp.cmp(sources[uid], one.path, shallow=False):
                    continue  # the same file, found twice
                try:
                    sources[_add(file_set, one, sources)] = one.path
                except ExportError as error:
                    outcomes.append(_refused(one, series, error))
            if count := len(sources) - before:
                outcomes.append(_exported(series, folder, count))
        if sources:
            file_set.write(part)
        # What was written so far are headers only.
        for instance in file_set:
            shutil.copyfile(sources[str(instance.SOPInstanceUID)], instance.path)
    return outcomes


def _refused(one: Chosen, series: Series, error: ExportError) -> Exported:
    return Exported(series_name(one.header), series.uid, State.REFUSED, detail=str(error), source=one.path)


def _exported(series: Series, folder: Path, count: int) -> Exported:
    return Exported(series_name(series.header), series.uid, State.EXPORTED, (folder / "DICOMDIR",), count)


def _add(file_set: FileSet, one: Chosen, known: dict[str, Path]) -> str:
    """Add the header of one file; returns its SOP Instance UID."""
    try:
        header = open_header(one.path)
    except VolumeError as error:
        raise ExportError(str(error)) from None
    except OSError as error:
        raise ExportError(why(error)) from None
    uid = text(header, "SOPInstanceUID")
    if uid in known:
        raise ExportError("another file with its SOP Instance UID is in the file set")
    if any(value(header, keyword) is None for keyword in _UIDS):
        raise ExportError("it lacks a UID of study, series or instance")
    if not getattr(header, "file_meta", None):
        raise ExportError("it has no File Meta Information: a file set holds whole DICOM files only")
    try:
        _complete(header)
        header.save_as(BytesIO())  # what cannot be written must not be half in
        file_set.add(header)
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds; their texts may quote values
        raise ExportError(f"a file set cannot hold it ({type(error).__name__})") from None
    return uid


def _complete(header: Dataset) -> None:
    """Fill in what the records of a directory must have."""
    for keyword, instead in _NEEDED:
        if value(header, keyword) is None:
            setattr(header, keyword, instead)
