"""A mistaken drop goes back out of the archive whole: its files to a folder, its rows out of the index."""

import json
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from inline import config, inline, rows
from support import UID, dicom, drop, tree

from sorter.audit import audit
from sorter.cli import group
from sorter.cli.undo import _table
from sorter.errors import ArchiveError, ConfigError
from sorter.intake import Intake
from sorter.rescan import backfill
from sorter.undo import Selection, look_up, recent, undo
from sorter.verification import Options, Survey

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


@pytest.fixture
def found(tmp_path):
    """A good drop, and a mistaken one with a file that the good one had too, and one more of its series."""
    drop(tmp_path / "in", "good/a", dicom(1))
    drop(tmp_path / "in", "good/b", dicom(2))
    backfill(config(tmp_path))
    drop(tmp_path / "in", "bad/again", dicom(1))
    drop(tmp_path / "in", "bad/c", dicom(3))
    drop(tmp_path / "in", "bad/d", dicom(1, study=2, patient="P2"))
    drop(tmp_path / "in", "bad/e", dicom(1, study=2, patient="P2"))
    backfill(config(tmp_path))
    return config(tmp_path)


def uids(found):
    return sorted(uid.removeprefix(UID) for (uid,) in rows(found, "SELECT sop_instance_uid FROM instances"))


def words(found):
    query = "SELECT source, outcome, reason FROM source_view ORDER BY source"
    return {source.rpartition("/")[2]: (outcome, reason) for source, outcome, reason in rows(found, query)}


def is_sound(found):
    assert audit(found).findings == []
    with Intake(found) as intake:
        assert Survey(intake, Options()).run().findings.counts() == {}


def test_the_instances_of_a_batch_go_with_their_rows(found):
    before = tree(found.archive)
    report = undo(found, Selection(batches=(2,)))
    assert (report.withdrawn, report.stay, report.kept) == (2, 0, 0)
    assert uids(found) == [".1.1.1", ".1.1.2"]
    withdrawn = tree(found.archive / report.folder)
    gone = before.keys() - tree(found.archive).keys()
    assert {path: before[path] for path in gone} == {
        path: data for path, data in withdrawn.items() if path.endswith(".dcm")
    }
    is_sound(found)


def test_the_patient_and_study_that_only_it_had_go_and_others_stay(found):
    undo(found, Selection(batches=(2,)))
    levels = [rows(found, f"SELECT count(*) FROM {table}") for table in ("patients", "studies", "series")]
    assert levels == [[(1,)]] * 3


def test_the_ledger_says_withdrawn_and_keeps_what_it_said_before(found):
    undo(found, Selection(batches=(2,)))
    withdrawn = ("ignored", "withdrawn")
    expected = {"a": ("stored", None), "b": ("stored", None), "again": ("duplicate", None)}
    assert words(found) == expected | dict.fromkeys("cde", withdrawn)
    assert rows(found, "SELECT count(*) FROM sources WHERE superseded") == [(3,)]


def test_what_was_known_lies_beside_the_files(found):
    undo(found, Selection(batches=(2,)))
    (note,) = (found.archive / ".sorter/withdrawn").glob("*.rows-*.json")
    said = json.loads(note.read_text())
    assert sorted(one["sop_instance_uid"] for one in said) == [f"{UID}.1.1.3", f"{UID}.2.1.1"]
    assert {one["patient_id"]: len(one["sources"]) for one in said} == {"P1": 1, "P2": 2}


def test_a_source_that_still_lies_there_does_not_come_in_again(found):
    undo(found, Selection(batches=(2,)))
    tally = backfill(found)
    assert (tally.summary()["stored"], tally.summary()["ignored"], tally.adopted) == (0, 3, 0)
    assert uids(found) == [".1.1.1", ".1.1.2"]


def test_from_elsewhere_it_can_come_in_again(found, tmp_path):
    report = undo(found, Selection(batches=(2,)))
    (found.archive / report.folder).rename(tmp_path / "elsewhere")
    assert backfill(found, [tmp_path / "elsewhere"]).summary()["stored"] == 2
    is_sound(found)


def test_what_another_source_brought_too_stays(found):
    report = undo(found, Selection(batches=(1,)))
    assert (report.withdrawn, report.stay) == (1, 1)
    assert uids(found) == [".1.1.1", ".1.1.3", ".2.1.1"]
    is_sound(found)


def test_a_dropped_folder_can_be_named_instead(found, tmp_path):
    report = undo(found, Selection(under=str(tmp_path / "in/bad")))
    assert report.withdrawn == 2
    assert uids(found) == [".1.1.1", ".1.1.2"]


def test_a_folder_whose_name_only_begins_like_it_is_another(found, tmp_path):
    assert look_up(found, Selection(under=str(tmp_path / "in/ba"))).instances == 0


def test_a_folder_whose_name_differs_only_in_case_is_another(found, tmp_path):
    drop(tmp_path / "in", "Bad/deeper/f", dicom(4))
    backfill(found)
    assert look_up(found, Selection(under=str(tmp_path / "in/bad"))).instances == 2
    assert look_up(found, Selection(under=str(tmp_path / "in/BAD"))).instances == 0
    assert look_up(found, Selection(under=str(tmp_path / "in/Bad"))).instances == 1


def test_nothing_selected_is_a_mistake(found):
    with pytest.raises(ConfigError, match="nothing is selected"):
        undo(found, Selection())


def test_a_missing_file_keeps_its_row(found):
    (path,) = rows(found, f"SELECT path FROM instances WHERE sop_instance_uid = '{UID}.2.1.1'")[0]
    (found.archive / path).unlink()
    report = undo(found, Selection(batches=(2,)))
    assert (report.withdrawn, report.kept) == (1, 1)
    assert ".2.1.1" in uids(found)


def test_recent_batches_are_listed_newest_first(found):
    listed = recent(found)
    assert [(one["id"], one["sources"], one["stored"]) for one in listed] == [(2, 4, 2), (1, 2, 2)]
    assert listed[0]["folder"].endswith("/in/bad")


def test_the_next_instance_of_a_withdrawn_series_begins_anew(found, tmp_path):
    undo(found, Selection(batches=(1, 2)))
    assert uids(found) == []
    drop(tmp_path / "in", "new", dicom(7))
    backfill(found)
    assert uids(found) == [".1.1.7"]
    is_sound(found)


def test_withdrawn_files_come_in_again_from_where_they_lie(found):
    report = undo(found, Selection(batches=(2,)))
    summary = backfill(found, [found.archive / report.folder]).summary()
    assert (summary["seen"], summary["stored"]) == (2, 2)
    assert len(uids(found)) == 4
    is_sound(found)


def test_what_a_daemon_met_in_between_stays(found, tmp_path, monkeypatch):
    """Between looking up and moving, another source of the same instance is recorded."""
    from sorter import undo as module

    chosen = module._chosen

    def slow(index, selection):
        first = chosen(index, selection)
        drop(tmp_path / "in", "late/c", dicom(3))
        backfill(found, [tmp_path / "in/late"])
        return first

    monkeypatch.setattr(module, "_chosen", slow)
    report = undo(found, Selection(batches=(2,)))
    assert (report.instances, report.withdrawn, report.stay, report.kept) == (2, 1, 1, 0)
    assert uids(found) == [".1.1.1", ".1.1.2", ".1.1.3"]
    is_sound(found)


def test_many_batches_are_few_conditions(found):
    """SQLite takes no more than 32,766 numbers in one statement."""
    assert look_up(found, Selection(batches=tuple(range(1, 100_000)))).instances == 4


# -- another folder ---------------------------------------------------------------------------------------


def withdrawn(found):
    return tree(found.archive / ".sorter/withdrawn")


def brought(folder):
    """Path without the time -> bytes, of the instances; and how many notes."""
    files = tree(folder)
    instances = {path.partition("/")[2]: data for path, data in files.items() if path.endswith(".dcm")}
    return instances, sum(path.endswith(".json") for path in files)


def test_it_can_be_brought_to_a_folder_elsewhere(found, tmp_path):
    before = tree(found.archive)
    report = undo(found, Selection(batches=(2,)), to=tmp_path / "out/there")
    assert (report.withdrawn, report.brought, report.left) == (2, 3, 0)
    gone = before.keys() - tree(found.archive).keys()
    assert brought(tmp_path / "out/there") == ({path: before[path] for path in gone}, 1)
    assert withdrawn(found) == {}
    is_sound(found)


def test_another_file_system_will_do(found):
    if not (os.path.isdir("/dev/shm") and os.stat("/dev/shm").st_dev != os.stat(found.archive).st_dev):
        pytest.skip("/dev/shm is no file system of its own")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert undo(found, Selection(batches=(2,)), to=Path(folder, "x")).brought == 3
        assert len(brought(Path(folder, "x"))[0]) == 2
    assert withdrawn(found) == {}


def test_what_was_left_by_a_crash_is_brought_later(found, tmp_path, monkeypatch):
    """A file is in one of the two folders at least, whatever happens; then all are in the second."""
    before = tree(found.archive)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sorter.undo.Mover.remove", crash)
        with pytest.raises(KeyboardInterrupt):
            undo(found, Selection(batches=(2,)), to=tmp_path / "out")
    assert len(withdrawn(found)) == len(tree(tmp_path / "out")) == 3
    report = undo(found, Selection(), to=tmp_path / "out")
    assert (report.instances, report.brought, report.left) == (0, 3, 0)
    gone = before.keys() - tree(found.archive).keys()
    assert brought(tmp_path / "out") == ({path: before[path] for path in gone}, 1)
    assert withdrawn(found) == {}


def test_no_file_is_replaced_there(found, tmp_path):
    folder = Path(undo(found, Selection(batches=(2,))).folder).name
    path = next(path for path in withdrawn(found) if path.endswith(".dcm"))
    assert path.startswith(f"{folder}/")
    drop(tmp_path / "out", path, b"a note")
    report = undo(found, Selection(), to=tmp_path / "out")
    assert (report.brought, report.left) == (2, 1)
    assert (tmp_path / "out" / path).read_bytes() == b"a note"
    assert list(withdrawn(found)) == [path]


@pytest.mark.parametrize("where", ["archive/.sorter/x", "archive", "in/x"])
def test_the_folder_lies_outside(found, tmp_path, where):
    with pytest.raises(ConfigError, match="name a folder elsewhere"):
        undo(found, Selection(batches=(2,)), to=tmp_path / where)
    assert len(uids(found)) == 4


def test_a_file_in_its_way_is_an_error_that_loses_nothing(found, tmp_path):
    drop(tmp_path, "out", b"a note")
    with pytest.raises(ArchiveError):
        undo(found, Selection(batches=(2,)), to=tmp_path / "out")
    assert len(withdrawn(found)) == 3


# -- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def command(found, monkeypatch):
    monkeypatch.setenv("SORTER_CONFIG", "")

    def run(*args, **how):
        where = ["--archive", str(found.archive)]
        return CliRunner().invoke(group, ["undo", *where, *args], standalone_mode=False, **how)

    return run


def test_it_asks_first(command, found):
    assert "nothing was moved" in str(command("2", input="").exception)
    assert len(uids(found)) == 4
    assert command("2", input="y\n").return_value == 0
    assert len(uids(found)) == 2


def test_ranges_and_json(command):
    facts = json.loads(command("1-2", "--yes", "--json").stdout)
    assert (facts["instances"], facts["withdrawn"]) == (4, 4)


def test_a_dry_run_changes_nothing(command, found):
    assert json.loads(command("2", "--dry-run", "--json").stdout)["instances"] == 2
    assert len(uids(found)) == 4


def test_a_list_is_a_page_for_people(command):
    lines = command("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["batch", "2", "1"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [(1, "/in/a"), (2, "/in/a and 1 more folder"), (1003, "/in/a and 1,002 more folders")],
)
def test_a_list_says_where_a_batch_came_from_and_from_how_many_folders_more(folders, expected):
    row = {"id": 1, "recorded_at": "", "kind": "ingest", "sources": 9, "stored": 9, "folders": folders}
    (_, line) = _table([row | {"folder": "/in/a"}]).splitlines()
    assert line.endswith(f"  {expected}")


def test_a_folder_without_a_selection_gets_all_that_was_taken_out(command, tmp_path):
    assert command("2", "--yes").return_value == 0
    done = command("--to", str(tmp_path / "out"), "--yes")
    assert (done.return_value, done.stdout.split()[0]) == (0, "3")
    assert command("--to", str(tmp_path / "out"), "--yes").return_value == 1


@pytest.mark.parametrize("word", ["5-2", "0-9999999999999"])
def test_no_batches_are_none(command, word):
    assert "goes backwards" in str(command("--yes", word).exception)


@pytest.mark.parametrize("word", ["x", "2-x", "-"])
def test_what_is_no_batch_is_said_so(command, word):
    assert "is no batch" in str(command("--yes", "--", word).exception)


def test_an_unknown_batch_selects_nothing(command):
    assert command("99", "--yes").return_value == 1


def test_a_crash_before_the_rows_changed_is_taken_back(found, monkeypatch):
    """And one after it is finished: at the next start of anything that writes."""
    before, published = words(found), tree(found.archive)

    def crash(*_):
        raise sqlite3.OperationalError("no")

    monkeypatch.setattr("sorter.undo.withdrawal.withdraw", crash)
    with pytest.raises(sqlite3.OperationalError):
        undo(found, Selection(batches=(2,)))
    assert rows(found, "SELECT DISTINCT state FROM moves") == [("planned",)]
    backfill(found)
    assert (words(found), tree(found.archive)) == (before, published)
    assert rows(found, "SELECT count(*) FROM moves") == [(0,)]
    is_sound(found)


def test_a_crash_before_the_old_names_went_is_finished(found, monkeypatch):
    monkeypatch.setattr("sorter.journal.Mover.clear", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        undo(found, Selection(batches=(2,)))
    monkeypatch.undo()
    with closing(sqlite3.connect(found.index_location)) as connection:
        assert connection.execute("SELECT DISTINCT state FROM moves").fetchall() == [("moved",)]
    monkeypatch.setattr("sorter.intake.Workers", inline_workers())
    backfill(found)
    assert uids(found) == [".1.1.1", ".1.1.2"]
    is_sound(found)


def test_a_name_that_came_in_again_after_a_crash_stays(found, tmp_path, monkeypatch):
    """A daemon that runs on meets the withdrawn bytes elsewhere before the names are put right."""
    monkeypatch.setattr("sorter.journal.Mover.clear", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        undo(found, Selection(batches=(2,)))
    monkeypatch.undo()
    monkeypatch.setattr("sorter.intake.Workers", inline_workers())
    drop(tmp_path / "in", "new/c", dicom(3))
    with monkeypatch.context() as patch:
        patch.setattr("sorter.intake.finish", lambda *_: 0)
        assert backfill(found, [tmp_path / "in/new"]).summary()["stored"] == 1
    backfill(found)
    assert uids(found) == [".1.1.1", ".1.1.2", ".1.1.3"]
    assert rows(found, "SELECT DISTINCT state FROM moves") == [("done",)]
    is_sound(found)


def inline_workers():
    from inline import Inline

    return Inline
