"""``sorter audit``: the account of every source."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from sorter.cli.options import INCOMING, reading
from sorter.cli.text import printable
from sorter.cli.times import Moment
from sorter.model import Kind

if TYPE_CHECKING:
    from sorter.audit import Audit
    from sorter.config import Config

SHOWN = 20  # findings and open sources in the text; --json has more


@click.command("audit")
@click.option("--since", type=Moment(), metavar="TIME", help="Count from then on: 2024-01-31, 12h, 7d.")
@click.option("--expect", default="", metavar="DIGEST", help="The newest digest that an earlier audit gave.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@INCOMING
@reading
def command(*, load: Callable[[], Config], quiet: bool, since: str | None, expect: str, as_json: bool) -> int:
    """Prove that every source ever seen is accounted for.

    Counts the last word about each source, checks that no row of the ledger was changed since it was
    recorded, that what is called archived is in the index and what is called refused is in quarantine, and
    lists what waits in the drop folders. Reads only; may run beside the daemon. sorter verify reads the
    archived files again.

    Exit status: 0 when everything is accounted for, 1 when something is wrong or waits for too long.
    """
    from sorter.audit import audit  # noqa: PLC0415 - SQLAlchemy
    from sorter.auditlog import AuditTrail  # noqa: PLC0415
    from sorter.auditmessage import Alert  # noqa: PLC0415
    from sorter.cli.progress import steps  # noqa: PLC0415

    config = load()
    with steps("checking", enabled=not quiet and not as_json) as progress:
        found = audit(config, since=since or "", expect=expect, progress=progress)
    if config.audit_log and (wrong := found.meddled):
        with AuditTrail(config, "audit") as trail:
            trail.alert(Alert.TAMPERING, f"sorter audit found {wrong} traces of changes to the ledger")
    if not quiet:
        click.echo(json.dumps(found.summary()) if as_json else report(found))
    return 0 if found.balanced else 1


def report(found: Audit) -> str:
    """The account as a page for people."""
    facts = found.summary()
    lines = [f"ledger      {found.batches:,} batches, newest digest {found.head}"]
    if found.since:
        lines.append(f"since       {found.since}")
    lines.append(f"{'seen':<46}{found.seen:>12,}")
    for kind in ("waiting" if one is Kind.DEFERRED else str(one) for one in Kind):
        lines.append(f"  {kind:<44}{facts[kind]:>12,}")
        lines += [f"    {why:<42}{count:>12,}" for why, count in found.reasons.get(kind, {}).items()]
    if found.adopted:
        lines.append(f"of the stored, adopted from the tree{found.adopted:>22,}")
    for reason, count in sorted(found.not_taken.items()):
        lines.append(f"{'in the drop folders, not taken by rule: ' + reason:<46}{count:>12,}")
    lines += _open(found) + _findings(found)
    lines.append("BALANCED: every source is accounted for." if found.balanced else "NOT BALANCED: see above.")
    return "\n".join(lines)


def _open(found: Audit) -> list[str]:
    if not found.open_count:
        return ["open        nothing"]
    total = sum(found.open_count.values())
    lines = [f"open        {total:,}, of them {found.overdue:,} for longer than they should; the oldest:"]
    return lines + [
        f"  {_age(one.age_seconds):>8}  {one.why:<12}{printable(one.what)}"
        for one in sorted(found.open, reverse=True)[:SHOWN]
    ]


def _findings(found: Audit) -> list[str]:
    if not found.findings_count:
        return ["findings    none"]
    total = sum(found.findings_count.values())
    lines = [
        f"findings    {total:,}: " + ", ".join(f"{n:,} {kind}" for kind, n in found.findings_count.items())
    ]
    return lines + [f"  {one.kind:<18}{printable(one.what)}: {one.detail}" for one in found.findings[:SHOWN]]


def _age(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
