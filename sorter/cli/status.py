"""``sorter status``: how the daemon and the archive are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.options import reading

if TYPE_CHECKING:
    from sorter.config import Config

# The daemon writes its state every second; older than this, it hangs.
STALE = 30.0
_PAUSES = {
    "no_space": "PAUSED: no room for what comes next",
    "index_busy": "PAUSED: another program holds the index",
}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reading
def command(load: Callable[[], Config], quiet: bool, as_json: bool) -> int:
    """Say how the daemon and the archive are.

    Exit status: 0 when the daemon runs and gets on, 1 when it does not, 2 and up when the archive or its
    index cannot be read. Refused files do not make it unhealthy: they are counted, and wait in quarantine.
    """
    facts = gather(load(), counts=not quiet)
    if not quiet:
        click.echo(json.dumps(facts) if as_json else _report(facts))
    return 0 if facts["healthy"] else 1


def gather(config: Config, *, counts: bool = True) -> dict[str, Any]:
    """Everything ``sorter status`` shows, as one JSON-ready object.

    Parameters
    ----------
    counts
        Whether to count the rows of the index, which takes seconds where there are many millions. It is
        opened in any case.

    Raises
    ------
    IndexUnusableError
        There is an index, and it cannot be read.
    """
    import shutil  # noqa: PLC0415 - not needed for --help

    from sorter import status  # noqa: PLC0415
    from sorter.organizer.lease import DaemonLease  # noqa: PLC0415

    running = DaemonLease.is_held(config.archive)
    state = status.read(config.archive) or {}
    age = time.time() - state["heartbeat"] if state else None
    facts: dict[str, Any] = {
        "running": running,
        "healthy": running and bool(state.get("healthy")) and age is not None and age < STALE,
        "archive": str(config.archive),
        "archive_exists": config.archive.is_dir(),
        "heartbeat_age_seconds": None if age is None else round(age, 1),
        "daemon": state if running else {},
    }
    if facts["archive_exists"]:
        facts["free_mb"] = shutil.disk_usage(config.archive).free >> 20
        facts["min_free_mb"] = config.min_free_mb
        facts["index"] = _index_facts(config, counts=counts)
    return facts


def _index_facts(config: Config, *, counts: bool) -> dict[str, Any]:
    from sorter.index.counts import glance  # noqa: PLC0415 - not needed for --help

    location = config.index_location
    if isinstance(location, Path):
        if not location.exists():
            from sorter.intake import check_index_is_there  # noqa: PLC0415 - heavy, and seldom needed

            check_index_is_there(config)
            return {}
        if (found := glance(location, counts=counts)) is not None:
            return found
    from sorter.index import Index  # noqa: PLC0415 - SQLAlchemy

    index = Index.open(config.index_location, read_only=True)
    try:
        return index.counts() if counts else {}
    finally:
        index.close()


def _report(facts: dict[str, Any]) -> str:
    lines = [f"daemon     {_daemon(facts)}"]
    daemon = facts["daemon"]
    if daemon:
        walk = daemon.get("last_walk") or {}
        if walk:
            ago = time.time() - walk["at"]
            lines.append(f"last walk  {ago:,.0f} s ago, {walk['files']:,} files in {walk['seconds']:.2f} s")
        lines.append(f"watching   {', '.join(daemon.get('watch', [])) or 'nothing yet'}")
        if unreadable := daemon.get("unreadable"):
            lines.append(f"unreadable {unreadable:,} files or folders, looked at again at every walk")
        lines += [f"trouble    {trouble}" for trouble in daemon.get("troubles", [])[-3:]]
        lines += _waiting(daemon) + _duties(daemon)
    lines.append(f"archive    {facts['archive']}" + ("" if facts["archive_exists"] else " (does not exist)"))
    if "free_mb" in facts:
        low = " BELOW min_free_mb" if facts["free_mb"] < facts["min_free_mb"] else ""
        lines.append(f"free       {facts['free_mb'] / 1024:,.1f} GiB{low}")
        lines += _index(facts["index"])
    return "\n".join(lines)


def _duties(daemon: dict[str, Any]) -> list[str]:
    """What the daemon does beside: verification, and what of hooks and the audit trail needs an eye."""
    lines = []
    if verified := daemon.get("verification"):
        problems = f"; {verified['problems']:,} PROBLEMS, see sorter verify" if verified["problems"] else ""
        age = f"oldest {verified['oldest_days']:,.0f} of {verified['interval_days']:,.0f} days ago"
        lines.append(f"verified   {verified['verified']:,} files since the start, {age}{problems}")
    hooks, trail = daemon.get("hooks", {}), daemon.get("audit_trail", {})
    for name, count in (("given up", hooks.get("given_up")), ("dropped", hooks.get("dropped"))):
        if count:
            lines.append(f"hooks      {count:,} events {name}")
    if trail.get("waiting") or trail.get("lost"):
        lines.append(f"audit      {trail['waiting']:,} messages wait to be written, {trail['lost']:,} lost")
    return lines


def _daemon(facts: dict[str, Any]) -> str:
    if not facts["running"]:
        return "NOT RUNNING"
    state = facts["daemon"].get("state", "starting")
    if waits := facts["daemon"].get("waits_for_turn"):
        seconds = time.time() - waits["since"]
        state += f", waiting for the turn of process {waits['pid']} for {seconds:,.0f} s"
    if paused := facts["daemon"].get("paused"):
        state = _PAUSES.get(paused, f"paused: {paused}")
    if not facts["healthy"]:
        return f"NOT HEALTHY (state {state}, last sign of life {facts['heartbeat_age_seconds']} s ago)"
    return f"running, {state}"


def _waiting(daemon: dict[str, Any]) -> list[str]:
    waiting = daemon.get("waiting", {})
    if not waiting:
        return ["waiting    nothing"]
    lines = [
        f"waiting    {sum(waiting.values()):,}: " + ", ".join(f"{n:,} {why}" for why, n in waiting.items())
    ]
    oldest = daemon.get("waiting_oldest", [])[:5]
    return lines + [f"           source {o['source']} {o['reason']} for {o['age_seconds']} s" for o in oldest]


def _index(counts: dict[str, Any]) -> list[str]:
    if not counts:
        return ["index      none yet"]
    levels = ", ".join(
        f"{counts[level]:,} {level}" for level in ("patients", "studies", "series", "instances")
    )
    lines = [f"index      {levels}; {counts['bytes'] / 2**30:,.2f} GiB"]
    if counts["outcomes"]:
        lines.append("sources")
    for kind, count in counts["outcomes"].items():
        lines.append(f"  {kind:<20}{count:>14,}")
        for reason, some in counts["reasons"].get(kind, {}).items():
            lines.append(f"    {reason:<18}{some:>14,}")
    return lines
