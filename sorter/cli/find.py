"""``sorter find``: search the index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.options import reading

if TYPE_CHECKING:
    from sorter.config import Config

# What the table shows, by level; --json has every column.
SHOWN = {
    "patient": ("patient_id", "patient_name", "patient_birth_date", "patient_sex", "studies", "instances"),
    "study": ("patient_id", "study_date", "study_description", "modalities", "series", "instances"),
    "series": ("patient_id", "study_date", "modality", "series_number", "series_description", "instances"),
    "instance": ("patient_id", "study_date", "modality", "series_number", "instance_number", "path"),
}

_PIPE_WIDTH = 400


@click.command("find")
@click.argument("criteria", nargs=-1, metavar="[KEYWORD=VALUE]...")
@click.option("--level", type=click.Choice(list(SHOWN)), default="study", show_default=True, help="Row kind.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--paths", "paths_only", is_flag=True, help="Print the absolute paths of the instances only.")
@reading
def command(
    *,
    load: Callable[[], Config],
    quiet: bool,
    criteria: tuple[str, ...],
    level: str,
    limit: int | None,
    as_json: bool,
    paths_only: bool,
) -> int:
    """Search the index.

    KEYWORD is any indexed DICOM keyword (PatientID) or column (patient_id). VALUE may hold the wildcards
    * and ?, a date range (20240101-20241231, 2024-, -2024), or a list with commas.

    Exit status: 0 when something was found, 1 when nothing was.
    """
    from sorter.index import Index  # noqa: PLC0415 - SQLAlchemy

    config = load()
    index = Index.open(config.index_location, read_only=True)
    try:
        rows = index.find(_parsed(criteria), level="instance" if paths_only else level, limit=limit)
        if paths_only:
            found = _print(f"{config.archive}/{row['path']}" for row in rows)
        elif as_json:
            found = _print(json.dumps(row, ensure_ascii=False) for row in rows)
        else:
            found = show_table(rows, SHOWN[level])
    finally:
        index.close()
    return 0 if found else 1


def _parsed(criteria: Iterable[str]) -> dict[str, str]:
    parsed: dict[str, str] = {}
    for one in criteria:
        keyword, equals, value = one.partition("=")
        if not equals:
            raise click.UsageError("write criteria as KEYWORD=VALUE, for example PatientID=A*")
        parsed[keyword] = value
    return parsed


def _print(lines: Iterable[str]) -> int:
    count = 0
    for line in lines:
        click.echo(line)
        count += 1
    return count


def show_table(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> int:
    """Print the columns of the rows as a table; returns the number of rows."""
    from rich.console import Console  # noqa: PLC0415 - only for tables
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        # Text, not str: a value may look like markup.
        table.add_row(*(Text("" if row.get(name) is None else str(row[name])) for name in columns))
    if table.row_count:
        console = Console()
        # A pipe has no width: there nothing is folded or cut.
        (console if console.is_terminal else Console(width=_PIPE_WIDTH)).print(table)
    else:
        click.echo("nothing found", err=True)
    return table.row_count
