"""What kind of file system a folder lies on: whose writes inotify hears of, and whose clock they bear."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Other machines, user space or another layer write there, and inotify does not hear of it.
_SCAN_ONLY = frozenset(
    ("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "lustre",
     "gpfs", "beegfs", "gfs2", "ocfs2", "orangefs", "afs", "coda", "overlay", "vboxsf", "vmhgfs", "prl_fs")
)  # fmt: skip
# The time stamps of these are our own kernel's, though the events are not.
_OUR_CLOCK = frozenset(("overlay",))


def written_elsewhere(path: str) -> bool:
    """Whether writes below a folder may go past this kernel, so that inotify does not hear of them."""
    return _by_others(_kind_of(path))


def keeps_our_time(path: str) -> bool:
    """Whether this machine's clock sets the time stamps of the files below a folder.

    On network and FUSE file systems a server's clock may; it can differ by minutes, either way.
    """
    kind = _kind_of(path)
    return kind in _OUR_CLOCK or not _by_others(kind)


def _kind_of(path: str) -> str:
    mountinfo = Path("/proc/self/mountinfo").read_bytes()
    return file_system(os.path.realpath(path), os.fsdecode(mountinfo))


def _by_others(kind: str) -> bool:
    return kind in _SCAN_ONLY or kind.startswith("fuse")


def file_system(path: str, mountinfo: str) -> str:
    """The type of the file system that holds a path, from the text of ``/proc/self/mountinfo``.

    Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    kind, longest = "", -1
    for line in mountinfo.split("\n"):  # not splitlines: a mount point may hold other ends of lines
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]).rstrip("/")
        # Of equals the last one counts: it was mounted over the others.
        if len(point) >= longest and f"{path}/".startswith(f"{point}/"):
            kind, longest = after.split(" ")[0], len(point)
    return kind
