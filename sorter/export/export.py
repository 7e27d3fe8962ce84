"""Selection -> files of one form; one outcome for each thing exported, left out or refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sorter.errors import ConfigError
from sorter.export.forms import COPIES, PICTURES, SUFFIXES, VOLUMES, Form, Options
from sorter.export.names import Names, places
from sorter.export.outcome import Exported, State
from sorter.organizer.layout import Layout
from sorter.organizer.names import component, identifier
from sorter.selection import Selection

_NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr")


def export(
    selection: Selection, destination: Path, options: Options, *, layout: Layout, dry_run: bool = False
) -> Iterator[Exported]:
    """Write what was selected; never over a file that is there.

    Parameters
    ----------
    destination
        A folder, made where it is missing; or one file with a suffix of the form, for what makes one file.
    layout
        Of the tree of plain copies.
    dry_run
        Say what would be written, and write nothing.

    Raises
    ------
    ConfigError
        The extra ``formats`` is needed and not installed, one file was named for several, or the destination
        is a file of another form.
    """
    _check_extras(options)
    _check_destination(destination, options.to)
    for path, why in selection.refused:
        yield Exported(_file_name(path), "", State.REFUSED, detail=why, source=path)
    others = [path for path in selection.other if path.name.lower().endswith(_NIFTI_ENDINGS)]
    others = others if options.to in PICTURES else []
    if left := len(selection.other) - len(others):
        what = "one file is" if left == 1 else f"{left} files are"
        yield Exported("other files", "", State.LEFT_OUT, detail=f"{what} not DICOM")
    if options.to in COPIES:
        yield from _copies(selection, destination, options, layout, dry_run=dry_run)
        return
    is_file = destination.name.endswith(SUFFIXES[options.to])
    if is_file and len(selection.series) + len(others) > 1:
        raise ConfigError("one file was named for several series: name a folder")
    names = Names()
    bases = places(selection, destination, names)
    for series, base in bases:
        target = destination if is_file else base
        if options.to in VOLUMES:
            from sorter.export.volumes import export_volumes  # noqa: PLC0415 - the extra may be missing

            yield from export_volumes(series, target, names, options, dry_run=dry_run)
        else:
            from sorter.export.pictures import export_pictures  # noqa: PLC0415 - the extra may be missing

            yield from export_pictures(series, target, options, dry_run=dry_run)
    for path in others:
        from sorter.export.slices import export_slices  # noqa: PLC0415 - the extra may be missing

        base = destination if is_file else names.free(destination, _file_name(path))
        yield export_slices(path, base, options, dry_run=dry_run)


def _copies(
    selection: Selection, destination: Path, options: Options, layout: Layout, *, dry_run: bool
) -> Iterator[Exported]:
    from sorter.export.copies import export_copies, export_zip  # noqa: PLC0415 - zipfile

    if options.to is Form.DICOMDIR:
        from sorter.export.dicomdir import export_dicomdir  # noqa: PLC0415 - pydicom

        yield from export_dicomdir(selection, destination, dry_run=dry_run)
    elif options.to is Form.ZIP:
        is_file = destination.name.endswith(SUFFIXES[Form.ZIP])
        target = destination if is_file else destination / "export.zip"
        yield from export_zip(selection, target, layout, dry_run=dry_run)
    else:
        yield from export_copies(selection, destination, layout, dry_run=dry_run)


def _check_extras(options: Options) -> None:
    wanted = {Form.NIFTI: ("nibabel",), Form.NPZ: ("nibabel",)}.get(options.to, ("PIL",))
    for name in () if options.to in COPIES else wanted:
        try:
            __import__(name)
        except ImportError:
            raise ConfigError(f"--to {options.to} needs more: pip install 'sorter[formats]'") from None


def _check_destination(destination: Path, form: Form) -> None:
    name = destination.name.lower()
    if destination.is_dir() or name.endswith(SUFFIXES.get(form, ())):
        return
    if os.path.lexists(destination):
        raise ConfigError("DEST, the last argument, is a file that is there already: name a folder")
    if other := next((one for one, endings in SUFFIXES.items() if name.endswith(endings)), None):
        raise ConfigError(f"DEST is named as {other}, and --to says {form}")


def _file_name(path: Path) -> str:
    stem = path.name.partition(".")[0]
    return component(identifier(stem) or "file") or "file"
