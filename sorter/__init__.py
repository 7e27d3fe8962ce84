"""sorter: a DICOM archive that sorts itself.

``sorter.open`` opens an archive for reading, ``sorter.read`` reads a file: see :mod:`sorter.api`, which is
imported when one of its names is first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_API = (
    "Archive", "ConversionError", "NeedsInfo", "NoPictureError", "NotFoundError", "Rows", "SorterError",
    "UnreadableError", "Volume", "VolumeError", "open", "read", "read_picture", "read_volume", "read_volumes",
    "to_dicom",
)  # fmt: skip
__all__ = ["__version__", *_API]  # noqa: PLE0604 - names all of them


def __getattr__(name: str) -> object:
    if name not in _API:
        raise AttributeError(f"module 'sorter' has no attribute {name!r}")
    found: object = getattr(import_module("sorter.api"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
