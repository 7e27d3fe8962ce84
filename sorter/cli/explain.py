"""``sorter explain FILE``: why a file gets, or got, its place and its outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.options import writing
from sorter.cli.text import printable

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.explain import Explained

_DATES = "Study Date, else Series Date, Acquisition Date, Content Date"


@click.command("explain")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@writing
def command(*, load: Callable[[], Config], quiet: bool, file: Path, as_json: bool) -> int:
    """Tell what becomes of FILE, and which rule, template, fallback and decision chose its place.

    FILE may lie anywhere. It is read, decoded and judged as always; nothing is stored. This prints header
    values: patients' names among them.

    Exit status: 0 when it is, or would be, in the archive, 1 when it is refused, ignored or not yet taken.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.explain import explain  # noqa: PLC0415

    config = load()
    log.configure(level="error" if config.log_level == "info" else config.log_level, form=config.log_format)
    told = explain(config, file)
    if not quiet:
        click.echo(json.dumps(told.summary(), ensure_ascii=False) if as_json else page(told))
    return 0 if told.safe else 1


def page(told: Explained) -> str:
    """All of it as a page for people."""
    lines = [printable(told.file), "", *_outcome(told)]
    for title, paragraph in (
        ("Is it taken?", _taking(told)),
        ("What is read of it", _read(told.read)),
        ("Is it new?", _identity(told)),
        ("Where it goes", _place(told)),
        ("What the ledger knows of this version", _ledger(told)),
        ("What becomes of the source", [told.retire]),
    ):
        if said := [f"  {line}".rstrip() for line in paragraph]:
            lines += ["", title, *said]
    return "\n".join(lines)


def _outcome(told: Explained) -> list[str]:
    lines = [f"OUTCOME  {_word(told.outcome, told.reason)}"]
    lines += [f"         {printable(text)}" for text in (told.detail, told.path) if text]
    judged = told.judged
    if judged and (judged["outcome"], judged["reason"]) != (told.outcome, told.reason):
        said = ": ".join(filter(None, (_word(judged["outcome"], judged["reason"]), judged["detail"])))
        lines.append(f"         By what is in it, it would be {printable(said)}.")
    kept = told.path.rpartition("/")[2].partition(".")[0]
    if (
        told.outcome in ("rejected", "conflict")
        and judged.get("outcome") in ("stored", "equivalent")
        and kept
    ):
        lines.append(f"         `sorter quarantine retry {kept[:12]}` brings it in.")
    return lines


def _word(outcome: str, reason: str | None) -> str:
    return outcome if reason in ("", None, outcome) else f"{outcome} ({reason})"


def _taking(told: Explained) -> Iterator[str]:
    facts = told.taking
    where = f"It lies in the drop folder {told.drop_folder}." if told.drop_folder else (
        "It lies in no drop folder: it is taken only when it is named, `sorter --rescan FILE`."
    )  # fmt: skip
    yield printable(where)
    if not facts:
        return
    if facts["lies_in"]:
        yield f"It lies in {facts['lies_in']}, where nothing is looked for."
    if facts["matches_ignore"]:
        yield f"Its name, or that of a folder it lies in, matches the pattern `{facts['matches_ignore']}`."
        if not told.drop_folder:
            yield "A file that is named by hand is taken all the same."
    ago, quiet = facts["touched_seconds_ago"], facts["settle_seconds"]
    if facts["settled"]:
        yield f"Last touched {ago:,.0f} s ago, longer than settle_seconds = {quiet:g}: it is quiet."
    else:
        yield f"Touched {ago:,.1f} s ago: settling, until untouched for settle_seconds = {quiet:g}."
    if facts["may_still_grow"]:
        yield "It may still be growing: a daemon waits for incomplete_seconds before it is refused."


def _read(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts:
        return
    if facts["whole"]:
        yield "A whole DICOM stream."
        yield f"Transfer syntax: {facts['transfer_syntax']}"
        note = f" ({facts['note']})" if facts["note"] else ""
        yield f"Pixels: {facts['pixels_in_words']}{note}."
        if facts["archived_transfer_syntax"] != facts["transfer_syntax"]:
            size = f"{facts['archived_size']:,} bytes"
            yield f"Archived as: {facts['archived_transfer_syntax']}, {size}"
    elif facts["values"]:
        yield "Not a whole DICOM stream; this much could be read:"
    else:
        yield "Nothing of it could be read as DICOM."
    for keyword, value in facts["values"].items():
        yield f"{keyword:<20}{printable(value)}"


def _identity(told: Explained) -> Iterator[str]:
    facts = told.identity
    if "verdict" not in facts:
        return
    existing = printable(facts["existing"])
    if facts["verdict"] == "stored":
        yield "Yes: its SOP Instance UID is not in the archive."
    elif facts["verdict"] == "duplicate":
        yield f"No, a duplicate: the same bytes are archived as {existing}"
    elif facts["verdict"] == "equivalent":
        yield f"No, equivalent: the same header and the same pixels are archived as {existing}"
        yield "(other bytes, such as another transfer syntax; the first to come stays)."
    else:
        yield f"It is in conflict with {existing}"
        yield f"which has the same SOP Instance UID: {printable(facts['differs_in'])}."
        yield "The first to come stays; this one goes to quarantine, and nothing is replaced."


def _place(told: Explained) -> Iterator[str]:
    facts = told.place
    if not facts:
        return
    if told.identity.get("verdict") != "stored":
        yield "Nowhere: as a new instance it would get this place."
    yield f"Template: {printable(facts['template'])}"
    yield f"Path:     {printable(facts['path'])}"
    yield _date(facts)
    recorded = [step["name"] for step in facts["steps"] if step["rule"] == "series"]
    if recorded:
        folder = "/".join(recorded)
        yield ""
        yield f"{printable(folder)}/  on record: the folder of this series, fixed by its first instance."
        if folder != facts["folder_by_template"]:
            yield f"  (The template alone would make it {printable(facts['folder_by_template'])}/)"
    for step in facts["steps"]:
        if step["rule"] != "series":
            yield ""
            yield from _step(step)


def _date(facts: Mapping[str, Any]) -> str:
    if facts["study_date_from"] == "record":
        return f"Date of the study: {facts['study_date']}, as the study's first instance had it."
    if facts["study_date_from"]:
        return f"Date of the study: {facts['study_date']}, from {facts['study_date_from']} ({_DATES})."
    return f"Date of the study: none ({_DATES})."


def _step(step: Mapping[str, Any]) -> Iterator[str]:
    name = printable(step["name"])
    if step["rule"] == "patient":
        yield f"{name}  on record: the folder of this patient, fixed by the first instance."
        return
    yield f"{name}  from {printable(step['template'])}"
    for part in step["parts"]:
        yield from (f"  {line}" for line in _part(part))
    if step["mark"]:
        yield f"  {printable(step['mark'])} is appended: {step['why']}."
    if step["changed"]:
        yield "  The whole was cut or mended to be one safe name of at most 255 bytes."


def _part(part: Mapping[str, Any]) -> Iterator[str]:
    for one in part["tried"]:
        value, text = printable(one["value"]), printable(one["text"])
        origin = "" if one["origin"] == "header" else f", on record for the {one['origin']}"
        if one["keyword"] == part["used"]:
            cleaned = "" if text == value else f", which in a name is '{text}'"
            yield f"{one['keyword']} is '{value}'{origin}{cleaned}"
        elif value:
            yield f"{one['keyword']} is '{value}'{origin}, of which nothing may stand in a name"
        else:
            yield f"{one['keyword']} has no value{origin}"
    if part["tried"] and not part["used"]:
        yield f"so the fallback '{printable(part['text'])}' is used"


def _ledger(told: Explained) -> Iterator[str]:
    if not told.ledger:
        yield "Nothing: it was not seen yet."
    for row in told.ledger:
        later = ", superseded" if row["superseded"] else ""
        where = f"batch {row['batch']}, {row['batch_kind']}, row {row['id']}{later}"
        yield f"{row['recorded_at'][:19]}  {_word(row['outcome'], row['reason'])}  ({where})"
        if row["detail"] or row["path"]:
            yield f"    {printable('; '.join(filter(None, (row['detail'], row['path']))))}"
    if told.other_versions:
        yield f"Of other versions of this file it has {told.other_versions} rows."
