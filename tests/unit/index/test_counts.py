"""A glance at an index tells the same as the index itself, or nothing."""

import sqlite3
import subprocess
import sys

import pytest
from index_samples import candidate, header, outcome, record

from sorter.index import Index
from sorter.index.counts import glance
from sorter.model import Kind, Outcome, Reason


@pytest.fixture
def location(tmp_path):
    return tmp_path / "odd ?#% name" / "index.sqlite"


@pytest.fixture
def index(location):
    location.parent.mkdir()
    opened = Index.open(location)
    rejected = Outcome(candidate("r"), Kind.REJECTED, Reason.TRUNCATED)
    record(opened, outcome(header(1)), outcome(header(2, patient="P2")), rejected)
    yield opened
    opened.close()


def test_a_glance_counts_what_the_index_counts(index, location):
    found = glance(location)
    assert found == index.counts()
    assert (found["instances"], found["outcomes"]) == (2, {"rejected": 1, "stored": 2})


def test_a_glance_without_counting_says_only_that_it_can_be_read(index, location):
    assert glance(location, counts=False) == {}


def test_what_is_damaged_or_of_another_version_or_not_there_is_left_to_the_index(index, location, tmp_path):
    index.close()
    (tmp_path / "damaged").write_bytes(b"no database" * 1000)
    with sqlite3.connect(location) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    found = [glance(one) for one in (location, tmp_path / "damaged", tmp_path / "absent")]
    assert found == [None, None, None]
    assert not (tmp_path / "absent").exists()


def test_a_glance_needs_no_sqlalchemy():
    code = "import sys, sorter.index.counts; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
