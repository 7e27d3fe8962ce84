"""How to convert, as opposed to :mod:`sorter.convert.facts`: what is known of the patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args
from uuid import NAMESPACE_DNS, UUID, uuid5

from sorter.convert.errors import ConversionError

Kind = Literal["auto", "sc", "photo", "pmap", "seg"]

# Raised whenever the same input and the same options would give other bytes than before.
CONVERTER_VERSION = 1

_ROOT = uuid5(NAMESPACE_DNS, "convert.sorter")
_NO_NAME = uuid5(_ROOT, "")


def namespace(installation: str) -> UUID:
    """The namespace that all UIDs of an installation are made in; any text names one."""
    return uuid5(_ROOT, installation)


@dataclass(frozen=True, slots=True)
class Options:
    """How to convert.

    Parameters
    ----------
    kind
        ``auto``: the class that the facts allow, Secondary Capture where they are silent; ``sc`` that one
        always; ``photo`` VL Photographic (pictures); ``pmap`` Parametric Map and ``seg`` Segmentation
        (volumes).
    one_file
        All slices in one multi-frame instance.
    orientation
        Where the axes of a volume without orientation point, such as ``RAS`` or ``LPS``: three letters out
        of R/L, A/P and S/I, for the first, second and third axis. Empty: such a volume is refused.
    segments
        Names of the segments by label value, for ``seg``.
    namespace
        Of the installation's UIDs, see :func:`namespace`.
    """

    kind: Kind = "auto"
    one_file: bool = False
    orientation: str = ""
    segments: Mapping[int, str] = field(default_factory=dict)
    namespace: UUID = _NO_NAME

    def identity(self) -> list[Any]:
        """What of this makes a difference to the bytes, for the UIDs."""
        return [self.kind, self.one_file, self.orientation, sorted(self.segments.items())]

    def overlaid(self, settings: Mapping[str, Any]) -> Options:
        """These options, and where they are silent those that stand beside the facts.

        Raises
        ------
        ConversionError
            A setting has a value that it cannot have.
        """
        changes: dict[str, Any] = {}
        if self.kind == "auto" and "Kind" in settings:
            changes["kind"] = _kind(settings["Kind"])
        if not self.orientation and "Orientation" in settings:
            changes["orientation"] = orientation(str(settings["Orientation"]))
        if not self.segments and "Segments" in settings:
            changes["segments"] = _segments(settings["Segments"])
        return replace(self, **changes) if changes else self


# What may stand beside the DICOM keywords in a sidecar.
SETTINGS = ("Kind", "Orientation", "Segments")


def orientation(text: str) -> str:
    """Three axis letters, upper case, one of each pair.

    Raises
    ------
    ConversionError
        They are not.
    """
    letters = text.strip().upper()
    if len(letters) != 3 or sorted("RAS"["RASLPI".index(c) % 3] for c in letters if c in "RASLPI") != [
        *"ARS"
    ]:
        raise ConversionError("Orientation is not three letters such as RAS: one of R/L, of A/P and of S/I")
    return letters


def _kind(value: object) -> Kind:
    for kind in get_args(Kind):
        if value == kind:
            return kind  # type: ignore[no-any-return]
    raise ConversionError(f"Kind is none of {', '.join(get_args(Kind))}")


def _segments(value: object) -> dict[int, str]:
    """Names by label, from ``{"1": "liver"}``."""
    if not isinstance(value, Mapping):
        raise ConversionError('Segments is not an object such as {"1": "liver"}')
    names = {}
    for label, name in value.items():
        if not re.fullmatch(r"[1-9][0-9]{0,4}", str(label)) or not isinstance(name, str) or not name.strip():
            raise ConversionError(
                "Segments holds a label that is no number from 1, or a name that is no text"
            )
        names[int(label)] = name.strip()
    return names
