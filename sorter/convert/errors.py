"""Why one file cannot become DICOM. Messages hold no header values, file names or other patient data."""

from __future__ import annotations

import importlib
from types import ModuleType

from sorter.errors import ConfigError


class ConversionError(Exception):
    """The file cannot be converted; the text says why, for people."""


class NeedsInfo(ConversionError):  # noqa: N818 - it is a request, not a fault
    """What the file needs is nowhere to be found.

    Parameters
    ----------
    missing
        DICOM keywords, or names of options such as ``Orientation``, without which it cannot be converted.
    """

    def __init__(self, missing: tuple[str, ...], why: str = "") -> None:
        super().__init__(why or f"stated nowhere: {', '.join(missing)}")
        self.missing = missing
        self.why = why

    def __reduce__(self) -> tuple[type[NeedsInfo], tuple[tuple[str, ...], str]]:
        return NeedsInfo, (self.missing, self.why)  # it crosses processes


class FormatsMissingError(ConfigError):
    """The extra ``formats`` is not installed."""


def optional(module: str) -> ModuleType:
    """Import a module of the extra ``formats``.

    Raises
    ------
    FormatsMissingError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise FormatsMissingError(
            f"{name} is not installed; converting needs it: pip install 'sorter[formats]'"
        ) from None
