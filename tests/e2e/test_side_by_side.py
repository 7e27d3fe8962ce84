"""Daemon and rescan at once, two daemons, interrupted runs, reloads, restarts."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter

import pytest
from e2e.program import (
    MARGIN,
    SETTLE,
    Template,
    command,
    counts,
    environment,
    instances,
    ledger,
    rescan,
    run,
    snapshot,
    sources,
    start,
    stored_count,
)
from support import dicom, drop, tree


def whole(archive, made):
    """Each instance is in the tree once, with its row, and nothing else is there."""
    assert Counter(tree(archive).values()) == Counter(made)
    assert sorted(row["path"] for row in instances(archive)) == sorted(tree(archive))


def test_a_daemon_and_a_rescan_over_the_same_folder_store_each_instance_once(daemon, incoming, archive):
    made = Template().fill(incoming, 2_000)
    running = daemon(settle_seconds=0)
    done = rescan(archive, incoming=incoming)
    running.wait_stored(2_000)
    running.wait(lambda: running.report["state"] == "idle", what="the daemon to rest")
    since = running.report["since_start"]
    running.stop()
    whole(archive, made)
    assert set(counts(done.facts)) <= {"stored", "duplicate"}
    assert done.facts["seen"] == 2_000
    assert since["stored"] + done.facts["stored"] == 2_000
    assert list(ledger(archive, incoming)) == list(dict.fromkeys(ledger(archive, incoming)))
    assert len(sources(archive)) == 2_000
    again = rescan(archive, incoming=incoming).facts
    assert counts(again) == {"duplicate": 2_000}


def test_a_daemon_and_a_rescan_over_folders_with_the_same_instances(daemon, incoming, archive, tmp_path):
    made = Template().fill(tmp_path / "old", 2_000)
    running = daemon(settle_seconds=0)
    copying = threading.Thread(target=Template().fill, args=(incoming, 2_000))
    copying.start()
    done = rescan(archive, tmp_path / "old")
    copying.join()
    running.wait(lambda: len(sources(archive)) == 4_000, what="all outcomes")
    running.stop()
    whole(archive, made)
    found = Counter(row["outcome"] for row in sources(archive))
    assert found == {"stored": 2_000, "duplicate": 2_000}
    assert done.facts["stored"] + done.facts["duplicate"] == 2_000


def test_two_rescans_of_an_empty_archive_at_once(incoming, archive):
    made = Template().fill(incoming, 600)
    args = command("--rescan", "--incoming", incoming, "--archive", archive, "--json")
    both = [subprocess.Popen(args, env=environment(), stdout=subprocess.PIPE) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    for one in both:
        one.stdout.close()
    whole(archive, made)


def test_a_second_daemon_of_the_same_archive_ends_with_status_6(daemon, incoming, archive, tmp_path):
    running = daemon()
    other = tmp_path / "other"
    other.mkdir()
    done = run("--incoming", other, "--archive", archive, seconds=30)
    assert (done.status, done.stdout) == (6, "")
    drop(incoming, "a.dcm", dicom(1))
    running.wait_stored(1)
    running.stop()


def test_fifty_copies_at_once_are_one_instance_and_49_duplicates(daemon, incoming, archive):
    running = daemon()
    for number in range(50):
        drop(incoming, f"{number % 7}/{number}.dcm", dicom(1))
    running.wait(lambda: len(sources(archive)) == 50, what="all outcomes")
    running.stop()
    assert Counter(row["outcome"] for row in sources(archive)) == {"stored": 1, "duplicate": 49}
    assert list(tree(archive).values()) == [dicom(1)]


# -- stopping and starting ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_an_interrupted_rescan_goes_on_where_it_stopped(number, incoming, archive):
    made = Template().fill(incoming, 3_000)
    args = command("--rescan", "--incoming", incoming, "--archive", archive, "--json")
    with subprocess.Popen(args, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        deadline = time.monotonic() + 30
        while stored_count(archive) < 500 and time.monotonic() < deadline:
            time.sleep(0.005)
        first.send_signal(number)
        stderr = first.communicate(timeout=30)[1].decode()
    before = stored_count(archive)
    assert 500 <= before <= 3_000
    assert "Traceback" not in stderr
    if number == signal.SIGINT and before < 3_000:
        said = (first.returncode, stderr.strip())
        assert said == (130, "interrupted; run the same command again to go on")
    facts = rescan(archive, incoming=incoming).facts
    # What was published and not recorded is adopted before the walk meets its source.
    assert facts["stored"] + facts["adopted"] == 3_000 - before
    assert counts(facts) == {"stored": facts["stored"], "duplicate": 3_000 - facts["stored"]}
    whole(archive, made)
    assert list((archive / ".sorter" / "staging").iterdir()) == []


def test_control_c_on_a_terminal_reaches_the_workers_too_and_says_one_line(incoming, archive):
    made = Template().fill(incoming, 3_000)
    args = command("--rescan", "--incoming", incoming, "--archive", archive)
    with subprocess.Popen(
        args, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as first:
        deadline = time.monotonic() + 30
        while stored_count(archive) < 500 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(first.pid, signal.SIGINT)
        stderr = first.communicate(timeout=30)[1].decode()
    assert stored_count(archive) < 3_000
    assert (first.returncode, stderr.strip()) == (130, "interrupted; run the same command again to go on")
    rescan(archive, incoming=incoming)
    whole(archive, made)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_to_all_processes_of_the_daemon_ends_it_well(number, incoming, archive, tmp_path):
    """Control-C, ``docker stop`` with an init, a unit without KillMode=mixed."""
    made = Template().fill(incoming, 3_000)
    running = start(incoming, archive, tmp_path / "log", settle_seconds=0, wrapper=("setsid",))
    running.wait_stored(512)
    os.killpg(running.process.pid, number)
    assert running.process.wait(60) == 0, running.stderr
    assert [row for row in sources(archive) if row["outcome"] != "stored"] == []
    assert "Traceback" not in running.stderr
    rescan(archive, incoming=incoming)
    whole(archive, made)


def test_a_restart_changes_nothing(daemon, incoming, archive):
    Template().fill(incoming, 300)
    drop(incoming, "bad.dcm", b"no DICOM")
    first = daemon(incomplete_seconds=0)
    first.wait(lambda: len(sources(archive)) == 301, what="all outcomes")
    first.stop()
    before, rows = snapshot(archive), sources(archive)
    for _ in range(2):
        again = daemon(incomplete_seconds=0)
        again.wait(lambda: again.report["state"] == "idle", what="the daemon to rest")  # noqa: B023 - waited for here
        time.sleep(SETTLE * 2)
        assert again.report["since_start"]["seen"] == 0
        again.stop()
    after = snapshot(archive)
    assert sources(archive) == rows
    assert tree(archive)
    assert {p: one for p, one in before.items() if ".sorter" not in p} == {
        p: one for p, one in after.items() if ".sorter" not in p
    }


def test_sigterm_ends_the_daemon_at_a_batch_and_nothing_is_lost(incoming, archive, tmp_path):
    made = Template().fill(incoming, 3_000)
    running = start(incoming, archive, tmp_path / "log", settle_seconds=0)
    running.wait_stored(512)
    asked = time.monotonic()
    running.stop()
    print(f"SIGTERM to the end: {time.monotonic() - asked:.2f} s; stored until then: {stored_count(archive)}")
    recorded = {row["path"] for row in instances(archive)}
    assert set(tree(archive)) == recorded
    rescan(archive, incoming=incoming)
    whole(archive, made)


# -- configuration ----------------------------------------------------------------------------------------


def test_sighup_takes_up_a_changed_configuration_and_refuses_a_broken_one(incoming, archive, tmp_path):
    config = tmp_path / "sorter.toml"
    config.write_text(f"ignore = ['*.skip']\nincoming = ['{incoming}']\nsettle_seconds = 0.1\n")
    env = {"SORTER_CONFIG": str(config)}
    plain = {key: value for key, value in environment().items() if key != "SORTER_SETTLE_SECONDS"}
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("--archive", archive), env=plain | env | {"SORTER_LOG_FORMAT": "json"}, stderr=stderr
        )
    try:
        other = tmp_path / "other"
        other.mkdir()

        def told(event):
            return log.read_text().count(f'"event": "{event}"')

        def until(condition):
            deadline = time.monotonic() + 20 + MARGIN
            while not condition():
                assert process.poll() is None
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.03)

        drop(incoming, "a.skip", dicom(1))
        drop(incoming, "a.dcm", dicom(2))
        until(lambda: stored_count(archive) == 1)

        config.write_text("setle_seconds = 1\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: told("reload_refused") == 1)
        assert "settle_seconds" in log.read_text()
        drop(incoming, "b.skip", dicom(3))
        drop(incoming, "b.dcm", dicom(4))
        until(lambda: stored_count(archive) == 2)

        config.write_text(f"ignore = []\nincoming = ['{incoming}', '{other}']\nsettle_seconds = 0.1\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: told("reloaded") == 1)
        drop(other, "c.dcm", dicom(5))
        until(lambda: stored_count(archive) == 5)

        config.write_text(f"archive = '{tmp_path}/elsewhere'\nincoming = ['{incoming}']\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: told("reload_refused") + told("reloaded") == 3)
        assert not (tmp_path / "elsewhere").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
