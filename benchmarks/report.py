"""Results as Markdown, JSON and plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sorter import __version__

Cell = str | int | float | None


@dataclass(slots=True)
class Table:
    """One table of results.

    Parameters
    ----------
    notes
        Sentences for below it.
    bars
        Which column a plot shows by the first one; ``""``: none.
    curves
        Which columns a plot shows over the first one, which holds numbers.
    goal
        The bound for sorter, drawn into the plot.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    bars: str = ""
    curves: Sequence[str] = ()
    goal: float | None = None

    def markdown(self) -> str:
        """The table and its notes."""
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([_text(cell) for cell in row]) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def column(self, name: str) -> list[Cell]:
        """The cells of one column."""
        return [row[self.columns.index(name)] for row in self.rows]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def machine() -> dict[str, Cell]:
    """What the figures were measured on."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {
        "sorter": __version__,
        "python": platform.python_version(),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "load_average": round(os.getloadavg()[0], 2),
    }


def write(out: Path, tables: Sequence[Table], facts: Mapping[str, Cell], *, plots: bool) -> None:
    """Write ``results.json``, ``results.md`` and, with matplotlib, an SVG for each table that has a plot."""
    out.mkdir(parents=True, exist_ok=True)
    everything: dict[str, Any] = {"machine": facts, "tables": [asdict(table) for table in tables]}
    (out / "results.json").write_text(json.dumps(everything, indent=1) + "\n")
    words = ", ".join(f"{key} {value}" for key, value in facts.items())
    (out / "results.md").write_text("\n".join([f"{words}.\n", *(table.markdown() for table in tables)]))
    if plots:
        for table in tables:
            if table.bars or table.curves:
                _plot(table, out / f"{table.name}.svg")


def _plot(table: Table, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - the extra "bench"

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "sorter", "font.size": 9}
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 0.8 + 0.35 * len(table.rows) if table.bars else 4))
    if table.bars:
        _bars(axes, table)
    else:
        _curves(axes, table)
    axes.set_title(table.title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _bars(axes: Any, table: Table) -> None:
    values = table.column(table.bars)
    shown = [
        (str(name), float(value))
        for name, value in zip(table.column(table.columns[0]), values, strict=True)
        if isinstance(value, int | float)
    ]
    names = [name for name, _ in shown]
    colours = ["tab:orange" if name.startswith("sorter") else "tab:grey" for name in names]
    bars = axes.barh(names, [value for _, value in shown], color=colours)
    axes.bar_label(bars, fmt=" %.3g")
    axes.invert_yaxis()
    axes.set_xlabel(table.bars)
    if table.goal is not None:
        axes.axvline(table.goal, color="tab:red", linewidth=1, label=f"bound for sorter: {table.goal:g}")
        axes.legend(frameon=False, loc="best")


def _curves(axes: Any, table: Table) -> None:
    x = table.column(table.columns[0])
    for name in table.curves:
        axes.plot(x, table.column(name), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(table.columns[0])
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
