"""``sorter backup FILE``: a consistent copy of the index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sorter.cli.options import reading

if TYPE_CHECKING:
    from sorter.config import Config


@click.command("backup")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@reading
def command(load: Callable[[], Config], quiet: bool, target: Path) -> None:
    """Copy the index to FILE, consistent even while the daemon runs; never replaces a file."""
    from sorter.care import backup  # noqa: PLC0415 - heavy, and not needed for --help

    size = backup(load(), target)
    if not quiet:
        click.echo(f"{target}: {size:,} bytes")
