"""Facts about watching: what appears wakes, our own reads do not, and what breaks is noticed and rebuilt."""

import errno
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from watchdog.observers.api import BaseObserver

from sorter.observer import mounts as mounts_module
from sorter.observer import threads as threads_module
from sorter.observer import watch as watch_module
from sorter.observer.watch import Trouble, TroubleKind, Watch


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def wake():
    return threading.Event()


@pytest.fixture
def started(wake):
    """Starts a Watch on roots, with the flag lowered, and stops it in the end."""
    watches = []

    def start(*roots, **options):
        watch = Watch([str(root) for root in roots], wake, **options)
        watches.append(watch)
        watch.start()
        assert wake.is_set(), "a start is a reason to walk"
        wake.clear()
        return watch

    yield start
    for watch in watches:
        watch.stop()


def kinds(troubles):
    return [trouble.kind for trouble in troubles]


def check_until_trouble(watch, seconds=5.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := watch.check():
            return found
        time.sleep(0.02)
    raise AssertionError("check() found nothing")


def kill_the_inotify_reader(root):
    """Trap 3: a directory whose inode outlives its name and its name's next owner."""
    folder = root / "trap"
    folder.mkdir()
    time.sleep(0.2)
    fd = os.open(folder, os.O_RDONLY)
    folder.rmdir()
    folder.mkdir()
    time.sleep(0.2)
    folder.rmdir()
    time.sleep(0.2)
    os.close(fd)


def make_file(folder):
    (folder / "new").write_bytes(b"x")


def make_folder(folder):
    (folder / "sub").mkdir()


def move_in(folder):
    (folder.parent / "outside").write_bytes(b"x")
    (folder.parent / "outside").rename(folder / "new")


def rename(folder):
    (folder / "old").rename(folder / "renamed")


def rewrite_in_place(folder):
    (folder / "old").write_bytes(b"other")


def read(folder):
    (folder / "old").read_bytes()
    os.listdir(folder)


def delete(folder):
    (folder / "old").unlink()


@pytest.mark.parametrize("act", [make_file, make_folder, move_in, rename, rewrite_in_place])
def test_what_appears_wakes(root, wake, started, act):
    (root / "old").write_bytes(b"x")
    watch = started(root, mode="events")
    act(root)
    assert wake.wait(5)
    assert watch.modes == ["events"]


@pytest.mark.parametrize("act", [read, delete])
def test_our_own_reading_and_deleting_wake_nobody(root, wake, started, act):
    (root / "old").write_bytes(b"x")
    started(root, mode="events")
    act(root)
    assert not wake.wait(0.5)


def test_files_in_new_folders_wake(root, wake, started):
    started(root, mode="events")
    (root / "a" / "b").mkdir(parents=True)
    assert wake.wait(5)
    time.sleep(0.3)
    wake.clear()
    make_file(root / "a" / "b")
    assert wake.wait(5)


def test_excluded_folders_and_retired_sources_wake_nobody(root, wake, started):
    for folder in ("archive", ".sorted"):
        (root / folder).mkdir()
    (root / "source").write_bytes(b"x")
    started(root, mode="events", exclude=[str(root / "archive")])
    make_file(root / "archive")
    (root / "archive" / "sub").mkdir()
    (root / "source").rename(root / ".sorted" / "source")
    assert not wake.wait(0.5)


def test_a_folder_that_only_begins_like_an_excluded_one_wakes(root, wake, started):
    (root / "archive-2").mkdir()
    started(root, mode="events", exclude=[str(root / "archive")])
    make_file(root / "archive-2")
    assert wake.wait(5)


def test_a_drop_folder_behind_a_symlink_is_watched(root, wake, started, tmp_path):
    (tmp_path / "link").symlink_to(root)
    started(tmp_path / "link", mode="events")
    make_file(root)
    assert wake.wait(5)


def test_names_that_are_not_text_wake_without_harm(root, wake, started):
    watch = started(root, mode="events")
    make_file_named = os.fsencode(root) + b"/\xff\n.dcm"
    os.close(os.open(make_file_named, os.O_CREAT | os.O_WRONLY))
    assert wake.wait(5)
    assert watch.check() == []


def test_polling_wakes(root, wake, started, monkeypatch):
    monkeypatch.setattr(watch_module, "POLL_SECONDS", 0.1)
    watch = started(root, mode="poll")
    make_file(root)
    assert wake.wait(5)
    assert (watch.modes, watch.check()) == (["poll"], [])


def test_scanning_starts_no_thread(root, wake, started):
    before = threading.active_count()
    watch = started(root, mode="scan")
    assert (threading.active_count(), watch.modes, watch.check()) == (before, ["scan"], [])


def test_a_healthy_watch_has_no_trouble_and_leaves_the_flag_alone(root, wake, started):
    watch = started(root, mode="events")
    assert [watch.check() for _ in range(5)] == [[]] * 5
    assert not wake.is_set()


def test_the_death_of_the_inotify_reader_is_noticed_and_mended(root, wake, started, capfd):
    watch = started(root, mode="events")
    threads = threading.active_count()
    kill_the_inotify_reader(root)
    assert kinds(check_until_trouble(watch)) == [TroubleKind.THREAD_DIED]
    assert wake.is_set()
    assert watch.check() == []
    assert (watch.modes, threading.active_count()) == (["events"], threads)
    time.sleep(0.2)
    wake.clear()
    make_file(root)
    assert wake.wait(5)
    assert "trap" not in capfd.readouterr().err


def test_another_threads_traceback_is_still_printed(root, started, capfd):
    with pytest.MonkeyPatch.context() as hook:
        hook.setattr(threading, "excepthook", threading.__excepthook__)
        started(root, mode="events")
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_only_the_broken_root_is_rebuilt(tmp_path, wake, started):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    watch = started(*folders, mode="events")
    untouched = watch._roots[0]._observer
    kill_the_inotify_reader(folders[1])
    assert check_until_trouble(watch) == [Trouble(TroubleKind.THREAD_DIED, root=1)]
    assert watch._roots[0]._observer is untouched


def test_a_root_that_is_deleted_and_made_again_is_watched_again(root, wake, started):
    watch = started(root, mode="events")
    root.rmdir()
    assert watch.check() == [Trouble(TroubleKind.ROOT_ABSENT, root=0)]
    assert (watch.check(), watch.modes) == ([], ["absent"])
    root.mkdir()
    assert watch.check() == [Trouble(TroubleKind.ROOT_BACK, root=0)]
    assert wake.is_set()
    assert watch.modes == ["events"]
    wake.clear()
    make_file(root)
    assert wake.wait(5)


def test_a_root_that_is_replaced_between_two_checks_is_watched_again(root, wake, started, tmp_path):
    watch = started(root, mode="events")
    root.rename(tmp_path / "away")
    root.mkdir()
    assert watch.check() == [Trouble(TroubleKind.ROOT_CHANGED, root=0)]
    wake.clear()
    make_file(root)
    assert wake.wait(5)
    time.sleep(0.3)  # one file makes more than one event
    wake.clear()
    make_file(tmp_path / "away")
    assert not wake.wait(0.3)


def test_a_root_that_is_absent_at_the_start_is_told_and_waited_for(root, wake, started):
    root.rmdir()
    watch = started(root, mode="auto")
    assert (watch.modes, watch.check(), watch.check()) == (
        ["absent"], [Trouble(TroubleKind.ROOT_ABSENT, root=0)], [],
    )  # fmt: skip
    root.mkdir()
    assert kinds(watch.check()) == [TroubleKind.ROOT_BACK]


def failing_start(monkeypatch, number):
    def start(_observer):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(BaseObserver, "start", start)


def test_a_start_that_fails_is_told_once_and_tried_again(root, wake, started):
    threads = threading.active_count()
    with pytest.MonkeyPatch.context() as broken:
        failing_start(broken, errno.EMFILE)
        watch = started(root, mode="events")
        assert watch.check() == [Trouble(TroubleKind.START_FAILED, root=0, detail="EMFILE")]
        assert (watch.check(), watch.modes) == ([], ["scan"])
    assert threading.active_count() == threads
    assert (watch.check(), watch.modes) == ([], ["events"])


def test_the_watch_limit_at_the_start_means_walks_only(root, wake, started, monkeypatch):
    failing_start(monkeypatch, errno.ENOSPC)
    watch = started(root, mode="events")
    assert watch.check() == [Trouble(TroubleKind.WATCH_LIMIT, root=0)]
    assert (watch.check(), watch.modes) == ([], ["scan"])


SMALL_LIMIT = """
import sys, threading
from pathlib import Path
from sorter.observer.watch import Watch

Path("/proc/sys/user/max_inotify_watches").write_text("20")
root, many = Path(sys.argv[1]), int(sys.argv[2])
watch = Watch([str(root)], threading.Event(), mode="events")
watch.start()
before = watch.check(), watch.modes
for n in range(many):
    (root / str(n)).mkdir()
for _ in range(50):
    found = watch.check()
    if found:
        break
    threading.Event().wait(0.02)
print(before, [t.kind.value for t in found], watch.modes, watch.check())
watch.stop()
"""


def in_a_user_namespace(script, *arguments):
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        sys.executable,
        "-c",
        textwrap.dedent(script),
        *arguments,
    ]
    try:
        subprocess.run([*command[:3], "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespace can be made here, and so no lower watch limit")
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_folders_beyond_the_watch_limit_are_noticed(root):
    """Trap 4: watchdog leaves them out without a word."""
    done = in_a_user_namespace(SMALL_LIMIT, str(root), "40")
    assert done.stdout == "([], ['events']) ['watch_limit'] ['scan'] []\n"
    assert done.stderr == ""


def test_as_many_folders_as_the_limit_allows_are_no_trouble(root):
    done = in_a_user_namespace(SMALL_LIMIT, str(root), "10")
    assert done.stdout == "([], ['events']) [] ['events'] []\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user, for whom chmod 000 counts")
def test_unreadable_folders_do_not_fill_stderr_with_paths(root):
    """Trap 9: watchdog 7.1 gives all unreadable folders one descriptor and warns with all it knows."""
    script = """
    import os, sys, tempfile, threading
    from sorter.observer.watch import Watch
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        for n in range(5):
            os.mkdir(f"{root}/{n}", 0)
        os.seteuid(65534)
        watch = Watch([root], threading.Event(), mode="events")
        watch.start()
        print(watch.check(), watch.modes)
        watch.stop()
        os.seteuid(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[] ['events']\n", "")


def test_stopping_ends_all_threads_and_may_be_repeated(root, wake, started):
    before = threading.active_count()
    watch = started(root, mode="events")
    assert threading.active_count() > before
    watch.stop()
    watch.stop()
    assert threading.active_count() == before


def test_stopping_never_hangs_on_a_thread_that_does(root, wake, started, monkeypatch):
    monkeypatch.setattr(threads_module, "STOP_SECONDS", 0.2)
    release = threading.Event()
    watch = started(root, mode="events")
    monkeypatch.setattr(watch._roots[0]._observer, "on_thread_stop", release.wait)
    begun = time.monotonic()
    assert watch._roots[0].stop() == [Trouble(TroubleKind.STOP_FAILED, 0, "timeout")]
    assert time.monotonic() - begun < 2
    release.set()


def test_an_observer_that_breaks_while_it_stops_is_told(root, wake, started, monkeypatch):
    watch = started(root, mode="events")
    real = watch._roots[0]._observer

    def stop():
        BaseObserver.stop(real)
        raise KeyError("/secret/path")

    monkeypatch.setattr(real, "stop", stop)
    assert watch._roots[0].stop() == [Trouble(TroubleKind.STOP_FAILED, 0, "KeyError")]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ext4", "events"), ("tmpfs", "events"), ("nfs4", "scan"), ("cifs", "scan"), ("fuse.sshfs", "scan"),
     ("9p", "scan"), ("overlay", "scan"), ("", "events")],
)  # fmt: skip
def test_auto_trusts_events_on_local_file_systems_only(root, started, monkeypatch, kind, expected):
    monkeypatch.setattr(mounts_module, "file_system", lambda _path, _mountinfo: kind)
    assert started(root, mode="auto").modes == [expected]
