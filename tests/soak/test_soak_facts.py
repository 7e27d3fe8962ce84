"""What the soak checks holds after an honest run, and each thing that is planted there is found."""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from inline import inline
from pydicom.uid import RLELossless
from soak import facts
from soak.contents import Maker, encapsulated, gzipped
from soak.gauges import trend
from soak.ledger import Ledger
from soak.world import Places, World

from sorter.config import load
from sorter.rescan import backfill

__all__ = ["inline"]


class Settled:
    """Every kind of source, brought in by one rescan."""

    def __init__(self, root):
        self.world = World(Places(root))
        self.world.places.make()
        self.drop = self.world.places.drops[0]
        self.held = {}
        maker = Maker(1, random.Random(1))
        first, second = maker.fresh(), maker.fresh()
        self.put("a.dcm", first)
        self.put("b.dcm", encapsulated(second, RLELossless))
        self.ingest()
        self.put("again.dcm.gz", gzipped(first))
        self.put("equivalent.dcm", second)
        self.put("conflict.dcm", maker.conflicting(first))
        self.put("cut.dcm", maker.cut(maker.fresh()))
        self.put("junk.txt", maker.junk())
        os.symlink(self.path("a.dcm"), self.path("link.dcm"))
        self.held[self.path("link.dcm")] = ""
        self.ingest()
        self.ledger = Ledger(self.world.places.archive)

    def path(self, name):
        return str(self.drop / name)

    def put(self, name, made):
        if made.content:
            self.world.know(made)
        (self.drop / name).write_bytes(made.data)
        self.held[self.path(name)] = made.sha256

    def ingest(self):
        given = {"incoming": [self.drop], "archive": self.world.places.archive}
        backfill(load(flags=given | {"settle_seconds": 0, "min_free_mb": 0}, environ={"SORTER_CONFIG": ""}))

    def archived(self, way="native"):
        """A published file."""
        [row] = [row for row in self.ledger.rows.values() if row.pixels == way]
        return self.world.places.archive / row.path

    def wrong(self):
        """Everything that the soak would say of it."""
        self.ledger.refresh()
        wrong = [line for row in self.ledger.rows.values() for line in facts.instance(self.world, row)]
        wrong += facts.two_way(self.world, self.ledger)
        found, gone = facts.sources(self.world, self.held, set(), self.ledger)
        wrong += found
        wrong += [f"waits: {path}" for path in facts.waiting(self.world, self.held, self.ledger)]
        if self.world.retire != "keep":
            wrong += facts.retired(self.world, self.held, gone, self.ledger)
        return wrong


@pytest.fixture
def settled(tmp_path, inline):
    return Settled(tmp_path)


def test_after_an_honest_run_nothing_is_wrong(settled):
    assert settled.wrong() == []
    outcomes = sorted(word.outcome for words in settled.ledger.words.values() for word in words.values())
    assert outcomes == ["conflict", "duplicate", "equivalent", "rejected", "rejected", "stored", "stored"]


def remove_archived(settled):
    settled.archived().unlink()


def change_archived(settled):
    path = settled.archived()
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def add_stray(settled):
    (settled.archived().parent / "stray.dcm").write_bytes(b"half")


def make_never_complete(settled):
    del settled.world.streams[next(iter(settled.ledger.rows.values())).stream]


def have_other_pixels(settled):
    [row] = [row for row in settled.ledger.rows.values() if row.pixels == "transcoded"]
    settled.world.streams[row.stream] = replace(settled.world.streams[row.stream], pixels="0")


def remove_source(settled):
    os.unlink(settled.path("junk.txt"))


def change_source(settled):
    path, seen = settled.path("a.dcm"), os.stat(settled.path("a.dcm"))
    with Path(path).open("r+b") as file:
        file.write(b"x")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def add_source(settled):
    (settled.drop / "unknown").write_bytes(b"")


def take_link(settled):
    (settled.drop / "link.dcm").unlink()
    os.link(settled.path("a.dcm"), settled.path("link.dcm"))
    settled.ingest()


def lose_quarantined(settled):
    for path in (settled.world.places.meta / "quarantine" / "conflict").glob("*.dcm"):
        path.unlink()


def touch_source(settled):
    os.utime(settled.path("conflict.dcm"))


def mistake_conflict(settled):
    change_word(settled, "conflict.dcm", "duplicate")


def mistake_junk(settled):
    change_word(settled, "junk.txt", "stored")


def mistake_equivalent(settled):
    change_word(settled, "equivalent.dcm", "conflict")


def change_word(settled, name, outcome):
    words = settled.ledger.words[settled.path(name)]
    words |= {version: replace(word, outcome=outcome, reason=None) for version, word in words.items()}


def retire_refused(settled):
    settled.world.retire = "delete"
    for name in settled.held:
        os.unlink(name)


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (remove_archived, ["a row without its file", "rows without their file"]),
        (change_archived, ["a row whose file has other bytes"]),
        (add_stray, ["files without a row"]),
        (make_never_complete, ["an instance that never was complete"]),
        (have_other_pixels, ["other pixels than it came with"]),
        (remove_source, ["sources are gone although they are kept"]),
        (change_source, ["a source was changed", "waits"]),
        (add_source, ["nobody put these into the drop folder"]),
        (take_link, ["duplicate, and must never be looked at"]),
        (lose_quarantined, ["not in quarantine"]),
        (touch_source, ["no word about a source", "waits"]),
        (mistake_conflict, ["duplicate None, expected conflict"]),
        (mistake_junk, ["stored, and is no instance"]),
        (mistake_equivalent, ["conflict None, expected equivalent"]),
        (retire_refused, ["a source is gone that is not safe in the archive"]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_what_is_planted_is_found(planted, expected, settled):
    settled.wrong()
    planted(settled)
    found = settled.wrong()
    assert {start for start in expected if any(line.startswith(start) for line in found)} == set(expected)
    assert [line for line in found if not line.startswith(tuple(expected))] == []


def test_what_got_another_link_is_told_from_what_was_written(settled):
    settled.wrong()
    linked, written = settled.path("a.dcm"), settled.path("junk.txt")
    os.link(linked, settled.path("another.dcm"))
    Path(written).write_bytes(b"other")
    assert facts.unwritten([linked, written], set(), settled.ledger) == [linked]
    assert facts.unwritten([linked, written], {written}, settled.ledger) == [linked, written]


def test_the_trend_is_that_within_each_life_and_not_between_two():
    lives = [
        [(t, 100 + t / 360) for t in range(0, 720, 10)],
        [(t, 20 + t / 360) for t in range(5000, 5720, 10)],
    ]
    slope, hours = trend(lives)
    assert (round(slope, 6), round(hours, 3)) == (10.0, 0.394)


def test_without_samples_there_is_no_trend():
    assert trend([[], [(1.0, 5.0)]]) == (0.0, 0.0)
