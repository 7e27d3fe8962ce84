"""Which quarantined files a person means: IDs, criteria, or all of them, which must be said."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from sorter.cli.times import Moment

if TYPE_CHECKING:
    from sorter.quarantine import Chosen

_IDS = click.argument("ids", nargs=-1, metavar="[ID]...")
_CRITERIA = (
    click.option("--reason", multiple=True, metavar="REASON", help="Only these reasons, such as truncated."),
    click.option("--study", multiple=True, metavar="UID", help="Only of these Study Instance UIDs."),
    click.option("--series", multiple=True, metavar="UID", help="Only of these Series Instance UIDs."),
    click.option("--patient", multiple=True, metavar="ID", help="Only of these Patient IDs."),
    click.option("--since", type=Moment(), metavar="TIME", help="Refused since then: 2024-01-31, 12h, 7d."),
    click.option("--older-than", type=Moment(), metavar="TIME", help="Refused before then."),
)
ALL = click.option("--all", "everything", is_flag=True, help="All of them; needed where nothing is chosen.")


def choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options for IDs and criteria; passes ``chosen``, the Chosen that they make."""

    @wraps(function)
    def called(
        *,
        ids: tuple[str, ...],
        reason: tuple[str, ...],
        study: tuple[str, ...],
        series: tuple[str, ...],
        patient: tuple[str, ...],
        since: str | None,
        older_than: str | None,
        **given: Any,
    ) -> Any:
        from sorter.quarantine import Chosen  # noqa: PLC0415 - heavy, and not needed for --help

        lower = tuple(one.lower() for one in ids)
        chosen = Chosen(lower, reason, study, series, patient, since or "", older_than or "")
        return function(chosen=chosen, **given)

    wrapped: Callable[..., Any] = called
    for option in (*reversed(_CRITERIA), _IDS):
        wrapped = option(wrapped)
    return wrapped


def require_choice(chosen: Chosen, *, everything: bool) -> None:
    """Refuse a command that changes something where neither a choice nor ``--all`` was made, or both.

    Raises
    ------
    click.UsageError
        Says what to write.
    """
    if chosen.everything and not everything:
        raise click.UsageError("name ids or criteria, or say --all")
    if everything and not chosen.everything:
        raise click.UsageError("--all and a choice contradict each other")
