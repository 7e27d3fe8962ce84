"""Series -> volumes: frames of any kind of file, put in their places in space and time.

``survey`` tells what files hold without reading pixels; ``read`` makes the volumes.
"""

from __future__ import annotations

from sorter.volume.errors import NothingToPlaceError, VolumeError
from sorter.volume.model import ORDER, RGB, Flag, Frame, Likeness, Stack, Survey, Volume
from sorter.volume.reading import read, read_stack, survey

__all__ = [
    "ORDER", "RGB", "Flag", "Frame", "Likeness", "NothingToPlaceError", "Stack", "Survey", "Volume",
    "VolumeError", "read", "read_stack", "survey",
]  # fmt: skip
