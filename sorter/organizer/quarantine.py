"""The quarantine: refused bytes, kept once per reason, each beside a note that says why."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

from sorter.errors import ArchiveError
from sorter.keywords import PATIENT_KEYWORDS
from sorter.model import Candidate, Header, Reason
from sorter.organizer.lease import META
from sorter.organizer.staging import Staging
from sorter.organizer.tree import Blocked, Tree, trouble

QUARANTINE = f"{META}/quarantine"
FILL_IN = "fill_in"
_KEY_HEADERS = (
    *PATIENT_KEYWORDS,
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "StudyDate",
)  # fmt: skip


class Quarantine:
    """The quarantine of one archive. All of it within a turn of that archive.

    Parameters
    ----------
    staging_fd
        Gives the descriptor of the staging folder.
    """

    def __init__(self, tree: Tree, staging: Staging, staging_fd: Callable[[], int]) -> None:
        self._tree, self._staging, self._staging_fd = tree, staging, staging_fd

    def keep(
        self,
        candidate: Candidate,
        reason: Reason,
        detail: str,
        *,
        name: str,
        sha256: str,
        header: Header,
        existing: str = "",
        missing: Sequence[str] = (),
    ) -> str:
        """Keep the bytes and a JSON that says why; the same bytes are kept once per reason.

        Parameters
        ----------
        name
            The staged file with the bytes, durable (rule 1); empty where there is none.
        existing
            Of a conflict: where the instance lies that came first.
        missing
            The keywords that may be filled in.

        Returns
        -------
        str
            The path of the bytes, or of the note where there are none, relative to the root.
        """
        folder = f"{QUARANTINE}/{reason}"
        key = sha256[:24] or hashlib.sha256(repr(candidate.version).encode()).hexdigest()[:24]
        note = {
            "reason": reason,
            "detail": detail,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "sha256": sha256,
            "size": candidate.size,
            "source": os.fsencode(candidate.path).decode("utf-8", "backslashreplace"),
            "header": {k: header.values[k] for k in _KEY_HEADERS if k in header.values},
        }
        if existing:
            note["existing"] = existing
        if missing:
            note[FILL_IN] = dict.fromkeys(missing, "")  # for people to fill in: sorter.unpack reads it
        path = f"{folder}/{key}.json"
        if name:
            path = f"{folder}/{self._place_once(name, folder, key, sha256)}"
        staged = f"{key}-{secrets.token_hex(4)}.json"
        self._staging.write(staged, [json.dumps(note, indent=2, ensure_ascii=False).encode()], sync=True)
        with contextlib.suppress(FileExistsError):  # the first note about these bytes stays
            self._tree.link(staged, self._staging_fd(), folder, f"{key}.json")
        self._staging.discard(staged)
        return path

    def _place_once(self, name: str, folder: str, key: str, sha256: str) -> str:
        """Name the bytes after their digest; beside a damaged file of that name, with a number."""
        for number in itertools.count():
            leaf = f"{key}-{number}.dcm" if number else f"{key}.dcm"
            try:
                self._tree.link(name, self._staging_fd(), folder, leaf)
            except FileExistsError:
                if not self._tree.holds(folder, leaf, sha256):
                    continue
            return leaf
        raise AssertionError("unreachable: the numbers never end")

    def annotate(self, path: str, note: Mapping[str, object]) -> None:
        """Put another note in a quarantine note's place: whole and durable before it has the name.

        Parameters
        ----------
        path
            Of the note, relative to the root; within a turn.
        """
        folder, leaf = _split(path)
        staged = f"{leaf}-{secrets.token_hex(4)}"
        self._staging.write(staged, [json.dumps(note, indent=2, ensure_ascii=False).encode()], sync=True)
        with trouble("change a note in quarantine"), clear_way():
            target = self._tree.directory(folder)
            os.rename(staged, leaf, src_dir_fd=self._staging_fd(), dst_dir_fd=target)
            self._tree.touch(folder)
            self._tree.sync()

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files of the quarantine, durably; those that are gone already are no error.

        The caller has made sure that nothing is lost with them, and holds the turn.

        Raises
        ------
        ValueError
            A path lies elsewhere; nothing is removed.
        """
        names = [_split(path) for path in paths]
        with trouble("remove files of the quarantine"), clear_way():
            for folder, leaf in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(leaf, dir_fd=self._tree.directory(folder))
                self._tree.touch(folder)
            self._tree.sync()


@contextlib.contextmanager
def clear_way() -> Iterator[None]:
    """Make an obstacle within ``.sorter`` an error of the archive: there no folder is anybody else's."""
    try:
        yield
    except Blocked:
        raise ArchiveError("something that is not a folder stands in .sorter; move it away") from None


def _split(path: str) -> tuple[str, str]:
    """(folder, name) of a file in quarantine."""
    folder, _, leaf = path.rpartition("/")
    if folder.rpartition("/")[0] != QUARANTINE or not leaf or ".." in path.split("/"):
        raise ValueError("this path does not lie in the quarantine")
    return folder, leaf
