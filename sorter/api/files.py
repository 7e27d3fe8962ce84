"""DICOM files as datasets, pictures and volumes, and other files as DICOM, without an archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom import Dataset

from sorter.convert.convert import convert
from sorter.convert.options import Kind, Options, namespace, orientation
from sorter.convert.sidecars import gather
from sorter.picture import NoPictureError, Picture, Window, picture
from sorter.show.instance import open_instance
from sorter.volume import Volume, VolumeError
from sorter.volume import read as _read_volumes


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
        It has no pixels, no such frame, or cannot be decoded; or the window is none.
    """
    return picture(read(path), frame=frame, window=_checked(window))


def _checked(window: object) -> Window:
    """The window; a list of two counts as a pair, and no other word than ``auto`` as one."""
    if window is None:
        return None
    if isinstance(window, str) and window == "auto":
        return "auto"
    if isinstance(window, tuple | list) and len(window) == 2:
        return (window[0], window[1])
    raise NoPictureError('a window is "auto", (center, width) or None')


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
