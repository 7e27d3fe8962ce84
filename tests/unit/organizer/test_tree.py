"""Folders below the root by descriptor: made where missing, links never followed, names made durable."""

import errno
import hashlib
import os

import pytest

from sorter.errors import ArchiveError, ArchiveFullError
from sorter.organizer import tree as module
from sorter.organizer.tree import Blocked, Tree, make_root, trouble


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "root").mkdir()
    tree = Tree(tmp_path / "root")
    yield tree
    tree.close()


@pytest.fixture
def synced(tmp_path, monkeypatch):
    """Folders that fsync was called for, relative to the test's folder, in order."""
    calls, real = [], os.fsync

    def fsync(fd):
        calls.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tmp_path))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


def where(fd):
    return os.readlink(f"/proc/self/fd/{fd}")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def stage(tmp_path, data=b"x", name="s"):
    """A file outside of the tree, and a descriptor of its folder."""
    (tmp_path / name).write_bytes(data)
    return os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)


# -- folders --------------------------------------------------------------------------------------------


def test_missing_folders_are_made(tree, tmp_path):
    assert where(tree.directory("a/b/c")) == str(tmp_path / "root/a/b/c")
    assert (tmp_path / "root/a/b/c").is_dir()


def test_no_name_is_the_root_itself(tree, tmp_path):
    assert where(tree.directory("")) == str(tmp_path / "root")


def test_a_folder_is_opened_once_a_turn(tree):
    first = tree.directory("a/b")
    before = descriptors()
    assert (tree.directory("a/b"), descriptors()) == (first, before)


def test_after_a_turn_a_folder_that_was_moved_is_made_anew(tree, tmp_path):
    tree.directory("a")
    (tmp_path / "root/a").rename(tmp_path / "root/moved")
    tree.forget()
    assert where(tree.directory("a")) == str(tmp_path / "root/a")


@pytest.mark.parametrize("folder", ["link", "link/deeper", "a/link"])
def test_a_link_to_a_folder_is_not_followed(tree, tmp_path, folder):
    outside = tmp_path / "outside"
    outside.mkdir()
    tree.directory("a")
    for place in ("link", "a/link"):
        (tmp_path / "root" / place).symlink_to(outside)
    with pytest.raises(Blocked):
        tree.directory(folder)
    assert os.listdir(outside) == []


def test_a_dangling_link_blocks_as_well(tree, tmp_path):
    (tmp_path / "root/link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Blocked):
        tree.directory("link")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_what_is_no_folder_blocks(tree, tmp_path, kind):
    place = tmp_path / "root/a"
    place.write_bytes(b"") if kind == "file" else os.mkfifo(place)
    with pytest.raises(Blocked):
        tree.directory("a/b")


def test_a_folder_that_another_writer_makes_meanwhile_is_used(tree, tmp_path, monkeypatch):
    real = os.mkdir

    def mkdir(name, *, dir_fd):
        real(name, dir_fd=dir_fd)
        raise FileExistsError

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert where(tree.directory("a")) == str(tmp_path / "root/a")


def test_the_folders_of_a_turn_may_be_more_than_are_kept_open(tmp_path):
    tree = Tree(tmp_path, keep=8)
    before = descriptors()
    for number in range(50):
        tree.directory(f"p{number}/study/series")
    assert descriptors() - before <= 8
    assert where(tree.directory("p0/study")) == str(tmp_path / "p0/study")
    tree.close()


def test_however_many_folders_a_turn_has_few_are_kept_open(tree):
    before = descriptors()
    for number in range(600):
        tree.directory(f"f{number}/a")
    assert descriptors() - before < 300


def test_closing_closes_every_descriptor(tmp_path):
    before = descriptors()
    tree = Tree(tmp_path)
    tree.directory("a/b/c")
    tree.close()
    assert descriptors() == before


# -- names ----------------------------------------------------------------------------------------------


def no_links(*_args, **_more):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_its_name(tree, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    tree.link("s", stage(tmp_path), "a/b", "x.dcm")
    assert (tmp_path / "root/a/b/x.dcm").read_bytes() == b"x"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_a_name_that_is_taken_is_never_replaced(tree, tmp_path, monkeypatch, links, kind):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    tree.directory("a")
    place = tmp_path / "root/a/x.dcm"
    if kind == "file":
        place.write_bytes(b"first")
    else:
        place.symlink_to(tmp_path / ("s" if kind == "link" else "nowhere"))
    before = os.lstat(place)
    with pytest.raises(FileExistsError):
        tree.link("s", stage(tmp_path), "a", "x.dcm")
    assert (os.lstat(place).st_ino, (tmp_path / "s").read_bytes()) == (before.st_ino, b"x")


def test_a_file_system_with_neither_links_nor_noreplace_is_refused(tree, tmp_path, monkeypatch):
    class Libc:
        @staticmethod
        def renameat2(*_):
            module.ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(module, "_libc", Libc)
    with pytest.raises(ArchiveError, match="use another file system"):
        tree.link("s", stage(tmp_path), "a", "x.dcm")
    assert os.listdir(tmp_path / "root/a") == []


def test_another_error_of_link_is_raised_as_it_is(tree, tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="full"):
        tree.link("s", stage(tmp_path), "a", "x.dcm")


# -- what lies under a name -----------------------------------------------------------------------------


ONE = hashlib.sha256(b"one").hexdigest()


def lay(tmp_path, kind):
    """Put something under a name in a folder of the tree."""
    place = tmp_path / "root/a/x.dcm"
    place.parent.mkdir()
    if kind == "link":
        (tmp_path / "one").write_bytes(b"one")
        place.symlink_to(tmp_path / "one")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind != "nothing":
        place.write_bytes(kind)


def test_a_name_with_just_these_bytes_is_made_durable_again_with_its_folders(tree, tmp_path, synced):
    lay(tmp_path, b"one")
    assert tree.holds("a", "x.dcm", ONE) is True
    assert synced == ["root/a/x.dcm"]
    tree.sync()
    assert sorted(synced) == ["root", "root/a", "root/a/x.dcm"]


@pytest.mark.parametrize("kind", [b"two", b"", "link", "fifo", "folder", "nothing"])
def test_a_name_with_anything_else_is_not_vouched_for(tree, tmp_path, synced, kind):
    """A link is not followed, though the same bytes may lie where it leads."""
    lay(tmp_path, kind)
    assert (tree.holds("a", "x.dcm", ONE), synced) == (False, [])


def test_where_no_folder_can_be_no_name_is_vouched_for(tree, tmp_path):
    (tmp_path / "root/a").write_bytes(b"one")
    assert tree.vouch("a", "x.dcm", lambda _fd: True) is False


def test_whether_a_file_is_ours_is_the_caller_s_to_say(tree, tmp_path, synced):
    lay(tmp_path, b"anything")
    before = descriptors()
    assert tree.vouch("a", "x.dcm", lambda fd: os.read(fd, 3) == b"thi") is False
    assert synced == []
    assert tree.vouch("a", "x.dcm", lambda fd: os.read(fd, 3) == b"any") is True
    tree.forget()
    assert descriptors() == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
def test_a_name_that_cannot_be_opened_for_want_of_means_decides_nothing(tree, tmp_path, monkeypatch, number):
    """Else the same bytes would get a second name."""
    lay(tmp_path, b"one")
    really_open = os.open

    def scarce(path, *rest, **more):
        if path == "x.dcm":
            raise OSError(number, os.strerror(number))
        return really_open(path, *rest, **more)

    monkeypatch.setattr(os, "open", scarce)
    with pytest.raises(OSError, match=os.strerror(number)):
        tree.holds("a", "x.dcm", ONE)


# -- durability -----------------------------------------------------------------------------------------


def test_a_name_is_synced_with_every_ancestor(tree, tmp_path, synced):
    tree.link("s", stage(tmp_path), "a/b", "x.dcm")
    tree.sync()
    assert sorted(synced) == ["root", "root/a", "root/a/b"]


def test_folders_that_were_there_already_are_synced_too(tree, tmp_path, synced):
    """Who made them may have died before the sync."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    tree.link("s", stage(tmp_path), "a/b", "x.dcm")
    tree.sync()
    assert sorted(synced) == ["root", "root/a", "root/a/b"]


def test_a_name_that_is_only_relied_upon_is_synced(tree, tmp_path, synced):
    (tmp_path / "root/a").mkdir()
    tree.touch("a")
    tree.sync()
    assert sorted(synced) == ["root", "root/a"]


def test_what_was_synced_is_not_synced_again(tree, tmp_path, synced):
    tree.link("s", stage(tmp_path), "a", "x.dcm")
    tree.sync()
    synced.clear()
    tree.sync()
    assert synced == []


def test_a_folder_whose_descriptor_was_given_up_is_synced_nevertheless(tmp_path, synced):
    tree = Tree(tmp_path, keep=4)
    fd = stage(tmp_path)
    for number in range(6):
        tree.link("s", fd, f"f{number}", "x.dcm")
    tree.sync()
    assert sorted(synced) == [".", "f0", "f1", "f2", "f3", "f4", "f5"]
    tree.close()


def test_many_folders_are_synced_by_one_call(tree, tmp_path, synced, monkeypatch):
    calls = []
    monkeypatch.setattr(Tree, "sync_all", lambda _tree: calls.append(True))
    fd = stage(tmp_path)
    for number in range(module.SYNC_EACH_UP_TO + 1):
        tree.link("s", fd, f"f{number}", "x.dcm")
    tree.sync()
    assert (calls, synced) == ([True], [])


def test_a_syncfs_that_fails_is_raised(tree, monkeypatch):
    class Libc:
        @staticmethod
        def syncfs(_fd):
            module.ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(module, "_libc", Libc)
    with pytest.raises(OSError, match="Input/output error"):
        tree.sync_all()


def test_a_new_root_is_synced_up_to_the_first_folder_that_was_there(tmp_path, synced):
    make_root(tmp_path / "a/b")
    assert synced == [".", "a"]


def test_a_root_that_is_there_needs_no_sync(tmp_path, synced):
    make_root(tmp_path)
    assert synced == []


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, ArchiveFullError),
        (errno.EDQUOT, ArchiveFullError),
        (errno.EIO, ArchiveError),
        (errno.EROFS, ArchiveError),
        (errno.ENOENT, ArchiveError),
    ],
)
def test_trouble_says_what_was_tried_and_never_where(number, expected):
    with pytest.raises(ArchiveError) as caught, trouble("publish"):
        raise OSError(number, os.strerror(number), "/secret/patient")
    assert (type(caught.value), str(caught.value)) == (expected, f"cannot publish: {os.strerror(number)}")
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


def test_other_exceptions_are_none_of_the_archives():
    with pytest.raises(KeyError), trouble("publish"):
        raise KeyError


def test_a_name_that_is_too_long_for_the_file_system_concerns_only_its_own_file(tree):
    source = tree.directory("staging")
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=source))
    with pytest.raises(Blocked, match="no name as long"):
        tree.directory("a/" + "x" * 256 + "/b")
    with pytest.raises(Blocked, match="no name as long"):
        tree.link("file", source, "a", "x" * 256)
