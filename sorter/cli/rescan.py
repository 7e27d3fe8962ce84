"""``sorter --rescan [PATH ...]``: the one-shot backfill."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sorter.cli.options import writing
from sorter.model import Kind

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.intake import Tally


@click.command("--rescan")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; write nothing.")
@writing
def command(
    load: Callable[[], Config], quiet: bool, paths: tuple[Path, ...], as_json: bool, dry_run: bool
) -> int:
    """Bring in all that is not yet in the archive, then exit.

    Walks the drop folders, or the given files and folders (which are never retired). May be interrupted
    and run again; may run beside the daemon.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.workers import Workers  # noqa: PLC0415

    config = load()
    with contextlib.closing(Workers.of(config)) as workers:
        workers.warm_up()  # while the rest is imported, which takes as long
        from sorter.cli.progress import Progress  # noqa: PLC0415
        from sorter.rescan import backfill, estimate  # noqa: PLC0415

        # The summary says what was refused; a line a file would only push it off the screen.
        level = "warning" if config.log_level == "info" else config.log_level
        log.configure(level=level, form=config.log_format)
        with Progress(enabled=not quiet and not as_json) as progress:
            if progress.enabled:
                progress.expect(estimate(config, paths))
            tally = backfill(config, paths, dry_run=dry_run, progress=progress, workers=workers)
    click.echo(json.dumps(tally.summary()) if as_json else report(tally, config, dry_run=dry_run))
    return 1 if tally.refused else 0


def report(tally: Tally, config: Config, *, dry_run: bool) -> str:
    """The summary as a table for people."""
    facts = tally.summary()
    rows = [("seen", "", facts["seen"])]
    for kind in Kind:
        if facts[kind]:
            rows.append((str(kind), "", facts[kind]))
            rows += [("", reason, count) for reason, count in facts["reasons"].get(kind, {}).items()]
    if facts["adopted"]:
        rows.append(("adopted", "published files that had no row", facts["adopted"]))
    lines = [f"{name:<12}{reason:<34}{count:>12,}" for name, reason, count in rows]
    mib, seconds = facts["bytes"] / 2**20, facts["seconds"]
    lines.append(f"{mib:,.1f} MiB in {seconds:,.1f} s ({facts['seen'] / max(seconds, 1e-3):,.0f} files/s)")
    if dry_run:
        lines.append("Dry run: nothing was written.")
    elif facts["conflict"] or facts["rejected"]:
        lines.append(f"Refused files, each with its reason: {config.archive}/.sorter/quarantine")
    return "\n".join(lines)
