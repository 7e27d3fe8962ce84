"""Facts about the walk: it sees every file once, skips only what cannot have changed, and never hangs."""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from walked import known_to_the_ledger, paths, refusals, write

from sorter.model import Candidate, Kind, Reason
from sorter.observer import listing as listing_module
from sorter.observer import walk as walk_module
from sorter.observer.walk import RootUnavailable, Walker


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def walk_and_know(walker, *, deep=False):
    listings = []
    for listing in walker.walk(deep=deep):
        listings.append(listing)
        walker.known(listing)
    return listings


def test_every_file_of_the_tree_is_seen_once(root):
    expected = sorted(str(write(root / name)) for name in ("a", "b/c", "b/d/e", "b/d/f", "g/h"))
    assert paths(Walker(str(root)).walk(deep=True)) == expected
    assert paths(Walker(str(root)).walk(deep=False)) == expected


def test_an_empty_drop_folder_lists_nothing(root):
    assert list(Walker(str(root)).walk(deep=True)) == []


@pytest.mark.parametrize("state", ["missing", "a file", "broken link"])
def test_a_root_that_is_no_folder_is_unavailable_not_empty(tmp_path, state):
    root = tmp_path / "secret"
    if state == "a file":
        root.write_bytes(b"")
    elif state == "broken link":
        root.symlink_to("nowhere")
    with pytest.raises(RootUnavailable) as caught:
        list(Walker(str(root)).walk(deep=False))
    assert "secret" not in str(caught.value)


def test_a_root_that_vanishes_between_walks_is_unavailable(root):
    walker = Walker(str(root))
    list(walker.walk(deep=True))
    root.rmdir()
    with pytest.raises(RootUnavailable):
        list(walker.walk(deep=False))


def test_a_root_whose_listing_fails_is_unavailable(root, monkeypatch):
    def scandir(_fd):
        raise OSError(errno.EIO, "Input/output error", "/secret")

    monkeypatch.setattr(walk_module.os, "scandir", scandir)
    with pytest.raises(RootUnavailable, match=r"^the drop folder cannot be listed: EIO$") as caught:
        list(Walker(str(root)).walk(deep=True))
    assert caught.value.__cause__ is None


def test_the_root_may_be_a_symlink(root, tmp_path):
    write(root / "a")
    (tmp_path / "link").symlink_to(root)
    assert paths(Walker(str(tmp_path / "link")).walk(deep=True)) == [str(tmp_path / "link" / "a")]


def test_excluded_folders_and_our_own_are_neither_entered_nor_reported(root, tmp_path):
    write(root / "archive" / "a")
    write(root / ".sorted" / "b")
    (tmp_path / "link").symlink_to(root / "archive")
    for exclude in (root / "archive", tmp_path / "link"):
        assert list(Walker(str(root), exclude=[str(exclude)], ignore=[]).walk(deep=True)) == []


def test_a_folder_that_vanishes_during_the_walk_is_skipped(root):
    write(root / "a" / "1")
    write(root / "b" / "2")
    walker = Walker(str(root)).walk(deep=True)
    first = next(walker)
    other = {str(root / "a"): root / "b", str(root / "b"): root / "a"}[first.folder]
    for file in other.iterdir():
        file.unlink()
    other.rmdir()
    assert list(walker) == []


def test_a_folder_replaced_by_a_link_during_the_walk_is_not_entered(root, tmp_path):
    write(tmp_path / "outside" / "secret")
    write(root / "a" / "1")
    write(root / "b" / "2")
    walker = Walker(str(root)).walk(deep=True)
    first = next(walker)
    other = {str(root / "a"): root / "b", str(root / "b"): root / "a"}[first.folder]
    other.rename(tmp_path / "away")
    other.symlink_to(tmp_path / "outside")
    assert list(walker) == []


def failing_open(monkeypatch, folder, number):
    real = os.open

    def fake(path, *args, **kwargs):
        if path == str(folder):
            raise OSError(number, os.strerror(number), path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(walk_module.os, "open", fake)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_an_unreadable_folder_is_rejected_once_and_the_walk_goes_on(root, monkeypatch, number):
    write(root / "a" / "1")
    expected = [str(write(root / "b" / "2"))]
    failing_open(monkeypatch, root / "a", number)
    walker = Walker(str(root))
    listings = list(walker.walk(deep=True))
    [refused] = [r for listing in listings for r in listing.ignored]
    assert paths(listings) == expected
    assert (refused.kind, refused.reason) == (Kind.REJECTED, Reason.UNREADABLE)
    assert refused.detail == f"cannot be read: {errno.errorcode[number]}"
    assert refused.candidate == Candidate(str(root), "a", 0, 0, 0, 0, 0, str(root))
    assert refusals(walker.walk(deep=True)) == []


def test_a_folder_that_fails_between_its_opening_and_its_first_entry_is_rejected(root, monkeypatch):
    """A file server may forget a folder at any call: ESTALE."""
    write(root / "a" / "1")
    expected = [str(write(root / "b" / "2"))]
    real, lost = os.fstat, (root / "a").stat().st_ino

    def fstat(fd):
        if real(fd).st_ino == lost:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(fd)

    monkeypatch.setattr(walk_module.os, "fstat", fstat)
    listings = list(Walker(str(root)).walk(deep=True))
    assert (paths(listings), refusals(listings)) == (expected, [("a", Kind.REJECTED, Reason.UNREADABLE)])


def test_an_unreadable_folder_is_listed_when_it_becomes_readable_and_reported_when_it_fails_again(root):
    expected = [str(write(root / "a" / "1"))]
    walker = Walker(str(root))
    rejected = [("a", Kind.REJECTED, Reason.UNREADABLE)]
    with pytest.MonkeyPatch.context() as broken:
        failing_open(broken, root / "a", errno.EACCES)
        assert refusals(walker.walk(deep=False)) == rejected
    assert paths(walker.walk(deep=False)) == expected
    with pytest.MonkeyPatch.context() as broken:
        failing_open(broken, root / "a", errno.EACCES)
        assert refusals(walker.walk(deep=True)) == rejected


def test_what_was_read_before_a_folder_failed_is_still_listed(root, monkeypatch):
    write(root / "a" / "1")
    real = os.scandir

    class Failing:
        def __init__(self, fd):
            self.entries = real(fd)
            self.root = os.fstat(fd).st_ino == root.stat().st_ino

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.entries.close()

        def __iter__(self):
            yield from self.entries
            if not self.root:
                raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(walk_module.os, "scandir", Failing)
    listings = list(Walker(str(root)).walk(deep=True))
    assert paths(listings) == [str(root / "a" / "1")]
    assert refusals(listings) == [("a", Kind.REJECTED, Reason.UNREADABLE)]
    assert not [listing for listing in listings if listing.candidates and listing.last]


def test_a_thousand_levels_are_walked_and_what_no_call_can_name_is_reported(root, request):
    # pytest cannot remove what is nested so deeply, and would fail in a later session.
    request.addfinalizer(lambda: subprocess.run(["rm", "-r", str(root)], check=True))
    fd = os.open(root, os.O_RDONLY)
    for level in range(1_000):
        os.mkdir("level" if level % 3 else "d", dir_fd=fd)
        deeper = os.open("level" if level % 3 else "d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    listings = list(Walker(str(root)).walk(deep=True))
    found, rejected = paths(listings), refusals(listings)
    assert len(found) > 700
    assert all(os.path.exists(path) for path in found)
    assert len(rejected) in (1, 2)
    assert {(kind, reason) for _, kind, reason in rejected} == {(Kind.REJECTED, Reason.UNREADABLE)}


def test_an_unchanged_folder_of_known_files_is_skipped_until_something_appears(root, clock):
    write(root / "a" / "1")
    walker = Walker(str(root), clock=clock)
    walk_and_know(walker)
    clock.now += 2
    walk_and_know(walker)
    assert list(walker.walk(deep=False)) == []
    expected = [str(root / "a" / "1"), str(write(root / "a" / "2"))]
    assert paths(walker.walk(deep=False)) == expected


def test_a_skipped_folder_costs_one_lstat_and_no_listing(root, clock, monkeypatch):
    for n in range(5):
        write(root / str(n) / "file")
    walker = Walker(str(root), clock=clock)
    walk_and_know(walker)
    clock.now += 2
    walk_and_know(walker)

    def scandir(_fd):
        raise AssertionError("a folder was listed")

    monkeypatch.setattr(walk_module.os, "scandir", scandir)
    assert list(walker.walk(deep=False)) == []


def test_new_files_deep_in_a_tree_of_skipped_folders_are_found(root, clock):
    write(root / "a" / "b" / "c" / "1")
    walker = Walker(str(root), clock=clock)
    walk_and_know(walker)
    clock.now += 2
    walk_and_know(walker)
    new = write(root / "a" / "b" / "c" / "d" / "2")
    assert str(new) in paths(walker.walk(deep=False))


def test_a_folder_is_trusted_only_beyond_the_resolution_of_its_time_stamps(root, clock, monkeypatch):
    """A file that appears in the same tick as the listing leaves the folder's time stamps as they were."""
    monkeypatch.setattr(walk_module, "_version", lambda _seen: (1, 1, 1, 1))
    write(root / "1")
    walker = Walker(str(root), clock=clock)
    walk_and_know(walker)
    clock.now += 1.9
    walk_and_know(walker)
    second = write(root / "2")
    assert str(second) in paths(walk_and_know(walker))
    clock.now += 0.1
    assert str(second) in paths(walk_and_know(walker))
    assert walk_and_know(walker) == []


def test_a_folder_with_one_unknown_part_is_listed_again(root, clock, monkeypatch):
    monkeypatch.setattr(listing_module, "CHUNK", 2)
    expected = sorted(str(write(root / str(n))) for n in range(5))
    walker = Walker(str(root), clock=clock)
    list(walker.walk(deep=False))
    clock.now += 2
    listings = list(walker.walk(deep=False))
    for listing in listings[:-1]:
        walker.known(listing)
    assert paths(walker.walk(deep=False)) == expected


def test_knowing_an_outdated_listing_says_nothing_about_the_newer_one(root, clock):
    expected = [str(write(root / "1"))]
    walker = Walker(str(root), clock=clock)
    list(walker.walk(deep=False))
    clock.now += 2
    [outdated] = walker.walk(deep=False)
    list(walker.walk(deep=False))
    walker.known(outdated)
    assert paths(walker.walk(deep=False)) == expected


def test_a_walk_that_was_abandoned_halfway_trusts_nothing_it_did_not_read(root, clock, monkeypatch):
    monkeypatch.setattr(listing_module, "CHUNK", 2)
    expected = sorted(str(write(root / str(n))) for n in range(5))
    walker = Walker(str(root), clock=clock)
    walk_and_know(walker)
    clock.now += 2
    half = walker.walk(deep=False)
    walker.known(next(half))
    half.close()
    assert paths(walker.walk(deep=False)) == expected


def test_deep_walks_see_what_was_written_in_place(root, clock):
    file = write(root / "1")
    walker = Walker(str(root), clock=clock)
    walk_and_know(walker)
    clock.now += 2
    walk_and_know(walker)
    file.write_bytes(b"longer")
    assert list(walker.walk(deep=False)) == []
    [listing] = walker.walk(deep=True)
    assert [c.size for c in listing.candidates] == [6]


def test_vanished_folders_are_not_remembered(root):
    write(root / "a" / "b" / "1")
    walker = Walker(str(root))
    walk_and_know(walker)
    (root / "a" / "b" / "1").unlink()
    (root / "a" / "b").rmdir()
    (root / "a").rmdir()
    walk_and_know(walker)
    assert list(walker._folders) == [str(root)]


def test_another_folder_under_an_old_name_is_listed(root, clock, tmp_path):
    write(root / "a" / "1")
    walker = Walker(str(root), clock=clock)
    walk_and_know(walker)
    clock.now += 2
    walk_and_know(walker)
    (root / "a").rename(tmp_path / "away")
    other = write(root / "a" / "2")
    assert paths(walker.walk(deep=False)) == [str(other)]


def test_a_walk_keeps_no_descriptor_open(root):
    write(root / "a" / "1")
    before = len(os.listdir("/proc/self/fd"))
    walker = Walker(str(root))
    list(walker.walk(deep=True))
    half = walker.walk(deep=True)
    next(half)
    half.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user, for whom chmod 000 counts")
def test_a_folder_without_permission_is_rejected():
    script = textwrap.dedent("""
        import os
        from sorter.observer.walk import Walker
        os.setuid(65534)
        for listing in Walker(".").walk(deep=True):
            print(*(c.name for c in listing.candidates), *(r.detail for r in listing.ignored))
    """)
    with tempfile.TemporaryDirectory() as root:  # pytest's own folders are closed to other users
        os.chmod(root, 0o755)
        write(Path(root) / "open" / "1")
        write(Path(root) / "shut" / "2")
        os.chmod(f"{root}/shut", 0)
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
        )
    assert sorted(done.stdout.splitlines()) == ["1", "cannot be read: EACCES"]


def test_a_folder_with_an_entry_that_cannot_be_looked_at_is_listed_again_at_every_walk(
    root, clock, monkeypatch
):
    """Else what becomes readable later would be found only by a deep walk: nothing changes its folder."""
    write(root / "a" / "1")
    real = os.scandir

    class Failing:
        def __init__(self, entry):
            self.name = entry.name
            self._entry = entry

        def stat(self, **how):
            if self.name == "1":
                raise OSError(errno.EIO, "no")
            return self._entry.stat(**how)

    @contextlib.contextmanager
    def scandir(fd):
        with real(fd) as entries:
            yield [Failing(entry) for entry in entries]

    walker = Walker(str(root), clock=clock)
    with monkeypatch.context() as failing:
        failing.setattr(os, "scandir", scandir)
        for _ in range(3):
            walk_and_know(walker)
            clock.now += 2
        assert walker.unreadable == {str(root / "a" / "1"): "cannot be read: EIO"}
    assert paths(walker.walk(deep=False)) == [str(root / "a" / "1")]
    assert walker.unreadable == {}


def test_a_folder_of_files_that_the_ledger_knows_is_skipped_when_it_has_not_changed(root, clock):
    words = known_to_the_ledger(write(root / "a"))
    walker = Walker(str(root), clock=clock, words=words)
    clock.now += 2  # nothing: the folder is seen for the first time now
    assert len(list(walker.walk(deep=False))) == 1
    clock.now += 2
    assert len(list(walker.walk(deep=False))) == 1
    assert list(walker.walk(deep=False)) == []


def test_a_walk_ends_between_two_folders_when_told_to(root):
    for n in range(5):
        write(root / str(n) / "file")
    asked = []
    walker = Walker(str(root), stop=lambda: bool(asked.append(1)) or len(asked) > 3)
    assert len(paths(walker.walk(deep=True))) == 2
