"""``sorter export``: volumes, pictures and copies out of the archive or any folder."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sorter.cli.options import reading
from sorter.cli.progress import bar
from sorter.cli.text import printable
from sorter.cli.viewing import AXIS, window

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.export import Exported, Form

_FORMS = ("nifti", "npz", "png", "jpeg", "gif", "webp", "dicom", "dicomdir", "zip")


@click.command("export")
@click.argument("words", nargs=-1, required=True, metavar="UID|PATH|KEYWORD=VALUE ...")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DEST")
@click.option("--to", "form", type=click.Choice(_FORMS), required=True, help="The form to write.")
@window({"auto": "auto"}, "Of pictures.")
@click.option("--montage", is_flag=True, help="One contact sheet a series.")
@click.option("--animate", is_flag=True, help="One moving picture a series; gif and webp always move.")
@AXIS
@click.option("--regularize", is_flag=True, help="Make an even grid where slices are missing or uneven.")
@click.option(
    "--scaling",
    type=click.Choice(["precise", "dicom"]),
    default="precise",
    show_default=True,
    help="Values of Philips MR in NIfTI: by its scale slope, as dcm2niix, or by the rescale.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--dry-run", is_flag=True, help="Say what would be written; write nothing.")
@reading
def command(
    *,
    load: Callable[[], Config],
    quiet: bool,
    words: tuple[str, ...],
    destination: Path,
    form: str,
    as_json: bool,
    dry_run: bool,
    **chosen: Any,
) -> int:
    """Write instances, series, studies or the answer to a query to DEST, in another form.

    What to export: UIDs of the archive, files or folders (which need no archive), or criteria as for sorter
    find. DEST is a folder, or a file where one file is to be written. Nothing is ever overwritten.

    Exit status: 0 when all was exported, 1 when something was refused or there was nothing to export.
    """
    from sorter.export import Form, Options, export  # noqa: PLC0415 - numpy, pydicom
    from sorter.organizer.layout import Layout  # noqa: PLC0415
    from sorter.selection import select  # noqa: PLC0415

    began = time.monotonic()
    _check_options(Form(form))
    config = load()
    if Path(os.path.realpath(destination)).is_relative_to(os.path.realpath(config.archive)):
        raise click.UsageError("DEST lies inside the archive, which holds only what sorter published")
    selection = select(config, words)
    options = Options(to=Form(form), **chosen)
    layout = Layout(config.template)
    results: list[Exported] = []
    total = len(selection.series)
    with bar("exporting", unit="files", enabled=not (quiet or as_json)) as show:
        for result in export(selection, destination, options, layout=layout, dry_run=dry_run):
            results.append(result)
            show(len(results), max(total, len(results)))
    counts = Counter(str(result.state) for result in results)
    if as_json:
        click.echo(
            json.dumps(_object(results, selection.nothing, time.monotonic() - began), ensure_ascii=False)
        )
    else:
        _print(results, selection.nothing, dry_run=dry_run)
    return 1 if counts["refused"] or selection.nothing or not counts["exported"] else 0


def _check_options(form: Form) -> None:
    """Raise UsageError where an option was given that the form has no use for."""
    from sorter.export.forms import PICTURES, VOLUMES, Form  # noqa: PLC0415 - as above

    uses = dict.fromkeys(("window", "montage", "animate", "axis"), PICTURES)
    uses |= {"regularize": VOLUMES, "scaling": frozenset((Form.NIFTI,))}
    given = click.get_current_context().get_parameter_source
    for name, forms in uses.items():
        if given(name) is ParameterSource.COMMANDLINE and form not in forms:
            able = ", ".join(one for one in Form if one in forms)
            raise click.UsageError(f"--{name} says nothing about --to {form}: it is for {able}")


def _object(results: Iterable[Exported], nothing: tuple[str, ...], seconds: float) -> dict[str, Any]:
    results = list(results)
    counts = Counter(str(result.state) for result in results)
    return {
        "exported": counts["exported"],
        "left_out": counts["left_out"],
        "refused": counts["refused"],
        "files": sum(len(result.files) for result in results),
        "seconds": round(seconds, 3),
        "nothing": list(nothing),
        "results": [
            {
                "name": result.name,
                "series_instance_uid": result.uid,
                "state": str(result.state),
                "files": [str(path) for path in result.files],
                "count": result.count,
                "shape": list(result.shape),
                "flags": {flag.code: flag.text for flag in result.flags},
                "detail": result.detail,
                "source": None if result.source is None else str(result.source),
            }
            for result in results
        ],
    }


def _print(results: Iterable[Exported], nothing: tuple[str, ...], *, dry_run: bool) -> None:
    for result in results:
        if result.state == "exported":
            click.echo(_line(result, "would write" if dry_run else "wrote"))
        else:
            source = f" ({printable(str(result.source))})" if result.source else ""
            word = "left out" if result.state == "left_out" else "REFUSED"
            click.echo(f"{word} {printable(result.name)}: {result.detail}{source}", err=True)
        for flag in result.flags:
            if not (result.state == "refused" and flag.is_fault):
                click.echo(f"  {flag.code}: {flag.text}", err=True)
    for word in nothing:
        click.echo(f"nothing found for {printable(word)}", err=True)


def _line(result: Exported, verb: str) -> str:
    what = " x ".join(map(str, result.shape)) if result.shape else f"{result.count}"
    where = printable(str(result.files[0]))
    if len(result.files) > 2:
        where = f"{printable(str(result.files[0].parent))}/, {len(result.files)} files"
    return f"{verb} {printable(result.name)} ({what}): {where}"
