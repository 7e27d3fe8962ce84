"""Instances -> pictures: a file a frame, a contact sheet, or an animated picture a series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from sorter.export.forms import SUFFIXES, Form, Options
from sorter.export.montage import Picture, montage, sampled
from sorter.export.outcome import Exported, State
from sorter.export.writing import ExportError, check_free, new_file, why
from sorter.picture import NoPictureError, frames, picture
from sorter.selection import Series
from sorter.volume.values import number, numbers, silenced

USUAL_MS = 100.0
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_TROUBLES = (ExportError, NoPictureError, OSError, MemoryError)
_LEAST_MS = 20.0  # viewers of GIF slow down below that


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame to be shown: its file, its number within it from 0, and how many that file has."""

    path: Path
    frame: int
    of: int


def export_pictures(
    series: Series, base: Path, options: Options, *, dry_run: bool = False
) -> Iterator[Exported]:
    """Write the pictures of a series: one outcome, and one for each file that cannot be shown.

    All that have no pixels share one.

    Parameters
    ----------
    base
        Path without suffix; pictures of single frames go into a folder of that name.
    """
    shots: list[Shot] = []
    bare: list[Path] = []
    length = USUAL_MS
    for path in series.paths:
        try:
            dataset = _read(path)
        except (NoPictureError, OSError) as error:
            yield Exported(base.name, series.uid, State.REFUSED, detail=why(error), source=path)
            continue
        if not any(keyword in dataset for keyword in _PIXELS):
            bare.append(path)
            continue
        length = _milliseconds(dataset) or length
        count = frames(dataset)
        shots += [Shot(path, frame, count) for frame in range(count)]
    if bare:
        several = f"{len(bare)} instances have" if len(bare) > 1 else "it has"
        source = bare[0] if len(bare) == 1 else None
        yield Exported(
            base.name, series.uid, State.LEFT_OUT, detail=f"{several} no pixel data", source=source
        )
    if shots and (options.montage or is_animated(options)):
        yield _together(series, shots, with_suffix(base, options.to), options, length, dry_run=dry_run)
    elif len(shots) > 1 and is_named(base, options.to):
        why_not = several_for_one(len(shots))
        yield Exported(base.stem, series.uid, State.REFUSED, detail=why_not)
    elif shots:
        yield from _each(series, shots, base, options, dry_run=dry_run)


def _together(
    series: Series, shots: list[Shot], target: Path, options: Options, length: float, *, dry_run: bool
) -> Exported:
    """All pictures in one file."""
    shots = sampled(shots) if options.montage else shots
    try:
        check_free(target)
        if not dry_run:
            save_together(target, (one for _, one in drawn(shots, options)), options, length)
    except _TROUBLES as error:
        return Exported(target.stem, series.uid, State.REFUSED, detail=why(error))
    return Exported(target.stem, series.uid, State.EXPORTED, (target,), len(shots))


def _each(
    series: Series, shots: list[Shot], base: Path, options: Options, *, dry_run: bool
) -> Iterator[Exported]:
    """A file a picture; what cannot be shown of one instance does not keep the others back."""
    targets = dict(zip(shots, _targets(base, shots, options.to), strict=True))
    written: list[Path] = []
    for path, group in groupby(shots, lambda shot: shot.path):
        mine = list(group)
        try:
            check_free(*(targets[shot] for shot in mine))
            for shot, shown in () if dry_run else drawn(mine, options):
                save(targets[shot], [shown], options.to)
        except _TROUBLES as error:
            yield Exported(base.name, series.uid, State.REFUSED, detail=why(error), source=path)
        else:
            written += [targets[shot] for shot in mine]
    if written:
        yield Exported(base.name, series.uid, State.EXPORTED, tuple(written), len(written))


def is_animated(options: Options) -> bool:
    """Whether all frames go into one moving picture."""
    return options.animate or options.to in (Form.GIF, Form.WEBP)


def is_named(base: Path, form: Form) -> bool:
    """Whether the path is that of one file of the form."""
    return base.name.endswith(SUFFIXES[form])


def several_for_one(count: int) -> str:
    """Why so many pictures are not written to one file."""
    return f"one file was named for {count} pictures: name a folder, or choose --montage or --animate"


def with_suffix(base: Path, form: Form) -> Path:
    """The path with the suffix of the form, unless it was named with one."""
    return base if is_named(base, form) else base.with_name(f"{base.name}{SUFFIXES[form][0]}")


def _targets(base: Path, shots: Sequence[Shot], form: Form) -> Iterator[Path]:
    """``<base>/0001.png``, with ``_0001`` for one of several frames; a single picture is ``<base>.png``."""
    if len(shots) == 1:
        yield with_suffix(base, form)
        return
    instances = {path: number for number, path in enumerate(dict.fromkeys(shot.path for shot in shots), 1)}
    for shot in shots:
        frame = f"_{shot.frame + 1:04}" if shot.of > 1 else ""
        yield base / f"{instances[shot.path]:04}{frame}{SUFFIXES[form][0]}"


def drawn(shots: Sequence[Shot], options: Options) -> Iterator[tuple[Shot, Picture]]:
    """The pictures one by one; a file is read once for all its frames."""
    path, dataset = None, Dataset()
    for shot in shots:
        if shot.path != path:
            path, dataset = shot.path, _read(shot.path)
        yield shot, picture(dataset, frame=shot.frame, window=options.window)


def save_together(target: Path, pictures: Iterable[Picture], options: Options, milliseconds: float) -> None:
    """Write one contact sheet, or one moving picture that repeats for ever."""
    shown = list(pictures)
    if options.montage:
        save(target, [montage(shown)], options.to)
        return
    if options.to is Form.JPEG:
        raise ExportError("JPEG does not move: choose png, gif or webp")
    if len({one.shape for one in shown}) > 1:
        raise ExportError("frames of different sizes make no moving picture")
    save(target, shown, options.to, milliseconds)


def save(target: Path, pictures: Sequence[Picture], form: Form, milliseconds: float = USUAL_MS) -> None:
    """Write one picture, or several that move; without any text in the file."""
    first, *others = [Image.fromarray(one) for one in pictures]
    more: dict[str, Any] = {"quality": 95, "subsampling": 0} if form is Form.JPEG else {}
    if form is Form.WEBP:
        more = {"lossless": True, "quality": 0, "method": 0}
    if others:
        duration = max(_LEAST_MS, milliseconds)
        more |= {"save_all": True, "append_images": others, "duration": round(duration), "loop": 0}
    with new_file(target) as out:
        first.save(out, format=form.value, **more)


def _read(path: Path) -> Dataset:
    with silenced():
        try:
            return dcmread(path, force=True)
        except Exception as error:
            # pydicom raises many kinds, whose texts may quote values, and OSError where data end.
            if isinstance(error, OSError) and error.errno:
                raise
            raise NoPictureError(f"cannot be parsed ({type(error).__name__})") from None


def _milliseconds(dataset: Dataset) -> float | None:
    """How long a frame is shown: Frame Time, the mean of its vector, or a rate (PS3.3 C.7.6.5)."""
    if (said := number(dataset, "FrameTime")) and said > 0:
        return said
    vector = numbers(dataset, "FrameTimeVector")
    if len(vector) > 1 and sum(vector[1:]) > 0:
        return sum(vector[1:]) / len(vector[1:])
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        if (rate := number(dataset, keyword)) and rate > 0:
            return 1000 / rate
    return None
