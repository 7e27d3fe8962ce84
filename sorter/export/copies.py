"""Instances -> plain copies in a tree, or in one zip: byte for byte, never re-saved."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from sorter.export.names import series_name
from sorter.export.outcome import Exported, State
from sorter.export.writing import ExportError, check_free, new_file, why
from sorter.organizer.layout import Layout
from sorter.organizer.names import path_key
from sorter.selection import Chosen, Selection

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip
_CHUNK = 1 << 20


def tree(selection: Selection, layout: Layout) -> dict[Path, Path]:
    """Where each file goes below the destination, by the layout of an archive; no two to one name."""
    found: dict[Path, Path] = {}
    taken: set[int] = set()
    for one in selection.instances:
        folder = layout.folder(one.header, "")
        plain, distinct = layout.leaves(one.header)
        stem = distinct.removesuffix(".dcm")
        for leaf in (plain, distinct, *(f"{stem}.{number}.dcm" for number in range(2, len(found) + 3))):
            if (key := path_key(f"{folder}/{leaf}")) not in taken:
                taken.add(key)
                found[one.path] = Path(folder, leaf)
                break
    return found


def export_copies(
    selection: Selection, folder: Path, layout: Layout, *, dry_run: bool = False
) -> Iterator[Exported]:
    """Copy the files into a tree below ``folder``; an outcome a series, and one for each file that fails."""
    places = tree(selection, layout)
    for series in selection.series:
        written: list[Path] = []
        for one in series.instances:
            target = folder / places[one.path]
            try:
                check_free(target)
                if not dry_run:
                    _copy(one, target)
            except (ExportError, OSError) as error:
                yield Exported(_name(one), series.uid, State.REFUSED, detail=why(error), source=one.path)
            else:
                written.append(target)
        if written:
            yield Exported(
                _name(series.instances[0]), series.uid, State.EXPORTED, tuple(written), len(written)
            )


def export_zip(
    selection: Selection, target: Path, layout: Layout, *, dry_run: bool = False
) -> Iterator[Exported]:
    """Write one zip with a tree as of an archive; nothing of it where a file cannot be read."""
    places = tree(selection, layout)
    try:
        check_free(target)
        if not dry_run:
            with (
                new_file(target) as out,
                zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped,
            ):
                for source, place in places.items():
                    _add(zipped, source, place)
    except (ExportError, OSError) as error:
        yield Exported(target.name, "", State.REFUSED, detail=why(error))
        return
    for series in selection.series:
        yield Exported(
            _name(series.instances[0]), series.uid, State.EXPORTED, (target,), len(series.instances)
        )


def _copy(one: Chosen, target: Path) -> None:
    with one.path.open("rb") as source, new_file(target) as out:
        shutil.copyfileobj(source, out, _CHUNK)


def _add(zipped: zipfile.ZipFile, source: Path, place: Path) -> None:
    entry = zipfile.ZipInfo(place.as_posix(), _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.file_size = source.stat().st_size  # so that large ones get 64-bit sizes
    with source.open("rb") as data, zipped.open(entry, "w") as out:
        shutil.copyfileobj(data, out, _CHUNK)


def _name(one: Chosen) -> str:
    return series_name(one.header)
