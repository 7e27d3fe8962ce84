"""``sorter quarantine``: what was refused and why, and the ways out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.choosing import ALL, choosing, require_choice
from sorter.cli.options import reading, writing
from sorter.cli.text import counted, printable

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.quarantine import Chosen, Entry
    from sorter.quarantine.discard import Sum
    from sorter.quarantine.retry import Retried

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class _Actions(click.Group):
    """Options may stand on either side of the action."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for position, word in enumerate(args):
            if word in self.commands:
                args = [word, *args[:position], *args[position + 1 :]]
                break
        return super().parse_args(ctx, args)


@click.group("quarantine", cls=_Actions)
def command() -> None:
    """See what was refused and why; bring it in, hand it out, or give it up.

    An ID is the name of a file in quarantine: 24 hex digits, of which the first 6 are enough where they are
    unique. Several criteria must all be met; of one that is repeated, one value must be.
    """


# -- list -----------------------------------------------------------------------------------------------


@command.command("list")
@choosing
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@reading
def list_(*, load: Callable[[], Config], quiet: bool, chosen: Chosen, as_json: bool) -> None:
    """List what lies in quarantine, one line each, and how much by reason."""
    from sorter.quarantine import entries  # noqa: PLC0415 - as above
    from sorter.quarantine.discard import Sum  # noqa: PLC0415

    config = load()
    counts, total = _references(config), Sum()
    for entry in entries(config.archive, chosen):
        total.add(entry)
        sources = None if counts is None else sum(counts.get(path, 0) for path in entry.paths)
        if as_json:
            click.echo(json.dumps({**entry.summary(), "sources": sources}, ensure_ascii=False))
        elif not quiet:
            click.echo(_line(entry, sources))
    if not as_json and not quiet:
        click.echo(_total(total) if total.entries else "nothing in quarantine")


def _references(config: Config) -> dict[str, int] | None:
    """How many sources each quarantined file stands for; ``None`` where there is no index."""
    from sorter.errors import IndexUnusableError  # noqa: PLC0415
    from sorter.index import Index  # noqa: PLC0415 - SQLAlchemy
    from sorter.index.quarantine import reference_counts  # noqa: PLC0415

    try:
        index = Index.open(config.index_location, read_only=True)
    except IndexUnusableError:
        return None  # the quarantine can be looked at without
    try:
        with index.reading() as connection:
            return reference_counts(connection)
    finally:
        index.close()


def _line(entry: Entry, sources: int | None) -> str:
    name = Path(entry.source).name if entry.source else "?"
    remarks = [entry.trouble] if entry.trouble and entry.reason != "needs_info" else []
    if sources is not None and sources > 1:
        remarks.append(f"and {counted(sources - 1, 'more source')} of the same bytes")
    elif sources == 0:
        remarks.append("no source in the ledger")
    if isinstance(retried := entry.note.get("retried"), dict):
        remarks.append(f"retried {retried.get('time')}")
    shown = f"{entry.id}  {entry.reason:<12}  {entry.time[:19]}  {entry.size:>12,}  {printable(name)}"
    detail = printable(entry.text("detail"))
    return "  ".join([shown, *([detail] if detail else []), *(f"[{one}]" for one in remarks)])


def _total(total: Sum) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(total.reasons.items()))
    return f"{total.entries:,} in quarantine, {total.bytes / 2**20:,.1f} MiB: {reasons}"


# -- retry ----------------------------------------------------------------------------------------------


@command.command("retry")
@choosing
@ALL
@click.option("--dry-run", is_flag=True, help="Say what would happen; write nothing.")
@_JSON
@writing
def retry_(
    *, load: Callable[[], Config], quiet: bool, chosen: Chosen, everything: bool, dry_run: bool, as_json: bool
) -> int:
    """Bring quarantined files in once more, after an upgrade or a repair, with their history.

    What is in the archive then leaves the quarantine, and the ledger says so of the sources that it came
    from. What is still refused stays, with the time of this retry in its note. May be interrupted and run
    again; may run beside the daemon.

    Exit status: 0 when all were brought in, 1 when some were not.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.auditlog import AuditTrail  # noqa: PLC0415
    from sorter.cli.progress import steps  # noqa: PLC0415
    from sorter.quarantine.retry import retry  # noqa: PLC0415

    require_choice(chosen, everything=everything)
    config = load()
    log.configure(level="warning" if config.log_level == "info" else config.log_level, form=config.log_format)
    found: list[Retried] = []
    with (
        nullcontext() if dry_run else AuditTrail(config, "quarantine retry"),
        steps("retrying", enabled=not quiet and not as_json) as progress,
    ):
        for one in retry(config, chosen, dry_run=dry_run, progress=progress):
            found.append(one)
            if not as_json and not quiet:
                click.echo(_retried(one))
    if as_json:
        click.echo(json.dumps(_summary(found, dry_run=dry_run), ensure_ascii=False))
    elif not quiet:
        click.echo(_conclusion(found, dry_run=dry_run))
    return 0 if all(one.brought_in for one in found) else 1


def _retried(one: Retried) -> str:
    became = f"{one.outcome} {one.reason}".strip() if one.outcome else "not tried"
    if one.outcome == one.reason:
        became = one.outcome
    return f"{one.id}  {one.first_reason:<12} -> {became:<24}{printable(one.detail or one.path)}"


def _summary(found: list[Retried], *, dry_run: bool) -> dict[str, Any]:
    outcomes = Counter(one.outcome or "not_tried" for one in found)
    return {
        "tried": sum(1 for one in found if one.outcome),
        "brought_in": sum(one.brought_in for one in found),
        "removed": sum(one.removed for one in found),
        "dry_run": dry_run,
        "outcomes": dict(sorted(outcomes.items())),
        "files": [one.summary() for one in found],
    }


def _conclusion(found: list[Retried], *, dry_run: bool) -> str:
    brought = sum(one.brought_in for one in found)
    stay = len(found) - brought
    if dry_run:
        return f"{brought:,} would be brought in, {stay:,} would stay. Dry run: nothing was written."
    kept = brought - sum(one.removed for one in found if one.brought_in)
    more = f"; {kept:,} copies stay until the next retry, see the log" if kept else ""
    return f"{brought:,} brought in, {stay:,} stay in quarantine{more}"


# -- export ---------------------------------------------------------------------------------------------


@command.command("export")
@choosing
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR")
@ALL
@_JSON
@reading
def export_(
    *, load: Callable[[], Config], quiet: bool, chosen: Chosen, target: Path, everything: bool, as_json: bool
) -> int:
    """Copy quarantined files and their notes to the folder DIR, for repair with other tools.

    They stay in quarantine. Nothing in the folder is ever replaced.

    Exit status: 0 when all are there, 1 when some could not be copied or are damaged.
    """
    from sorter.quarantine import entries  # noqa: PLC0415 - as above
    from sorter.quarantine.export import EXPORTED, THERE, export  # noqa: PLC0415

    require_choice(chosen, everything=everything)
    config = load()
    count = export(config, entries(config.archive, chosen), target)
    if as_json:
        click.echo(json.dumps({name.replace(" ", "_"): number for name, number in sorted(count.items())}))
    elif not quiet:
        words = ", ".join(f"{number:,} {name}" for name, number in count.items())
        click.echo(f"files and notes: {words}" if words else "nothing chosen")
    return 0 if count.keys() <= {EXPORTED, THERE} else 1


# -- discard --------------------------------------------------------------------------------------------


@command.command("discard")
@choosing
@ALL
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@reading
def discard_(
    *, load: Callable[[], Config], quiet: bool, chosen: Chosen, everything: bool, yes: bool, as_json: bool
) -> None:
    """Give quarantined copies up for good.

    The ledger keeps the outcome, the reason and the digests. Sources that still lie in the drop folders stay
    there, and are not looked at again.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.auditlog import AuditTrail  # noqa: PLC0415
    from sorter.quarantine import entries  # noqa: PLC0415
    from sorter.quarantine.discard import Sum, discard  # noqa: PLC0415

    require_choice(chosen, everything=everything)
    config = load()
    log.configure(level=config.log_level, form=config.log_format)
    # What is asked about is what goes, whatever comes meanwhile.
    found = list(entries(config.archive, chosen))
    total = Sum.of(found)
    if found and not yes:
        _confirm(total)
    with AuditTrail(config, "quarantine discard"):
        sources = discard(config, found) if found else 0
    if as_json:
        click.echo(json.dumps({**total.summary(), "sources": sources}))
    elif not quiet:
        said = f"discarded {total.entries:,} ({total.bytes / 2**20:,.1f} MiB) of {sources:,} sources"
        click.echo(said if found else "nothing chosen")


def _confirm(total: Sum) -> None:
    word = f"discard {total.entries}"
    click.echo(f"{_total(total)}. Discarded bytes are gone for good.", err=True)
    try:
        said = click.prompt(f"Type '{word}' to go on", err=True, default="", show_default=False)
    except click.Abort:
        said = ""  # nobody is there to ask
    if said.strip() != word:
        raise click.UsageError("not confirmed: nothing was discarded. Where nobody can be asked, say --yes")


# -- show -----------------------------------------------------------------------------------------------


@command.command("show")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@reading
def show_(*, load: Callable[[], Config], quiet: bool, ids: tuple[str, ...], as_json: bool) -> None:
    """Say all that is known of quarantined files; of a conflict, show both instances side by side.

    This prints header values: patients' names among them.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.cli.showing import page  # noqa: PLC0415
    from sorter.quarantine import Chosen  # noqa: PLC0415
    from sorter.quarantine.show import show  # noqa: PLC0415

    config = load()
    log.configure(level=config.log_level, form=config.log_format)
    facts: Iterator[dict[str, Any]] = show(config, Chosen(ids=tuple(one.lower() for one in ids)))
    for number, one in enumerate(facts):
        if as_json:
            click.echo(json.dumps(one, ensure_ascii=False))
        elif not quiet:
            click.echo(("\n" if number else "") + page(one))
