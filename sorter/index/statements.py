"""Statements that the others share."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Row, Select, Table, insert

T = TypeVar("T")
_CHUNK = 500  # values in one IN list


def in_chunks(
    connection: Connection, query: Select[Any], column: Any, values: Iterable[Any]
) -> Iterator[Row[Any]]:
    """Rows of a query whose column is one of the values, in IN lists of bounded length."""
    for some in chunks(list(dict.fromkeys(values))):
        yield from connection.execute(query.where(column.in_(some)))


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts of a length that suits an IN list."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns.

    Where the driver takes values by position (SQLite), it gets them as they are: Core would first copy each
    row into parameters of its own, which costs three times as much as the insert.
    """
    if not rows:
        return
    statement, columns = _positional(table, tuple(rows[0]), connection.dialect)
    if columns is None:
        connection.execute(insert(table), list(rows))
        return
    values = operator.itemgetter(*columns)
    connection.exec_driver_sql(statement, [values(row) for row in rows])


@functools.lru_cache(maxsize=16)
def _positional(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[str, tuple[str, ...] | None]:
    """The statement, and the columns in the order of its parameters; ``None`` where they have names."""
    compiled = insert(table).compile(dialect=dialect, column_keys=list(columns))
    return str(compiled), tuple(compiled.positiontup) if compiled.positiontup else None


def insert_one(connection: Connection, table: Any, row: Mapping[str, Any]) -> int:
    """Insert one row; returns its id."""
    key = connection.execute(insert(table), row).inserted_primary_key
    assert key is not None
    return int(key[0])
