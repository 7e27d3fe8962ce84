"""Index: what is known of patients, studies, series and instances, and what became of every source."""

from sorter.index.index import Index, Known, SourceRow

__all__ = ["Index", "Known", "SourceRow"]
