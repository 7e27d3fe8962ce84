"""What a repair may do below the archive root: give recorded files their names back. No byte is deleted.

A name goes only when another name of the same bytes is durable.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Sequence

from sorter.organizer.archive import Archive
from sorter.organizer.lease import META
from sorter.organizer.quarantine import clear_way
from sorter.organizer.tree import Blocked, trouble

DAMAGED = f"{META}/damaged"


class Mending:
    """Mends an archive, for ``sorter verify --repair``. All of it within a turn of that archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._tree = archive, archive.tree

    def holds(self, path: str, sha256: str) -> bool:
        """Whether a regular file with just these bytes lies there; then they are durable."""
        return self._tree.holds(*_split(path), sha256)

    def put_back(self, moved: Sequence[tuple[str, str, str]]) -> list[str]:
        """Give files that were moved by hand their recorded names again; returns those names.

        Both names exist, durably, before the strange one goes: no crash loses the bytes.

        Parameters
        ----------
        moved
            (where it lies, its recorded path, its SHA-256); what is not so, or no longer, is left.
        """
        found = []
        with trouble("put files back"):
            for stray, path, sha256 in moved:
                (folder, leaf), (home, name) = _split(stray), _split(path)
                if not self.holds(stray, sha256):
                    continue
                with contextlib.suppress(FileExistsError, Blocked):
                    self._tree.link(leaf, self._tree.directory(folder), home, name)
                    found.append((stray, path))
            self._tree.sync()
        self._remove_names([stray for stray, _ in found])
        return [path for _, path in found]

    def remove_second_names(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Of (name, recorded name) of one file each, remove the first; returns those that were removed."""
        found = []
        with trouble("look at the names of a file"):
            for stray, path in pairs:
                (folder, leaf), (home, name) = _split(stray), _split(path)
                with contextlib.suppress(FileNotFoundError, Blocked):
                    fds = self._tree.directory(folder), self._tree.directory(home)
                    if (folder, leaf) != (home, name) and _is_same(leaf, fds[0], name, fds[1]):
                        self._tree.touch(home)
                        found.append(stray)
            self._tree.sync()
        self._remove_names(found)
        return found

    def _remove_names(self, paths: Sequence[str]) -> None:
        """Remove names of files that have another, durable name."""
        with trouble("remove the second name of a file"):
            for path in paths:
                folder, leaf = _split(path)
                with contextlib.suppress(FileNotFoundError, Blocked):
                    os.unlink(leaf, dir_fd=self._tree.directory(folder))
                    self._tree.touch(folder)
            self._tree.sync()

    def set_aside(self, path: str) -> str:
        """Move what lies under a recorded name to ``.sorter/damaged``, durably; returns its path there."""
        folder, leaf = _split(path)
        home = f"{DAMAGED}/{folder}" if folder else DAMAGED
        with trouble("set a damaged file aside"), clear_way():
            source = self._tree.directory(folder)
            for number in itertools.count():
                name = f"{leaf}-{number}" if number else leaf
                try:
                    self._tree.link(leaf, source, home, name)
                except FileExistsError:
                    if not _is_same(leaf, source, name, self._tree.directory(home)):
                        continue
                    self._tree.touch(home)  # a crash came between this name and the end of the other
                break
            self._tree.sync()
        self._remove_names([path])
        return f"{home}/{name}"

    def restore(self, name: str, path: str, stored_at: float) -> bool:
        """Give a staged file, durable and proved to be the recorded one, the recorded name.

        Parameters
        ----------
        stored_at
            When the instance first came, seconds since 1970: its place in the order of arrival.

        Returns
        -------
        bool
            False where the name is taken, or its folder is none.
        """
        folder, leaf = _split(path)
        with trouble("restore a file"):
            try:
                os.utime(self._archive.staging.path(name), (stored_at, stored_at))
                self._tree.link(name, self._archive.staging_fd(), folder, leaf)
            except (FileExistsError, Blocked):
                return False
            self._tree.sync()
        return True

    def set_mode(self, path: str, mode: int) -> bool:
        """Set the permissions of a file or folder below the root; False where this user may not."""
        folder, leaf = _split(path)
        try:
            parent = self._tree.directory(folder)
            if stat.S_ISLNK(os.stat(leaf, dir_fd=parent, follow_symlinks=False).st_mode):
                return False
            os.chmod(leaf, mode, dir_fd=parent)
        except (OSError, Blocked):
            return False
        return True


def _split(path: str) -> tuple[str, str]:
    folder, _, leaf = path.rpartition("/")
    return folder, leaf


def _is_same(first: str, first_fd: int, second: str, second_fd: int) -> bool:
    """Whether two names mean one file."""
    one = os.stat(first, dir_fd=first_fd, follow_symlinks=False)
    return os.path.samestat(one, os.stat(second, dir_fd=second_fd, follow_symlinks=False))
