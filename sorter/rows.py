"""Rows of the index, as a list that shows itself well in a notebook."""

from __future__ import annotations

import html
from typing import Any

_SHOWN = 20  # rows of a table in a notebook


class Rows(list[dict[str, Any]]):
    """Rows of the index: a list of mappings, one a row; ``pandas.DataFrame(rows)`` takes it as it is."""

    def __repr__(self) -> str:
        return f"<{len(self)} rows: {', '.join(self[0])}>" if self else "<0 rows>"

    def _repr_html_(self) -> str:
        """A table for notebooks: the first rows, and the columns that hold something there."""
        shown = self[:_SHOWN]
        names = [
            name for name in (self[0] if self else ()) if any(row[name] not in (None, "") for row in shown)
        ]
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        lines = (
            "".join(f"<td>{html.escape('' if row[name] is None else str(row[name]))}</td>" for name in names)
            for row in shown
        )
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        more = f"<p>{len(self)} rows, {len(shown)} shown</p>" if len(self) > len(shown) else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
