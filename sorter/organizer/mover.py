"""Moving published files within the archive: a second name first, durable; the first goes only afterwards.

No byte is touched. The rows are changed in between, by :mod:`sorter.journal`; whatever a crash leaves, one of
the two names is there, and the journal tells which of them counts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence

from sorter.organizer.archive import Archive
from sorter.organizer.layout import path_key
from sorter.organizer.lease import META
from sorter.organizer.quarantine import clear_way
from sorter.organizer.tree import Blocked, trouble

WITHDRAWN = f"{META}/withdrawn"
Trip = tuple[str, str, str]  # from, to (relative to the archive root), SHA-256 of the file


class Mover:
    """Moves files of one archive. All of it within a turn of that archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._tree = archive, archive.tree

    def keep(self, path: str, data: bytes) -> None:
        """Write a new file of ours below ``.sorter``: whole and durable before it has its name."""
        folder, leaf = _split(path)
        staging = self._archive.staging
        staging.write(leaf, [data], sync=True)
        with trouble("keep a file beside moved ones"), clear_way():
            self._tree.link(leaf, self._archive.staging_fd(), folder, leaf)
            self._tree.sync()
        staging.discard(leaf)

    def name(self, trips: Sequence[Trip]) -> list[bool]:
        """Give files their second names, durably (rule 2); says of each whether it has it now.

        It has not where the new name is taken by other bytes, its folder cannot be, or the file is gone.
        """
        with trouble("give files their new names"):
            named = [self._name(*trip) for trip in trips]
            self._tree.sync()
        return named

    def _name(self, old: str, new: str, sha256: str) -> bool:
        (folder, leaf), (home, name) = _split(old), _split(new)
        try:
            self._tree.link(leaf, self._tree.directory(folder), home, name)
        except (FileExistsError, FileNotFoundError):
            # Of an interrupted run; or the same bytes lie there already.
            return self._tree.holds(home, name, sha256)
        except Blocked:
            return False
        return True

    def clear(self, trips: Sequence[Trip]) -> None:
        """Remove the first names of files whose rows name the second, and folders that become empty."""
        with trouble("remove old names"):
            for old, new, sha256 in trips:
                if self._is_one_name(old, new):
                    continue
                # Where they are two files (the bytes lay there already), both are looked at.
                if self._is_one_file(old, new) or all(
                    self._tree.holds(*_split(path), sha256) for path in (new, old)
                ):
                    self._unlink(old)
            self._tree.sync()
        self._remove_empty(old for old, _, _ in trips)

    def take_back(self, trips: Sequence[Trip]) -> None:
        """Undo :meth:`name` for files whose rows still name the first path."""
        with trouble("take new names back"):
            for old, new, sha256 in trips:
                (folder, leaf), (home, name) = _split(old), _split(new)
                if not self._is_one_file(old, new) and not self._tree.holds(home, name, sha256):
                    continue
                with contextlib.suppress(FileExistsError, Blocked):  # it was renamed where links are unknown
                    self._tree.link(name, self._tree.directory(home), folder, leaf)
                self._tree.sync()
                if self._is_one_file(old, new) and not self._is_one_name(old, new):
                    self._unlink(new)
            self._tree.sync()
        self._remove_empty(new for _, new, _ in trips)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove withdrawn files that the caller has made sure of elsewhere.

        Raises
        ------
        ValueError
            A path lies elsewhere; nothing is removed.
        """
        if not all(path.startswith(f"{WITHDRAWN}/") for path in paths):
            raise ValueError("this path is not of a withdrawn file")
        with trouble("remove withdrawn files"):
            for path in paths:
                self._unlink(path)
            self._tree.sync()
        self._remove_empty(paths)

    def _is_one_file(self, old: str, new: str) -> bool:
        """Whether both names are of one file, so that one of them may go."""
        try:
            facts = [os.stat(leaf, dir_fd=self._tree.directory(folder), follow_symlinks=False)
                     for folder, leaf in (_split(old), _split(new))]  # fmt: skip
        except (FileNotFoundError, Blocked):
            return False
        return os.path.samestat(*facts)

    def _is_one_name(self, old: str, new: str) -> bool:
        """Whether two spellings are one name to this file system, which then must not go.

        So it is where it does not tell upper from lower case, or one Unicode form from another.
        """
        if path_key(old) != path_key(new):
            return False
        (folder, leaf), (home, name) = _split(old), _split(new)
        try:
            one, other = self._tree.directory(folder), self._tree.directory(home)
        except Blocked:
            return False
        if not os.path.samestat(os.fstat(one), os.fstat(other)):
            return False
        return leaf == name or not {leaf, name} <= set(os.listdir(one))

    def _unlink(self, path: str) -> None:
        folder, leaf = _split(path)
        with contextlib.suppress(FileNotFoundError, Blocked):
            os.unlink(leaf, dir_fd=self._tree.directory(folder))
            self._tree.touch(folder)

    def _remove_empty(self, paths: Iterable[str]) -> None:
        folders = {folder for path in paths for folder in _ancestors(path)}
        for folder in sorted(folders, key=len, reverse=True):
            parent, leaf = _split(folder)
            with contextlib.suppress(OSError, Blocked):  # not empty, or none of ours
                os.rmdir(leaf, dir_fd=self._tree.directory(parent))
        self._tree.forget()  # a removed folder must not be used through a kept descriptor


def _split(path: str) -> tuple[str, str]:
    folder, _, leaf = path.rpartition("/")
    return folder, leaf


def _ancestors(path: str) -> list[str]:
    """The folders above a path that are the tree's own, or ours for moved files; never ``.sorter`` itself."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1 if parts[:1] != [META] else 3, len(parts) + 1)]
