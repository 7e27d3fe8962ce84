"""Copies of the package that each break one order rule by a few words; the crash tests see every one.

``python -m tests.crash.mutants`` prints which of them each way of looking catches. The syncs are found, not
listed by hand: each call of fsync, fdatasync and syncfs in the package is left out, one at a time.
"""

import ast
import compileall
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SYNC_CALLS = ("fsync", "fdatasync", "syncfs")


@dataclass(frozen=True)
class Mutant:
    """A change of some modules: what it breaks, the course that shows it, and what must catch it."""

    breaks: str
    course: str  # of ``power_courses.COURSES``
    edits: tuple[tuple[str, str, str], ...]  # module, its words, other words
    by: tuple[str, ...] = ("order", "power")
    call: str = ""  # kill at this call

    def make(self, folder):
        """Write the copy; returns the folder that holds it.

        Raises
        ------
        AssertionError
            The words are not (or not once) in the module any more: the mutant needs new ones.
        """
        shutil.copytree(ROOT / "sorter", folder / "sorter", ignore=shutil.ignore_patterns("__pycache__"))
        for module, words, others in self.edits:
            path = folder / "sorter" / module
            text = path.read_text()
            assert text.count(words) == 1, f"{module} holds these words {text.count(words)} times: {words}"
            path.write_text(text.replace(words, others))
        assert compileall.compile_dir(folder / "sorter", quiet=1)
        return folder


# -- every sync left out, one at a time ------------------------------------------------------------------

# (module, function): the rule that it serves, the course that shows it, what must see that it is missing.
SYNCS = {
    ("organizer/staging.py", "_make_durable"): ("rule 1", "small", ("order", "power")),
    ("sharing.py", "make_durable"): ("rule 1", "small", ("order", "power")),
    ("organizer/tree.py", "sync"): ("rule 2", "small", ("order", "power")),
    ("organizer/tree.py", "syncfs"): ("rule 1", "large", ("order", "power")),
    ("organizer/tree.py", "make_root"): ("rule 2", "delete", ("order", "power")),
    ("organizer/tree.py", "vouch"): ("rule 1", "foreign", ("power",)),
    ("care.py", "_sync"): ("a backup that was reported is there", "backup", ("power",)),
    ("organizer/outside.py", "copied"): ("a file that was handed out is whole", "export", ("power",)),
}
# Every decoded file treated as a large one, which is streamed into staging.
STREAMED = ("decoding.py", ".length <= IN_MEMORY:", ".length <= 0:")
# Other words that a sync is only reached with.
_REACHED_WITH = {("sharing.py", "make_durable"): (STREAMED,)}
# Syncs of what a daemon does beside bringing files in, and tells nobody of before they are done.
ELSEWHERE = {
    ("auditlog.py", "append"),
    ("auditlog.py", "_sync_folder"),
    ("events/quiet.py", "write_durably"),
    ("events/quiet.py", "sync_folder"),
    ("events/receipts.py", "_publish"),
}


def syncs():
    """(module, function) of every call that syncs -> the function's text with and without the call."""
    found = {}
    for path in sorted((ROOT / "sorter").rglob("*.py")):
        text = path.read_text()
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef):
                whole = ast.get_source_segment(text, function)
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in _SYNC_CALLS:
                        words = ast.get_source_segment(text, call)
                        key = (str(path.relative_to(ROOT / "sorter")), function.name)
                        assert key not in found, f"two syncs in {key}: tell them apart"
                        found[key] = (whole, whole.replace(words, "0"))
    return found


def _without_syncs():
    texts = syncs()
    return {
        f"no sync in {key[0]}, {key[1]}": Mutant(
            rule, course, ((key[0], *texts[key]), *_REACHED_WITH.get(key, ())), by
        )
        for key, (rule, course, by) in SYNCS.items()
    }


# -- rules broken otherwise ------------------------------------------------------------------------------

_RECORD = """\
                index.record(outcomes, places, _path_keys(outcomes))  # one transaction: instances and ledger
"""
_PUBLISH = """\
                outcomes = archive.publish(verdicts, places, refused)
                outcomes += account.closed(outcomes)
"""
_EARLY = """\
                early = [
                    Outcome(
                        v.staged.candidate, v.kind, None, "", f"{p.folder}/{p.leaf}", "", v.staged.instance
                    )
                    for v in verdicts if v.kind is Kind.STORED
                    for p in [places[v.staged.instance.header.text("SOPInstanceUID")]]
                ]
                index.record(early, places, _path_keys(early))
"""
_LATE = "                index.record([o for o in outcomes if o.kind is not Kind.STORED], places, {})\n"
_LINK = (
    "            os.link(source, name, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)\n"
)
_IN_PLACE = """\
            with open(source, "rb", opener=lambda p, f: os.open(p, f, dir_fd=source_fd)) as bytes_:
                data = bytes_.read()
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444, dir_fd=target_fd)
            os.write(fd, data[:100])
            os.write(fd, data[100:])
            os.fsync(fd)
            os.close(fd)
"""
_RENAME = "            os.rename(source, name, src_dir_fd=source_fd, dst_dir_fd=target_fd)\n"
_YIELD = "            archive.discard(batch.results)\n            yield outcomes\n"

_EACH = "                each = len(batch.candidates) <= SYNC_EACH_UP_TO"
_REFUSED = "            outcomes += [self._refuse(one) for one in refused]\n"
_SYNC = "            self.tree.sync()\n"

_WRITTEN = """\
                for chunk in chunks:
                    size += write_all(fd, chunk, cached=read_again)
"""
_SYNCED = "                _make_durable(fd, sync)\n"
_NOTE = """\
.encode()], sync=True)
        with contextlib"""
_NAMED = """\
        self._dirty.add(folder)

    def touch(self, folder: str) -> None:
"""

MUTANTS = _without_syncs() | {
    "staged files are synced, and then written": Mutant(
        "rule 1",
        "small",
        (("organizer/staging.py", _WRITTEN + _SYNCED, _SYNCED + _WRITTEN),),
    ),
    "notes of quarantine are not synced": Mutant(
        "rule 1",
        "small",
        (("organizer/quarantine.py", _NOTE, _NOTE.replace("sync=True", "sync=False")),),
    ),
    "large batches are not synced": Mutant(
        "rule 1",
        "large",
        (("workers.py", _EACH, _EACH.replace("<= SYNC_EACH_UP_TO", "> 0")),),
    ),
    "large batches are synced once they have names": Mutant(
        "rule 1",
        "large",
        (
            ("workers.py", _EACH, _EACH.replace("<= SYNC_EACH_UP_TO", "> 0")),
            ("organizer/archive.py", _REFUSED + _SYNC, _REFUSED + "            self.tree.sync_all()\n"),
        ),
    ),
    "folders are not synced": Mutant(
        "rule 2",
        "small",
        (("organizer/archive.py", _REFUSED + _SYNC, _REFUSED),),
    ),
    "many folders are not synced": Mutant(
        "rule 2",
        "large",
        (
            (
                "organizer/tree.py",
                "            self.sync_all()\n        else:",
                "            pass\n        else:",
            ),
        ),
    ),
    "the folder of a name is not synced": Mutant(
        "rule 2",
        "small",
        (("organizer/tree.py", _NAMED, _NAMED.replace("self._dirty.add(folder)", "pass")),),
    ),
    "the folder of an adopted name is not synced": Mutant(
        "rule 2",
        "foreign",
        (
            (
                "organizer/tree.py",
                "        self.touch(folder)\n        return True",
                "        return True",
            ),
        ),
        ("power",),
    ),
    "ancestors are not synced": Mutant(
        "rule 2",
        "small",
        (("organizer/tree.py", "        self._dirty.add(parent)\n", ""),),
    ),
    "folders are synced after the row": Mutant(
        "rule 2",
        "small",
        (
            ("organizer/archive.py", _REFUSED + _SYNC, _REFUSED),
            ("ingest.py", _RECORD, _RECORD + "                archive.tree.sync()\n"),
        ),
    ),
    "row before file": Mutant(
        "rule 2",
        "small",
        (("ingest.py", _PUBLISH + _RECORD, _EARLY + _PUBLISH + _LATE),),
        ("kill", "power"),
        "linkat",
    ),
    "commits are not synced": Mutant(
        "rule 3",
        "delete",
        (("index/engine.py", '"synchronous = FULL"', '"synchronous = NORMAL"'),),
    ),
    "the index is never synced": Mutant(
        "rule 3",
        "delete",
        (("index/engine.py", '"synchronous = FULL"', '"synchronous = OFF"'),),
    ),
    "source retired before its row": Mutant(
        "rule 3",
        "delete",
        (
            ("ingest.py", _RECORD, ""),
            ("ingest.py", _YIELD, _YIELD + _RECORD.replace(" " * 16, " " * 12)),
            # The second belt: without a row nothing is found whole, and nothing is retired.
            (
                "intake.py",
                "return recorded is not None and self.archive.digest(path) == recorded",
                "return True",
            ),
        ),
        ("kill", "power"),
        "unlinkat",
    ),
    "written in place": Mutant(
        "rule 4",
        "small",
        (("organizer/tree.py", _LINK, _IN_PLACE),),
        ("kill", "order", "power"),
        "write",
    ),
    "published by a rename that replaces": Mutant(
        "rule 4",
        "obstructed",
        (("organizer/tree.py", _LINK, _RENAME),),
        ("kill", "order", "power"),
        "fsync",
    ),
    "own bytes under a name are not adopted": Mutant(
        "rule 4",
        "obstructed",
        (("organizer/tree.py", "lambda fd: digest(fd) == sha256)", "lambda fd: False)"),),
        ("kill",),
        "fdatasync",
    ),
    "staging is not swept": Mutant(
        "the sweep",
        "small",
        (("rescan.py", "        intake.archive.sweep()\n", ""),),
        ("kill",),
        "linkat",
    ),
}


def _mark(wrong):
    return "" if wrong is None else "yes" if wrong else "-"


def main():
    """Print what catches each mutant."""
    sys.path.insert(0, str(ROOT / "tests"))
    from crash.caught import caught

    print(f"{'mutant':58} kill  order power")
    survivors = 0
    for name, mutant in MUTANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = caught(mutant, Path(folder), every=True)
        survivors += not any(found.values())
        marks = [f"{_mark(found.get(way)):5}" for way in ("kill", "order", "power")]
        print(f"{name:58} {' '.join(marks)}", flush=True)
    print(f"{len(MUTANTS)} mutants, {len(MUTANTS) - survivors} caught")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
