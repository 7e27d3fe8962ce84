"""The command line: a thin skin that parses arguments, calls the library and prints.

Results go to stdout, logs to stderr. Exit status: 0 clean, 1 some files refused, 2 and up one per class of
:mod:`sorter.errors`. Commands are imported when they are called, so that ``sorter --help`` is quick.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import traceback
from typing import Any

import click

from sorter import __version__
from sorter.errors import SorterError, WorkersError

# name: one-line help. The command itself is `sorter.cli.<name>.command`.
COMMANDS = {
    "audit": "Prove that every source ever seen is accounted for.",
    "backup": "Copy the index to a file, consistent even while the daemon runs.",
    "convert": "Make DICOM of NIfTI volumes and of pictures.",
    "demo": "Sort the real DICOM files that pydicom bundles, and show the result.",
    "explain": "Tell which rule chose the place of a file, without storing it.",
    "export": "Write volumes, pictures or copies of instances to another folder.",
    "find": "Search the index.",
    "quarantine": "See what was refused and why; bring it in, hand it out, or give it up.",
    "reindex": "Build a new index from the archive tree.",
    "relayout": "Re-sort the archive by another template; and back.",
    "show": "Tell what an instance, a series or a NIfTI file is, with a picture.",
    "status": "Say how the daemon and the archive are; exit status fit for a health check.",
    "undo": "Take a mistaken drop back out of the archive, to a folder.",
    "verify": "Check every archived file against the index, and mend what can be mended.",
}
_FLAGS = (
    "-v",
    "--verbose",
    "-q",
    "--quiet",
    "--json",
    "--dry-run",
    "--paths",
    "--quick",
    "--resume",
    "--repair",
    "--yes",
    "--plan",
    "--apply",
    "--undo",
    "--list",
    "--all",
    "--picture",
    "--no-picture",
    "--ingest",
    "--one-file",
    "--montage",
    "--animate",
    "--regularize",
)
_HIDDEN = {"run": "Run the daemon.", "rescan": "One-shot backfill."}


class _ReaderGoneError(Exception):
    """Whoever reads the output, such as ``head``, has seen enough."""


class _Group(click.Group):
    """Commands by lazy import; ``sorter --rescan`` is a spelling of the hidden command ``rescan``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS and cmd_name not in _HIDDEN:
            return None
        command: click.Command = importlib.import_module(f"sorter.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            import difflib  # noqa: PLC0415 - seldom needed

            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.7)
            ctx.fail(f"No such command {args[0]!r}." + "".join(f" Did you mean {one!r}?" for one in near))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # From here click would exit with 1 and no word, which says that something was refused.
            if _is_output(error):
                raise _ReaderGoneError from None
            raise WorkersError(
                "a worker process ended while it was started; see the log and free memory, "
                f"and whether this user may run {sys.executable}"
            ) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _command_first(args))


def _command_first(args: list[str]) -> list[str]:
    """The arguments with the command in front: options may stand on either side of it.

    ``--rescan`` counts as the command ``rescan``; no command at all means ``run``. A word that is no command
    is left alone, for click to say so.
    """
    previous = stray = ""
    for position, word in enumerate(args):
        if word == "--":
            break
        name = "rescan" if word == "--rescan" else word
        # A word behind an option that takes a value is that value, whatever it says.
        is_value = previous.startswith("-") and "=" not in previous and previous not in _FLAGS
        if name in (COMMANDS | _HIDDEN) and not (is_value and word != "--rescan"):
            return [name, *args[:position], *args[position + 1 :]]
        if not (is_value or word.startswith("-")):
            stray = stray or word
        previous = word
    if args and (not args[0].startswith("-") or {"-h", "--help", "--version"} & set(args)):
        return args
    return [stray] if stray else ["run", *args]


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="sorter")
@click.option(
    "--rescan",
    is_flag=True,
    help="One-shot backfill of the drop folders, or of the PATHs that follow; see sorter --rescan --help.",
)
def group(**_: Any) -> None:
    """A DICOM archive that sorts itself.

    Without a command: run the daemon until SIGTERM (SIGHUP: reload the configuration). With --rescan
    [PATH ...]: bring in all that is not yet in the archive, then exit.

    Options such as --config, --incoming and --archive may stand before or behind the command; sorter run
    --help lists those of the daemon. Each is also a key of the configuration file and a variable
    SORTER_<KEY>.
    """


def main() -> None:
    """Entry point of the console script."""
    # Modules, rows and candidates are no garbage; looking for it among them costs a sixth of the start.
    gc.set_threshold(50_000, 20)
    try:
        status = group(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except SorterError as error:
        click.echo(f"sorter: {error}", err=True)
        sys.exit(error.exit_code)
    except _ReaderGoneError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:  # the archive's own are SorterErrors
        what = "write the output" if _is_output(error) else f"read or write {_named(error)}"
        click.echo(f"sorter: cannot {what}: {os.strerror(error.errno or 0)}", err=True)
        sys.exit(4)
    except Exception as error:  # noqa: BLE001 - a bug; its text may quote header values, so it is not shown
        from sorter.log import describe  # noqa: PLC0415 - structlog

        click.echo(f"sorter: internal error, please report: {describe(error)}", err=True)
        sys.exit(70)
    sys.exit(status if isinstance(status, int) else 0)


def _is_output(error: OSError) -> bool:
    """Whether it was the output that could not be written: all of it goes through click."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(os.path.dirname(click.__file__))


def _named(error: OSError) -> str:
    """The file that could not be used where it is sorter's own; sources and the tree may name patients."""
    from sorter.organizer.lease import META  # noqa: PLC0415 - not needed for --help

    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    archive, _, own = path.partition(f"/{META}/")
    return f"{archive}/{META}/{own.split('/')[0]}" if own else "a file"
