"""Copies of quarantined files in a folder, for people to repair with other tools."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sorter.config import Config
from sorter.errors import ConfigError
from sorter.organizer.outside import clear_way, copied
from sorter.organizer.tree import Tree, make_root, trouble
from sorter.quarantine.entries import Entry

EXPORTED, THERE, TAKEN, GONE, DAMAGED = "exported", "there already", "name taken", "gone", "damaged"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def export(config: Config, chosen: Iterable[Entry], target: Path) -> Counter[str]:
    """Copy bytes and notes to ``<target>/<reason>/``, durably; never replaces a file.

    Returns
    -------
    Counter of str
        Files by what became of them. ``there already``: the same bytes lie under that name. ``name taken``:
        others do. ``damaged``: copied as it is, though it is not what was put into quarantine.

    Raises
    ------
    ConfigError
        The target lies in the archive or in a drop folder.
    ArchiveError
        It cannot be written.
    """
    target = Path(os.path.abspath(target))
    _check(config, target)
    count: Counter[str] = Counter()
    with trouble("write the exported files"), clear_way():
        make_root(target)
        tree = Tree(target)
        try:
            for entry in chosen:
                for path in entry.files:
                    count[_copied(tree, config.archive / path, entry.reason, entry.id)] += 1
                if entry.note_path:
                    count[_copied(tree, config.archive / entry.note_path, entry.reason, "")] += 1
            tree.sync()
        finally:
            tree.close()
    return count


def _check(config: Config, target: Path) -> None:
    real = target.resolve()
    for root, name in ((config.archive, "the archive"), *((one, "a drop folder") for one in config.incoming)):
        if root.resolve() in (real, *real.parents):
            raise ConfigError(f"the target lies in {name}: name a folder elsewhere")


def _copied(tree: Tree, source: Path, folder: str, number: str) -> str:
    """Copy one file under a temporary name, then give it its own; says what became of it.

    ``number`` is how its SHA-256 must begin.
    """
    try:
        reader = os.open(source, _OPEN)
    except FileNotFoundError:
        return GONE
    target = tree.directory(folder)
    draft = f".{source.name}.{secrets.token_hex(4)}.part"
    try:
        writer = os.open(draft, _CREATE, 0o644, dir_fd=target)
        try:
            sha256 = copied(reader, writer)
        finally:
            os.close(writer)
        try:
            tree.link(draft, target, folder, source.name)
        except FileExistsError:
            return THERE if tree.holds(folder, source.name, sha256) else TAKEN
        return EXPORTED if sha256.startswith(number) else DAMAGED
    finally:
        os.close(reader)
        with contextlib.suppress(FileNotFoundError):  # renamed, where there are no links
            os.unlink(draft, dir_fd=target)
