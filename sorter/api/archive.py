"""An archive to query and read, from Python."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom import Dataset

from sorter import config as configuration
from sorter.api.files import read_picture, read_volume, read_volumes
from sorter.errors import ConfigError, SorterError
from sorter.index import Index
from sorter.picture import Picture, Window
from sorter.rows import Rows
from sorter.show.instance import open_instance
from sorter.volume import Volume


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
        return read_picture(self.path(sop_instance_uid), frame=frame, window=window)

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
