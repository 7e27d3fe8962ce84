"""Options of commands that show pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING

import click

from sorter.cli.options import Command

if TYPE_CHECKING:
    from sorter.picture import Window

AXIS = click.option(
    "--axis",
    type=click.Choice(["i", "j", "k"]),
    default="k",
    show_default=True,
    help="Of a NIfTI file: slices along it (i: to the right, j: to the front, k: up).",
)


def window(words: Mapping[str, Window], of: str) -> Callable[[Command], Command]:
    """``--window``: one of the words, of which ``auto`` is the default, or center and width with a comma."""

    def parsed(_context: click.Context, _parameter: click.Parameter, value: str) -> Window:
        if value in words:
            return words[value]
        try:
            center, width = map(float, value.split(","))
        except ValueError:
            known = ", ".join(words)
            raise click.BadParameter(f"write {known}, or CENTER,WIDTH, for example 40,400") from None
        if not (isfinite(center) and 0 < width < inf):
            raise click.BadParameter("the width of a window is above 0")
        return (center, width)

    metavar = "|".join((*words, "C,W"))
    return click.option(
        "--window", callback=parsed, default="auto", show_default=True, metavar=metavar, help=of
    )
