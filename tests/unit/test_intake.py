"""An Intake opens and closes all that bringing files in needs, counts, and retires only what is safe."""

import itertools
import os

import pytest
from inline import config, inline, rows
from structlog.testing import capture_logs
from support import dicom, drop

from sorter import intake as module
from sorter.errors import ArchiveError, ArchiveFullError, ConfigError, IndexUnusableError
from sorter.intake import Batches, Intake, Tally
from sorter.model import Candidate, Kind, Reason
from sorter.observer.listing import look

__all__ = ["inline"]


def candidate(name="a", size=10, root="/in"):
    return Candidate("/in", name, 1, 2, size, 3, 4, root)


def take(intake, root="", **files):
    """Outcomes of one batch of files in the drop folder, by name."""
    folder = intake.config.incoming[0]
    batch = [look(str(drop(folder, name, data)), root or str(folder)) for name, data in files.items()]
    return {one.candidate.name: one for outcomes in intake.take([batch]) for one in outcomes}


# -- the count ------------------------------------------------------------------------------------------


def test_seen_is_the_sum_of_the_outcomes():
    tally = Tally()
    for number, kind in enumerate(Kind, 1):
        for _ in range(number):
            tally.add(kind, None, 5)
    summary = tally.summary()
    assert summary["seen"] == tally.seen == sum(summary[kind] for kind in Kind) == 36
    assert summary["bytes"] == 36 * 5


def test_a_summary_names_every_outcome_even_where_there_is_none():
    assert {str(kind): 0 for kind in Kind}.items() <= Tally().summary().items()


def test_reasons_are_counted_by_outcome():
    tally = Tally()
    tally.add(Kind.REJECTED, Reason.TRUNCATED, 1)
    tally.add(Kind.REJECTED, Reason.TRUNCATED, 1)
    tally.add(Kind.IGNORED, Reason.PATTERN, 1)
    tally.add(Kind.STORED, None, 1)
    assert tally.summary()["reasons"] == {"ignored": {"pattern": 1}, "rejected": {"truncated": 2}}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(kind, kind in (Kind.CONFLICT, Kind.REJECTED, Kind.DEFERRED)) for kind in Kind],
)
def test_a_person_is_needed_for_conflicts_rejected_and_deferred_files(kind, expected):
    tally = Tally()
    tally.add(kind, None, 1)
    assert tally.refused is expected


def test_a_batch_closes_at_so_many_files():
    batches = Batches(files=2)
    first, second = candidate("a"), candidate("b")
    assert [batches.add(first), batches.add(second), batches.rest()] == [None, [first, second], None]


def test_a_batch_closes_at_so_many_bytes():
    batches = Batches(bytes=25)
    closed = [batches.add(candidate(str(number))) is not None for number in range(6)]
    assert closed == [False, False, True, False, False, True]


def test_the_first_batches_are_small_and_grow_to_the_full_size():
    batches = Batches(files=500)
    closed = [len(batch) for n in range(1400) if (batch := batches.add(candidate(str(n))))]
    assert closed == [128, 256, 500, 500]


def test_what_is_left_is_a_batch_too():
    batches = Batches()
    batches.add(candidate())
    assert (batches.rest(), batches.rest()) == ([candidate()], None)


# -- opening and closing --------------------------------------------------------------------------------


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_closing_gives_everything_back(inline, tmp_path):
    Intake(config(tmp_path)).close()
    before = descriptors()
    with Intake(config(tmp_path)) as intake:
        take(intake, a=dicom())
    assert (descriptors(), os.listdir(tmp_path / "archive/.sorter/staging")) == (before, [])


def test_a_template_that_cannot_be_used_is_an_error_of_the_configuration(inline, tmp_path):
    with pytest.raises(ConfigError, match=r"^template: "):
        Intake(config(tmp_path, template="{NoSuchKeyword}/{SOPInstanceUID}.dcm"))
    assert not (tmp_path / "archive").exists()


def test_an_index_that_cannot_be_used_closes_the_archive_again(inline, tmp_path):
    drop(tmp_path / "archive/.sorter", "index.sqlite", b"garbage" * 1000)
    before = descriptors()
    with pytest.raises(IndexUnusableError):
        Intake(config(tmp_path))
    assert (descriptors(), os.listdir(tmp_path / "archive/.sorter/staging")) == (before, [])


def test_an_archive_that_cannot_be_made_is_an_error_of_the_archive(inline, tmp_path):
    drop(tmp_path, "archive", b"a file")
    with pytest.raises(ArchiveError):
        Intake(config(tmp_path))


def test_the_keywords_of_the_template_are_read_from_the_files(inline, tmp_path):
    with Intake(config(tmp_path, template="{PatientID}/{KVP}/{SOPInstanceUID}.dcm")) as intake:
        outcome = take(intake, a=dicom(KVP="120"))["a"]
    assert outcome.path.split("/")[1].startswith("120")


# -- space ----------------------------------------------------------------------------------------------


def test_below_the_floor_there_is_no_space(inline, tmp_path, monkeypatch):
    with Intake(config(tmp_path, min_free_mb=100)) as intake:
        monkeypatch.setattr(intake.archive, "free_bytes", lambda: (100 << 20) - 1)
        with pytest.raises(
            ArchiveFullError,
            match=r"^99 MiB and \d+ file names free below the archive; this needs min_free_mb = 100",
        ):
            intake.check_space()


def test_at_the_floor_there_is_space(inline, tmp_path, monkeypatch):
    with Intake(config(tmp_path, min_free_mb=100)) as intake:
        monkeypatch.setattr(intake.archive, "free_bytes", lambda: 100 << 20)
        assert intake.check_space() is None


def test_a_batch_needs_room_for_its_files_above_the_floor_and_the_error_says_how_much(
    inline, tmp_path, monkeypatch
):
    with Intake(config(tmp_path, min_free_mb=100)) as intake:
        monkeypatch.setattr(intake.archive, "free_bytes", lambda: 150 << 20)
        assert intake.check_space([candidate(size=50 << 20)]) is None
        with pytest.raises(ArchiveFullError, match=r"min_free_mb = 100 MiB and 60 MiB for 2 files"):
            intake.check_space([candidate(size=30 << 20)] * 2)


# -- retiring -------------------------------------------------------------------------------------------


def test_sources_are_kept_by_default(inline, tmp_path):
    with Intake(config(tmp_path)) as intake:
        take(intake, a=dicom())
    assert os.listdir(tmp_path / "in") == ["a"]


def test_what_is_safe_is_deleted_and_what_is_refused_stays(inline, tmp_path):
    with Intake(config(tmp_path, retire="delete")) as intake:
        files = {"stored": dicom(), "twin": dicom(), "conflict": dicom(pixels=1), "junk": b"junk"}
        found = {name: str(one.kind) for name, one in take(intake, **files).items()}
    assert found == {"stored": "stored", "twin": "duplicate", "conflict": "conflict", "junk": "rejected"}
    assert sorted(os.listdir(tmp_path / "in")) == ["conflict", "junk"]


def test_what_is_safe_is_moved_where_the_configuration_says(inline, tmp_path):
    with Intake(config(tmp_path, retire="move", retire_to=tmp_path / "done")) as intake:
        take(intake, a=dicom())
    assert (os.listdir(tmp_path / "in"), os.listdir(tmp_path / "done")) == ([], ["a"])


def test_a_source_is_there_until_its_row_is_committed(inline, tmp_path, monkeypatch):
    seen = []
    with Intake(config(tmp_path, retire="delete")) as intake:
        real = module.retire

        def retire(candidate, how, **more):
            recorded = rows(intake.config, "SELECT count(*) FROM sources")[0][0]
            seen.append((recorded, os.path.exists(candidate.path)))
            return real(candidate, how, **more)

        monkeypatch.setattr(module, "retire", retire)
        take(intake, a=dicom(1), b=dicom(2))
    assert (seen, os.listdir(tmp_path / "in")) == ([(2, True), (2, True)], [])


def test_a_source_whose_row_could_not_be_written_stays(inline, tmp_path, monkeypatch):
    def fail(*_args, **_more):
        raise IndexUnusableError("no")

    with Intake(config(tmp_path, retire="delete")) as intake:
        monkeypatch.setattr(intake.index, "record", fail)
        with pytest.raises(IndexUnusableError):
            take(intake, a=dicom())
    assert os.listdir(tmp_path / "in") == ["a"]


def test_a_path_given_by_hand_is_never_retired(inline, tmp_path):
    with Intake(config(tmp_path, retire="delete")) as intake:
        batch = [look(str(drop(tmp_path / "in", "a", dicom())), "")]
        assert [one.kind for outcomes in intake.take([batch]) for one in outcomes] == [Kind.STORED]
    assert os.listdir(tmp_path / "in") == ["a"]


def test_a_source_that_cannot_be_removed_is_logged_without_its_name(inline, tmp_path, monkeypatch):
    def fail(*_args, **_more):
        raise OSError(13, "Canary", "Canary")

    monkeypatch.setattr(module, "retire", fail)
    with Intake(config(tmp_path, retire="delete")) as intake, capture_logs() as lines:
        found = take(intake, Canary=dicom())
    assert (found["Canary"].kind, [line["event"] for line in lines]) == (Kind.STORED, ["not_retired"])
    assert "Canary" not in repr(lines)


def test_every_source_of_every_batch_is_retired(inline, tmp_path):
    numbers = itertools.count(1)
    with Intake(config(tmp_path, retire="delete")) as intake:
        for _ in range(3):
            take(intake, **{f"f{number}": dicom(number) for number in itertools.islice(numbers, 2)})
    assert os.listdir(tmp_path / "in") == []


def test_a_source_that_cannot_be_retired_is_logged_once_for_each_version(inline, tmp_path, monkeypatch):
    def fail(*_args, **_more):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(module, "retire", fail)
    with Intake(config(tmp_path, retire="delete")) as intake, capture_logs() as lines:
        path = take(intake, a=dicom())["a"].path
        first = look(str(tmp_path / "in/a"), str(tmp_path / "in"))
        second = first._replace(ctime_ns=first.ctime_ns + 1)
        for version in (first, second, first, second):
            intake.retire(version, path)
    assert [line["event"] for line in lines] == ["not_retired"] * 2


def test_a_source_stays_where_its_archived_file_has_a_bad_sector(inline, tmp_path, monkeypatch):
    def fail(_fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("sorter.organizer.archive.digest", fail)
    with Intake(config(tmp_path, retire="delete")) as intake, capture_logs() as lines:
        assert take(intake, a=dicom())["a"].kind is Kind.STORED
    assert os.listdir(tmp_path / "in") == ["a"]
    assert [(line["event"], line["reason"]) for line in lines] == [("not_retired", "archived file not whole")]
