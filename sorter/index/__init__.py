"""Index: what is known of patients, studies, series and instances, and what became of every source."""

from sorter.index.engine import sqlite_file
from sorter.index.index import Index
from sorter.index.rows import Known, SourceRow

__all__ = ["Index", "Known", "SourceRow", "sqlite_file"]
