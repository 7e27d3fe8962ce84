"""A model of a disk under power loss: what was changed, what of it was synced, what a cut may leave.

The model promises no more than POSIX does. The content and the size of a file are durable after an fsync or
fdatasync of that file; a name, or its removal, after an fsync of its folder; everything after a syncfs.
Nothing else is durable, and whatever is not may be on the disk or not, in any mixture. One thing is granted,
as by every file system that keeps a journal: a rename never loses the file under both of its names.

https://pubs.opengroup.org/onlinepubs/9799919799/functions/fsync.html; Pillai et al., "All file systems are
not created equal", OSDI 2014, for what real file systems do within these bounds.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512  # what a disk writes whole; anything longer may be torn


class Node:
    """A file, a folder or a symbolic link; of a file the content, of a link the target."""

    def __init__(self, kind, mode=0o755, content=b"", mtime_ns=0):
        self.kind, self.mode, self.content, self.mtime_ns = kind, mode, bytearray(content), mtime_ns
        self.entries: dict[str, Node] = {}
        # What was there before the run, and is durable.
        self.first_content, self.first_entries, self.first_mtime_ns = b"", {}, mtime_ns

    def settle(self):
        """Count what it is now as durable."""
        self.first_content, self.first_entries = bytes(self.content), dict(self.entries)
        self.first_mtime_ns = self.mtime_ns


@dataclass(eq=False, slots=True)
class Change:
    """One change of one node. ``start`` and ``end`` are lines of the log, ``synced`` the step that did it."""

    node: Node
    kind: str  # write, size, time, entry
    step: int
    end: int
    offset: int = 0  # of a write; of "size" the new size; of "time" the new time
    data: bytes = b""
    name: str = ""
    target: Node | None = None  # of an entry; None removes
    needs: "Change | None" = None  # a new name, without which a rename does not free the old one
    synced: int | None = None

    def is_durable(self, step):
        """Whether a cut after this step cannot take it away."""
        return self.synced is not None and self.synced <= step


# What becomes of a change that is not durable. A set of sector numbers: just these reach the disk.
DROPPED, SIZE_ONLY, KEPT = "dropped", "size", "kept"


@dataclass(frozen=True)
class File:
    """What is found under one path after a cut."""

    kind: str
    mode: int = 0o755
    content: bytes = b""
    mtime_ns: int = 0


@dataclass
class Disk:
    """A folder with all below it, while the calls of a run are read."""

    root: Path
    top: Node = field(default_factory=lambda: Node("folder"))
    changes: list[Change] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)  # each step in words

    @classmethod
    def of(cls, root, ignored):
        """The folder as it lies there, durable; without the names at its top that ``ignored`` says."""
        disk = cls(root)
        disk.top = _read(root, ignored)
        return disk

    # -- names ------------------------------------------------------------------------------------------

    def find(self, path):
        """The node under an absolute path; None where there is none, or none of ours."""
        node = self.top
        for part in self.parts(path):
            node = node.entries.get(part) if node is not None else None
        return node

    def parts(self, path):
        """The components of a path below the root; what lies elsewhere is not to be asked for."""
        relative = os.path.relpath(path, self.root)
        assert not relative.startswith(".."), "a path outside of the model"
        return [] if relative == "." else relative.split("/")

    # -- changes ----------------------------------------------------------------------------------------

    def step(self, words):
        """Begin a step: what comes next is part of it."""
        self.steps.append(words)

    def enter(self, path, target, end, needs=None):
        """Give a name, or with ``None`` take it away."""
        folder, name = self.find(os.path.dirname(path)), os.path.basename(path)
        if needs is None:  # a name that a rename has freed is free only if the rename took place
            last = next(
                (one for one in reversed(self.changes) if (one.node, one.name) == (folder, name)), None
            )
            needs = last.needs if last is not None else None
        change = Change(folder, "entry", len(self.steps) - 1, end, name=name, target=target, needs=needs)
        if target is None:
            del folder.entries[name]
        else:
            folder.entries[name] = target
        self.changes.append(change)
        return change

    def write(self, node, offset, data, end):
        """Put bytes into a file; what lies between its end and the offset is zeros."""
        put(node.content, offset, data)
        self.changes.append(Change(node, "write", len(self.steps) - 1, end, offset, data))

    def resize(self, node, size, end):
        """Cut a file off, or lengthen it with zeros."""
        resize(node.content, size)
        self.changes.append(Change(node, "size", len(self.steps) - 1, end, size))

    def stamp(self, node, mtime_ns, end):
        """Give a file another modification time."""
        node.mtime_ns = mtime_ns
        self.changes.append(Change(node, "time", len(self.steps) - 1, end, mtime_ns))

    def sync(self, node, start, kinds=("write", "size", "time", "entry")):
        """Make durable what had been changed, of one node or (``None``) of all, when the sync began."""
        for change in self.changes:
            mine = (node is None or change.node is node) and change.kind in kinds
            if mine and change.end < start and change.synced is None:
                change.synced = len(self.steps) - 1

    def unsettle(self, node, but=()):
        """Count all below a folder as put there a moment ago: none of it is durable, ``but`` some entries."""
        for name, target in node.entries.items():
            if name in but:
                continue
            self.changes.append(Change(node, "entry", len(self.steps) - 1, -1, name=name, target=target))
            if target.kind == "folder":
                self.unsettle(target)
            elif target.kind == "file":
                target.first_content = b""
                self.changes.append(
                    Change(target, "write", len(self.steps) - 1, -1, 0, bytes(target.content))
                )
        node.first_entries = {name: node.entries[name] for name in but}

    # -- what a cut leaves ------------------------------------------------------------------------------

    def pending(self, step):
        """Changes up to this step that a cut after it may take away."""
        return [one for one in self.changes if one.step <= step and not one.is_durable(step)]

    def after_cut(self, step, fates):
        """What lies there after a cut: path -> File. ``fates`` says it of each pending change."""
        nodes: dict[Node, Node] = {}
        for change in self.changes:
            if change.step <= step:
                fate = KEPT if change.is_durable(step) else fates[change]
                if fate != DROPPED:
                    _apply(change, fate, fates, nodes)
        found: dict[str, File] = {}
        _list(self.top, "", nodes, found)
        return found

    def now(self):
        """What lies there without any cut."""
        return self.after_cut(len(self.steps), dict.fromkeys(self.pending(len(self.steps)), KEPT))


def put(content, offset, data):
    """Overwrite a part, lengthening with zeros where needed."""
    resize(content, max(len(content), offset + len(data)))
    content[offset : offset + len(data)] = data


def resize(content, size):
    del content[size:]
    content.extend(bytes(size - len(content)))


def sectors(change):
    """Numbers of the sectors that a write touches."""
    return range(change.offset // SECTOR, -(-(change.offset + len(change.data)) // SECTOR))


def _apply(change, fate, fates, nodes):
    node = nodes.get(change.node)
    if node is None:
        first = change.node
        node = nodes[first] = Node(first.kind, first.mode, first.first_content, first.first_mtime_ns)
        node.entries = dict(first.first_entries)
    if change.kind == "entry":
        if change.needs is not None and fates.get(change.needs) == DROPPED:
            return
        if change.target is not None:
            node.entries[change.name] = change.target
        else:
            node.entries.pop(change.name, None)
    elif change.kind == "size":
        resize(node.content, change.offset)
    elif change.kind == "time":
        node.mtime_ns = change.offset
    elif fate == KEPT:
        put(node.content, change.offset, change.data)
    else:
        resize(node.content, max(len(node.content), change.offset + len(change.data)))
        for sector in () if fate == SIZE_ONLY else fate:
            low = max(change.offset, sector * SECTOR)
            high = min(change.offset + len(change.data), (sector + 1) * SECTOR)
            node.content[low:high] = change.data[low - change.offset : high - change.offset]


def _list(first, path, nodes, found):
    """Fill in all that is reachable by names that are left."""
    node = nodes.get(first)
    if first.kind != "folder":
        content, mtime_ns = (
            (first.first_content, first.first_mtime_ns) if node is None else (node.content, node.mtime_ns)
        )
        found[path] = File(first.kind, first.mode, bytes(content), mtime_ns)
        return
    if path:
        found[path] = File("folder", first.mode)
    for name, target in (first.first_entries if node is None else node.entries).items():
        _list(target, f"{path}/{name}" if path else name, nodes, found)


def _read(path, ignored=lambda _name: False):
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        node = Node("link", content=os.fsencode(path.readlink()))
    elif stat.S_ISDIR(facts.st_mode):
        node = Node("folder", stat.S_IMODE(facts.st_mode))
        node.entries = {one.name: _read(one) for one in sorted(path.iterdir()) if not ignored(one.name)}
    else:
        node = Node("file", stat.S_IMODE(facts.st_mode), path.read_bytes(), facts.st_mtime_ns)
    node.settle()
    return node
