"""An index that somebody else holds is busy, which is another thing than unusable."""

import contextlib
import sqlite3

import pytest

from sorter.errors import IndexBusyError
from sorter.index import Index, engine
from sorter.model import Candidate, Kind, Outcome, Reason


def test_a_write_beside_somebodys_transaction_says_that_the_index_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    path = tmp_path / "index.sqlite"
    index = Index.open(path)
    refused = Outcome(Candidate("/in", "a", 1, 2, 3, 4, 5), Kind.REJECTED, Reason.NOT_DICOM)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexBusyError, match="SQLITE_BUSY"):
            index.record([refused], {}, {})
        browser.execute("ROLLBACK")
    index.record([refused], {}, {})
    assert index.counts()["outcomes"] == {"rejected": 1}
    index.close()
