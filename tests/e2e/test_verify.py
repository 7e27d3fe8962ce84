"""``sorter verify``, ``reindex`` and ``backup`` as programs: beside others, on real files, on a full disk."""

import json
import shutil
import sqlite3
import subprocess
import time

import pytest
from e2e.program import command, environment, rescan, run, small_disk
from support import dicom, drop, shared_data, tree
from unit.test_reindex import TABLES, TIMES


@pytest.fixture
def incoming(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "archive"


def verify(archive, *options):
    return run("verify", "--archive", archive, *options)


def tables(archive):
    """Every row of every table with the keys of the levels above it, but for ids and times."""
    connection = sqlite3.connect(archive / ".sorter" / "index.sqlite")
    said = {}
    for name, (source, order) in TABLES.items():
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})") if row[1] not in TIMES]
        own = ", ".join(f"{name}.{column}" for column in columns)
        said[name] = connection.execute(f"SELECT {own}, {order} FROM {source} ORDER BY {order}").fetchall()
    connection.close()
    return said


def test_exit_statuses_and_words(incoming, archive):
    assert (verify(archive).status, archive.exists()) == (3, False)
    for number in range(1, 4):
        drop(incoming, f"{number}.dcm", dicom(number))
    rescan(archive, incoming=incoming)
    clean = verify(archive)
    assert (clean.status, "CLEAN: everything is as it was stored." in clean.stdout) == (0, True)
    path = next(iter(tree(archive)))
    (archive / path).unlink()
    found = verify(archive, "--json")
    assert (found.status, found.facts["counts"]) == (1, {"missing": 1})
    (finding,) = found.facts["findings"]
    source = finding.pop("source")
    assert source.startswith(f"{incoming}/")
    assert finding == {
        "kind": "missing",
        "path": path,
        "expected": "a file",
        "found": "nothing",
        "repair": "restore from a source that is still there",
    }
    asked = verify(archive, "--repair")
    assert (asked.status, "to be mended" in asked.stdout, (archive / path).exists()) == (1, True, False)
    mended = verify(archive, "--repair", "--yes", "--json")
    assert (mended.status, mended.facts["repaired"]["left"], (archive / path).exists()) == (0, 0, True)
    assert verify(archive, "--sample", "1%", "--seed", "4").stdout.count("--seed 4") == 1
    for wrong in (["--sample", "0"], ["--sample", "x"], ["--yes"], ["--since", "never"]):
        assert verify(archive, *wrong).status == 2


def test_nothing_is_found_wrong_while_files_come_in(incoming, archive):
    """Two rescans bring in hundreds of files while the archive is verified again and again."""
    for number in range(1, 601):
        drop(incoming, f"{number % 2}/{number}.dcm", dicom(number, series=number % 5, size=2))
    drop(incoming, "first.dcm", dicom(1, study=9))
    rescan(archive, incoming / "first.dcm")
    running = [
        subprocess.Popen(
            command("--rescan", incoming / name, "--archive", archive, "--json"),
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        for name in ("0", "1")
    ]
    rounds = 0
    while any(one.poll() is None for one in running):
        done = verify(archive, "--json")
        assert (done.status, done.facts["counts"]) == (0, {})
        rounds += 1
    assert [one.returncode for one in running] == [0, 0]
    assert rounds >= 1
    assert verify(archive, "--json").facts["instances"] == 601


def test_killed_in_the_middle_it_goes_on_where_it_was(incoming, archive):
    for number in range(1, 1501):
        drop(incoming, f"{number}.dcm", dicom(number, size=2))
    rescan(archive, incoming=incoming)
    running = subprocess.Popen(
        command("verify", "--archive", archive, "-q"), env=environment(), stdout=subprocess.DEVNULL
    )
    state = archive / ".sorter" / "verify.json"
    while running.poll() is None and not state.exists():
        time.sleep(0.001)
    running.kill()
    running.wait()
    if not state.exists():
        pytest.skip("it was quicker than the signal")
    done = json.loads(state.read_text())["done"]
    resumed = verify(archive, "--resume", "--json")
    assert (resumed.status, resumed.facts["resumed"]) == (0, done)
    assert resumed.facts["instances"] == 1500 - done


def test_real_files_get_the_same_rows_by_reindex(archive):
    """All of the shared data, brought in by several runs: table by table, but for ids and times."""
    data = shared_data()
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        rescan(archive, folder, seconds=280)
    before, files = tables(archive), sorted(tree(archive))
    done = run("reindex", "--archive", archive, "-q", seconds=280)
    assert done.status == 0, done.stderr
    after = tables(archive)
    print({name: len(rows) for name, rows in after.items()})
    for name, expected in before.items():
        assert after[name] == expected, name
    assert sorted(tree(archive)) == files
    assert verify(archive, "--json").facts["counts"] == {}


def test_a_backup_on_a_full_disk_says_so_and_leaves_nothing(incoming, archive, tmp_path):
    drop(incoming, "1.dcm", dicom(1))
    rescan(archive, incoming=incoming)
    with small_disk(tmp_path / "small") as small:
        with (small / "filler").open("wb") as filler:
            filler.write(b"x" * (4 * 2**20 - 64 * 1024))
        done = run("backup", "--archive", archive, small / "copy.sqlite")
        assert (done.status, done.stderr.startswith("sorter: no space left")) == (5, True)
        assert [path.name for path in small.iterdir()] == ["filler"]


def test_a_killed_reindex_leaves_the_old_index_in_use(incoming, archive):
    for number in range(1, 401):
        drop(incoming, f"{number}.dcm", dicom(number, size=2))
    rescan(archive, incoming=incoming)
    before = tables(archive)
    running = subprocess.Popen(command("reindex", "--archive", archive), env=environment())
    draft = archive / ".sorter" / "index.sqlite.new"
    while running.poll() is None and not draft.exists():
        time.sleep(0.001)
    running.kill()
    running.wait()
    assert tables(archive) == before
    assert set(verify(archive, "--json").facts["counts"]) <= {"stray"}
    assert verify(archive, "--repair", "--yes").status == 0
    assert run("reindex", "--archive", archive).status == 0
    assert tables(archive) == before


def test_an_index_with_a_corrupt_page_is_never_replaced_silently(incoming, archive):
    for number in range(1, 301):
        drop(incoming, f"{number}.dcm", dicom(number, size=2))
    rescan(archive, incoming=incoming)
    before = tables(archive)
    index = archive / ".sorter" / "index.sqlite"
    data = bytearray(index.read_bytes())
    for page in range(3, len(data) // 4096):  # all but the schema
        data[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    index.write_bytes(data)
    shutil.copy(index, index.with_suffix(".spoiled"))
    done = verify(archive)
    assert (done.status, "sorter reindex" in done.stderr + done.stdout) in ((3, True), (1, True))
    assert run("reindex", "--archive", archive).status == 0
    assert tables(archive) == before
    (aside,) = index.parent.glob("index.sqlite.2*Z")
    assert aside.read_bytes() == index.with_suffix(".spoiled").read_bytes()
