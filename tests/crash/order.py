"""The order rules, read off the system calls of a run.

SIGKILL cannot show rules 1 and 2: the kernel keeps what was written, synced or not.
"""

import os
from dataclasses import dataclass, field

META = ".sorter"


@dataclass
class Ledger:
    """What a power cut would still take away, while a log is read from its start."""

    archive: str
    incoming: str
    unsynced: set[str] = field(default_factory=set)  # files with bytes that are not durable
    entries: dict[str, set[str]] = field(default_factory=dict)  # folder -> paths in it whose names are not
    published: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def read(self, call):
        """Take up one call that succeeded."""
        name = call.name
        if name in ("write", "pwrite64", "ftruncate"):
            self._write(call.descriptor)
        elif call.creates:
            self._name(call.paths[-1])
        elif name in ("mkdir", "mkdirat"):
            self._name(call.target)
        elif name in ("link", "linkat", "rename", "renameat", "renameat2"):
            self._link(call)
        elif name in ("fsync", "fdatasync"):
            self.unsynced.discard(call.descriptor)
            self.entries.pop(call.descriptor, None)
        elif name == "syncfs":
            self.unsynced.clear()
            self.entries.clear()
        elif name in ("unlink", "unlinkat", "rmdir"):
            self._remove(call.target)

    def _name(self, path):
        self.entries.setdefault(os.path.dirname(path), set()).add(path)

    def _write(self, path):
        if self._in_tree(path):
            self.wrong.append(f"rule 4: written in place: {path}")
        if self._is_index(path):
            # Rule 2: pages of the index may reach the disk at any time after this.
            lost = [p for p in self.published if self._is_undurable(p)]
            self.wrong += [f"rule 2: recorded before its name is durable: {path}" for path in lost]
            self.published = lost
        self.unsynced.add(path)

    def _link(self, call):
        source, target = call.paths[0], call.paths[-1]
        if self._within(source, self.incoming):
            self._retired(source)
        if not self._within(target, self.archive):
            return
        if call.name.startswith("rename") and "RENAME_NOREPLACE" not in call.arguments:
            self.wrong.append(f"rule 4: a name given by a call that replaces: {target}")
        if source in self.unsynced:
            self.wrong.append(f"rule 1: named before its bytes are durable: {target}")
        self._name(target)
        self.published.append(target)

    def _remove(self, path):
        if self._in_tree(path):
            self.wrong.append(f"rule 4: a published name was removed: {path}")
        if self._within(path, self.incoming):
            self._retired(path)
        self.unsynced.discard(path)
        self.entries.get(os.path.dirname(path), set()).discard(path)

    def _retired(self, path):
        if any(self._is_index(one) for one in self.unsynced):
            self.wrong.append(f"rule 3: retired before its row is committed: {path}")

    def _is_undurable(self, path):
        """Whether its name, or the name of any folder on the way to it, may still get lost."""
        while path != "/":
            if path in self.entries.get(os.path.dirname(path), ()):
                return True
            path = os.path.dirname(path)
        return False

    def _is_index(self, path):
        return path in (f"{self.archive}/{META}/index.sqlite-wal", f"{self.archive}/{META}/index.sqlite")

    def _in_tree(self, path):
        return self._within(path, self.archive) and not self._within(path, f"{self.archive}/{META}")

    @staticmethod
    def _within(path, folder):
        return path.startswith(f"{folder}/")


def violations(log, work):
    """What of a whole program's log breaks rules 1 to 4; and the number of names that were given.

    A sync counts from its end; what writes or names counts from its start, since it may reach the disk from
    then on.
    """
    ledger = Ledger(str(work.archive), str(work.incoming))
    starts = (
        "write",
        "pwrite64",
        "ftruncate",
        "link",
        "linkat",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
    )
    named = 0
    for call in sorted(log, key=lambda call: call.start if call.name in starts else call.end):
        if call.ok:
            ledger.read(call)
            named += call.name == "linkat" and ledger._in_tree(call.target)
    return ledger.wrong, named
