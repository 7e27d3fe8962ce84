"""Names of exported files: readable, safe, without the patient, and no two the same."""

from __future__ import annotations

from pathlib import Path

from sorter.model import Header
from sorter.organizer.names import component, description, path_key
from sorter.selection import Selection, Series

_LONGEST = 120  # bytes; suffixes follow


def series_name(header: Header) -> str:
    """``4_axial_epi``: number and description of the series, or its modality where it has neither."""
    number = header.number("SeriesNumber")
    parts = ("" if number is None else str(number), header.text("SeriesDescription"))
    said = "_".join(filter(None, (description(part) for part in parts)))
    return component(said or description(header.text("Modality")) or "series", _LONGEST) or "series"


def study_name(header: Header) -> str:
    """``20240131_head``: date and description of the study."""
    said = "_".join(filter(None, (header.study_date, description(header.text("StudyDescription")))))
    return component(said or "study", _LONGEST) or "study"


class Names:
    """Hands out names below a folder, each once; as file systems that ignore case see them."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def free(self, folder: Path, name: str, suffix: str = "") -> Path:
        """``folder/name`` with the suffix, or with ``_2`` and so on before it where that was handed out."""
        for number in range(1, len(self._taken) + 2):
            leaf = name if number == 1 else f"{name}_{number}"
            key = path_key(f"{folder}/{leaf}")
            if key not in self._taken:
                self._taken.add(key)
                return folder / f"{leaf}{suffix}"
        raise AssertionError("there is always a free name")


def places(selection: Selection, folder: Path, names: Names) -> list[tuple[Series, Path]]:
    """Each series and the path, without suffix, that names its files; in folders where studies differ."""
    studies: dict[str, Path] = {}
    for series in selection.series:
        uid = series.header.text("StudyInstanceUID")
        if uid not in studies:
            studies[uid] = names.free(folder, study_name(series.header))
    several = len(studies) > 1
    return [
        (
            series,
            names.free(
                studies[series.header.text("StudyInstanceUID")] if several else folder,
                series_name(series.header),
            ),
        )
        for series in selection.series
    ]
