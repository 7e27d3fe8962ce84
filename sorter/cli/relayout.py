"""``sorter relayout``: another layout for the archive that is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from sorter.cli.options import reading
from sorter.cli.text import printable

if TYPE_CHECKING:
    from sorter.config import Config
    from sorter.relayout import Report


@click.command("relayout")
@click.option("--plan", "what", flag_value="plan", default="plan", help="Say what would move (the default).")
@click.option("--apply", "what", flag_value="apply", help="Move the files; stop the daemon first.")
@click.option("--undo", "what", flag_value="undo", help="Move back what the last relayout moved.")
@click.option("--template", metavar="TEXT", help="Layout of the tree: a preset or a template.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reading
def command(*, load: Callable[[], Config], quiet: bool, what: str, yes: bool, as_json: bool) -> int:
    """Re-sort the archive by the configured template, or by --template.

    Nothing is copied and nothing deleted: files get other names, the index follows, and a crash at any
    moment leaves each file under the name that the index says. Run the same again to go on. Put the template
    into the configuration too, for what comes later.

    Exit status: 0; 1 when names that were wanted are taken by other files.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.cli.progress import steps  # noqa: PLC0415
    from sorter.relayout import relayout  # noqa: PLC0415

    config = load()
    log.configure(level="warning" if config.log_level == "info" else config.log_level, form=config.log_format)
    visible = not quiet and not as_json
    done: Report | None = None
    if what == "plan" or (what == "apply" and not yes):
        with steps("planning", enabled=visible) as show:
            done = relayout(config, progress=lambda count, _all: show(f"{count:,} instances"))
    if what != "plan":
        if not yes:
            _confirm(done)
        with steps("moving", enabled=visible) as show:
            done = relayout(
                config,
                apply=what == "apply",
                undo=what == "undo",
                progress=lambda count, _all: show(f"{count:,} instances"),
            )
    assert done is not None
    if as_json:
        click.echo(json.dumps(done.summary()))
    elif not quiet:
        click.echo(report(done, applied=what != "plan"))
    return 1 if done.kept else 0


def _confirm(planned: Report | None) -> None:
    """Show what is to come, and ask; without anybody to ask, say which option does."""
    if planned is not None:
        click.echo(report(planned, applied=False), err=True)
    try:
        if click.confirm("Move the files?", err=True):
            return
    except click.Abort:
        pass
    raise click.UsageError("not confirmed: nothing was moved. Where nobody can be asked, say --yes")


def report(done: Report, *, applied: bool) -> str:
    """The plan, or what became of it, for people."""
    lines = [f"{done.instances:,} instances: {done.moves:,} move, {done.instances - done.moves:,} stay"]
    for old, new in [] if applied else done.examples:
        lines += [f"  {printable(old)}", f"    -> {printable(new)}"]
    if not applied and done.moves > len(done.examples):
        lines.append(f"  ... and {done.moves - len(done.examples):,} more")
    if applied:
        lines.append(f"moved {done.moved:,}")
    if done.kept:
        lines.append(
            f"{done.kept:,} stay where they are: their new names are taken by files that are not recorded"
        )
    return "\n".join(lines)
