"""The one screen: what happens to a batch, in which order, and what becomes of twins."""

import fcntl
import os
from dataclasses import replace

import pytest
from inline import Inline, config, inline, rows
from support import bundled, dicom, drop, tree

from sorter.errors import ArchiveError, IndexUnusableError
from sorter.ingest import ingest
from sorter.intake import Intake
from sorter.model import Kind, Reason, Refused
from sorter.observer.listing import look

__all__ = ["inline"]
RLE, NATIVE = "MR_small_RLE.dcm", "MR_small.dcm"


@pytest.fixture
def intake(inline, tmp_path):
    with Intake(config(tmp_path)) as intake:
        yield intake


def run(intake, *batches, **more):
    """Outcomes of batches of files, by name; each batch maps names to bytes."""
    root = intake.config.incoming[0]
    found = [[look(str(drop(root, name, data))) for name, data in batch.items()] for batch in batches]
    return [
        {one.candidate.name: one for one in outcomes}
        for outcomes in ingest(
            found,
            archive=intake.archive,
            index=intake.index,
            workers=intake.workers,
            layout=intake.layout,
            recipe=intake.recipe,
            **more,
        )
    ]


def kinds(*found):
    return [{name: one.kind for name, one in batch.items()} for batch in found]


# -- the order ------------------------------------------------------------------------------------------


@pytest.fixture
def events(intake, monkeypatch):
    """What is done to a batch, in order, and whether the writer's lock was held then."""
    seen = []

    def held():
        fd = os.open(intake.archive.root / ".sorter/lock", os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def watch(owner, name):
        real = getattr(owner, name)

        def watched(*args, **more):
            seen.append((name, held()))
            return real(*args, **more)

        monkeypatch.setattr(owner, name, watched)

    watch(intake.archive, "publish")
    watch(intake.archive, "discard")
    for name in ("lookup", "record"):
        watch(intake.index, name)
    return seen


def test_a_batch_is_looked_up_published_and_recorded_in_one_turn_then_discarded(intake, events):
    run(intake, {"a": dicom()})
    assert events == [("lookup", True), ("publish", True), ("record", True), ("discard", False)]


def test_each_batch_has_a_turn_of_its_own(intake, events):
    run(intake, {"a": dicom(1)}, {"b": dicom(2)})
    assert [name for name, _ in events] == ["lookup", "publish", "record", "discard"] * 2


def test_the_file_has_its_name_when_its_row_is_written(intake, monkeypatch):
    """A row never names a file that is not there."""
    seen, real = [], intake.index.record

    def record(outcomes, *rest, **more):
        seen.extend((intake.archive.root / one.path).is_file() for one in outcomes)
        return real(outcomes, *rest, **more)

    monkeypatch.setattr(intake.index, "record", record)
    run(intake, {"a": dicom(1), "b": dicom(2)})
    assert seen == [True, True]


def test_an_outcome_is_told_when_its_row_is_written(intake):
    found = [look(str(drop(intake.config.incoming[0], "a", dicom())))]
    outcomes = ingest(
        [found],
        archive=intake.archive,
        index=intake.index,
        workers=intake.workers,
        layout=intake.layout,
        recipe=intake.recipe,
    )
    next(outcomes)
    assert rows(intake.config, "SELECT count(*) FROM instances") == [(1,)]


def test_what_could_not_be_published_is_not_recorded(intake, events, monkeypatch):
    def fail(*_args, **_more):
        raise ArchiveError("no")

    monkeypatch.setattr(intake.archive, "publish", fail)
    with pytest.raises(ArchiveError):
        run(intake, {"a": dicom()})
    assert [name for name, _ in events] == ["lookup"]
    assert rows(intake.config, "SELECT count(*) FROM sources") == [(0,)]


def test_a_batch_that_could_not_be_recorded_is_adopted_at_the_next_try(intake, monkeypatch):
    def fail(*_args, **_more):
        raise IndexUnusableError("no")

    with monkeypatch.context() as broken:
        broken.setattr(intake.index, "record", fail)
        with pytest.raises(IndexUnusableError):
            run(intake, {"a": dicom()})
    before = tree(intake.archive.root)
    (again,) = run(intake, {"a": dicom()})
    assert (again["a"].kind, again["a"].detail, tree(intake.archive.root)) == (Kind.STORED, "adopted", before)


def test_nothing_is_left_in_staging(intake):
    run(intake, {"a": dicom(1), "b": b"junk", "c": dicom(1), "d": dicom(1, pixels=7)})
    assert os.listdir(intake.archive.staging.folder) == [".lease"]


def test_there_is_one_outcome_for_each_candidate(intake):
    files = {"a": dicom(1), "b": b"junk", "c": dicom(1), "d": bundled("dicomdirtests/DICOMDIR").read_bytes()}
    assert kinds(*run(intake, files)) == [
        {"a": Kind.STORED, "b": Kind.REJECTED, "c": Kind.DUPLICATE, "d": Kind.IGNORED}
    ]


def test_no_batch_is_no_work(intake, events):
    assert (run(intake), events) == ([], [])


def test_the_caller_has_the_last_word_on_what_is_refused(intake):
    def refuse(refused):
        return replace(refused, kind=Kind.DEFERRED, reason=Reason.INCOMPLETE)

    (found,) = run(intake, {"a": dicom()[:-9]}, refuse=refuse)
    assert (found["a"].kind, found["a"].reason) == (Kind.DEFERRED, Reason.INCOMPLETE)
    assert rows(intake.config, "SELECT count(*) FROM sources") == [(0,)]
    assert not (intake.archive.root / ".sorter/quarantine/truncated").exists()


# -- twins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (dicom(), dicom(), Kind.DUPLICATE),
        (dicom(), dicom(pixels=1), Kind.CONFLICT),
        (dicom(), dicom(patient="P2"), Kind.CONFLICT),
        (dicom(), dicom(2), Kind.STORED),
        (bundled(NATIVE).read_bytes(), bundled(RLE).read_bytes(), Kind.EQUIVALENT),
        (bundled(RLE).read_bytes(), bundled(NATIVE).read_bytes(), Kind.EQUIVALENT),
        (bundled(RLE).read_bytes(), bundled(RLE).read_bytes(), Kind.DUPLICATE),
    ],
    ids=["same", "pixels", "patient", "number", "native-rle", "rle-native", "rle-rle"],
)
def test_the_second_of_two_is_judged_by_the_first(intake, first, second, expected, together):
    batches = [{"a": first, "b": second}] if together else [{"a": first}, {"b": second}]
    found = {name: one for batch in run(intake, *batches) for name, one in batch.items()}
    assert (found["a"].kind, found["b"].kind) == (Kind.STORED, expected)
    count = 2 if expected is Kind.STORED else 1
    assert (len(tree(intake.archive.root)), rows(intake.config, "SELECT count(*) FROM instances")) == (
        count,
        [(count,)],
    )


@pytest.mark.parametrize("together", [True, False])
def test_twins_that_cannot_be_compared_are_in_conflict_and_both_are_kept(intake, monkeypatch, together):
    monkeypatch.setattr(Inline, "fingerprints", lambda *_: None)
    batch = {"a": dicom(), "b": dicom(pixels=1)}
    batches = [batch] if together else [{"a": batch["a"]}, {"b": batch["b"]}]
    found = {name: one for part in run(intake, *batches) for name, one in part.items()}
    assert (found["b"].kind, found["b"].detail) == (
        Kind.CONFLICT,
        "other bytes, which could not be compared",
    )
    assert [(intake.archive.root / found[name].path).read_bytes() for name in "ab"] == [
        batch["a"],
        batch["b"],
    ]


def test_a_duplicate_needs_no_comparison(intake, monkeypatch):
    monkeypatch.setattr(Inline, "fingerprints", lambda *_: pytest.fail("compared"))
    found = run(intake, {"a": dicom()}, {"b": dicom()})
    assert found[1]["b"].kind is Kind.DUPLICATE


def test_a_duplicate_names_the_place_of_the_first(intake):
    first, second = run(intake, {"a": dicom()}, {"b": dicom()})
    assert second["b"].path == first["a"].path


def test_the_ledger_knows_every_source_but_what_is_deferred(intake):
    def refuse(refused: Refused):
        return replace(refused, kind=Kind.DEFERRED, reason=Reason.INCOMPLETE)

    run(intake, {"a": dicom(), "b": dicom(), "c": b"junk"}, refuse=refuse)
    assert rows(intake.config, "SELECT name, outcome FROM sources ORDER BY 1") == [
        ("a", "stored"),
        ("b", "duplicate"),
    ]
