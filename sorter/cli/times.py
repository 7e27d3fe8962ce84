"""Points in time as people write them on a command line."""

from __future__ import annotations

import datetime
import re

import click

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """``2024-01-31``, ``2024-01-31T12:00`` (local time, or with an offset), or so long ago: ``90m``, ``7d``.

    Becomes ISO 8601 in UTC to the second, as the index has it, so that texts compare like times.
    """

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The time, or a usage error that shows what can be written."""
        try:
            if ago := _AGO.fullmatch(value.strip()):
                span = datetime.timedelta(**{_UNITS[ago[2]]: float(ago[1])})
                then = datetime.datetime.now(datetime.UTC) - span
            else:
                then = datetime.datetime.fromisoformat(value.strip()).astimezone(datetime.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2024-01-31, 2024-01-31T12:00, 90m, 12h or 7d", param, ctx)
        return then.isoformat(timespec="seconds")
