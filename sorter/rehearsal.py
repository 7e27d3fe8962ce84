"""A dry run: the same line, with a copy of the index and an archive that names nothing."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from sorter.errors import IndexUnusableError
from sorter.index import Index, sqlite_file
from sorter.intake import Intake
from sorter.model import Candidate, Kind, Outcome, Place, Reason, Refused
from sorter.organizer.archive import Archive
from sorter.organizer.judge import Verdict
from sorter.room import Room


class Rehearsal(Intake):
    """An Intake that writes nothing below the archive root and retires no source.

    Files are read, proved and decoded as always, one batch at a time in a temporary folder.
    """

    def _open_archive(self, stack: contextlib.ExitStack) -> Archive:
        self._scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sorter-dry-run-")))
        self.stage = Stage(self._scratch / "archive", self.config.archive)
        return self.stage

    def _open_index(self) -> Index:
        copy = self._scratch / "index.sqlite"
        path = sqlite_file(self.config.index_location)
        if path.exists():
            # Where nobody has it open there is no log, and even opening it to read would make one.
            how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
            try:
                source = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True)
                with contextlib.closing(source), contextlib.closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
            except sqlite3.Error as error:
                raise IndexUnusableError(f"the index cannot be read ({type(error).__name__})") from None
        return Index.open(copy)

    def room(self, under_way: int = 0) -> Room:
        """Nothing is stored, so the archive's disk does not matter, and the temporary one is another."""
        return Room(sys.maxsize, sys.maxsize)

    def retire(self, candidate: Candidate, *paths: str) -> None:
        """Every source stays."""


class Stage(Archive):
    """Stages below a temporary root; says what would be published where, and remembers the sources.

    Attributes
    ----------
    verdicts, refused
        Of the last batch.
    """

    def __init__(self, scratch: Path, real_root: Path) -> None:
        scratch.mkdir()
        super().__init__(scratch)
        self._real_root = real_root
        self._sources: dict[str, str] = {}
        self.verdicts: Sequence[Verdict] = ()
        self.refused: Sequence[Refused] = ()

    def publish(
        self,
        verdicts: Sequence[Verdict],
        places: Mapping[str, Place],
        refused: Sequence[Refused],
    ) -> list[Outcome]:
        """The outcomes as they would be."""
        self.verdicts, self.refused = verdicts, refused
        outcomes = [self._would(verdict, places) for verdict in verdicts]
        return outcomes + [Outcome(one.candidate, one.kind, one.reason, one.detail) for one in refused]

    def _would(self, verdict: Verdict, places: Mapping[str, Place]) -> Outcome:
        staged = verdict.staged
        path = verdict.existing.path if verdict.existing else ""
        if verdict.kind is Kind.STORED:
            place = places[staged.instance.header.text("SOPInstanceUID")]
            path = f"{place.folder}/{place.leaf}" if place.folder else place.leaf
            self._sources[path] = staged.candidate.path
        reason = None if verdict.kind is not Kind.CONFLICT else Reason.CONFLICT
        return Outcome(
            staged.candidate,
            verdict.kind,
            reason,
            verdict.detail,
            path,
            staged.source_sha256,
            staged.instance,
        )

    def adopt(self, paths: Sequence[str]) -> list[str]:
        """Nothing needs to be made durable."""
        return list(paths)

    def locate(self, path: str) -> str:
        """The published file, or the source of one that would be."""
        return self._sources.get(path) or f"{self._real_root}/{path}"
