"""``docs/index.md`` tells of every column, and its examples work."""

import re
import sqlite3

import pytest
from index_samples import header, outcome, record
from support import ROOT

from sorter.index import Index
from sorter.index.schema import metadata

DOCUMENT = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`[^\n]*\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
# A row of a table: its first cell holds one or more names in backticks.
NAMES = re.compile(r"`(\w+)`")


def documented(title):
    rows = re.findall(r"^\| (`.*?`) \|", SECTIONS[title], re.MULTILINE)
    return [name for row in rows for name in NAMES.findall(row)]


@pytest.fixture
def database(tmp_path):
    index = Index.open(f"sqlite:///{tmp_path}/index.sqlite")
    record(index, outcome(header()))
    index.close()
    connection = sqlite3.connect(tmp_path / "index.sqlite")
    yield connection
    connection.close()


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_every_column_of_every_table_is_documented_in_its_order(table):
    assert documented(table.name) == [column.name for column in table.columns]


@pytest.mark.parametrize("view", ["instance_view", "source_view"])
def test_every_column_of_every_view_is_documented_in_its_order(database, view):
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({view})")]
    assert documented(view) == columns


@pytest.mark.parametrize("query", re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL))
def test_every_example_query_runs(database, query):
    assert database.execute(query).description
