"""What is known of the patient, the study and the series of a file that does not say so itself.

Where it stands (:mod:`sorter.convert.sidecars`), the first that says something being right: the command line,
``<stem>.json`` beside the file, the nearest ``sorter.toml``, a template, the configuration.
"""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.valuerep import DSfloat, validate_value

from sorter.convert.errors import ConversionError, NeedsInfo
from sorter.convert.keywords import ALL, ENUMERATED, PATIENT, STUDY
from sorter.convert.options import SETTINGS

_INTEGERS = ("IS", "US", "SS")
_NUMBERS = (*_INTEGERS, "DS", "FL", "FD")


@dataclass(frozen=True, slots=True)
class Facts:
    """Validated values by DICOM keyword, each of which may stand in a dataset as it is.

    Parameters
    ----------
    values
        Text, numbers, or lists of these where several are allowed. PatientID is among them.
    settings
        How the file itself is to be converted, see :data:`sorter.convert.options.SETTINGS`.
    """

    values: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.values.get("PatientID"):
            raise NeedsInfo(("PatientID",))

    def text(self, keyword: str) -> str:
        """The value as text; empty where there is none."""
        value = self.values.get(keyword)
        return "" if value is None else str(value)

    def number(self, keyword: str) -> float | None:
        """The value as a number; ``None`` where there is none."""
        value = self.values.get(keyword)
        return float(value) if isinstance(value, int | float) else None

    @property
    def modality(self) -> str:
        """Modality, or empty."""
        return self.text("Modality")


def facts(sources: Iterable[tuple[str, Mapping[str, Any]]]) -> Facts:
    """Merge what several sources state; earlier ones are right.

    What a source says of its patient and study is left out where it names another patient or another study
    than an earlier one did: the name of one patient never stands beside the ID of another.

    Parameters
    ----------
    sources
        (what it is, for messages; values by keyword). Keys may be settings as well.

    Raises
    ------
    NeedsInfo
        None says whose the file is.
    ConversionError
        A source holds an unknown keyword or a value that its keyword cannot have.
    """
    values: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, stated in sources:
        try:
            valid = validated({key: value for key, value in stated.items() if key not in SETTINGS})
        except ConversionError as error:
            raise ConversionError(f"{name}: {error}") from None
        other_patient = _differs(valid, values, ("PatientID", "IssuerOfPatientID"))
        other_study = _differs(valid, values, ("StudyInstanceUID", "AccessionNumber"))
        for keyword, value in valid.items():
            if (keyword in PATIENT + STUDY and other_patient) or (keyword in STUDY and other_study):
                continue
            values.setdefault(keyword, value)
        for key in SETTINGS:
            if stated.get(key):
                settings.setdefault(key, stated[key])
    return Facts(dict(sorted(values.items())), settings)


def _differs(one: Mapping[str, Any], other: Mapping[str, Any], keywords: tuple[str, ...]) -> bool:
    return any(one[key] != other[key] for key in keywords if key in one and key in other)


def validated(stated: Mapping[str, Any], *, drop: bool = False) -> dict[str, Any]:
    """The values as they may stand in a dataset; empty ones are left out.

    Parameters
    ----------
    drop
        Leave out what is invalid instead of raising: for templates, whose faults nobody here can mend.

    Raises
    ------
    ConversionError
        A keyword is unknown here, or a value is not valid. Names the keyword, never the value.
    """
    values = {}
    for keyword, value in stated.items():
        try:
            valid = _valid(keyword, value)
        except ConversionError:
            if drop:
                continue
            raise
        if valid not in ("", []):
            values[keyword] = valid
    return values


def _valid(keyword: str, value: Any) -> Any:
    """One value, checked against dictionary, VR (PS3.5 6.2) and enumeration."""
    if keyword not in ALL:
        near = difflib.get_close_matches(keyword, ALL, 1, 0.7)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConversionError(f"{_shown(keyword)} is no keyword that may be stated here{hint}")
    vr, vm = dictionary_VR(keyword), dictionary_VM(keyword)
    several = list(value) if isinstance(value, list | tuple) else None
    if several is None and vm != "1" and isinstance(value, str):
        several = value.split("\\")
    if several is not None:
        checked = [one for one in (_one(keyword, vr, item) for item in several) if one != ""]
        if len(checked) > 1 and vm == "1":
            raise ConversionError(f"{keyword} has several values, where one is allowed")
        if keyword == "PixelSpacing" and len(checked) == 1:
            checked *= 2  # one number: the same in both directions
        return checked if len(checked) > 1 else (checked or [""])[0]
    if keyword == "PixelSpacing" and value not in (None, ""):
        return [_one(keyword, vr, value)] * 2
    return _one(keyword, vr, value)


def _one(keyword: str, vr: str, value: Any) -> str | int | float:
    if value is None or value == "":
        return ""
    try:
        valid = _number(vr, value) if vr in _NUMBERS else _text(vr, value)
    except (ValueError, TypeError, OverflowError):
        # Neither the value nor what pydicom says of it: that quotes it.
        raise ConversionError(f"the value of {keyword} is not valid for its VR, {vr}") from None
    if keyword in ENUMERATED and valid not in ENUMERATED[keyword]:
        raise ConversionError(f"{keyword} is none of {', '.join(filter(None, ENUMERATED[keyword]))}")
    if keyword in ("PixelSpacing", "WindowWidth") and not float(valid) > 0:
        raise ConversionError(f"the value of {keyword} is not above 0")
    return valid


def _number(vr: str, value: Any) -> int | float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    if vr in _INTEGERS:
        if number != int(number) or not -(2**31) <= number < 2**31:
            raise ValueError
        return int(number)
    return number


def _text(vr: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    text = str(value).strip()
    if vr in ("DA", "TM"):
        text = text.replace("-", "").replace(":", "")
    text.encode("utf-8")  # a lone surrogate cannot be written
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError
    if "\\" in text and vr not in ("ST", "LT", "UT"):
        raise ValueError  # it separates values. PS3.5 6.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        validate_value(vr, text, config.RAISE)
    if vr == "DA" and len(text) != 8:
        raise ValueError  # a range, or a date of other standards
    return text


def _shown(keyword: str) -> str:
    """The keyword where it looks like one; nobody's name, however it came to stand where keywords stand."""
    return f"{keyword!r}" if keyword.isascii() and keyword.isalnum() and len(keyword) <= 40 else "a key"


def decimal(value: float) -> DSfloat:
    """A decimal string of at most 16 characters, as near to the number as these allow. PS3.5 6.2."""
    whole = str(int(value)) if float(value).is_integer() else ""
    if 0 < len(whole) <= 16:
        return DSfloat(whole)  # exactly; beyond 14 digits auto_format would round
    return DSfloat(float(value), auto_format=True)


def as_written(value: float) -> float:
    """The number that the decimal string says: what readers will calculate with."""
    return float(str(decimal(value)))
