"""What events and receipts ask the index, asked directly."""

import pytest
from index_samples import candidate, header, outcome, record

from sorter.index import Index
from sorter.index.engine import make_engine
from sorter.index.events import (
    News,
    Span,
    arrived,
    dropped,
    instance_rows,
    newest_source,
    origin,
    receipt_rows,
    receipt_totals,
    series_row,
    stored_since,
)
from sorter.index.names import original
from sorter.model import Kind, Outcome, Reason


@pytest.fixture
def index(tmp_path):
    opened = Index.open(tmp_path / "index.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def connection(index, tmp_path):
    engine = make_engine(tmp_path / "index.sqlite", read_only=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as one:
        yield one
    engine.dispose()


def drop(folder, name, inode):
    return candidate(name, folder, inode=inode)


def refused(folder, name, inode):
    return Outcome(drop(folder, name, inode), Kind.REJECTED, Reason.NOT_DICOM, "no", "q")


def test_an_empty_index_knows_nothing(connection):
    assert (origin(connection), newest_source(connection), arrived(connection, 0)) == ("", 0, {})


def test_each_series_that_got_instances_is_news(index, connection):
    record(index, outcome(header(1)), outcome(header(2)), outcome(header(1, series=2)))
    assert arrived(connection, 0) == {1: News(2, 1, 2), 2: News(1, 3, 3)}
    assert arrived(connection, 2) == {2: News(1, 3, 3)}
    assert (newest_source(connection), len(origin(connection))) == (3, 64)


def test_duplicates_are_no_news(index, connection):
    record(index, outcome(header(1)))
    record(index, outcome(header(1), drop("/drop", "again", 9), Kind.DUPLICATE))
    assert arrived(connection, 1) == {}
    assert stored_since(connection, 1, 0) == News(1, 1, 1)
    assert stored_since(connection, 1, 1) == News(0, 1, 1)


def test_a_series_and_its_instances_are_told_by_number(index, connection):
    record(index, outcome(header(7, NumberOfFrames=3, AcquisitionNumber=2)))
    row = series_row(connection, 1)
    one = header(7)
    assert row.series_instance_uid == one.text("SeriesInstanceUID")
    assert row.study_instance_uid == one.text("StudyInstanceUID")
    assert row.modality == "CT"
    (instance,) = instance_rows(connection, 1)
    assert (instance.instance_number, instance.acquisition_number, instance.number_of_frames) == (7, 2, 3)
    assert series_row(connection, 99) is None


def test_dropped_folders_are_told_with_their_names_as_they_were(index, connection):
    record(index, refused("/in/a", "x", 1), refused("/in/odd\udcff", "x", 2), refused("/in/a", "y", 3))
    assert dropped(connection, 0) == {"/in/a": News(2, 1, 3), "/in/odd\udcff": News(1, 2, 2)}


@pytest.fixture
def filled(index, connection):
    folders = ("/in/a", "/in/a/b", "/in/ab", "/in/A", "/in/a%", "/in/a0", "/in")
    record(index, *(refused(folder, "x", number) for number, folder in enumerate(folders, 1)))
    return connection


def names(connection, span):
    return [original(row.folder) for row in receipt_rows(connection, span)]


def test_a_folder_is_told_with_those_below_it_and_with_no_neighbour(filled):
    assert names(filled, Span("/in/a", True, 0, 99)) == ["/in/a", "/in/a/b"]
    assert names(filled, Span("/in/a%", True, 0, 99)) == ["/in/a%"]
    assert names(filled, Span("/in", False, 0, 99)) == ["/in"]


def test_only_rows_of_the_span_are_told(filled):
    assert names(filled, Span("/in", True, 2, 4)) == ["/in/ab", "/in/A"]


def test_totals_are_those_of_the_rows(filled):
    counts, first, last = receipt_totals(filled, Span("/in/a", True, 0, 99))
    assert (counts, first <= last) == ({"rejected": 2}, True)
    assert receipt_totals(filled, Span("/none", True, 0, 99)) == ({}, "", "")
