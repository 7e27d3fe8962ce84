"""Facts about mounts: which file system holds a folder, and what may be believed there."""

import pytest

from sorter.observer import mounts as mounts_module
from sorter.observer.mounts import file_system

MOUNTINFO = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / /dev/shm rw - tmpfs tmpfs rw
40 22 0:40 / /mnt/scans rw shared:1 master:2 - nfs4 nas:/scans rw,vers=4.2
41 40 0:41 / /mnt/scans/local rw - xfs /dev/sdb rw
42 22 0:42 / /mnt/two\040words rw - cifs //nas/share rw
43 22 0:43 / /mnt/over rw - ext4 /dev/sdc rw
44 43 0:44 / /mnt/over rw - fuse.sshfs host: rw
45 22 0:45 / /mnt/line\fend rw - nfs nas:/b rw
broken line
""".replace(r"\f", "\f")  # the kernel escapes blanks, tabs and ends of lines, but no other control character


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/home/x", "ext4"),
        ("/mnt/scans", "nfs4"),
        ("/mnt/scans/ct/1", "nfs4"),
        ("/mnt/scans-2", "ext4"),
        ("/mnt/scans/local/x", "xfs"),
        ("/mnt/two words/x", "cifs"),
        ("/mnt/over/x", "fuse.sshfs"),
        ("/mnt/line\fend/x", "nfs"),
    ],
)
def test_the_innermost_and_latest_mount_holds_a_path(path, expected):
    assert file_system(path, MOUNTINFO) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ext4", True),
        ("xfs", True),
        ("overlay", True),
        ("nfs4", False),
        ("cifs", False),
        ("fuse.sshfs", False),
    ],
)
def test_time_stamps_are_ours_where_no_other_machine_sets_them(monkeypatch, kind, expected):
    monkeypatch.setattr(mounts_module, "_kind_of", lambda _path: kind)
    assert mounts_module.keeps_our_time("/in") is expected
