"""One file of another format becomes DICOM instances: the one entry for the command line and the workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sorter.convert.enhanced import enhanced
from sorter.convert.errors import ConversionError
from sorter.convert.facts import Facts
from sorter.convert.instance import write
from sorter.convert.maps import maps
from sorter.convert.naming import VOXELS, stem
from sorter.convert.nifti import inflated, read
from sorter.convert.options import Options
from sorter.convert.recognise import Format, recognise
from sorter.convert.segments import segmentations
from sorter.convert.series import MR_IMAGE, Note, series, sop_class
from sorter.convert.stack import stacks
from sorter.convert.uids import Uids

PICTURES = frozenset((Format.PNG, Format.JPEG, Format.TIFF, Format.BMP, Format.GIF))
VOLUMES = frozenset((Format.NIFTI1, Format.NIFTI2, Format.ANALYZE))


def _unsaid(_text: str) -> None:
    """Nobody listens."""


def convert(path: Path, options: Options, facts: Facts, note: Note = _unsaid) -> Iterator[tuple[str, bytes]]:
    """(file name, DICOM bytes) of each instance that the file becomes, one at a time.

    The same file, options and facts always give the same bytes.

    Parameters
    ----------
    path
        A volume (NIfTI-1, NIfTI-2, Analyze; of a pair the header) or a picture, recognised by content.
    note
        Told what a person should know, without patient data: rounding, NaN, an orientation that was chosen.

    Raises
    ------
    NeedsInfo
        Something must be stated first.
    ConversionError
        It is not one of these formats, damaged, or cannot be said in DICOM.
    FormatsMissingError
        The extra ``formats`` is not installed.
    OSError
        It cannot be read.
    """
    options = options.overlaid(facts.settings)
    content = path.read_bytes()
    form = recognise(content, len(content))
    if form in PICTURES:
        yield from _picture(content, options, facts)
        return
    if form is Format.GZIP:
        content = inflated(content)
        form = recognise(content, len(content))
    if form not in VOLUMES:
        raise ConversionError("it is neither a volume nor a picture that is understood here")
    yield from _volume(content, path, options, facts, note)


def _picture(content: bytes, options: Options, facts: Facts) -> Iterator[tuple[str, bytes]]:
    from sorter.convert.picture import from_picture  # noqa: PLC0415 - Pillow, which volumes do not need

    for number, dataset in enumerate(from_picture(content, facts, options), 1):
        yield f"{number:05d}.dcm", write(dataset, dataset.file_meta.TransferSyntaxUID)


def _volume(
    content: bytes, path: Path, options: Options, facts: Facts, note: Note
) -> Iterator[tuple[str, bytes]]:
    voxels = _voxels_of_pair(content, path)
    nifti = read(content, voxels, options.orientation)
    for text in nifti.notes:
        note(text)
    digest = hashlib.sha256(content)
    digest.update(voxels or b"")
    uids = Uids(facts, options, digest.hexdigest())
    if options.kind == "pmap":
        yield from maps(nifti, facts, uids)
    elif options.kind == "seg":
        yield from segmentations(nifti, facts, uids, options.segments)
    elif options.kind == "photo":
        raise ConversionError("a volume is no photograph")
    elif options.one_file and sop_class(nifti, facts, options) == MR_IMAGE:
        yield from enhanced(nifti, facts, uids, note)
    elif options.one_file:
        yield from stacks(nifti, facts, uids, note)
    else:
        yield from series(nifti, facts, options, uids, note)


def _voxels_of_pair(header: bytes, path: Path) -> bytes | None:
    """What lies in the ``.img`` beside a header; ``None`` where the file holds both."""
    if header[344:347] == b"n+1" or header[4:7] == b"n+2":
        return None
    for ending in VOXELS:
        beside = path.with_name(f"{stem(path.name)}{ending}")
        if beside.is_file():
            return inflated(beside.read_bytes())
    raise ConversionError("it is the header of a pair, and its .img is not beside it")
