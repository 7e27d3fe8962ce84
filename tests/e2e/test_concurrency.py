"""Several programs at once on one archive: each answer is given once, and nobody waits for ever.

What ``test_side_by_side`` shows of a daemon and a rescan, and of two rescans, is not repeated here.
"""

import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from e2e.program import (
    Template,
    command,
    counts,
    environment,
    index,
    instances,
    ledger,
    rescan,
    run,
    snapshot,
    sources,
    stored_count,
)
from support import dicom, drop, tree


def begin(*args, **settings):
    """A command under way; its JSON is on stdout."""
    return subprocess.Popen(
        command(*args),
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin_rescan(archive, *paths, **settings):
    return begin("--rescan", *paths, "--archive", archive, "--json", **settings)


def end(process):
    """What a rescan that was begun says at its end."""
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1), err
    return json.loads(out)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def whole(archive, made):
    """Each instance is in the tree once, with its row, and nothing else is there."""
    assert Counter(tree(archive).values()) == Counter(made)
    assert sorted(row["path"] for row in instances(archive)) == sorted(tree(archive))


def balanced(archive, incoming):
    """What ``sorter audit`` counts; it must find that all balances."""
    done = run("audit", "--archive", archive, "--incoming", incoming, "--json")
    assert (done.status, done.facts["findings"], done.facts["open"]) == (0, [], [])
    return counts(done.facts | {"deferred": done.facts["waiting"]})


# -- two daemons ------------------------------------------------------------------------------------------


def test_a_second_daemon_disturbs_the_first_in_nothing(daemon, incoming, archive, tmp_path):
    made = Template().fill(incoming, 300)
    running = daemon(settle_seconds=0)
    other = tmp_path / "other"
    drop(other, "a.dcm", dicom(1, study=2))
    seconds = [begin("--incoming", other, "--archive", archive, retire="delete") for _ in range(2)]
    assert [one.wait(60) for one in seconds] == [6, 6]
    for one in seconds:
        said = one.communicate()
        assert said[0] == ""
        assert "another sorter daemon already serves this archive" in said[1]
        assert "Traceback" not in said[1]
    running.wait_stored(300)
    assert running.report["healthy"]
    running.stop()
    assert "Traceback" not in running.stderr
    whole(archive, made)
    assert list(other.iterdir()) == [other / "a.dcm"]


# -- rescans beside it ------------------------------------------------------------------------------------


def test_two_rescans_and_a_daemon_each_with_a_folder_of_its_own(daemon, incoming, archive, tmp_path):
    """The three folders hold the same 150 instances, and 150 each that the others do not have."""
    shared = Template()
    folders = [incoming, tmp_path / "first", tmp_path / "second"]
    made = []
    for number, folder in enumerate(folders):
        shared.fill(folder / "shared", 150)
        made += Template(study=2 + number).fill(folder / "own", 150)
    running = daemon(settle_seconds=0)
    both = [begin_rescan(archive, folder) for folder in folders[1:]]
    summaries = [end(one) for one in both]
    running.wait(lambda: len(sources(archive)) == 900, what="all outcomes")
    running.wait(lambda: running.report["since_start"]["seen"] == 300, what="the count")
    since = running.report["since_start"]
    running.stop()
    assert [one["seen"] for one in summaries] == [300, 300]
    assert since["stored"] + sum(one["stored"] for one in summaries) == 600
    assert since["duplicate"] + sum(one["duplicate"] for one in summaries) == 300
    whole(archive, [*made, *(shared[number] for number in range(150))])


@pytest.mark.parametrize("retire", ["keep", "delete"])
def test_four_writers_drop_while_a_rescan_of_the_same_folder_runs(
    retire, daemon, incoming, archive, tmp_path
):
    """A rescan or the daemon takes each file, whoever comes first; none twice, and none by halves."""
    templates = [Template(study=2 + number) for number in range(4)]
    made = [None] * 4

    def write(number):
        made[number] = templates[number].fill(incoming / f"writer {number}", 100, a_folder=10)

    running = daemon(settle_seconds=0.2, retire=retire)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    first = end(begin_rescan(archive, "--incoming", incoming, settle_seconds=0.2, retire=retire))
    for writer in writers:
        writer.join()
    running.wait_stored(400)
    running.wait(lambda: len(sources(archive)) == 400, what="all outcomes")
    if retire == "delete":
        running.wait(lambda: not list(incoming.rglob("*.dcm")), what="the sources to go")
    running.stop()
    assert first["seen"] == sum(counts(first).values())
    whole(archive, [one for some in made for one in some])
    assert set(ledger(archive, incoming).values()) <= {("stored", None), ("ignored", "vanished")}
    balanced(archive, incoming)


def test_a_daemon_goes_on_when_a_rescan_dies_for_whose_turn_it_waits(daemon, incoming, archive, tmp_path):
    """The rescan is stopped within its turn, so that the daemon waits; then it is killed."""
    made = Template().fill(tmp_path / "old", 2_500)
    running = daemon(settle_seconds=0)
    with begin_rescan(archive, tmp_path / "old") as rescanning:
        until(lambda: stopped_in_its_turn(rescanning, archive))
        made.append(dicom(1, study=2))
        drop(incoming, "a.dcm", made[-1])
        running.wait(lambda: running.report.get("waits_for_turn"), what="the daemon to wait")
        assert running.report["waits_for_turn"]["pid"] == rescanning.pid
        assert running.report["healthy"]
        before = stored_count(archive)
        rescanning.kill()
        running.wait(lambda: instance_is_there(archive, "1"), what="the daemon to go on")
    assert stored_count(archive) == before + 1
    assert run("status", "--quiet", "--archive", archive).status == 0
    rescan(archive, incoming=incoming)  # sweeps what the killed one staged, adopts what it published
    rescan(archive, tmp_path / "old")
    running.stop()
    whole(archive, made)


def stopped_in_its_turn(process, archive):
    """Stop a process and see whether it holds the archive's turn; if not, let it run on."""
    if not stored_count(archive):
        return False
    process.send_signal(signal.SIGSTOP)
    inode = (archive / ".sorter" / "lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "->" not in words and words[4] == str(process.pid) and words[5].endswith(f":{inode}"):
            return True
    process.send_signal(signal.SIGCONT)
    time.sleep(0.003)
    return False


def instance_is_there(archive, number):
    with index(archive) as connection:
        query = "SELECT count(*) FROM instances WHERE sop_instance_uid LIKE ?"
        return connection.execute(query, (f"%.2.1.{number}",)).fetchone()[0] == 1


# -- readers ----------------------------------------------------------------------------------------------


def test_whoever_reads_while_a_batch_is_written_sees_whole_files_and_a_whole_index(
    daemon, incoming, archive, tmp_path
):
    made = Template().fill(incoming, 1_500)
    running = daemon(settle_seconds=0)
    running.wait_stored(1)
    seen = [0]
    while seen[-1] < 1_500:
        copy = tmp_path / f"backup {len(seen)}"
        status = begin("status", "--json", "--archive", archive)
        find = begin("find", "PatientID=P1", "--paths", "--archive", archive)
        backup = begin("backup", copy, "--archive", archive)
        (facts, _), (paths, _), _ = (one.communicate(timeout=60) for one in (status, find, backup))
        assert (status.returncode, find.returncode, backup.returncode) == (0, 0, 0)
        assert json.loads(facts)["healthy"]
        found = paths.splitlines()
        assert all(os.path.getsize(path) == len(made[0]) for path in found)
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            [(backed_up, with_word)] = connection.execute(
                "SELECT (SELECT count(*) FROM instances),"
                " (SELECT count(*) FROM sources JOIN instances ON instances.id = instance_fk)"
            )
        assert backed_up == with_word  # an instance and the word about its source come together
        assert seen[-1] <= min(len(found), backed_up)
        seen.append(min(len(found), backed_up))
    running.stop()
    whole(archive, made)


# -- one instance, many times -----------------------------------------------------------------------------


def drop_at_once(incoming, contents):
    """Each in a file and a folder of its own, by four threads."""

    def write(start):
        for number in range(start, len(contents), 4):
            drop(incoming, f"{number % 7}/{number:02d}.dcm", contents[number])

    writers = [threading.Thread(target=write, args=(start,)) for start in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def taken_by_all(daemon, incoming, archive, contents):
    """Drop them before a daemon and two rescans; the outcomes of all fifty files."""
    running = daemon(settle_seconds=0.1)
    drop_at_once(incoming, contents)
    both = [begin_rescan(archive, "--incoming", incoming, settle_seconds=0.1) for _ in range(2)]
    running.wait(lambda: len(sources(archive)) == len(contents), what="all outcomes")
    for one in both:
        end(one)
    running.stop()
    return Counter(row["outcome"] for row in sources(archive))


def test_one_instance_in_fifty_files_at_once_is_stored_once(daemon, incoming, archive):
    found = taken_by_all(daemon, incoming, archive, [dicom(1)] * 50)
    assert found == {"stored": 1, "duplicate": 49}
    assert list(tree(archive).values()) == [dicom(1)]
    assert balanced(archive, incoming) == {"stored": 1, "duplicate": 49}


def test_fifty_instances_under_one_uid_at_once_are_all_kept(daemon, incoming, archive):
    contents = [dicom(1, pixels=number) for number in range(50)]
    found = taken_by_all(daemon, incoming, archive, contents)
    assert found == {"stored": 1, "conflict": 49}
    [(path, stored)] = tree(archive).items()
    conflicts = archive / ".sorter" / "quarantine" / "conflict"
    assert Counter([stored, *(one.read_bytes() for one in conflicts.glob("*.dcm"))]) == Counter(contents)
    notes = [json.loads(one.read_text()) for one in conflicts.glob("*.json")]
    assert Counter(one["existing"] for one in notes) == {path: 49}
    assert Counter(one["source"] for one in notes) == Counter(
        row["source"] for row in sources(archive) if row["outcome"] == "conflict"
    )
    before = snapshot(archive / ".sorter" / "quarantine")
    assert counts(rescan(archive, incoming=incoming).facts) == {"duplicate": 1, "conflict": 49}
    assert snapshot(archive / ".sorter" / "quarantine") == before
    assert balanced(archive, incoming) == {"stored": 1, "conflict": 49}
