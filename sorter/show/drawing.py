"""The picture of a file, made by a worker process where a decoder is needed: it may crash or hang."""

from __future__ import annotations

from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pebble import ProcessExpired
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from sorter.config import Config
from sorter.errors import WorkersError
from sorter.picture import NoPictureError, Picture, Window, picture
from sorter.volume.values import silenced, text
from sorter.workers import Workers

_DIED = (TimeoutError, ProcessExpired, MemoryError, BrokenProcessPool, CancelledError, WorkersError)


class _Painters(Workers):
    """Workers that make pictures; they have the limits of those that decode."""

    def picture(self, path: Path, frame: int, window: Window) -> Picture | str:
        try:
            found: Picture | str = self._result(
                self._task(_picture, path, frame, window, size=path.stat().st_size)
            )
        except _DIED:
            return "the decoder crashed, hung or ran out of memory"
        return found


def drawn(
    path: Path, dataset: Dataset, config: Config, *, frame: int = 0, window: Window = "auto"
) -> Picture:
    """A frame of the dataset that was read from a file.

    Raises
    ------
    NoPictureError
        It cannot be shown; says why.
    """
    meta = getattr(dataset, "file_meta", Dataset())
    syntax = UID(text(meta, "TransferSyntaxUID"))
    if not syntax.is_transfer_syntax or not syntax.is_encapsulated or "PixelData" not in dataset:
        return picture(dataset, frame=frame, window=window)
    workers = _Painters(count=1, memory_mb=config.worker_memory_mb, seconds=config.worker_seconds)
    try:
        made = workers.picture(path, frame, window)
    finally:
        workers.close()
    if isinstance(made, str):
        raise NoPictureError(made)
    return made


def _picture(path: Path, frame: int, window: Window) -> Picture | str:
    """In a worker: the picture, or why there is none."""
    with silenced():
        try:
            return picture(dcmread(path, force=True), frame=frame, window=window)
        except NoPictureError as error:
            return str(error)
