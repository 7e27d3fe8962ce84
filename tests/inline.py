"""The line without worker processes, for tests about everything around them."""

import itertools
import sqlite3
from dataclasses import replace

import pytest

from sorter import intake
from sorter.config import load
from sorter.stage import Job, compare, examine, stage
from sorter.workers import Batch


class Inline:
    """Stands in for Workers: the same work, in this process."""

    def __init__(self, *, count, memory_mb, seconds):
        self.count, self._numbers = count, itertools.count(1)
        self.progress_at, self.longest = 0.0, seconds

    @classmethod
    def of(cls, config):
        return cls(count=1, memory_mb=config.worker_memory_mb, seconds=config.worker_seconds)

    def stage(self, batches, recipe):
        for batch in batches:
            prefix = f"{next(self._numbers)}-"
            job = Job(tuple(batch), recipe.staging, prefix, recipe.families, recipe.keywords)
            job = replace(job, wanted=recipe.wanted)
            yield Batch(batch, stage(job))

    def fingerprints(self, paths):
        return compare(paths)

    def examine(self, paths, keywords):
        return examine(tuple(paths), keywords)

    def examine_all(self, parts, keywords, recipe):
        like = Job((), recipe.staging, "examined-", recipe.families, keywords)
        for part in parts:
            yield part, examine(tuple(part), keywords, like)

    def warm_up(self):
        """Nothing to start."""

    def rest(self):
        """Nothing runs."""

    def close(self):
        """Nothing runs."""


@pytest.fixture
def inline(monkeypatch):
    """Every Intake of the test works in this process."""
    monkeypatch.setattr(intake, "Workers", Inline)


def config(folder, **flags):
    """A Config with its drop folder and archive below a folder, which takes files at once."""
    (folder / "in").mkdir(exist_ok=True)
    flags = {
        "incoming": [folder / "in"],
        "archive": folder / "archive",
        "settle_seconds": 0,
        "workers": 1,
        "min_free_mb": 0,
    } | flags
    return load(flags=flags, environ={"SORTER_CONFIG": ""})


def rows(config, query):
    """What a query of the index says."""
    connection = sqlite3.connect(f"file:{config.index_location}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
