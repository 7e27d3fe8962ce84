"""What must be true; each broken fact is one line of text."""

import contextlib
import hashlib
import io
import os
from collections import Counter
from pathlib import Path

import pydicom
from soak.ledger import SAFE
from soak.world import files_below

LONGEST = 5  # of each kind of trouble so many are named


def digest(path):
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published(archive):
    """Paths of all archived files, relative to the archive root."""
    root = f"{archive}/"
    meta = f"{root}.sorter/"
    return {path.removeprefix(root) for path in files_below(archive) if not path.startswith(meta)}


# -- the archive --------------------------------------------------------------------------------------------


def instance(world, row):
    """A row has its file, whole; and its bytes are those of an instance that was once complete."""
    path = f"{world.places.archive}/{row.path}"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        return [f"a row without its file ({error.strerror}): {row.path}"]
    wrong = []
    if (len(data), hashlib.sha256(data).hexdigest()) != (row.size, row.sha256):
        wrong.append(f"a row whose file has other bytes: {row.path}")
    content = world.streams.get(row.stream)
    if content is None or content.uid != row.uid:
        return [*wrong, f"an instance that never was complete in a drop folder: {row.path}"]
    if row.pixels != "transcoded":
        if row.sha256 != row.stream:
            wrong.append(f"not the bytes it came as: {row.path}")
        if row.pixels != "native" and not (row.pixels == "kept_decoder_crashed" and world.killed_workers):
            wrong.append(f"pixels are {row.pixels}: {row.path}")
    elif row.pixel_sha256 != content.pixels or _pixels(data) != content.pixels:
        wrong.append(f"other pixels than it came with: {row.path}")
    return wrong


def _pixels(data):
    return hashlib.sha256(pydicom.dcmread(io.BytesIO(data)).PixelData).hexdigest()


def two_way(world, ledger):
    """Each row has a file and each file a row."""
    files, rows = published(world.places.archive), Counter(row.path for row in ledger.rows.values())
    wrong = [f"rows without their file: {few(rows.keys() - files)}"] if rows.keys() - files else []
    if files - rows.keys():
        wrong.append(f"files without a row: {few(files - rows.keys())}")
    if twice := [path for path, number in rows.items() if number > 1]:
        wrong.append(f"paths with several rows: {few(twice)}")
    return wrong


def unrecorded(world, ledger):
    """After a kill: what is published and has no row is whole as well."""
    known = {row.path for row in ledger.rows.values()}
    wrong = []
    for path in published(world.places.archive) - known:
        data = Path(world.places.archive, path).read_bytes()
        if hashlib.sha256(data).hexdigest() not in world.streams and not _transcoded(world, data):
            wrong.append(f"published, without a row, and never complete: {path}")
    return wrong


def _transcoded(world, data):
    """Whether the bytes are those of an encapsulated instance that was made native."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        pixels = hashlib.sha256(dataset.PixelData).hexdigest()
    except Exception:
        return False
    return any((one.uid, one.pixels) == (dataset.SOPInstanceUID, pixels) for one in world.streams.values())


# -- the sources --------------------------------------------------------------------------------------------


def waiting(world, held, ledger):
    """Sources that are readable and have no final word about what they are now; the retired ones aside.

    Parameters
    ----------
    held
        Path -> SHA-256 of all that producers left in the drop folders and that can be read.
    """
    found = []
    for path, sha256 in held.items():
        if not sha256:
            continue
        try:
            word = ledger.word(path, os.lstat(path))
        except FileNotFoundError:
            continue
        if word is None or word.reason == "unreadable" or (world.retire != "keep" and word.outcome in SAFE):
            found.append(path)
    return found


def unwritten(paths, touched, ledger):
    """Those whose links, mode or times alone have changed since the ledger's word.

    No event that the daemon listens to tells of it: the next deep walk does.
    """
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # retired meanwhile
            if path in touched or ledger.has_seen_bytes(path, os.lstat(path)):
                found.append(path)
    return found


def sources(world, held, locked, ledger):
    """What lies in the drop folders is what was left there, and the ledger says the right thing of it.

    Parameters
    ----------
    held, locked
        Path -> SHA-256 of what producers left in the drop folders; and which of it nobody can read now.

    Returns
    -------
    wrong, gone
        Lines; and the paths that were retired, or lost.
    """
    wrong, gone = [], []
    for path, sha256 in held.items():
        if path in locked:
            continue
        try:
            seen = os.lstat(path)
        except FileNotFoundError:
            gone.append(path)
            continue
        if not sha256:
            if word := ledger.word(path, seen):
                wrong.append(f"{word.outcome}, and must never be looked at: {path!r}")
        elif digest(path) != sha256:
            wrong.append(f"a source was changed: {path!r}")
        elif word := ledger.word(path, seen):
            wrong += source(world, ledger, path, sha256, word)
        else:
            wrong.append(f"no word about a source: {path!r}")
    for drop in world.places.drops:
        strange = [
            path for path in files_below(drop) if path not in held and not path.startswith(f"{drop}/.sorted/")
        ]
        if strange:
            wrong.append(f"nobody put these into the drop folder: {few(strange)}")
    if gone and world.retire == "keep":
        wrong.append(f"sources are gone although they are kept: {few(gone)}")
    return wrong, gone


def source(world, ledger, path, sha256, word):
    """What the ledger says of one source is what it must say."""
    content = world.contents.get(sha256)
    if content is None:
        if word.outcome != "rejected":
            return [f"{word.outcome}, and is no instance: {path!r}"]
        return kept(world, word, sha256, path)
    row = ledger.rows.get(content.uid)
    if row is None:
        return [f"{word.outcome} {word.reason}, and its instance is not in the archive: {path!r}"]
    if content.stream in (row.stream, row.sha256):
        expected = ("stored", "duplicate")
    elif content.identity == _identity(world, row):
        # Whether two encodings are equal is asked of a worker, which may have been killed over it.
        expected = ("equivalent", "conflict") if world.killed_workers else ("equivalent",)
    else:
        expected = ("conflict",)
    if word.outcome not in expected:
        return [f"{word.outcome} {word.reason}, expected {' or '.join(expected)}: {path!r}"]
    return kept(world, word, content.stream, path, content.pixels) if word.outcome == "conflict" else []


def _identity(world, row):
    """Which instance is archived; None, and a matter for :func:`instance`, where nobody made it."""
    content = world.streams.get(row.stream)
    return content and content.identity


def kept(world, word, sha256, path, pixels=""):
    """What was refused lies in quarantine with a note: its very bytes, or its pixels where it was decoded."""
    place = f"{world.places.archive}/{word.path}"
    try:
        data = Path(place).read_bytes()
        os.stat(place.removesuffix(".dcm") + ".json")
    except OSError as error:
        return [f"not in quarantine ({error.strerror}): {path!r}"]
    if hashlib.sha256(data).hexdigest() == sha256 or (pixels and _pixels(data) == pixels):
        return []
    return [f"in quarantine with other bytes: {path!r}"]


def retired(world, held, gone, ledger):
    """A source that is gone was safe in the archive, whole and with its row."""
    wrong = []
    for path in gone:
        content = world.contents.get(held[path])
        row = ledger.rows.get(content.uid) if content else None
        if row is None or held[path] not in ledger.safe:
            wrong.append(f"a source is gone that is not safe in the archive: {path!r}")
        elif content.identity != _identity(world, row):
            wrong.append(f"a source is gone whose instance is another one in the archive: {path!r}")
    return wrong


def few(names):
    """Some of many names, for a line."""
    names = sorted(names)
    more = f" and {len(names) - LONGEST} more" if len(names) > LONGEST else ""
    return f"{names[:LONGEST]!r}{more}"


def staged(world):
    """Files in staging."""
    return files_below(world.places.meta / "staging")
