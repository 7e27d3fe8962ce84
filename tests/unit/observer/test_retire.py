"""Facts about retiring: only the archived version is touched, nothing is overwritten, no path leaks."""

import errno
import os
import traceback

import pytest

from sorter.observer import retire as retire_module
from sorter.observer.listing import look
from sorter.observer.retire import SORTED, retire
from sorter.observer.walk import Walker


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def source(root, name="a/b/file.dcm", content=b"first"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path, look(str(path), str(root))


def test_keeping_does_nothing(root):
    path, candidate = source(root)
    assert retire(candidate, "keep")
    assert path.read_bytes() == b"first"


def test_deleting_removes_the_file_and_no_folder(root):
    path, candidate = source(root)
    assert retire(candidate, "delete")
    assert not path.exists()
    assert path.parent.is_dir()


def test_moving_keeps_the_relative_path_below_a_folder_no_walk_enters(root):
    path, candidate = source(root)
    assert retire(candidate, "move")
    assert not path.exists()
    assert (root / SORTED / "a/b/file.dcm").read_bytes() == b"first"
    assert list(Walker(str(root), ignore=[]).walk(deep=True)) == []


def test_moving_elsewhere_makes_the_folder(root, tmp_path):
    _, candidate = source(root)
    assert retire(candidate, "move", moved_to=str(tmp_path / "done" / "today"))
    assert (tmp_path / "done/today/a/b/file.dcm").read_bytes() == b"first"


def test_a_file_directly_in_the_drop_folder_moves(root):
    _, candidate = source(root, "file.dcm")
    assert retire(candidate, "move")
    assert (root / SORTED / "file.dcm").read_bytes() == b"first"


def test_a_taken_name_gets_a_number_and_nothing_is_overwritten(root):
    for content in (b"first", b"second", b"third"):
        _, candidate = source(root, "file.dcm", content)
        assert retire(candidate, "move")
    moved = {path.name: path.read_bytes() for path in (root / SORTED).iterdir()}
    assert moved == {"file.dcm": b"first", "file.dcm.1": b"second", "file.dcm.2": b"third"}


def test_a_taken_name_of_255_bytes_is_cut_for_its_number(root):
    for content in (b"first", b"second"):
        _, candidate = source(root, "n" * 255, content)
        assert retire(candidate, "move")
    assert {path.name for path in (root / SORTED).iterdir()} == {"n" * 255, "n" * 253 + ".1"}


@pytest.mark.parametrize("how", ["delete", "move"])
def test_another_version_stays(root, how):
    path, candidate = source(root)
    path.write_bytes(b"other")
    assert not retire(candidate, how)
    assert path.read_bytes() == b"other"
    assert not list(root.glob(f"{SORTED}/**/*.dcm"))


@pytest.mark.parametrize("how", ["delete", "move"])
def test_a_version_that_differs_in_ctime_alone_stays(root, how):
    path, candidate = source(root)
    path.chmod(0o600)
    assert not retire(candidate, how)
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize("how", ["delete", "move"])
def test_a_file_that_is_gone_is_not_an_error(root, how):
    path, candidate = source(root)
    path.unlink()
    assert not retire(candidate, how)
    path.parent.rmdir()
    assert not retire(candidate, how)


@pytest.mark.parametrize("how", ["delete", "move"])
def test_a_file_given_by_hand_is_never_retired(root, how):
    path, _ = source(root)
    assert not retire(look(str(path)), how)
    assert path.exists()


@pytest.mark.parametrize("how", ["delete", "move"])
def test_a_planted_link_leads_nowhere(root, tmp_path, how):
    path, candidate = source(root)
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    assert not retire(candidate, how)
    assert (tmp_path / "elsewhere" / "file.dcm").exists()


@pytest.mark.parametrize("planted", [SORTED, f"{SORTED}/a"])
def test_a_planted_link_in_the_target_is_an_error_and_the_source_stays(root, tmp_path, planted):
    path, candidate = source(root)
    (root / planted).parent.mkdir(exist_ok=True)
    (root / planted).symlink_to(tmp_path)
    with pytest.raises(OSError) as caught:
        retire(candidate, "move")
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert path.exists()
    assert os.listdir(tmp_path) == ["incoming"]


def test_a_version_that_changes_just_before_the_rename_stays_and_leaves_no_empty_file(root, monkeypatch):
    path, candidate = source(root)
    real = retire_module._reserve

    def reserve_while_rewritten(name, folder):
        path.write_bytes(b"other")
        return real(name, folder)

    monkeypatch.setattr(retire_module, "_reserve", reserve_while_rewritten)
    assert not retire(candidate, "move")
    assert path.read_bytes() == b"other"
    assert not list(root.glob(f"{SORTED}/**/*.dcm"))


@pytest.mark.skipif(
    not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
    reason="no second file system",
)
def test_another_file_system_is_an_error_without_a_path_and_the_source_stays(root):
    import tempfile

    path, candidate = source(root)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        with pytest.raises(OSError) as caught:
            retire(candidate, "move", moved_to=other)
        assert os.listdir(f"{other}/a/b") == []
    assert caught.value.errno == errno.EXDEV
    assert caught.value.filename is None
    assert str(root) not in "".join(traceback.format_exception(caught.value))
    assert path.read_bytes() == b"first"


def test_a_candidate_outside_its_root_is_refused(root, tmp_path):
    path, _ = source(tmp_path, "incoming-2/file.dcm")
    with pytest.raises(OSError) as caught:
        retire(look(str(path), str(root)), "delete")
    assert caught.value.errno == errno.EINVAL
    assert path.exists()


@pytest.mark.parametrize("name", [b"\xff\xfe.dcm", b"new\nline", b"-rf"])
def test_odd_names_are_moved(root, name):
    _, candidate = source(root, os.fsdecode(b"\xfd/" + name))
    assert retire(candidate, "move")
    assert os.listdir(os.fsencode(root / SORTED) + b"/\xfd") == [name]


def test_no_descriptor_is_left_open(root):
    before = len(os.listdir("/proc/self/fd"))
    for how in ("delete", "move"):
        path, candidate = source(root)
        assert retire(candidate, how)
        path.write_bytes(b"other")
        assert not retire(candidate, how)
    assert len(os.listdir("/proc/self/fd")) == before
