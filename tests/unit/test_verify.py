"""Verification: each thing that can be wrong is found, nothing else is, and a repair loses no byte."""

import hashlib
import json
import os
import shutil

import pytest
from inline import config, inline, rows
from support import dicom, drop, tree

from sorter.index import verification as asked
from sorter.intake import Intake
from sorter.organizer.mending import Mending
from sorter.rescan import backfill
from sorter.verification import Mend, Options, Repair, Survey, Wrong, resumable
from sorter.verification import reading as reading_module

pytestmark = pytest.mark.usefixtures("inline")
__all__ = ["inline"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def found(tmp_path):
    """An archive of four instances of two patients, one conflict and one file of junk."""
    for number in (1, 2, 3):
        drop(tmp_path / "in", f"{number}.dcm", dicom(number, pixels=number))
    drop(tmp_path / "in", "other.dcm", dicom(1, study=2, patient="P2"))
    drop(tmp_path / "in", "junk.txt", b"junk")
    found = config(tmp_path)
    backfill(found)
    drop(tmp_path / "in", "late/conflict.dcm", dicom(1, pixels=77))
    backfill(found)
    return found


def survey(found, *, resume=False, **options):
    """(what is wrong by kind, the report)."""
    with Intake(found) as intake:
        report = Survey(intake, Options(**options), resume=resume).run()
        return report.findings.counts(), report


def repair(found, **options):
    """Verify, repair, and what is left by kind."""
    with Intake(found) as intake:
        report = Survey(intake, Options(**options)).run()
        done = Repair(intake, report.findings).run()
        return done, report.findings.counts()


def paths(found):
    return [path for (path,) in rows(found, "SELECT path FROM instances ORDER BY path")]


def problems(found):
    return rows(found, "SELECT path, problem FROM instances WHERE problem IS NOT NULL ORDER BY path")


def overwrite(path, data):
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def damage(path, offset=-3):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    overwrite(path, bytes(data))


# -- what is found ----------------------------------------------------------------------------------------


def test_an_untouched_archive_is_clean_and_every_instance_counts_as_read(found):
    counts, report = survey(found)
    assert (counts, report.clean, report.instances, report.files) == ({}, True, 4, 4)
    assert report.bytes == sum(len(data) for data in tree(found.archive).values())
    assert report.quarantined == 2
    assert rows(found, "SELECT count(*) FROM instances WHERE verified_at IS NULL OR problem IS NOT NULL") == [
        (0,)
    ]


def test_a_quick_look_reads_nothing_and_says_of_no_file_that_it_was_read(found):
    damage(found.archive / paths(found)[0])
    counts, report = survey(found, quick=True)
    assert (counts, report.instances, report.bytes) == ({}, 4, 0)
    assert rows(found, "SELECT count(verified_at) FROM instances") == [(0,)]


def test_a_missing_file_is_found_and_marked(found):
    path = paths(found)[1]
    (found.archive / path).unlink()
    for options in ({"quick": True}, {}):
        counts, report = survey(found, **options)
        assert counts == {"missing": 1}
        assert [one.path for one in report.findings.all()] == [path]
        assert problems(found) == [(path, "missing")]


@pytest.mark.parametrize("change", ["a bit", "shorter", "longer", "empty"])
def test_a_damaged_file_is_found_and_marked(found, change):
    path = paths(found)[0]
    file = found.archive / path
    data = file.read_bytes()
    if change == "a bit":
        damage(file)
    else:
        overwrite(file, {"shorter": data[:-2], "longer": data + b"\0\0", "empty": b""}[change])
    counts, report = survey(found)
    assert counts == {"damaged": 1}
    (finding,) = report.findings.all()
    assert (finding.path, finding.sha256) == (path, sha256(data))
    assert problems(found) == [(path, "damaged")]


@pytest.mark.parametrize("what", ["symlink", "folder", "fifo"])
def test_what_is_no_file_under_a_recorded_name_is_found(found, tmp_path, what):
    path = found.archive / paths(found)[0]
    path.rename(tmp_path / "kept")
    make = {
        "symlink": lambda: path.symlink_to(tmp_path / "kept"),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }
    make[what]()
    assert survey(found)[0] == {"damaged": 1}
    assert survey(found, quick=True)[0] == {"damaged": 1}


def test_a_problem_is_forgotten_when_all_is_well_again(found):
    path = found.archive / paths(found)[0]
    data = path.read_bytes()
    damage(path)
    survey(found)
    overwrite(path, data)
    survey(found, quick=True)
    assert len(problems(found)) == 1, "a look that does not read cannot know"
    assert survey(found)[0] == {}
    assert problems(found) == []


def test_a_missing_file_that_is_dropped_again_is_no_problem_any_more(found):
    path = found.archive / paths(found)[0]
    path.unlink()
    survey(found)
    drop(found.incoming[0], "again.dcm", dicom(1, pixels=1))
    backfill(found)
    assert problems(found) == []
    assert survey(found)[0] == {}


def test_files_without_a_row_are_found(found):
    drop(found.archive, "P1/notes.txt", b"call back")
    drop(found.archive, "top.dcm", dicom(9))
    (found.archive / "P1" / "link").symlink_to("/etc/passwd")
    os.mkfifo(found.archive / "P1" / "fifo")
    (found.archive / os.fsdecode(b"odd\xff")).write_bytes(b"x")
    counts, report = survey(found)
    assert counts == {"no_row": 5}
    assert [one.path for one in report.findings.all(mend=Mend.ADOPT)] == ["top.dcm", "P1/notes.txt"]


def test_wrong_permissions_are_found_and_set_right(found):
    first, second = (found.archive / path for path in paths(found)[:2])
    first.chmod(0o666)
    second.chmod(0o555)
    first.parent.chmod(0o777)
    counts, _ = survey(found)
    assert counts == {"permissions": 3}
    done, left = repair(found)
    assert (dict(done.done), left) == ({str(Mend.PERMISSIONS): 3}, {})
    assert (first.stat().st_mode & 0o777, second.stat().st_mode & 0o777) == (0o444, 0o444)
    assert first.parent.stat().st_mode & 0o777 == 0o775


def test_a_stricter_mask_is_right_too(found):
    (found.archive / paths(found)[0]).chmod(0o400)
    (found.archive / paths(found)[0]).parent.chmod(0o2750)
    assert survey(found)[0] == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_owner_is_found(found):
    os.chown(found.archive / paths(found)[0], 12345, -1)
    os.chown((found.archive / paths(found)[3]).parent, 12345, -1)
    assert survey(found)[0] == {"owner": 2}


def test_a_row_whose_path_is_not_in_its_series_folder_or_not_safe_is_found(found):
    import sqlite3

    connection = sqlite3.connect(found.index_location)
    first, second = paths(found)[:2]
    for path, new in ((first, "elsewhere/a.dcm"), (second, os.path.dirname(second) + "/-rf")):
        (found.archive / new).parent.mkdir(exist_ok=True)
        (found.archive / path).rename(found.archive / new)
        connection.execute("UPDATE instances SET path = ? WHERE path = ?", (new, path))
    connection.commit()
    connection.close()
    counts, _ = survey(found)
    assert counts["misplaced"] == 2


def test_what_dead_runs_left_is_found_and_swept(found):
    dead = found.archive / ".sorter" / "staging" / "1-dead"
    dead.mkdir()
    (dead / "half").write_bytes(b"half")
    (found.index_location.parent / "index.sqlite.new").write_bytes(b"")
    counts, _ = survey(found)
    assert counts == {"stray": 2}
    done, left = repair(found)
    assert (done.left, left, dead.exists()) == (0, {}, False)


def test_the_quarantine_is_checked_both_ways(found):
    folder = found.archive / ".sorter" / "quarantine"
    (conflict,), (junk,) = folder.glob("conflict/*.dcm"), folder.glob("not_dicom/*.dcm")
    overwrite(conflict, b"other")
    junk.with_suffix(".json").unlink()
    assert survey(found)[0] == {"quarantine_damaged": 1, "quarantine_no_note": 1}
    junk.unlink()
    conflict.with_suffix(".json").chmod(0o644)
    conflict.with_suffix(".json").write_text("{")
    assert survey(found)[0] == {"quarantine_missing": 1, "quarantine_note_damaged": 1}


def test_a_damaged_page_of_the_index_is_found(found):
    import sqlite3

    connection = sqlite3.connect(found.index_location)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("UPDATE studies SET patient_fk = 999")
    connection.commit()
    connection.close()
    assert "index" in survey(found)[0]


# -- which instances --------------------------------------------------------------------------------------


def test_a_sample_is_the_same_for_the_same_seed_and_about_as_large_as_asked(tmp_path):
    for number in range(1, 201):
        drop(tmp_path / "in", f"{number}.dcm", dicom(number, size=2))
    found = config(tmp_path)
    backfill(found)
    sizes = {survey(found, sample=25.0, seed=seed, quick=True)[1].instances for seed in (1, 1, 2, 3)}
    assert len(sizes) <= 3
    assert all(25 <= size <= 75 for size in sizes)


def test_only_what_is_old_enough_or_new_enough_is_read(found):
    assert survey(found, since="2999-01-01T00:00:00+00:00")[1].instances == 0
    assert survey(found, since="2000-01-01T00:00:00+00:00")[1].instances == 4
    assert survey(found, unread_since="2000-01-01T00:00:00+00:00")[1].instances == 0
    assert survey(found, unread_since="2999-01-01T00:00:00+00:00")[1].instances == 4


def test_an_interrupted_verification_goes_on_where_it_ended_and_with_its_options(found, monkeypatch):
    ((first,),) = rows(found, "SELECT path FROM instances WHERE id = 1")
    (found.archive / first).unlink()
    monkeypatch.setattr("sorter.verification.survey._TASK_FILES", 1)
    monkeypatch.setattr("sorter.verification.survey._SLICE", 1)
    calls = []

    def interrupt(*_done):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Intake(found) as intake:
        Survey(intake, Options(), progress=interrupt).run()
    options, after, upto, done = resumable(found.archive)
    assert (options, after, upto, done) == (Options(), 2, 4, 2)
    counts, report = survey(found, resume=True, quick=True)
    assert counts == {"missing": 1}, "what was found before the interruption is found again"
    assert (report.resumed, report.instances, report.options.quick) == (2, 3, False)
    assert resumable(found.archive) is None


def test_a_file_that_moves_while_it_is_looked_at_is_no_finding(found, monkeypatch):
    real, moved = reading_module.look, []

    def look(root, row, **more):
        said = real(root, row, **more)
        if not moved:  # it was gone for a moment
            moved.append(row.id)
            return reading_module.Look(row, Wrong.MISSING, "a file", "nothing")
        return said

    monkeypatch.setattr("sorter.verification.survey.look", look)
    assert survey(found)[0] == {}


def test_an_instance_that_is_taken_back_out_meanwhile_is_no_finding(found, monkeypatch):
    monkeypatch.setattr(asked, "row", lambda _connection, _number: None)
    (found.archive / paths(found)[0]).unlink()
    assert survey(found)[0] == {}


# -- repair -----------------------------------------------------------------------------------------------


def spoil(found, tmp_path):
    """Everything at once: moved, gone, damaged, damaged with a good copy elsewhere, adopted, wrong mode."""
    first, second, third, fourth = (found.archive / path for path in paths(found))
    (found.archive / "moved").mkdir()
    first.rename(found.archive / "moved" / "a.dcm")
    second.unlink()
    damage(third)
    shutil.copy(fourth, found.archive / "moved" / "copy.dcm")
    damage(fourth)
    drop(found.archive, "by hand.dcm", dicom(8, study=8, patient="P8"))
    drop(found.archive, "notes.txt", b"mine")


def everything(found):
    """Every byte string below the archive, staging and index set aside."""
    kept = [path for path in found.archive.rglob("*") if path.is_file() and not path.is_symlink()]
    meta = found.archive / ".sorter"
    return {
        path.read_bytes()
        for path in kept
        if meta not in path.parents or {"damaged", "quarantine"} & set(path.parts)
    }


def test_a_repair_mends_everything_and_loses_no_byte(found, tmp_path):
    before = tree(found.archive)
    spoil(found, tmp_path)
    bytes_before = everything(found)
    done, left = repair(found)
    assert dict(done.done) == {
        str(Mend.PUT_BACK): 2,
        str(Mend.RESTORE): 2,
        str(Mend.ADOPT): 1,
    }
    assert (left, done.left) == ({"no_row": 1}, 1)
    after = tree(found.archive)
    assert {path: after[path] for path in before} == before
    assert set(after) - set(before) == {"by hand.dcm", "notes.txt"}
    assert bytes_before <= everything(found)
    assert problems(found) == []
    assert survey(found)[0] == {"no_row": 1}


def test_what_no_copy_can_replace_stays_marked(found):
    path = found.archive / paths(found)[0]
    damage(path)
    data = path.read_bytes()
    (found.incoming[0] / "1.dcm").unlink()
    done, left = repair(found)
    assert (dict(done.done), left, path.read_bytes()) == ({}, {"damaged": 1}, data)
    assert problems(found) == [(paths(found)[0], "damaged")]
    assert not (found.archive / ".sorter" / "damaged").exists()


def test_a_source_that_is_another_file_by_now_restores_nothing(found):
    path = found.archive / paths(found)[0]
    path.unlink()
    drop(found.incoming[0], "1.dcm", dicom(1, pixels=50))
    done, left = repair(found)
    assert (dict(done.in_vain), left) == ({str(Mend.RESTORE): 1}, {"missing": 1})
    assert not path.exists()


def test_bytes_in_quarantine_restore_an_instance(found, tmp_path):
    path = found.archive / paths(found)[0]
    data = path.read_bytes()
    path.unlink()
    (found.incoming[0] / "1.dcm").unlink()
    folder = found.archive / ".sorter" / "quarantine" / "conflict"
    (folder / f"{sha256(data)[:24]}.dcm").write_bytes(data)
    (folder / f"{sha256(data)[:24]}.json").write_text(json.dumps({"sha256": sha256(data)}))
    done, left = repair(found)
    assert (dict(done.done), left, path.read_bytes()) == ({str(Mend.RESTORE): 1}, {}, data)


def test_a_second_name_of_a_recorded_file_is_removed_and_a_copy_is_not(found):
    path = found.archive / paths(found)[0]
    os.link(path, found.archive / "again.dcm")
    shutil.copy(path, found.archive / "copy.dcm")
    assert survey(found)[0] == {"second_name": 1, "no_row": 1}
    done, left = repair(found)
    assert (dict(done.done), left) == ({str(Mend.REMOVE_NAME): 1}, {"no_row": 1})
    assert (path.exists(), (found.archive / "again.dcm").exists()) == (True, False)
    assert (found.archive / "copy.dcm").exists()


def test_a_restored_instance_keeps_its_place_in_the_order_of_arrival(found):
    from sorter.care import reindex

    path = found.archive / paths(found)[0]
    path.unlink()
    repair(found)
    stored = rows(found, "SELECT path, stored_at FROM instances ORDER BY path")
    reindex(found)
    assert rows(found, "SELECT path, stored_at FROM instances ORDER BY path") == stored


def test_a_damaged_archive_of_decoded_files_is_restored_from_their_encapsulated_sources(tmp_path):
    from support import bundled

    for name in ("JPEG2000.dcm", "MR_small_RLE.dcm"):
        drop(tmp_path / "in", name, bundled(name).read_bytes())
    found = config(tmp_path)
    backfill(found)
    before = tree(found.archive)
    for path in paths(found):
        damage(found.archive / path)
    done, left = repair(found)
    assert (dict(done.done), left) == ({str(Mend.RESTORE): 2}, {})
    assert tree(found.archive) == before


class Cut(BaseException):
    """The process is gone."""


def cut(monkeypatch, at):
    """Die at the n-th call that changes the file system; before it, or after it."""
    calls = []

    def dying(real):
        def call(*args, **more):
            calls.append(real.__name__)
            if len(calls) == at // 2 + 1 and at % 2 == 0:
                raise Cut
            result = real(*args, **more)
            if len(calls) == at // 2 + 1:
                raise Cut
            return result

        return call

    for name in ("link", "unlink", "rename", "mkdir", "fsync", "chmod", "utime", "rmdir"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    return calls


def test_a_repair_that_is_cut_off_anywhere_converges_and_loses_no_byte(found, tmp_path, monkeypatch):
    before = tree(found.archive)
    spoil(found, tmp_path)
    spoiled = tmp_path / "spoiled"
    shutil.copytree(found.archive, spoiled, symlinks=True)
    bytes_before = everything(found)
    tried = 0
    # Every moment where asked for, else every seventh: before a call and after one in turn.
    for at in range(0, 10_000, 1 if os.environ.get("SORTER_CRASH") == "full" else 7):
        shutil.rmtree(found.archive)
        shutil.copytree(spoiled, found.archive, symlinks=True)
        died = repair_until(found, monkeypatch, at)
        assert bytes_before <= everything(found), at
        _, left = repair(found)
        assert left == {"no_row": 1}, at
        after = tree(found.archive)
        assert {path: after[path] for path in before} == before, at
        assert set(after) - set(before) == {"by hand.dcm", "notes.txt"}, at
        assert bytes_before <= everything(found), at
        assert problems(found) == []
        if not died:
            break
        tried += 1
    print("cut off at", tried, "moments")
    assert tried > 15


def repair_until(found, monkeypatch, at):
    """Repair and die at a moment; whether it did."""
    intake = Intake(found)
    report = Survey(intake, Options()).run()
    with monkeypatch.context() as patched:
        cut(patched, at)
        try:
            Repair(intake, report.findings).run()
        except Cut:
            died = True
        else:
            died = False
    abandon(intake)
    return died


def abandon(intake):
    """End as a killed process does: locks go, files stay."""
    archive = intake.archive
    intake._stack.pop_all()
    intake.index.close()
    archive.tree.close()
    os.close(archive._lease)
    os.close(archive._lock)
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.endswith("runs.lock"):
            os.close(fd)


def test_putting_back_never_replaces_a_name(found):
    with Intake(found) as intake, intake.archive.turn():
        mending = Mending(intake.archive)
        first, second = paths(found)[:2]
        digest = sha256((found.archive / first).read_bytes())
        assert mending.put_back([(first, second, digest)]) == []
        assert mending.put_back([(first, "x/y.dcm", "0" * 64)]) == []
        assert mending.remove_second_names([(first, second), (first, first)]) == []
    assert len(tree(found.archive)) == 4
