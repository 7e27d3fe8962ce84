"""SIGKILL while an index of the first schema is brought up to date: it is the old or the new one, whole."""

import sqlite3
from contextlib import closing

import pytest
from contract.test_chain import first_schema
from crash.runs import KILLED, inject, sample
from inline import config

from sorter.audit import audit

CALLS = ("fdatasync", "fsync", "pwrite64", "ftruncate", "write", "unlink")


def prepare(folder):
    """A drop folder without files, and an archive whose index is of the first schema."""
    (folder / "incoming").mkdir(parents=True)
    found = config(folder, incoming=[folder / "incoming"], archive=folder / "archive")
    found.index_location.parent.mkdir(parents=True)
    first_schema(found.index_location)
    return found


def run(sorter, folder, **how):
    where = ("--incoming", folder / "incoming", "--archive", folder / "archive")
    return sorter.run(folder, "--rescan", "--json", *where, **how)


def rows(found):
    with closing(sqlite3.connect(found.index_location)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        count = connection.execute("SELECT count(*) FROM sources").fetchone()[0]
        return version, count


@pytest.mark.parametrize("call", CALLS)
def test_a_migration_that_is_killed_is_begun_again(sorter, full, tmp_path, call):
    undisturbed = prepare(tmp_path / "undisturbed")
    finished = run(sorter, tmp_path / "undisturbed", trace=[])
    assert finished.status == 0, finished.stderr
    assert rows(undisturbed) == ("0002", 2)
    calls = [one for one in finished.log if one.name == call and "index.sqlite" in one.target]
    for one in calls if full else sample(calls, 3):
        folder = tmp_path / f"{call}-{one.number}"
        found = prepare(folder)
        assert run(sorter, folder, trace=inject(call, one.number)).status == KILLED
        assert rows(found) in (("0001", 1), ("0002", 2))
        again = run(sorter, folder)
        assert again.status == 0, again.stderr
        assert rows(found) == ("0002", 2)
        assert "tampered" not in audit(found).findings_count
