"""The Python API: an archive to query and read, and functions on files. ``import sorter`` gives all of it.

Nothing here writes to an archive. It may be used beside a running daemon.
"""

from sorter.api.archive import Archive, NotFoundError, open
from sorter.api.files import read, read_picture, read_volume, read_volumes, to_dicom
from sorter.convert.errors import ConversionError, NeedsInfo
from sorter.errors import SorterError
from sorter.picture import NoPictureError
from sorter.rows import Rows
from sorter.show.instance import UnreadableError
from sorter.volume import Volume, VolumeError

__all__ = [
    "Archive", "ConversionError", "NeedsInfo", "NoPictureError", "NotFoundError", "Rows", "SorterError",
    "UnreadableError", "Volume", "VolumeError", "open", "read", "read_picture", "read_volume", "read_volumes",
    "to_dicom",
]  # fmt: skip
