"""Where facts stand beside a file: ``<stem>.json``, the nearest ``sorter.toml``, a template."""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag

from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts, facts, validated
from sorter.convert.keywords import ALL, FROM_TEMPLATE
from sorter.convert.naming import FOLDER_FILE, TEMPLATE, stem
from sorter.convert.options import SETTINGS

_MAX_BYTES = 8 << 20

# Names that a BIDS sidecar uses, and what they are in DICOM. In BIDS times are seconds.
# https://bids-specification.readthedocs.io/en/stable/modality-specific-files/magnetic-resonance-imaging-data.html
_BIDS = {
    "ManufacturersModelName": "ManufacturerModelName",
    "PulseSequenceType": "",
    "MRAcquisitionType": "MRAcquisitionType",
    "ConversionSoftware": "",
    "ConversionSoftwareVersion": "",
    "PhaseEncodingDirection": "",
    "TotalReadoutTime": "",
    "EffectiveEchoSpacing": "",
    "SliceTiming": "",
    "TaskName": "",
    "RepetitionTimeExcitation": "",
}
_SECONDS = ("RepetitionTime", "EchoTime", "InversionTime")

# What a stub asks for beside what is missing.
_USUAL = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID", "AccessionNumber",
    "StudyDescription", "Modality", "SeriesDescription", "BodyPartExamined",
)  # fmt: skip
_BY_CASE = {keyword.casefold(): keyword for keyword in (*ALL, *SETTINGS)}


def gather(
    path: Path,
    *,
    given: Iterable[tuple[str, Mapping[str, Any]]] = (),
    template: Path | None = None,
    configured: Mapping[str, Any] | None = None,
    top: Path | None = None,
) -> Facts:
    """All that is known of a file.

    Parameters
    ----------
    given
        (what it is, values): what goes before all that stands beside the file, such as the command line.
    template
        A DICOM file to take patient and study from, instead of one beside the file.
    configured
        What counts where nothing else says anything.
    top
        Folders above this one are not looked at for ``sorter.toml``.

    Raises
    ------
    NeedsInfo
        Nothing says whose it is.
    ConversionError
        What is stated is not valid, or a sidecar cannot be read.
    OSError
        A sidecar cannot be read.
    """
    return facts([*given, *_beside(path, template, top), ("the configuration", configured or {})])


def beside(path: Path, top: Path | None = None) -> list[Path]:
    """The sidecars that a file has, by name; those that say nothing of it too."""
    folder = path.parent
    names = (folder / f"{stem(path.name)}.json", _folder_file(folder, top), *_templates(path))
    return [one for one in names if one is not None and one.is_file()]


def _beside(path: Path, template: Path | None, top: Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    json_file = path.with_name(f"{stem(path.name)}.json")
    if json_file.is_file():
        yield "the JSON beside it", from_json(_content(json_file))
    if folder_file := _folder_file(path.parent, top):
        yield FOLDER_FILE, from_toml(_content(folder_file))
    for one in [template] if template else _templates(path):
        if one.is_file() and one != path:
            yield "the template", from_template(one)
            return


def _templates(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{stem(path.name)}.dcm"), path.with_name(TEMPLATE)


def _folder_file(folder: Path, top: Path | None) -> Path | None:
    for above in (folder, *folder.parents):
        found = above / FOLDER_FILE
        if found.is_file() and "dicom" in _toml(_content(found)):
            return found
        if above == top:
            break
    return None


def _content(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        raise ConversionError("a sidecar is too large to be one")
    return path.read_bytes()


def from_json(content: bytes) -> dict[str, Any]:
    """Facts of a JSON object: DICOM keywords, a BIDS sidecar, or the DICOM JSON model (PS3.18 F).

    Keys that are neither keywords nor settings are left out: other programs leave much in such files.

    Raises
    ------
    ConversionError
        It is no JSON object, or a keyword is written in other letters than DICOM writes it.
    """
    try:
        stated = json.loads(content)
    except (ValueError, RecursionError):
        raise ConversionError("the JSON beside it is not valid JSON") from None
    if isinstance(stated, list) and len(stated) == 1:
        stated = stated[0]
    if not isinstance(stated, dict):
        raise ConversionError("the JSON beside it is not an object")
    if stated and all(len(key) == 8 and isinstance(value, dict) for key, value in stated.items()):
        return validated(dict(_dicom_json(stated)), drop=True)
    if _BIDS.keys() & stated.keys():
        return validated(dict(_bids(stated)), drop=True) | _settings(stated)
    for key in stated:
        meant = _BY_CASE.get(key.casefold(), key)
        if meant != key:
            raise ConversionError(f"the JSON beside it holds {key!r}; did you mean {meant}?")
    return {key: value for key, value in stated.items() if key in ALL or key in SETTINGS}


def _settings(stated: Mapping[str, Any]) -> dict[str, Any]:
    return {key: stated[key] for key in SETTINGS if key in stated}


def _dicom_json(stated: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for tag, element in stated.items():
        try:
            keyword = keyword_for_tag(int(tag, 16))
        except ValueError:
            continue
        values = element.get("Value")
        if keyword in ALL and isinstance(values, list) and values:
            texts = [one.get("Alphabetic", "") if isinstance(one, dict) else one for one in values]
            yield keyword, texts[0] if len(texts) == 1 else texts


def _bids(stated: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in stated.items():
        keyword = _BIDS.get(key, key)
        if keyword not in ALL:
            continue
        if keyword in _SECONDS and isinstance(value, int | float):
            yield keyword, round(value * 1000, 6)
        else:
            yield keyword, value


def from_toml(content: bytes) -> dict[str, Any]:
    """Facts of the table ``[dicom]`` of a ``sorter.toml``.

    Raises
    ------
    ConversionError
        It is no TOML.
    """
    return dict(_toml(content)["dicom"])


def _toml(content: bytes) -> dict[str, Any]:
    try:
        stated = tomllib.loads(content.decode())
    except ValueError:
        raise ConversionError(f"{FOLDER_FILE} is not valid TOML") from None
    if not isinstance(stated.get("dicom", {}), dict):
        raise ConversionError(f"dicom in {FOLDER_FILE} is not a table")
    return stated


def from_template(path: Path) -> dict[str, Any]:
    """Patient and study of a DICOM file; what is not valid there is left out.

    Raises
    ------
    ConversionError
        It is no DICOM file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        try:
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(FROM_TEMPLATE))
            values = {key: _plain(dataset[key].value) for key in FROM_TEMPLATE if key in dataset}
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever pydicom raises quotes values
            raise ConversionError(f"the template is not readable as DICOM ({type(error).__name__})") from None
    return validated(values, drop=True)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    return str(value)


def stub(missing: Iterable[str], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What to fill in so that a file can be converted: the JSON that belongs beside it.

    The keywords that are missing come first, each empty.
    """
    wanted = dict.fromkeys(missing, "")
    return wanted | {key: "" for key in _USUAL if key not in wanted} | dict(known or {})
