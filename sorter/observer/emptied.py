"""Folders of the drop folder that became empty because their files were retired: they go too."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sorter.model import Candidate
from sorter.observer.retire import closing, enter, folders_between

MOST = 10_000  # remembered at once; what is beyond stays as an empty folder, which does no harm
MOST_EACH = 200  # looked at in one sweep, so that it is quick


@dataclass(slots=True)
class _Folder:
    root: str
    since: float  # when it was first seen as it is
    version: tuple[int, int, int] | None = None


class Emptied:
    """Removes a folder once its files were retired, it is empty, and nobody touched it for a while.

    Only ``rmdir`` is used, which removes nothing but an empty folder. A drop folder itself is never removed,
    nor a folder out of which nothing was retired and that holds no such folder.

    Parameters
    ----------
    quiet
        Seconds for which a folder must not have changed: a sender makes a folder before its files.
    """

    def __init__(self, quiet: float) -> None:
        self._quiet = quiet
        self._folders: dict[str, _Folder] = {}

    def __len__(self) -> int:
        return len(self._folders)

    def note(self, candidate: Candidate, now: float) -> None:
        """A source was retired out of its folder; ``now`` in monotonic seconds."""
        self._note(candidate.root, candidate.folder, now)

    def _note(self, root: str, folder: str, now: float) -> None:
        if folder.rstrip("/") == root.rstrip("/") or not folder.startswith(f"{root}/"):
            return
        self._folders.pop(folder, None)
        if len(self._folders) < MOST:
            self._folders[folder] = _Folder(root, now)

    def sweep(self, now: float) -> None:
        """Remove those that are empty and quiet; forget those that are in use."""
        for path in list(self._folders)[:MOST_EACH]:
            folder = self._folders[path]
            if now - folder.since < self._quiet:
                return  # in the order of time: the others are younger
            del self._folders[path]
            self._try(path, folder, now)

    def next_due(self) -> float | None:
        """When :meth:`sweep` next has something to do."""
        first = next(iter(self._folders.values()), None)
        return None if first is None else first.since + self._quiet

    def _try(self, path: str, folder: _Folder, now: float) -> None:
        parent, _, name = path.rpartition("/")
        try:
            with closing(enter(folder.root, folders_between(folder.root, parent))) as fd:
                seen = os.lstat(name, dir_fd=fd)
                version = (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
                if folder.version != version and self._quiet > 0:
                    # Seen so for the first time: it has to stay so.
                    self._folders[path] = _Folder(folder.root, now, version)
                    return
                os.rmdir(name, dir_fd=fd)
        except OSError:
            return  # in use, gone, or not ours to remove: an empty folder does no harm
        self._note(folder.root, parent, now)
