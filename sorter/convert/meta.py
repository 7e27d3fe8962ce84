"""What a person states of many files in one table: CSV, or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sorter.convert.keywords import ALL
from sorter.convert.options import SETTINGS
from sorter.convert.sidecars import from_json
from sorter.errors import ConfigError

# What people call a column; DICOM keywords do as well.
COLUMNS = {
    "patient": "PatientID",
    "patientid": "PatientID",
    "name": "PatientName",
    "patientname": "PatientName",
    "birthdate": "PatientBirthDate",
    "sex": "PatientSex",
    "accession": "AccessionNumber",
    "accessionnumber": "AccessionNumber",
    "study": "StudyDescription",
    "studyid": "StudyID",
    "studydate": "StudyDate",
    "date": "StudyDate",
    "series": "SeriesDescription",
    "modality": "Modality",
    "bodypart": "BodyPartExamined",
    "laterality": "Laterality",
    "spacing": "PixelSpacing",
}
_BY_CASE = {keyword.casefold(): keyword for keyword in (*ALL, *SETTINGS)}
_FILE = "file"


class Meta:
    """Facts of all files, or of each.

    Parameters
    ----------
    common
        What is stated of every file.
    rows
        What is stated of one file, by its path.
    """

    def __init__(self, common: Mapping[str, Any], rows: Mapping[Path, Mapping[str, Any]]) -> None:
        self._common, self._rows = common, rows
        names = [path.name for path in rows]
        self._by_name = {path.name: path for path in rows if names.count(path.name) == 1}

    @property
    def files(self) -> list[Path]:
        """The files that have a row."""
        return list(self._rows)

    def of(self, path: Path) -> Mapping[str, Any]:
        """What is stated of this file: by its path, else by its name where no other row has that."""
        absolute = path.absolute()
        row = self._rows.get(absolute)
        if row is None and path.name in self._by_name:
            named = self._by_name[path.name]
            row = self._rows[named] if not named.exists() else None
        return {**self._common, **(row or {})}


def read(path: Path) -> Meta:
    """Read a table of facts.

    CSV: one row a file, a column ``file`` (relative to the table's own folder), other columns as in
    :data:`COLUMNS` or DICOM keywords. JSON: one object of keywords for all files, or a list of objects with
    ``file``.

    Raises
    ------
    ConfigError
        It cannot be read or used; says the row.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--meta cannot be read ({type(error).__name__}); it is UTF-8 text") from None
    if text.lstrip()[:1] in ("{", "["):
        return _from_json(text, path.parent)
    return _from_csv(text, path.parent)


def _from_json(text: str, folder: Path) -> Meta:
    try:
        stated = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError("--meta is not valid JSON") from None
    if isinstance(stated, dict):
        return Meta(from_json(text.encode()), {})
    if not all(isinstance(row, dict) and row.get(_FILE) for row in stated):
        raise ConfigError('--meta is a list of something else than objects with "file"')
    return Meta({}, _rows([(number, row) for number, row in enumerate(stated, 1)], folder))


def _from_csv(text: str, folder: Path) -> Meta:
    dialect: type[csv.Dialect] | csv.Dialect = csv.excel
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), dialect=dialect, delimiter=delimiter)
    if _FILE not in [str(name).strip().casefold() for name in reader.fieldnames or ()]:
        raise ConfigError("--meta has no column file")
    rows = []
    for number, row in enumerate(reader, 2):
        if None in row:
            raise ConfigError(f"--meta, line {number}: more cells than columns")
        rows.append((number, {str(key).strip(): value for key, value in row.items()}))
    return Meta({}, _rows(rows, folder))


def _rows(rows: Sequence[tuple[int, Mapping[str, Any]]], folder: Path) -> dict[Path, dict[str, Any]]:
    found: dict[Path, dict[str, Any]] = {}
    for number, row in rows:
        values = {_keyword(key): value for key, value in row.items() if value not in (None, "")}
        file = values.pop(_FILE, "")
        if not file:
            raise ConfigError(f"--meta, row {number}: file is empty")
        path = (folder / str(file)).absolute()
        if path in found:
            raise ConfigError(f"--meta, row {number}: its file has a row already")
        found[path] = values
    return found


def _keyword(column: str) -> str:
    """The keyword that a column means; other columns stay as they are, and are refused as unknown later."""
    plain = "".join(character for character in column.casefold() if character.isalnum())
    if plain == _FILE:
        return _FILE
    return COLUMNS.get(plain) or _BY_CASE.get(plain, column)
