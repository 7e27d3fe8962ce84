"""``sorter undo``: take a mistaken drop back out of the archive."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.options import reading
from sorter.cli.text import counted, printable
from sorter.cli.times import Moment

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.undo import Report


_MOST = 1_000_000


class _Batches(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """A number, or a range of numbers."""

    name = "batch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Iterable[int]:
        first, dash, last = str(value).partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            self.fail(f"{value!r} is no batch: write 12 or 12-40; sorter undo --list shows them", param, ctx)
        numbers = range(int(first), int(last or first) + 1)
        if not 0 < len(numbers) <= _MOST:
            self.fail(f"{value!r} goes backwards, or is more than {_MOST:,} batches", param, ctx)
        return numbers


@click.command("undo")
@click.argument("batches", nargs=-1, type=_Batches(), metavar="[BATCH]...")
@click.option(
    "--under", type=click.Path(path_type=Path), metavar="DIR", help="All that came from this folder."
)
@click.option(
    "--since", type=Moment(), metavar="TIME", help="Only what came since then: 2024-01-31, 12h, 7d."
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Bring them to this folder, outside the archive. Without a selection: all that was taken out.",
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
    to: Path | None,
    listing: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Take a mistaken drop back out of the archive, to a folder.

    BATCH is a number of the ledger, or a range such as 12-40. Nothing is deleted: the files go to
    .sorter/withdrawn in the archive, with all that the index knew of them. What other sources have brought
    too, stays. May run beside the daemon.

    Exit status: 0; 1 when nothing was selected, or files are missing, or names are taken in --to.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.undo import Report, Selection, look_up, recent, undo  # noqa: PLC0415

    config = load()
    log.configure(level="warning" if config.log_level == "info" else config.log_level, form=config.log_format)
    if listing:
        rows = recent(config)
        click.echo(json.dumps(rows) if as_json else _table(rows))
        return 0
    numbers = tuple(sorted({number for some in batches for number in some}))
    selection = Selection(numbers, os.path.abspath(under) if under else "", since or "")
    bringing = to is not None and selection == Selection()
    found = Report(0, 0) if bringing else look_up(config, selection)
    if not dry_run:
        if (found.instances or bringing) and not yes:
            _confirm(found)
        found = undo(config, selection, to=to)  # with nothing left to do, it still ends what a crash left
    if as_json:
        click.echo(json.dumps(found.summary()))
    elif not quiet:
        click.echo(_report(found, config, to, done=not dry_run))
    return 1 if found.kept or found.left or not (found.instances or found.brought) else 0


def _confirm(found: Report) -> None:
    what = f"Take {counted(found.instances, 'instance')} out of the archive?"
    try:
        if click.confirm(what if found.instances else "Bring all that was taken out there?", err=True):
            return
    except click.Abort:
        pass
    raise click.UsageError("not confirmed: nothing was moved. Where nobody can be asked, say --yes")


def _report(found: Report, config: Config, to: Path | None, *, done: bool) -> str:
    lines = []
    if found.instances or found.stay:
        verb = f"{found.withdrawn:,} taken out" if done else f"{found.instances:,} would go"
        lines.append(f"instances   {verb}")
    if found.stay:
        lines.append(f"stay        {found.stay:,}: other sources have brought them too")
    if found.kept:
        lines.append(f"not moved   {found.kept:,}: missing; see sorter verify")
    if found.left:
        lines.append(f"not brought {found.left:,}: other files have their names there")
    if found.brought:
        lines.append(f"{counted(found.brought, 'file')}, with what the index knew: in {to}")
    elif done and found.withdrawn:
        lines.append(f"they are in {config.archive / found.folder}")
    return "\n".join(lines) if lines else "nothing selected"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'batch':>8}  {'when':<26}{'kind':<8}{'sources':>9}{'stored':>9}  from"]
    for row in rows:
        others = row["folders"] - 1
        more = f" and {counted(others, 'more folder')}" if others else ""
        counts = f"{row['sources']:>9,}{row['stored']:>9,}"
        what = f"{row['id']:>8}  {row['recorded_at']:<26}{row['kind']:<8}{counts}"
        lines.append(f"{what}  {printable(row['folder'])}{more}")
    return "\n".join(lines) if rows else "no batches yet"
