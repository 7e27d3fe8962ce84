"""The Python API: an archive to query and read, and functions on files. ``import sorter`` gives all of it.

Nothing here writes to an archive. It may be used beside a running daemon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom import Dataset

from sorter import config as configuration
from sorter.convert.convert import convert
from sorter.convert.errors import ConversionError, NeedsInfo
from sorter.convert.options import Kind, Options, namespace, orientation
from sorter.convert.sidecars import gather
from sorter.errors import ConfigError, SorterError
from sorter.index import Index
from sorter.picture import NoPictureError, Picture, Window
from sorter.picture import picture as _picture
from sorter.rows import Rows
from sorter.show.instance import UnreadableError, open_instance
from sorter.volume import Volume, VolumeError
from sorter.volume import read as _read_volumes

__all__ = [
    "Archive", "ConversionError", "NeedsInfo", "NoPictureError", "NotFoundError", "Rows", "SorterError",
    "UnreadableError", "Volume", "VolumeError", "open", "read", "read_picture", "read_volume", "read_volumes",
    "to_dicom",
]  # fmt: skip


class NotFoundError(SorterError, LookupError):
    """The archive has no such instance or series."""


class Archive:
    """An archive, open for reading; a context manager. Made by :func:`sorter.open`."""

    def __init__(self, config: configuration.Config) -> None:
        self._config = config
        self._index = Index.open(config.index_location, read_only=True)

    @property
    def root(self) -> Path:
        """The archive root."""
        return self._config.archive

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<sorter archive {self.root}>"

    # -- queries ----------------------------------------------------------------------------------------

    def find(self, level: str = "study", *, limit: int | None = None, **criteria: str | int) -> Rows:
        """The rows of one level that fulfil all criteria.

        Parameters
        ----------
        level
            ``patient``, ``study``, ``series`` or ``instance``.
        limit
            At most so many.
        **criteria
            By DICOM keyword (``PatientID="A*"``) or column (``patient_id``), as for ``sorter find``:
            wildcards ``*`` and ``?``, ranges of dates, lists with commas. Those of a lower level mean "with
            at least one such".

        Raises
        ------
        ConfigError
            A keyword that is not indexed, or no such level.
        IndexUnusableError
            The index cannot be read.
        """
        if level not in ("patient", "study", "series", "instance"):
            raise ConfigError(f"{level!r} is no level: patient, study, series or instance")
        asked = {keyword: str(value) for keyword, value in criteria.items()}
        return Rows(self._index.find(asked, level=level, limit=limit))

    def patients(self, *, limit: int | None = None, **criteria: str | int) -> Rows:
        """Patients, as :meth:`find` finds them."""
        return self.find("patient", limit=limit, **criteria)

    def studies(self, *, limit: int | None = None, **criteria: str | int) -> Rows:
        """Studies, as :meth:`find` finds them."""
        return self.find("study", limit=limit, **criteria)

    def series(self, *, limit: int | None = None, **criteria: str | int) -> Rows:
        """Series, as :meth:`find` finds them."""
        return self.find("series", limit=limit, **criteria)

    def instances(self, *, limit: int | None = None, **criteria: str | int) -> Rows:
        """Instances, as :meth:`find` finds them, by their numbers; ``path`` is below the root."""
        return self.find("instance", limit=limit, **criteria)

    # -- instances and series ---------------------------------------------------------------------------

    def path(self, sop_instance_uid: str) -> Path:
        """The file of one instance; read it, never write to it.

        Raises
        ------
        NotFoundError
            It is not in the archive.
        """
        return self._paths("SOPInstanceUID", sop_instance_uid)[0]

    def paths(self, series_instance_uid: str) -> list[Path]:
        """The files of one series, in the order of their instance numbers; raises NotFoundError."""
        return self._paths("SeriesInstanceUID", series_instance_uid)

    def instance(self, sop_instance_uid: str) -> Dataset:
        """One instance as a ``pydicom.Dataset``.

        Raises
        ------
        NotFoundError
            It is not in the archive.
        """
        return open_instance(self.path(sop_instance_uid))

    def picture(self, sop_instance_uid: str, *, frame: int = 0, window: Window = "auto") -> Picture:
        """One frame as a picture: see :func:`sorter.read_picture`. Raises NotFoundError too."""
        return _picture(self.instance(sop_instance_uid), frame=frame, window=window)

    def volume(self, series_instance_uid: str, *, regularize: bool = False) -> Volume:
        """The one volume of a series: see :func:`sorter.read_volume`. Raises NotFoundError too."""
        return read_volume(self.paths(series_instance_uid), regularize=regularize)

    def volumes(self, series_instance_uid: str, *, regularize: bool = False) -> list[Volume]:
        """All volumes of a series: see :func:`sorter.read_volumes`. Raises NotFoundError too."""
        return read_volumes(self.paths(series_instance_uid), regularize=regularize)

    def _paths(self, keyword: str, uid: str) -> list[Path]:
        # No wildcards and no lists: a UID is one thing.
        found = self._index.find({keyword: uid}, level="instance") if uid.replace(".", "").isalnum() else ()
        paths = [self.root / row["path"] for row in found]
        if not paths:
            raise NotFoundError(f"the archive has nothing with this {keyword}")
        return paths


def open(
    archive: str | Path | None = None, *, index: str | None = None, config: str | Path | None = None
) -> Archive:
    """Open an archive for reading; beside a running daemon too. It is never written to.

    Parameters
    ----------
    archive
        Its root; by default that of the configuration.
    index
        SQLAlchemy URL of its index, where that is not the archive's own SQLite file.
    config
        A configuration file; by default ``SORTER_CONFIG`` or ``/etc/sorter/sorter.toml``.

    Raises
    ------
    ConfigError
        The configuration cannot be used.
    IndexUnusableError
        There is no index, or it cannot be read.
    """
    flags = {"archive": None if archive is None else Path(archive), "index": index}
    return Archive(configuration.load(file=None if config is None else Path(config), flags=flags))


def read(path: str | Path) -> Dataset:
    """A DICOM file as a ``pydicom.Dataset``, however much of it there is.

    Raises
    ------
    UnreadableError
        It is no DICOM file.
    OSError
        It cannot be read.
    """
    return open_instance(Path(path))


def read_picture(path: str | Path, *, frame: int = 0, window: Window = "auto") -> Picture:
    """One frame of a DICOM file as a picture, as a radiologist's screen would show it.

    Parameters
    ----------
    frame
        From 0.
    window
        ``"auto"``: that of the file, else from the 0.5 to the 99.5 percentile; ``(center, width)`` in units
        of the modality (CT: HU); ``None``: from the least value to the largest.

    Returns
    -------
    array
        ``uint8``, (rows, columns) or (rows, columns, 3); pixels are made square.

    Raises
    ------
    NoPictureError
        It has no pixels, no such frame, or cannot be decoded.
    """
    return _picture(read(path), frame=frame, window=window)


def read_volumes(paths: str | Path | Iterable[str | Path], *, regularize: bool = False) -> list[Volume]:
    """The volumes of DICOM files, or of those in a folder: ``array``, ``affine``, ``spacing``.

    Parameters
    ----------
    paths
        Files in any order, or one folder.
    regularize
        Make an even grid where slices are missing or unevenly spaced, rather than refuse.

    Raises
    ------
    VolumeError
        They make no regular volume; says where.
    """
    return _read_volumes(_files(paths), regularize=regularize)


def read_volume(paths: str | Path | Iterable[str | Path], *, regularize: bool = False) -> Volume:
    """The one volume of DICOM files: see :func:`read_volumes`.

    Raises
    ------
    VolumeError
        They make no regular volume, or more than one; says where, or how many.
    """
    found = read_volumes(paths, regularize=regularize)
    if len(found) > 1:
        shapes = ", ".join(" x ".join(map(str, one.shape)) for one in found)
        raise VolumeError(f"{len(found)} volumes, not one ({shapes}): use volumes")
    return found[0]


def to_dicom(
    path: str | Path,
    *,
    kind: Kind = "auto",
    one_file: bool = False,
    axes: str = "",
    installation: str = "",
    **keywords: str | float,
) -> Iterator[tuple[str, bytes]]:
    """A NIfTI volume or a picture as DICOM: (file name, bytes) of each instance. Writes nothing.

    The same file, options and keywords always give the same bytes.

    Parameters
    ----------
    kind
        ``auto``, ``sc``, ``photo``, ``pmap`` or ``seg``, as for ``sorter convert --kind``.
    one_file
        All slices in one multi-frame instance.
    axes
        Where the axes of a volume without orientation lead, such as ``RAS``.
    installation
        A name in which all its UIDs are made.
    **keywords
        What is known, by DICOM keyword (``PatientID="4711"``). It goes before what stands beside the file.

    Raises
    ------
    NeedsInfo
        Something must be stated first; says which keywords.
    ConversionError
        It cannot be converted; says why.
    OSError
        It cannot be read.
    """
    options = Options(kind, one_file, orientation(axes) if axes else "", namespace=namespace(installation))
    return convert(Path(path), options, gather(Path(path), given=[("the keywords", keywords)]))


def _files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(paths, str | Path):
        return [Path(path) for path in paths]
    root = Path(paths)
    if not root.is_dir():
        return [root]
    # What is hidden is none of a study: an archive keeps its quarantine there.
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
