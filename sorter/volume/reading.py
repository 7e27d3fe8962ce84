"""Files -> survey -> volumes: the doors of the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sorter.volume.errors import NothingToPlaceError, VolumeError
from sorter.volume.frames import frames, open_header
from sorter.volume.model import Frame, Stack, Survey, Volume
from sorter.volume.pixels import fill
from sorter.volume.regularize import regularized
from sorter.volume.stacks import stacks


def survey(paths: Iterable[Path]) -> Survey:
    """What the files hold: stacks of frames with their geometry and flags. Reads no pixels.

    A file that has no frames is no error here: it is listed with the reason.
    """
    found: list[Frame] = []
    unusable: list[tuple[Path, str]] = []
    faulty: set[Path] = set()
    for path in paths:
        try:
            found += frames(path, open_header(path))
        except NothingToPlaceError as error:
            unusable.append((path, str(error)))
        except VolumeError as error:
            unusable.append((path, str(error)))
            faulty.add(path)
        except OSError as error:
            unusable.append((path, f"cannot be read: {os.strerror(error.errno or 0)}"))
            faulty.add(path)
    return Survey(tuple(stacks(found)), tuple(unusable), frozenset(faulty))


def read(paths: Iterable[Path], *, regularize: bool = False) -> list[Volume]:
    """The volumes of the files, most often one a series.

    Parameters
    ----------
    paths
        DICOM files, in any order.
    regularize
        Make a regular grid where slices are missing, too many or unevenly spaced, rather than refuse; the
        volume has a flag that says what was done.

    Raises
    ------
    VolumeError
        There is nothing to make a volume of; slices are missing, too many or unevenly spaced, and where; a
        file is damaged, which might have been a slice at an end; or pixels cannot be decoded.
    """
    found = survey(paths)
    for path, why in found.unusable:
        if path in found.faulty:
            error = VolumeError(f"{len(found.faulty)} of the files cannot be used; the first {why}")
            error.path = path
            raise error
    if not found.stacks:
        reasons = sorted({why for _, why in found.unusable})
        raise VolumeError(f"no frames: {'; '.join(reasons)}" if reasons else "no files")
    return [read_stack(stack, regularize=regularize) for stack in found.stacks]


def read_stack(stack: Stack, *, regularize: bool = False) -> Volume:
    """The volume of one stack of a survey; see :func:`read`."""
    if stack.faults and not regularize:
        raise VolumeError("; ".join(f"{flag.code}: {flag.text}" for flag in stack.faults))
    volume = fill(stack)
    return regularized(volume) if stack.faults else volume
