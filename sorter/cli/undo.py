"""``sorter undo``: take a mistaken drop back out of the archive."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.options import reading
from sorter.cli.text import printable
from sorter.cli.times import Moment

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.undo import Report


class _Batches(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """A number, or a range of numbers."""

    name = "batch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Iterable[int]:
        first, dash, last = str(value).partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            self.fail(f"{value!r} is no batch: write 12 or 12-40; sorter undo --list shows them", param, ctx)
        return range(int(first), int(last or first) + 1)


@click.command("undo")
@click.argument("batches", nargs=-1, type=_Batches(), metavar="[BATCH]...")
@click.option(
    "--under", type=click.Path(path_type=Path), metavar="DIR", help="All that came from this folder."
)
@click.option(
    "--since", type=Moment(), metavar="TIME", help="Only what came since then: 2024-01-31, 12h, 7d."
)
@click.option("--list", "listing", is_flag=True, help="Show the newest batches, and do nothing.")
@click.option("--dry-run", is_flag=True, help="Say how many would go; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reading
def command(
    *,
    load: Callable[[], Config],
    quiet: bool,
    batches: tuple[Iterable[int], ...],
    under: Path | None,
    since: str | None,
    listing: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Take a mistaken drop back out of the archive, to a folder.

    BATCH is a number of the ledger, or a range such as 12-40. Nothing is deleted: the files go to
    .sorter/withdrawn in the archive, with all that the index knew of them. What other sources have brought
    too, stays. May run beside the daemon.

    Exit status: 0; 1 when nothing was selected, or files are missing or damaged and could not go.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.undo import Selection, look_up, recent, undo  # noqa: PLC0415

    config = load()
    log.configure(level="warning" if config.log_level == "info" else config.log_level, form=config.log_format)
    if listing:
        rows = recent(config)
        click.echo(json.dumps(rows) if as_json else _table(rows))
        return 0
    numbers = tuple(sorted({number for some in batches for number in some}))
    selection = Selection(numbers, os.path.abspath(under) if under else "", since or "")
    found = look_up(config, selection)
    if not dry_run:
        if found.instances and not yes:
            _confirm(found)
        found = undo(config, selection)  # with nothing left to do, it still ends what a crash left
    if as_json:
        click.echo(json.dumps(found.summary()))
    elif not quiet:
        click.echo(_report(found, config, done=not dry_run))
    return 1 if found.kept or not found.instances else 0


def _confirm(found: Report) -> None:
    try:
        if click.confirm(f"Take {found.instances:,} instances out of the archive?", err=True):
            return
    except click.Abort:
        pass
    raise click.UsageError("not confirmed: nothing was moved. Where nobody can be asked, say --yes")


def _report(found: Report, config: Config, *, done: bool) -> str:
    if not found.instances and not found.stay:
        return "nothing selected"
    verb = f"{found.withdrawn:,} taken out" if done else f"{found.instances:,} would go"
    lines = [f"instances   {verb}"]
    if found.stay:
        lines.append(f"stay        {found.stay:,}: other sources have brought them too")
    if found.kept:
        lines.append(f"not moved   {found.kept:,}: missing or damaged; see sorter verify")
    if done and found.withdrawn:
        lines.append(f"they are in {config.archive / found.folder}")
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'batch':>8}  {'when':<26}{'kind':<8}{'sources':>9}{'stored':>9}  from"]
    for row in rows:
        more = f" and {row['folders'] - 1} more folders" if row["folders"] > 1 else ""
        counts = f"{row['sources']:>9,}{row['stored']:>9,}"
        what = f"{row['id']:>8}  {row['recorded_at']:<26}{row['kind']:<8}{counts}"
        lines.append(f"{what}  {printable(row['folder'])}{more}")
    return "\n".join(lines) if rows else "no batches yet"
