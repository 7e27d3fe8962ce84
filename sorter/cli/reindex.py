"""``sorter reindex``: a new index from the archive tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from sorter.cli.options import reading

if TYPE_CHECKING:
    from sorter.config import Config


@click.command("reindex")
@reading
def command(load: Callable[[], Config], quiet: bool) -> None:
    """Build a new index from the archive tree alone, and set the old one aside.

    Patients, studies, series and instances come back as they were; the ledger of sources does not, so the
    old index is kept. It stays in use until the new one is whole. Stop the daemon first.
    """
    from sorter import log  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter.care import reindex  # noqa: PLC0415
    from sorter.cli.progress import bar  # noqa: PLC0415

    config = load()
    log.configure(level=config.log_level, form=config.log_format)
    with bar("indexing", unit="files", enabled=not quiet) as progress:
        count, aside = reindex(config, progress=progress)
    if not quiet:
        click.echo(f"{count:,} instances indexed" + (f"; the old index is {aside}" if aside else ""))
