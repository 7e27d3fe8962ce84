"""Reads a whole program's system calls, with all their data, into the model of a disk."""

import os
import re
from dataclasses import replace

from crash.power_disk import Node

# Calls that the model knows; then those that it does not, so that it can say so instead of being wrong.
KNOWN = (
    "open", "openat", "creat", "write", "pwrite64", "ftruncate", "truncate", "lseek", "mmap",
    "fsync", "fdatasync", "syncfs", "sync", "link", "linkat", "rename", "renameat", "renameat2",
    "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "symlink", "symlinkat", "utimensat",
)  # fmt: skip
UNKNOWN = ("writev", "pwritev", "pwritev2", "fallocate", "copy_file_range", "sendfile", "splice", "openat2")
TRACE = ["-f", "-xx", "-s", "99999999", "-e", f"trace={','.join((*KNOWN, *UNKNOWN))}"]
SYNCS = ("fsync", "fdatasync", "syncfs", "sync")
_UMASK = 0o022


class UnknownCallError(Exception):
    """The run used a call, or used one in a way, that the model does not know."""


def _bytes(text):
    return bytes.fromhex(text.replace("\\x", ""))


def readable(call):
    """The call with its paths in plain text, as in a log without ``-xx``; data stays as it is."""

    count = 1 if call.name in ("write", "pwrite64") else 0
    plain = re.sub(
        r"(?:\\x[0-9a-f]{2})+", lambda found: os.fsdecode(_bytes(found[0])), call.arguments, count=count
    )
    return replace(call, arguments=plain)


class Reader:
    """Takes up one call after the other.

    What changes something counts from its start, since it may reach the disk from then on; a sync counts from
    its end, and covers what had ended before it began.
    """

    def __init__(self, disk, ignored):
        self.disk, self._ignored = disk, ignored
        self._places = {}  # of each file: where the next plain write goes

    def read(self, log):
        """All calls of a log that succeeded."""
        for call in sorted(log, key=lambda call: call.end if call.name in SYNCS else call.start):
            if call.ok:
                self._read(call)

    def _read(self, call):
        paths, descriptors = _paths(call), _descriptors(call)
        ours = [path for path in (*paths, *descriptors) if self._is_ours(path)]
        if call.name in ("syncfs", "sync"):
            self._step(call, str(self.disk.root))
            self.disk.sync(None, call.start)
        elif ours and call.name in UNKNOWN:
            raise UnknownCallError(f"{call.name} of {ours[0]}")
        elif ours:
            getattr(self, f"_{_METHODS[call.name]}")(call, paths, descriptors)

    def _is_ours(self, path):
        root = str(self.disk.root)
        if path != root and not path.startswith(f"{root}/"):
            return False
        parts = self.disk.parts(path)
        return not parts or not self._ignored(parts[0])

    def _step(self, call, path):
        self.disk.step(f"{call.name} {os.path.relpath(path, self.disk.root)}")

    # -- by call ----------------------------------------------------------------------------------------

    def _open(self, call, paths, _descriptors):
        (path,) = paths
        node = self.disk.find(path)
        if "O_TMPFILE" in call.arguments:
            raise UnknownCallError(f"a file without a name below {path}")
        if node is None and ("O_CREAT" in call.arguments or call.name == "creat"):
            mode = int(call.arguments.rpartition(" ")[2], 8) & ~_UMASK
            node = Node("file", mode)
            self._step(call, path)
            self.disk.enter(path, node, call.end)
        elif "O_TRUNC" in call.arguments and node.content:
            self._step(call, path)
            self.disk.resize(node, 0, call.end)
        self._places[node] = -1 if "O_APPEND" in call.arguments else 0

    def _write(self, call, _paths, descriptors):
        node = self._file(descriptors)
        match = re.search(r'"((?:\\x[0-9a-f]{2})*)", (\d+)(?:, (\d+))?$', call.arguments)
        data = _bytes(match[1])[: int(call.result)]
        if not data or node is None:
            return
        if call.name == "pwrite64":
            offset = int(match[3])
        else:
            offset = len(node.content) if self._places[node] < 0 else self._places[node]
            self._places[node] = -1 if self._places[node] < 0 else offset + len(data)
        self._step(call, descriptors[0])
        self.disk.write(node, offset, data, call.end)

    def _seek(self, call, _paths, descriptors):
        node = self._file(descriptors)
        if node is not None and self._places.get(node, -1) >= 0:
            self._places[node] = int(call.result)

    def _truncate(self, call, paths, descriptors):
        node = self._file(descriptors) if descriptors else self.disk.find(paths[0])
        if node is not None:
            self._step(call, (descriptors or paths)[0])
            self.disk.resize(node, int(call.arguments.rpartition(" ")[2]), call.end)

    def _map(self, call, _paths, descriptors):
        writes = "PROT_WRITE" in call.arguments and "MAP_SHARED" in call.arguments
        if writes and not descriptors[0].endswith("-shm"):  # SQLite makes it anew after a crash
            raise UnknownCallError(f"a shared mapping of {descriptors[0]}")

    def _sync(self, call, _paths, descriptors):
        node = self._file(descriptors)
        if node is not None:
            kinds = (
                ("write", "size", "entry") if call.name == "fdatasync" else ("write", "size", "time", "entry")
            )
            self._step(call, descriptors[0])
            self.disk.sync(node, call.start, kinds)

    def _link(self, call, paths, _descriptors):
        self._step(call, paths[-1])
        self.disk.enter(paths[-1], self.disk.find(paths[0]), call.end)

    def _rename(self, call, paths, _descriptors):
        if "RENAME_EXCHANGE" in call.arguments or not all(map(self._is_ours, paths)):
            raise UnknownCallError(f"{call.name} of {paths}")
        old, new = paths
        self._step(call, new)
        added = self.disk.enter(new, self.disk.find(old), call.end)
        self.disk.enter(old, None, call.end, needs=added)

    def _remove(self, call, paths, _descriptors):
        self._step(call, paths[0])
        self.disk.enter(paths[0], None, call.end)

    def _folder(self, call, paths, _descriptors):
        self._step(call, paths[0])
        mode = int(call.arguments.rpartition(" ")[2], 8) & ~_UMASK
        self.disk.enter(paths[0], Node("folder", mode), call.end)

    def _symlink(self, call, paths, _descriptors):
        target = re.match(r'"((?:\\x[0-9a-f]{2})*)"', call.arguments)
        self._step(call, paths[-1])
        node = Node("link", content=_bytes(target[1]))
        node.settle()  # written with its name
        self.disk.enter(paths[-1], node, call.end)

    def _time(self, call, paths, descriptors):
        node = self.disk.find(paths[0]) if paths else self._file(descriptors)
        found = re.findall(r"tv_sec=(\d+)[^,}]*, tv_nsec=(\d+)", call.arguments)
        if len(found) != 2:
            raise UnknownCallError(f"{call.name} with {call.arguments[-80:]}")
        self._step(call, (paths or descriptors)[0])
        self.disk.stamp(node, int(found[1][0]) * 10**9 + int(found[1][1]), call.end)

    def _file(self, descriptors):
        """The node behind a descriptor; None where its last name is gone, so that nothing of it can stay."""
        path = descriptors[0]
        return None if path.endswith("(deleted)") else self.disk.find(path)


_METHODS = {
    "open": "open", "openat": "open", "creat": "open", "write": "write", "pwrite64": "write", "lseek": "seek",
    "ftruncate": "truncate", "truncate": "truncate", "mmap": "map", "fsync": "sync", "fdatasync": "sync",
    "link": "link", "linkat": "link", "rename": "rename", "renameat": "rename", "renameat2": "rename",
    "unlink": "remove", "unlinkat": "remove", "rmdir": "remove", "mkdir": "folder", "mkdirat": "folder",
    "symlink": "symlink", "symlinkat": "symlink", "utimensat": "time",
}  # fmt: skip
_HEX = r"(?:\\x[0-9a-f]{2})*"


def _paths(call):
    """Path arguments, made absolute with the descriptor before them."""
    if call.name in ("write", "pwrite64"):
        return []
    if call.name in ("open", "openat", "creat") and (found := re.match(rf"\d+<({_HEX})>", call.result)):
        return [os.fsdecode(_bytes(found[1]))]
    found, folder = [], "/"
    for descriptor, text in re.findall(rf'(?:\d+|AT_FDCWD)<({_HEX})>|"({_HEX})"', call.arguments):
        if descriptor:
            folder = os.fsdecode(_bytes(descriptor))
        elif text:
            found.append(os.path.normpath(os.path.join(folder, os.fsdecode(_bytes(text)))))
    return found


def _descriptors(call):
    """The paths behind the descriptors that are not only the start of a path."""
    if call.name in ("open", "openat", "creat"):
        return []
    found = re.match(rf"(?:\w+, \d+, [A-Z_|]+, [A-Z_|]+, )?\d+<({_HEX})>(\(deleted\))?", call.arguments)
    if found is None:
        return []
    return [os.fsdecode(_bytes(found[1])) + (found[2] or "")]
