"""``sorter`` (or ``sorter run``): the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from sorter.cli.options import writing

if TYPE_CHECKING:
    from sorter.config import Config


@click.command("run")
@writing
def command(load: Callable[[], Config], quiet: bool) -> None:
    """Run the daemon until SIGTERM; SIGHUP reloads the configuration."""
    from sorter.service import serve  # noqa: PLC0415 - heavy, and not needed for --help

    serve(load)
