"""``sorter verify``: whether the archive is what the index says."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sorter.cli.options import reading
from sorter.cli.text import counted, printable
from sorter.cli.times import Moment

if TYPE_CHECKING:
    from sorter.auditlog import AuditTrail
    from sorter.config import Config
    from sorter.verification import Options, Repair, Repaired, Report

SHOWN = 20  # findings of each kind in the text; --json has all


class Percent(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """``5%``, ``0.1%`` or ``5``."""

    name = "percent"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a usage error."""
        try:
            percent = float(str(value).strip().removesuffix("%"))
        except ValueError:
            percent = 0.0
        if not 0 < percent <= 100:
            self.fail(f"{value!r} is no part of the archive: write 5% or 0.1%", param, ctx)
        return percent


@click.command("verify")
@click.option("--quick", is_flag=True, help="Read nothing: presence, size, names and permissions only.")
@click.option("--sample", type=Percent(), metavar="N%", help="Only so many of the instances, at random.")
@click.option("--seed", type=int, metavar="N", help="Choose the sample that an earlier run told this of.")
@click.option("--since", type=Moment(), metavar="TIME", help="Only instances stored since: 2024-01-31, 7d.")
@click.option("--older-than", type=Moment(), metavar="TIME", help="Only instances not read since: 30d.")
@click.option("--resume", is_flag=True, help="Go on with a verification that was interrupted.")
@click.option("--repair", is_flag=True, help="Show what can be mended, ask, and mend it.")
@click.option("--yes", is_flag=True, help="With --repair: do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reading
def command(
    *,
    load: Callable[[], Config],
    quiet: bool,
    quick: bool,
    sample: float | None,
    seed: int | None,
    since: str | None,
    older_than: str | None,
    resume: bool,
    repair: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Check every archived file against the index, and the other way round.

    Reads each file and compares its SHA-256; looks for files without a row, leftovers, wrong names and
    permissions, and a quarantine that is not whole. May run beside the daemon. What is missing or damaged is
    noted in the index. Nothing archived is ever deleted, also not by --repair.

    Exit status: 0 when all is well (or was mended), 1 when something is wrong.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.auditlog import AuditTrail  # noqa: PLC0415
    from sorter.cli.progress import bar  # noqa: PLC0415
    from sorter.errors import IndexUnusableError  # noqa: PLC0415
    from sorter.intake import Intake, check_index_is_there  # noqa: PLC0415
    from sorter.verification import Options, Repair, Survey  # noqa: PLC0415

    if (yes and not repair) or (repair and as_json and not yes):
        raise click.UsageError("--yes goes with --repair, and --repair --json needs --yes")
    config = load()
    log.configure(level="warning" if config.log_level == "info" else config.log_level, form=config.log_format)
    check_index_is_there(config)
    if isinstance(config.index_location, Path) and not config.index_location.exists():
        raise IndexUnusableError(f"there is no index at {config.index_location}: nothing was archived yet")
    options = Options(
        quick=quick,
        sample=sample or 100.0,
        seed=secrets.randbelow(10**6) if seed is None else seed,
        since=since or "",
        unread_since=older_than or "",
    )
    shown = not quiet and not as_json
    with Intake(config) as intake, AuditTrail(config, "verify") as trail:
        with bar("verifying", unit="files" if quick else "bytes", enabled=shown) as progress:
            survey = Survey(intake, options, resume=resume, progress=progress)
            if resume and shown and not survey.report.resumed:
                click.echo("nothing to resume: from the beginning", err=True)
            report = survey.run()
        _alert(trail, report)
        if shown:
            _show(report)
        mended = _repair(Repair(intake, report.findings), yes=yes, shown=shown) if repair else None
        if as_json:
            _print_json(report, mended)
        return 0 if report.clean else 1


def _alert(trail: AuditTrail, report: Report) -> None:
    from sorter.auditmessage import Alert  # noqa: PLC0415
    from sorter.verification import Wrong  # noqa: PLC0415

    counts = report.findings.counts()
    for wrong, alert in ((Wrong.MISSING, Alert.MISSING), (Wrong.DAMAGED, Alert.DAMAGED)):
        if count := counts.get(wrong):
            trail.alert(alert, f"sorter verify found {counted(count, 'archived file')} {alert}")


# -- for people -------------------------------------------------------------------------------------------


def _show(report: Report) -> None:
    from itertools import islice  # noqa: PLC0415

    from sorter.verification import Wrong  # noqa: PLC0415

    for line in _head(report):
        click.echo(line)
    counts = report.findings.counts()
    for kind in Wrong:
        if kind not in counts:
            continue
        click.echo(f"{kind} ({counts[kind]:,})")
        for one in islice(report.findings.all(kind=kind), SHOWN):
            facts = f": expected {one.expected}" if one.expected else ""
            facts += f"{',' if facts else ':'} found {one.found}" if one.found else ""
            mend = f" [--repair: {one.mend}]" if one.mend else ""
            click.echo(f"  {printable(one.path)}{facts}{mend}")
        if counts[kind] > SHOWN:
            click.echo(f"  ... {counts[kind] - SHOWN:,} more; --json lists them")
    click.echo("CLEAN: everything is as it was stored." if report.clean else _total(counts))


def _head(report: Report) -> list[str]:
    mib, seconds = report.bytes / 2**20, max(report.seconds, 1e-3)
    how = "looked at" if report.options.quick else f"read, {mib:,.1f} MiB at {mib / seconds:,.0f} MiB/s"
    lines = [f"instances   {report.instances:,} {how}" + (_resumed(report.resumed))]
    lines.append(f"tree        {report.files:,} files; {report.quarantined:,} in quarantine")
    lines += _chosen(report.options)
    return lines


def _resumed(count: int) -> str:
    return f"; {count:,} before this was resumed" if count else ""


def _chosen(options: Options) -> list[str]:
    lines = []
    if options.sample < 100:
        lines.append(f"sample      {options.sample:g}% of the instances, --seed {options.seed}")
    if options.since:
        lines.append(f"only        instances stored since {options.since}")
    if options.unread_since:
        lines.append(f"only        instances not read since {options.unread_since}")
    return lines


def _total(counts: dict[str, int]) -> str:
    return f"NOT CLEAN: {sum(counts.values()):,} findings"


def _repair(repair: Repair, *, yes: bool, shown: bool) -> Repaired | None:
    """Show the plan, ask, and do it; None where nothing was done."""
    plan = repair.plan()
    if not plan:
        if shown:
            click.echo("\nNothing of this can be mended.")
        return None
    if shown:
        click.echo(f"\n{'to be mended':<46}{'count':>10}")
        for mend, count, examples in plan:
            click.echo(f"{mend:<46}{count:>10,}")
            for path in examples:
                click.echo(f"    {printable(path)}")
    if not yes and not (sys.stdin.isatty() and click.confirm("Mend these? No archived byte is deleted.")):
        click.echo("nothing was mended; --yes mends without asking", err=True)
        return None
    done = repair.run()
    if shown:
        for what, counts in (("done", done.done), ("in vain", done.in_vain)):
            for name, count in counts.items():
                click.echo(f"{what}: {name:<{44 - len(what)}}{count:>10,}")
        click.echo("CLEAN now." if not done.left else f"NOT CLEAN: {done.left:,} findings are left")
    return done


def _print_json(report: Report, mended: Repaired | None) -> None:
    """One object; its findings one by one, however many they are."""
    facts = report.summary() | {"repaired": mended.summary() if mended else None}
    click.echo(json.dumps(facts)[:-1] + ', "findings": [', nl=False)
    for number, one in enumerate(report.findings.all()):
        click.echo((", " if number else "") + json.dumps(one.facts()), nl=False)
    click.echo("]}")
