"""``sorter show``: what an instance, a series or a NIfTI file is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.options import reading
from sorter.cli.text import counted, printable
from sorter.cli.viewing import AXIS, window

if TYPE_CHECKING:
    from pydicom import Dataset

    from sorter.config import Config
    from sorter.picture import Picture, Window
    from sorter.selection import Series

_WIDEST = 60  # columns of a thumbnail
_NAME = 24


@click.command("show")
@click.argument("words", nargs=-1, required=True, metavar="UID|PATH|KEYWORD=VALUE ...")
@click.option("--all", "every", is_flag=True, help="Every element, nested.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--picture/--no-picture", default=None, help="With a thumbnail; by default on a terminal.")
@click.option("--frame", type=click.IntRange(min=0), metavar="N", help="Of the thumbnail, from 0.")
@window({"auto": "auto", "range": None}, "Of the thumbnail.")
@AXIS
@reading
def command(
    *, load: Callable[[], Config], quiet: bool, words: tuple[str, ...], as_json: bool, **chosen: Any
) -> int:
    """Tell what an instance, a series or a file is.

    What to show: a UID of the archive, a file or folder (which needs no archive), or criteria as for sorter
    find. A series of several instances gets a summary of its volumes with what is odd about them; an
    instance its header in words; a NIfTI file its header. This prints header values: patients' names too.

    Exit status: 0 when all was shown, 1 when something could not be read or nothing was found.
    """
    from sorter.selection import select  # noqa: PLC0415 - only when a command runs

    config = load()
    selection = select(config, words)
    troubles = [f"nothing found for {printable(word)}" for word in selection.nothing]
    page = _Page(config, as_json=as_json, quiet=quiet, troubles=troubles, **chosen)
    for series in selection.series:
        page.series(series)
    for path in selection.other:
        page.nifti(path)
    for path, why in selection.refused:
        page.instance(path, f"not whole: {why}")
    for trouble in troubles:
        click.echo(trouble, err=True)
    return 1 if troubles or page.shown == 0 else 0


class _Page:
    """Prints what is shown, one thing after the other; what cannot be shown goes into ``troubles``."""

    def __init__(
        self,
        config: Config,
        *,
        as_json: bool,
        quiet: bool,
        troubles: list[str],
        every: bool,
        picture: bool | None,
        frame: int | None,
        window: Window,
        axis: str,
    ) -> None:
        self._config, self._as_json, self._quiet, self._troubles = config, as_json, quiet, troubles
        self._every, self._frame, self._window, self._axis = every, frame, window, axis
        # There is no stdout where it was closed.
        wanted = bool(sys.stdout and sys.stdout.isatty()) if picture is None else picture
        self._draws = wanted and not as_json and not every
        self._insists = bool(picture)
        self.shown = 0

    def series(self, series: Series) -> None:
        """One instance as such; several as their series."""
        from sorter.show import about_series  # noqa: PLC0415 - numpy, pydicom

        if len(series.instances) == 1 or self._every:
            for path in series.paths:
                self.instance(path)
            return
        found = self._opened(series.paths[0], lambda: about_series(series))
        if found is None:
            return
        if self._as_json:
            self._say(json.dumps(found, ensure_ascii=False))
            return
        self._say("\n".join(_series_lines(found)))
        middle = series.paths[len(series.paths) // 2]
        self._draw(lambda: self._dicom_picture(middle, None))

    def instance(self, path: Path, trouble: str = "") -> None:
        """One DICOM file; ``trouble`` is what is wrong with it."""
        from sorter.picture import frames  # noqa: PLC0415 - numpy, pydicom
        from sorter.show import (  # noqa: PLC0415
            about_instance,
            about_volumes,
            element_lines,
            json_model,
            open_instance,
        )

        dataset = self._opened(path, lambda: open_instance(path), trouble)
        if dataset is None:
            return
        if trouble:
            self._troubles.append(f"{printable(str(path))}: {trouble}")
        if self._as_json:
            self._say(json.dumps(json_model(dataset, path), ensure_ascii=False))
            return
        self._say(printable(str(path)))
        if self._every:
            self._say("\n".join(element_lines(dataset)))
            return
        self._say("\n".join(_sections(about_instance(dataset))))
        if frames(dataset) > 1:
            self._say("\n".join(_volume_lines(about_volumes([path]))))
        self._draw(lambda: self._dicom_picture(path, dataset))

    def nifti(self, path: Path) -> None:
        """One file that is not DICOM."""
        from sorter.show import about_nifti, open_nifti, slice_of  # noqa: PLC0415

        opened = self._opened(path, lambda: open_nifti(path))
        if opened is None:
            return
        about = about_nifti(opened)
        if self._as_json:
            self._say(json.dumps({"path": str(path), **about}, ensure_ascii=False))
            return
        self._say("\n".join([printable(str(path)), "", *_nifti_lines(about)]))
        self._draw(lambda: slice_of(opened, self._axis, self._frame, self._window))

    def _opened(self, path: Path, opening: Callable[[], Any], trouble: str = "") -> Any:
        """What ``opening`` gives; ``None`` where the file cannot be read, which is then a trouble."""
        from sorter.show.instance import UnreadableError  # noqa: PLC0415

        try:
            found = opening()
        except UnreadableError as error:
            why = trouble or str(error)
        except OSError as error:
            why = f"cannot be read: {os.strerror(error.errno or 0)}"
        else:
            self._say("" if self.shown and not self._as_json else None)
            self.shown += 1
            return found
        self._troubles.append(f"{printable(str(path))}: {why}")
        return None

    def _say(self, text: str | None) -> None:
        if text is not None and not self._quiet:
            click.echo(text, color=True)  # a thumbnail that was asked for keeps its colours in a pipe

    def _dicom_picture(self, path: Path, dataset: Dataset | None) -> Picture:
        from sorter.picture import frames  # noqa: PLC0415
        from sorter.show import open_instance  # noqa: PLC0415
        from sorter.show.drawing import drawn  # noqa: PLC0415

        dataset = open_instance(path) if dataset is None else dataset
        frame = frames(dataset) // 2 if self._frame is None else self._frame
        return drawn(path, dataset, self._config, frame=frame, window=self._window)

    def _draw(self, drawing: Callable[[], Picture]) -> None:
        """A thumbnail, where the terminal can show one."""
        from sorter.picture import NoPictureError  # noqa: PLC0415
        from sorter.show.instance import UnreadableError  # noqa: PLC0415
        from sorter.show.thumbnail import Screen, screen, thumbnail  # noqa: PLC0415

        kind = screen(os.environ) or (Screen.BLOCKS if self._insists else None)
        if not self._draws or self._quiet or kind is None:
            return
        try:
            shown = drawing()
        except (NoPictureError, UnreadableError, OSError) as error:
            why = f"cannot be read ({type(error).__name__})" if isinstance(error, OSError) else str(error)
            self._say(f"\nNo picture: {why}.")
            return
        width = min(_WIDEST, shutil.get_terminal_size().columns)
        self._say("\n" + thumbnail(shown, width, kind))


def _sections(about: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for title, values in about.items():
        if values:
            yield f"\n{title.capitalize()}"
            yield from (_line(name, said) for name, said in values.items())


def _line(name: str, said: object) -> str:
    return f"  {name:<{_NAME}}{printable(str(said))}"


def _series_lines(about: Mapping[str, Any]) -> Iterator[str]:
    yield f"Series of {counted(about['instances'], 'instance')}"
    yield from _sections({name: about.get(name, {}) for name in ("person", "study", "series", "encoding")})
    yield from _volume_lines(about)


def _volume_lines(about: Mapping[str, Any]) -> Iterator[str]:
    for number, volume in enumerate(about["volumes"], 1):
        yield f"\nVolume {number}" if len(about["volumes"]) > 1 else "\nVolume"
        yield _line("size", " x ".join(map(str, volume["shape"])))
        yield _line("spacing", " x ".join(f"{one:g}" for one in volume["spacing"]) + " mm")
        yield _line("plane", volume["plane"])
        yield _line("image type", "\\".join(volume["image_type"]))
        if volume["echo_time"] is not None:
            yield _line("echo time", f"{volume['echo_time']:g} ms")
        yield from _matrix(volume["affine"])
        yield from _flags(volume["flags"])
    if about["unusable"]:
        yield ""
    for reason, count in Counter(one["reason"] for one in about["unusable"]).items():
        yield _line("no part of a volume", f"{counted(count, 'instance')}: {reason}")


def _flags(flags: list[dict[str, Any]]) -> Iterator[str]:
    for flag in flags:
        yield _line("NO VOLUME" if flag["is_fault"] else "note", f"{flag['code']}: {flag['text']}")


def _nifti_lines(about: Mapping[str, Any]) -> Iterator[str]:
    for name, said in about.items():
        if name == "affine":
            yield from _matrix(said)
        elif said is not None and said != "":
            yield _line(name, " x ".join(map(str, said)) if name in ("shape", "spacing") else said)


def _matrix(rows: list[list[float]]) -> Iterator[str]:
    for number, row in enumerate(rows[:3]):
        yield _line("affine" if number == 0 else "", "".join(f"{one:12.5g}" for one in row))
