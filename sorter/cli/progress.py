"""A progress bar on a terminal; nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from sorter.intake import Tally


class Progress:
    """Shows files done, rate and time left on stderr, when that is a terminal.

    Called with the Tally after each step; :meth:`expect` sets the number of files to come.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled and sys.stderr.isatty()
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if self.enabled:
            self._bar = _bar()
            self._task = self._bar.add_task("sorting", total=None, refused=0, rate=0.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def expect(self, files: int) -> None:
        """Set how many files there are."""
        if self._bar:
            self._bar.update(self._task, total=files)

    def __call__(self, tally: Tally) -> None:
        """Show the state of the count."""
        if self._bar:
            kinds = tally.kinds
            refused = sum(count for kind, count in kinds.items() if kind in ("conflict", "rejected"))
            self._bar.update(self._task, completed=tally.seen, refused=refused, rate=tally.rate)


@contextlib.contextmanager
def steps(verb: str, *, enabled: bool) -> Iterator[Callable[[str], None]]:
    """A spinner that names the step under way, on a terminal; call what it yields with each step."""
    if not enabled or not sys.stderr.isatty():
        yield lambda _step: None
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal

    with Console(stderr=True).status(verb) as spinner:
        yield lambda step: spinner.update(f"{verb} {step}")


@contextlib.contextmanager
def bar(verb: str, *, unit: Literal["bytes", "files"], enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar of what is done of what there is, on a terminal; call what it yields with both."""
    if not enabled or not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich import progress  # noqa: PLC0415 - only on a terminal
    from rich.console import Console  # noqa: PLC0415

    amounts: list[progress.ProgressColumn] = (
        [progress.DownloadColumn(binary_units=True), progress.TransferSpeedColumn()]
        if unit == "bytes"
        else [progress.MofNCompleteColumn()]
    )
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), *amounts)
    console = Console(stderr=True)
    with progress.Progress(
        *columns, progress.TimeRemainingColumn(), console=console, transient=True
    ) as shown:
        task = shown.add_task(verb, total=None)
        yield lambda done, all_: shown.update(task, completed=done, total=all_)


def _bar() -> Bar:
    from rich import progress  # noqa: PLC0415 - only on a terminal
    from rich.console import Console  # noqa: PLC0415

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]:,.0f} files/s"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[refused]} refused"),
        console=Console(stderr=True),
        transient=True,
    )
