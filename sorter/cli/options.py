"""Options that commands share, and the Config they make."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sorter.config import Config

Command = Callable[..., Any]

_PATH = click.Path(path_type=Path)
_SHARED = (
    click.option("--config", "config_file", type=_PATH, metavar="FILE", help="Configuration file (TOML)."),
    click.option("--archive", type=_PATH, metavar="DIR", help="Archive root."),
    click.option("--index", metavar="URL", help="Index, if not the archive's own SQLite file."),
    click.option("-v", "--verbose", is_flag=True, help="Log more."),
    click.option("-q", "--quiet", is_flag=True, help="Log errors only; no progress."),
)
INCOMING = click.option(
    "--incoming", type=_PATH, multiple=True, metavar="DIR", help="Drop folder; may be repeated."
)
_WRITING = (
    INCOMING,
    click.option("--template", metavar="TEXT", help="Layout of the tree: a preset or a template."),
    click.option("--retire", type=click.Choice(["keep", "delete", "move"]), help="What becomes of sources."),
    click.option("--settle-seconds", type=float, metavar="S", help="Quiet time before a file is taken."),
    click.option("--workers", type=int, metavar="N", help="Worker processes (0: one a core)."),
)


def reading(function: Command) -> Command:
    """Options of commands that only read; passes ``load``, which makes the Config."""
    return _with(_SHARED, function)


def writing(function: Command) -> Command:
    """Options of commands that bring files in; passes ``load``, which makes the Config."""
    return _with(_SHARED + _WRITING, function)


def _with(options: tuple[Callable[[Command], Command], ...], function: Command) -> Command:
    @wraps(function)
    def called(*, config_file: Path | None, verbose: bool, quiet: bool, **given: Any) -> Any:
        keys = ("archive", "index", "incoming", "template", "retire", "settle_seconds", "workers")
        flags = {key: given.pop(key) for key in keys if key in given}
        flags["incoming"] = list(flags.get("incoming") or ()) or None
        if verbose or quiet:
            flags["log_level"] = "debug" if verbose else "error"

        def load() -> Config:
            from sorter import config, log  # noqa: PLC0415 - pydantic only when a command runs

            log.quiet_libraries()  # before any of them reads a header: stderr is no place for its values
            return config.load(file=config_file, flags=flags)

        return function(load=load, quiet=quiet, **given)

    wrapped: Command = called
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
