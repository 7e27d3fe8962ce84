"""``sorter convert``: volumes and pictures become DICOM."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.options import reading
from sorter.cli.text import counted, printable
from sorter.model import Kind

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.convert.batch import Job, Result
    from sorter.intake import Tally

_PATH = click.Path(path_type=Path)
_KINDS = ("auto", "sc", "photo", "pmap", "seg")


@click.command("convert")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="IN...")
@click.option("--to", type=_PATH, metavar="DIR", help="Write the DICOM files here; nothing is overwritten.")
@click.option("--ingest", is_flag=True, help="Bring them into the archive.")
@click.option("--set", "stated", multiple=True, metavar="KEYWORD=VALUE", help="State a fact of all files.")
@click.option("--meta", type=_PATH, metavar="FILE", help="Facts as a table (CSV, one row a file) or as JSON.")
@click.option(
    "--template", "template_file", type=_PATH, metavar="FILE", help="Take patient and study from DICOM."
)
@click.option("--modality", metavar="CS", help="Modality, as --set Modality=CS.")
@click.option("--kind", type=click.Choice(_KINDS), default="auto", help="What to make; see below.")
@click.option("--one-file", is_flag=True, help="All slices in one multi-frame file.")
@click.option(
    "--orientation", metavar="RAS", default="", help="Where the axes of a volume point that does not say."
)
@click.option("--number-from", metavar="N", help="Number patients and accessions, file by file, from here.")
@click.option("--namespace", metavar="TEXT", help="Name of this installation, for its UIDs.")
@click.option("--dry-run", is_flag=True, help="Convert, but write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reading
def command(
    *,
    load: Callable[[], Config],
    quiet: bool,
    paths: tuple[Path, ...],
    ingest: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Make DICOM of NIfTI and Analyze volumes and of PNG, JPEG, TIFF, BMP and GIF pictures.

    IN is files or folders; formats are told by content. Whose they are must stand somewhere; what comes
    first is right: --set, --meta, NAME.json beside the file, sorter.toml (table [dicom]) in the nearest
    folder, --template or NAME.dcm or _template.dcm beside the file. Without a PatientID nothing is made.

    --kind auto makes MR or CT images where Modality says so, else Secondary Capture; pmap a Parametric Map,
    bit-exact; seg a Segmentation of a volume of labels; photo a VL Photographic image. The same file and
    facts always give the same bytes.

    Exit status: 0; 1 when some files were not converted.
    """
    if not (given["to"] or ingest or given["dry_run"]):
        raise click.UsageError("say where to: --to DIR, --ingest, or --dry-run to see what would be made")
    if given["to"] and ingest:
        raise click.UsageError("--to or --ingest, not both")
    config = load()
    started = time.monotonic()
    visible = not quiet and not as_json
    if ingest and not given["dry_run"]:
        with tempfile.TemporaryDirectory(prefix="sorter-convert-") as folder:
            results = _convert(paths, {**given, "to": Path(folder)}, config, visible=visible)
            tally = _ingest(config, Path(folder))
    else:
        results, tally = _convert(paths, given, config, visible=visible), None
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_summary(results, tally, seconds, shown=given["to"])))
    else:
        for line in _lines(results, tally, quiet=quiet, wrote=bool(given["to"])):
            click.echo(line)
    refused = tally is not None and any(
        tally.kinds[kind] for kind in (Kind.REJECTED, Kind.CONFLICT, Kind.DEFERRED)
    )
    return 1 if refused or any(result.error for result in results) else 0


def _convert(
    paths: tuple[Path, ...], given: Mapping[str, Any], config: Config, *, visible: bool
) -> list[Result]:
    from sorter.cli.progress import bar  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.convert.batch import Setting, convert_all  # noqa: PLC0415
    from sorter.convert.errors import ConversionError  # noqa: PLC0415
    from sorter.convert.options import Options, namespace, orientation  # noqa: PLC0415
    from sorter.convert.site import site_facts  # noqa: PLC0415

    if given["template_file"] and not given["template_file"].is_file():
        raise click.UsageError("--template is not a file")
    try:
        axes = orientation(given["orientation"]) if given["orientation"] else ""
    except ConversionError as error:
        raise click.UsageError(str(error)) from None
    options = Options(
        kind=given["kind"],
        one_file=given["one_file"],
        orientation=axes,
        namespace=namespace(config.namespace if given["namespace"] is None else given["namespace"]),
    )
    to = None if given["dry_run"] else given["to"]
    setting = Setting(options, to, given["template_file"], site_facts(config))
    jobs = _jobs(paths, given)
    with bar("converting", unit="files", enabled=visible) as show:
        return convert_all(jobs, setting, processes=config.worker_count, progress=show)


def _jobs(paths: tuple[Path, ...], given: Mapping[str, Any]) -> list[Job]:
    """What to convert, each with what the command line says of it."""
    from sorter.convert import meta  # noqa: PLC0415 - see above
    from sorter.convert.batch import Job  # noqa: PLC0415
    from sorter.convert.convert import PICTURES, VOLUMES  # noqa: PLC0415
    from sorter.convert.files import named, sources  # noqa: PLC0415

    stated = dict(_pair(text) for text in given["stated"])
    if given["modality"]:
        stated["Modality"] = given["modality"]
    table = meta.read(given["meta"]) if given["meta"] else None
    if not paths and table:
        paths = tuple(table.files)
    if not paths:
        raise click.UsageError("say what to convert: files or folders, or --meta with a column file")
    found = named(list(sources(paths, PICTURES | VOLUMES)))
    if not found:
        raise click.UsageError("nothing there is a volume or a picture")
    numbers = _numbers(given["number_from"])
    jobs = []
    for (path, name), number in zip(found, numbers, strict=False):
        facts: list[tuple[str, Mapping[str, Any]]] = [("--set", stated)]
        if table:
            facts.append(("--meta", table.of(path)))
        if number:
            facts.append(("--number-from", {"PatientID": number, "AccessionNumber": number}))
        jobs.append(Job(path, name, tuple(facts)))
    return jobs


def _pair(text: str) -> tuple[str, str]:
    keyword, equals, value = text.partition("=")
    if not equals or not keyword:
        raise click.UsageError("--set wants KEYWORD=VALUE")
    return keyword.strip(), value


def _numbers(first: str | None) -> Iterator[str]:
    """Consecutive numbers with the zeros of the first; empty ones where none are wanted."""
    if first is not None and not (first.isascii() and first.isdigit()):
        raise click.UsageError("--number-from wants a number")
    count = 0
    while True:
        yield "" if first is None else f"{int(first) + count:0{len(first)}d}"
        count += 1


def _ingest(config: Config, folder: Path) -> Tally:
    """Bring in what lies there: nobody writes to it any more, so nothing needs to settle."""
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.rescan import backfill  # noqa: PLC0415

    log.configure(level="warning" if config.log_level == "info" else config.log_level, form=config.log_format)
    return backfill(config.model_copy(update={"settle_seconds": 0.0}), [folder])


def _summary(
    results: list[Result], tally: Tally | None, seconds: float, shown: Path | None
) -> dict[str, Any]:
    files = [
        {
            "file": str(one.job.path),
            "instances": one.instances,
            "bytes": one.size,
            "output": str(one.output) if one.output and shown else None,
            "notes": list(one.notes),
            "error": one.error,
            "missing": list(one.missing),
        }
        for one in results
    ]
    summary = {
        "files": len(results),
        "converted": sum(not one.error for one in results),
        "failed": sum(bool(one.error) for one in results),
        "instances": sum(one.instances for one in results),
        "bytes": sum(one.size for one in results),
        "seconds": round(seconds, 3),
        "outcomes": files,
    }
    return summary | ({"ingest": tally.summary()} if tally else {})


def _lines(results: list[Result], tally: Tally | None, *, quiet: bool, wrote: bool) -> Iterator[str]:
    """What became of each file, and of all, for people."""
    helped: set[tuple[str, ...]] = set()
    for one in results:
        name = printable(str(one.job.path))
        if one.error:
            yield f"{name}: not converted: {printable(one.error)}"
            if one.missing and one.missing not in helped:
                helped.add(one.missing)
                yield f"  {_remedy(one)}"
        elif not quiet:
            where = f" in {printable(str(one.output))}" if one.output and wrote else ""
            yield f"{name}: {counted(one.instances, 'instance')}{where}"
            for note in one.notes:
                yield f"  note: {note}"
    if quiet:
        return
    failed = sum(bool(one.error) for one in results)
    instances = sum(one.instances for one in results)
    yield f"{counted(len(results), 'file')}, {counted(instances, 'instance')}" + (
        f"; {failed:,} not converted" if failed else ""
    )
    if tally:
        told = ", ".join(f"{count:,} {kind}" for kind, count in tally.kinds.items() if count)
        yield f"archive: {told or 'nothing to do'}"


def _remedy(one: Result) -> str:
    from sorter.convert.naming import stem  # noqa: PLC0415 - see above
    from sorter.convert.sidecars import stub  # noqa: PLC0415 - see above

    wanted = " ".join(
        "--orientation RAS (or LAS, LPS, ...)" if keyword == "Orientation" else f"--set {keyword}=..."
        for keyword in one.missing
    )
    beside = json.dumps({key: "" for key in stub(one.missing) if key in one.missing})
    return f"say {wanted}, or write {printable(stem(one.job.path.name))}.json beside it: {beside}"
