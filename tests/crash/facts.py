"""What must hold after a crash and after the run that follows it; each broken fact is one line of text."""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from support import tree

from sorter.index import Index

META = ".sorter"
FINAL_ONCE_STORED = frozenset(("stored", "duplicate"))  # what was adopted is, for its source, a duplicate


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def instances_in(data):
    """Digests of what must be in the archive before a source may go: its own, or of all that is in a zip."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return {sha256(data)}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {digest for name in archive.namelist() for digest in instances_in(archive.read(name))}


@dataclass
class Work:
    """One drop folder and one archive, in a folder of their own."""

    folder: Path
    sources: dict[str, bytes]
    leftovers: dict[str, bytes] = field(default_factory=dict)  # in the archive, before the run
    links: dict[str, str] = field(default_factory=dict)  # planted symlinks: path in the archive -> target

    def __post_init__(self):
        self.incoming, self.archive = self.folder / "incoming", self.folder / "archive"
        for base, files in ((self.incoming, self.sources), (self.archive, self.leftovers)):
            for name, data in files.items():
                path = base / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        for name, target in self.links.items():
            path = self.archive / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        if self.leftovers or self.links:  # the archive is in use: without an index, nothing would touch it
            (self.archive / META).mkdir(mode=0o700)
            Index.open(self.archive / META / "index.sqlite").close()
        self.times = {name: self._time(name) for name in self.sources}

    def _time(self, name):
        return (self.incoming / name).stat().st_mtime_ns

    @property
    def present(self):
        """The sources that are still there."""
        return [name for name in self.sources if (self.incoming / name).exists()]

    def changed_sources(self):
        """Sources that are there and not as they were."""
        return [
            name
            for name in self.present
            if (self.incoming / name).read_bytes() != self.sources[name]
            or self._time(name) != self.times[name]
        ]

    def index(self, query):
        """Rows of the index, from a copy: looking changes nothing; none where there is no such table yet."""
        meta = self.archive / META
        with tempfile.TemporaryDirectory() as copy:
            for path in meta.glob("index.sqlite*"):
                if not path.name.endswith("-shm"):
                    shutil.copy(path, copy)
            with closing(sqlite3.connect(Path(copy, "index.sqlite"))) as connection:
                connection.row_factory = sqlite3.Row
                if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                    raise AssertionError("the index is damaged")
                named = "SELECT 1 FROM sqlite_master WHERE name = ?"
                if not connection.execute(named, (query.split()[3],)).fetchone():
                    return []
                return [dict(row) for row in connection.execute(query)]

    def instances(self):
        """All rows of instances with all levels, but for when they were stored."""
        rows = self.index("SELECT * FROM instance_view ORDER BY sop_instance_uid")
        return [{key: value for key, value in row.items() if key != "stored_at"} for row in rows]

    def ledger(self):
        """The last word about each source, by its name in the drop folder."""
        words = {}
        for row in self.index("SELECT * FROM source_view"):
            if row["source"].startswith(f"{self.archive}/"):
                continue  # adopted: a published file is its own source
            words[os.path.relpath(row["source"], self.incoming)] = row["outcome"]
        return words

    def staged(self):
        """What lies in staging."""
        return sorted(str(path) for path in (self.archive / META / "staging").rglob("*"))

    def quarantine(self):
        """Name -> bytes; of the notes only the reason and the digest, since they hold a time and a place."""
        found = {}
        folder = self.archive / META / "quarantine"
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                if path.suffix == ".json" and data.endswith(b"}"):
                    note = json.loads(data)
                    data = f"{note['reason']} {note['sha256']}".encode()
                found[str(path.relative_to(folder))] = data
        return found

    def stamps(self):
        """Inode and modification time of every published file and folder."""
        found = {}
        for path in self.archive.rglob("*"):
            if META not in path.relative_to(self.archive).parts:
                facts = path.lstat()
                found[path] = (facts.st_ino, facts.st_mtime_ns)
        return found


@dataclass(frozen=True)
class Expected:
    """What an undisturbed run leaves."""

    tree: dict[str, bytes]
    quarantine: dict[str, bytes]
    instances: list[dict[str, object]]
    ledger: dict[str, str]
    present: list[str]

    @classmethod
    def of(cls, work):
        """Look at it."""
        return cls(tree(work.archive), work.quarantine(), work.instances(), work.ledger(), work.present)


def after_crash(work, expected, *, retires=False):
    """What is wrong before anything has been repaired: facts (a) to (d)."""
    wrong = []
    published = tree(work.archive)
    rows = work.instances()
    for row in rows:
        data = published.get(row["path"])
        if data is None:
            wrong.append(f"a row without its file: {row['path']}")
        elif (len(data), sha256(data)) != (row["size"], row["sha256"]):
            wrong.append(f"a row whose file has other bytes: {row['path']}")
    for path, data in published.items():
        if expected.tree.get(path) != data:
            wrong.append(f"a name with other than its whole bytes: {path}")
    for path, data in work.leftovers.items():
        if published.get(path) != data:
            wrong.append(f"a file that was there before is gone or changed: {path}")
    for path, data in work.quarantine().items():
        if expected.quarantine.get(path) != data:
            wrong.append(f"in quarantine, other than whole bytes: {path}")
    safe = {row["source_sha256"] for row in rows if row["path"] in published}
    for name in work.sources.keys() - set(work.present):
        if not retires:
            wrong.append(f"a source is gone although sources are kept: {name}")
        elif not instances_in(work.sources[name]) <= safe:
            wrong.append(f"a source is gone that is not in the archive with a row: {name}")
    wrong += [f"a source was changed: {name}" for name in work.changed_sources()]
    return wrong


def after_rerun(work, expected, finished, *, retires=False):
    """What is wrong once the line has run to its end again: facts (e) to (g), and (a) to (d) still."""
    wrong = after_crash(work, expected, retires=retires)
    if finished.status not in (0, 1):
        return [*wrong, f"the rerun ended with {finished.status}: {finished.stderr[-400:]}"]
    if tree(work.archive) != expected.tree:
        wrong.append(f"the tree differs: {sorted(tree(work.archive).items() ^ expected.tree.items())[:2]}")
    if work.quarantine() != expected.quarantine:
        wrong.append(
            f"the quarantine differs: {sorted(work.quarantine().keys() ^ expected.quarantine.keys())}"
        )
    if work.instances() != expected.instances:
        wrong.append(f"the rows differ: {_difference(work.instances(), expected.instances)}")
    if _merged(work.ledger()) != _merged(expected.ledger):
        wrong.append(f"the ledger differs: {sorted(work.ledger().items() ^ expected.ledger.items())}")
    if work.present != expected.present:
        wrong.append(f"the sources that are left differ: {sorted(set(work.present) ^ set(expected.present))}")
    if work.staged():
        wrong.append(f"staging is not empty: {work.staged()}")
    kinds = ("stored", "duplicate", "equivalent", "expanded", "conflict", "rejected", "ignored", "deferred")
    if finished.summary["seen"] != sum(finished.summary[kind] for kind in kinds):
        wrong.append(f"seen is not the sum of the outcomes: {finished.summary}")
    return wrong


def after_third(work, stamps, finished):
    """What is wrong after a run that had nothing to do: fact (h)."""
    wrong = []
    if finished.summary["stored"] or finished.summary["adopted"]:
        wrong.append(f"a run with nothing to do stored something: {finished.summary}")
    if work.stamps() != stamps:
        wrong.append("a run with nothing to do changed the tree")
    return wrong


def _merged(ledger):
    return {name: "stored" if word in FINAL_ONCE_STORED else word for name, word in ledger.items()}


def _difference(mine, theirs):
    def flat(rows):
        return Counter((row["path"], key, value) for row in rows for key, value in row.items())

    return sorted(map(str, ((flat(mine) - flat(theirs)) + (flat(theirs) - flat(mine))).keys()))[:6]
