# What type checkers see of the package: its names are imported when they are first used.
from sorter.api import Archive as Archive
from sorter.api import ConversionError as ConversionError
from sorter.api import NeedsInfo as NeedsInfo
from sorter.api import NoPictureError as NoPictureError
from sorter.api import NotFoundError as NotFoundError
from sorter.api import Rows as Rows
from sorter.api import SorterError as SorterError
from sorter.api import UnreadableError as UnreadableError
from sorter.api import Volume as Volume
from sorter.api import VolumeError as VolumeError
from sorter.api import open as open
from sorter.api import read as read
from sorter.api import read_picture as read_picture
from sorter.api import read_volume as read_volume
from sorter.api import read_volumes as read_volumes
from sorter.api import to_dicom as to_dicom

__version__: str
