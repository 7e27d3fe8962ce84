"""A series that has gone quiet is told of once, with what is missing; whoever brought it in."""

import time

import pytest
import structlog
from inline import Inline, config, inline
from support import UID, dicom, drop
from told import Told

from sorter.events import series as module
from sorter.events.series import Completeness
from sorter.intake import Intake
from sorter.model import Kind
from sorter.rescan import Rescan

__all__ = ["inline"]
pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def intake(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Workers", Inline)
    with Intake(config(tmp_path, complete_seconds=10)) as opened:
        yield opened


def bring(intake, *files):
    for number, data in enumerate(files):
        drop(intake.config.incoming[0], f"{time.monotonic_ns()}-{number}.dcm", data)
    outcomes = []
    for batch in intake.take(Rescan(intake)._batches()):
        outcomes += batch
    return outcomes


def slice_(number, height=None, **more):
    height = number if height is None else height
    return dicom(
        number, ImagePositionPatient=[0, 0, height], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **more
    )


def test_a_quiet_series_is_told_of_once(intake, told):
    completeness = Completeness(intake, told)
    bring(intake, *map(slice_, range(1, 5)))
    assert completeness.look(100.0) == 110.0
    completeness.look(109.0)
    assert told.events == []
    completeness.look(110.0)
    completeness.look(200.0)
    ((kind, data),) = told.events
    assert (kind, data["instances"], data["new"]) == ("series_complete", 4, 4)
    assert (data["study_instance_uid"], data["series_instance_uid"]) == (f"{UID}.1", f"{UID}.1.1")
    assert (data["modality"], data["folder"].split("/")[0]) == ("CT", "P1")


def test_missing_numbers_and_gaps_are_told(intake, told):
    completeness = Completeness(intake, told)
    bring(intake, *map(slice_, (1, 2, 3, 5, 6, 7)))
    completeness.look(0.0)
    completeness.look(10.0)
    data = told.events[0][1]
    assert data["instance_numbers"]["missing_ranges"] == [[4, 4]]
    assert data["slices"]["gaps_at"] == [{"after": 3.0, "before": 5.0, "missing": 1}]
    assert (told.logged[0]["missing"], told.logged[0]["gaps"]) == (1, 1)


def test_what_the_header_expects_is_told(intake, told):
    completeness = Completeness(intake, told)
    bring(intake, *(slice_(number, ImagesInAcquisition=20) for number in (1, 2)))
    completeness.look(0.0)
    completeness.look(10.0)
    assert told.events[0][1]["expected"] == {"count": 20, "from": "ImagesInAcquisition"}


def test_each_series_is_told_of_by_itself(intake, told):
    completeness = Completeness(intake, told)
    bring(intake, slice_(1), slice_(1, series=2), slice_(1, study=2))
    completeness.look(0.0)
    completeness.look(10.0)
    assert [data["instances"] for _, data in told.events] == [1, 1, 1]


def test_late_instances_are_told_of_as_new(intake, told):
    completeness = Completeness(intake, told)
    bring(intake, slice_(1), slice_(2))
    completeness.look(0.0)
    completeness.look(10.0)
    bring(intake, slice_(3))
    completeness.look(50.0)
    completeness.look(60.0)
    assert [(data["instances"], data["new"]) for _, data in told.events] == [(2, 2), (3, 1)]
    assert len(set(told.numbers)) == 2


def test_duplicates_do_not_wake_a_series(intake, told):
    completeness = Completeness(intake, told)
    bring(intake, slice_(1))
    completeness.look(0.0)
    completeness.look(10.0)
    assert [one.kind for one in bring(intake, slice_(1))] == [Kind.DUPLICATE]
    completeness.look(50.0)
    completeness.look(60.0)
    assert len(told.events) == 1


def test_an_archive_that_was_there_before_is_not_told_of(intake, told):
    bring(intake, slice_(1))
    completeness = Completeness(intake, told)
    completeness.look(0.0)
    completeness.look(10.0)
    assert told.events == []


def test_what_was_open_when_the_daemon_stopped_is_told_after_the_next_start(intake, told):
    first = Completeness(intake, told)
    bring(intake, slice_(1))
    first.look(0.0)
    first.look(10.0)  # remembers
    bring(intake, slice_(2), slice_(1, series=2))
    first.look(20.0)
    first.close()
    second = Completeness(intake, told)
    second.look(1000.0)
    second.look(1010.0)
    assert [(data["instances"], data["new"]) for _, data in told.events] == [(1, 1), (2, 1), (1, 1)]


def test_a_daemon_killed_before_it_told_of_anything_forgets_nothing(intake, told):
    Completeness(intake, told)
    bring(intake, slice_(1))
    second = Completeness(intake, told)
    second.look(0.0)
    second.look(10.0)
    assert len(told.events) == 1


def test_a_crash_between_telling_and_remembering_repeats_the_same_id(intake, told):
    memory = Completeness(intake, told)
    bring(intake, slice_(1))
    memory.look(0.0)
    memory.look(10.0)
    bring(intake, slice_(2))
    state = (intake.config.archive / ".sorter" / "completeness.json").read_bytes()
    for _ in range(2):
        again = Completeness(intake, told)
        again.look(0.0)
        again.look(10.0)
        (intake.config.archive / ".sorter" / "completeness.json").write_bytes(state)
    assert told.numbers[1] == told.numbers[2] != told.numbers[0]


def test_multi_frame_series_are_not_read(intake, told, monkeypatch):
    completeness = Completeness(intake, told)
    bring(intake, dicom(1, NumberOfFrames=2, size=8, PixelData=b"\0" * 256))
    monkeypatch.setattr(Inline, "examine", lambda *_: pytest.fail("read"))
    completeness.look(0.0)
    completeness.look(10.0)
    assert (told.events[0][1]["frames"], told.events[0][1]["slices"]) == (2, None)


def test_a_file_that_vanished_from_the_archive_hides_only_its_position(intake, told):
    completeness = Completeness(intake, told)
    outcomes = bring(intake, *map(slice_, (1, 2, 3)))
    (intake.config.archive / outcomes[0].path).unlink()
    completeness.look(0.0)
    completeness.look(10.0)
    assert (told.events[0][1]["instances"], told.events[0][1]["slices"]) == (3, None)


def test_the_log_holds_no_uid(intake, told):
    completeness = Completeness(intake, told)
    bring(intake, slice_(1))
    completeness.look(0.0)
    completeness.look(10.0)
    assert UID not in str(told.logged)


def test_what_is_stored_wakes_the_thread_and_work_never_waits(intake, told):
    completeness = Completeness(intake, told)
    completeness._seconds = 0.2
    completeness.start()
    outcomes = bring(intake, *map(slice_, range(1, 40)))
    began = time.monotonic()
    completeness.note(outcomes)
    assert completeness.work(began) is None
    assert time.monotonic() - began < 0.1
    while not told.events and time.monotonic() - began < 10:
        time.sleep(0.02)
    began = time.monotonic()
    completeness.close()
    assert time.monotonic() - began < 2.5
    assert told.events[0][1]["instances"] == 39
    assert completeness.report() == {"series": {"open": 0, "told": 1}}


def test_trouble_with_the_index_ends_nothing(intake, told, monkeypatch):
    completeness = Completeness(intake, told)
    monkeypatch.setattr(module, "arrived", lambda *_: 1 / 0)
    with structlog.testing.capture_logs() as lines:
        completeness.start()
        time.sleep(0.3)
        completeness.close()
    assert [line["event"] for line in lines] == ["aside_failed"]
