"""Searching the index: criteria of a user -> one query."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, false, func, or_, select

from sorter.errors import ConfigError
from sorter.index.schema import column_name, instances, patients, series, studies

LEVELS: dict[str, Table] = {"patient": patients, "study": studies, "series": series, "instance": instances}
_TABLES = list(LEVELS.values())
_HIDDEN = {"id", "patient_fk", "study_fk", "series_fk", "folder_key", "path_key"}
_HUGE = 1 << 63  # no column holds a larger number
_RANGE = re.compile(r"(\d{4,8})?-(\d{4,8})?")


def query(criteria: Mapping[str, str], *, level: str, limit: int | None) -> Select[Any]:
    """The query for the rows of one level that fulfil all criteria.

    Parameters
    ----------
    criteria
        By DICOM keyword (``PatientID``) or column (``patient_id``). A value may hold the wildcards ``*`` and
        ``?``; for dates a range ``20240101-20241231``, ``2024-`` or ``-2024``; for UIDs, numbers and codes a
        list with commas. Criteria about lower levels mean "with at least one such".
    level
        ``patient``, ``study``, ``series`` or ``instance``.

    Raises
    ------
    ConfigError
        A keyword is not indexed; names the nearest that is.
    """
    table = LEVELS[level]
    conditions = [(column, value) for column, value in ((_column(k), v) for k, v in criteria.items())]
    deepest = max([_TABLES.index(table), *(_TABLES.index(_owner(column)) for column, _ in conditions)])
    joined: Any = patients
    for lower in _TABLES[1 : deepest + 1]:
        joined = joined.join(lower)
    matching = select(table.c.id).select_from(joined)
    for column, value in conditions:
        matching = matching.where(_condition(column, value))
    shown: Any = patients
    for lower in _TABLES[1 : _TABLES.index(table) + 1]:
        shown = shown.join(lower)
    found = select(*_shown(table)).select_from(shown).where(table.c.id.in_(matching))
    return found.order_by(*_order(table)).limit(limit)


def _owner(column: Column[Any]) -> Table:
    assert isinstance(column.table, Table)
    return column.table


def _column(keyword: str) -> Column[Any]:
    name = column_name(keyword)
    known: dict[str, Column[Any]] = {}
    for table in _TABLES:
        for column in table.columns:
            if column.name not in _HIDDEN:
                known.setdefault(column.name, column)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(known)}"
        raise ConfigError(f"{keyword} is not indexed{hint}")
    return known[name]


def _condition(column: Column[Any], value: str) -> ColumnElement[bool]:
    name = column.name
    if name.endswith("date") and (span := _RANGE.fullmatch(value)) and value != "-":
        return _in_range(column, span[1] or "", span[2] or "")
    if name.endswith("date") and re.fullmatch(r"\d{4,7}", value):
        return _in_range(column, value, value)
    if not value.isascii() and value.encode(errors="replace").decode() != value:
        raise ConfigError(f"the value for {name} is not valid UTF-8")
    listed = name.endswith(("uid", "_number", "modality", "_id")) and "," in value
    parts = value.split(",") if listed else [value]
    return or_(*(_matches(column, part.strip()) for part in parts))


def _in_range(column: Column[Any], first: str, last: str) -> ColumnElement[bool]:
    """A part of a date counts as the whole of it: 2024 is all of 2024."""
    condition = column != ""
    if first:
        condition = condition & (column >= first.ljust(8, "0"))
    if last:
        condition = condition & (column <= last.ljust(8, "9"))
    return condition


def _matches(column: Column[Any], value: str) -> ColumnElement[bool]:
    if "*" in value or "?" in value:
        pattern = re.sub(r"([%_\\])", r"\\\1", value).replace("*", "%").replace("?", "_")
        return column.like(pattern, escape="\\")
    if column.type.python_type is int:
        try:
            number = int(value)
        except ValueError:
            raise ConfigError(f"{column.name} is a number: write a whole number") from None
        return column == number if -_HUGE <= number < _HUGE else false()
    if not value:
        return or_(column.is_(None), column == "")
    return column == value


def _shown(table: Table) -> list[ColumnElement[Any]]:
    """Columns of this level and those above, and how much lies below."""
    position = _TABLES.index(table)
    shown: dict[str, ColumnElement[Any]] = {}
    for one in reversed(_TABLES[: position + 1]):
        for column in one.columns:
            if column.name not in _HIDDEN and (column.name != "folder" or one is series):
                shown.setdefault(column.name, column)
    if table is studies:
        shown["modalities"] = _modalities()
    below: Any = None
    for lower in _TABLES[position + 1 :]:
        below = lower if below is None else below.join(lower)
        count = select(func.count()).select_from(below).where(_link(_TABLES[position + 1]) == table.c.id)
        shown[lower.name] = count.scalar_subquery().label(lower.name)
    return list(shown.values())


def _link(table: Table) -> Column[Any]:
    return next(column for column in table.columns if column.name.endswith("_fk"))


def _modalities() -> ColumnElement[Any]:
    distinct = (
        select(series.c.modality).where(series.c.study_fk == studies.c.id).distinct().correlate(studies)
    )
    codes = distinct.subquery()
    return select(func.aggregate_strings(codes.c.modality, ",")).scalar_subquery().label("modalities")


def _order(table: Table) -> list[Column[Any]]:
    order: list[Column[Any]] = [patients.c.patient_id, patients.c.id]
    if _TABLES.index(table) >= 1:
        order += [studies.c.date, studies.c.id]
    if _TABLES.index(table) >= 2:
        order += [series.c.series_number, series.c.id]
    if _TABLES.index(table) >= 3:
        order += [instances.c.instance_number, instances.c.id]
    return order
