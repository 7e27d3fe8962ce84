"""Copies of the package that each break one order rule by a few words; the crash tests see every one."""

import compileall
import shutil
from dataclasses import dataclass

from support import ROOT


@dataclass(frozen=True)
class Mutant:
    """A change of some modules: what it breaks, the scenario that shows it, and where to kill a run."""

    breaks: str
    scenario: str
    edits: tuple[tuple[str, str, str], ...]  # module, its words, other words
    call: str = ""  # kill at this call; empty: the order of calls alone shows it

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


_RECORD = """\
            index.record(outcomes, places, _path_keys(outcomes))  # one transaction: instances and ledger
"""
_PUBLISH = "            outcomes = archive.publish(verdicts, places, refused, synced=batch.synced)\n"
_EARLY = """\
            early = [
                Outcome(v.staged.candidate, v.kind, None, "", f"{p.folder}/{p.leaf}", "", v.staged.instance)
                for v in verdicts if v.kind is Kind.STORED
                for p in [places[v.staged.instance.header.text("SOPInstanceUID")]]
            ]
            index.record(early, places, _path_keys(early))
"""
_LATE = "            index.record([o for o in outcomes if o.kind is not Kind.STORED], places, {})\n"
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
_YIELD = "        archive.discard(batch.results)\n        yield outcomes\n"

_REFUSED = "            outcomes += [self._refuse(one) for one in refused]\n"
_SYNC = "            self._tree.sync()\n"

MUTANTS = {
    "staged files are not synced": Mutant(
        "rule 1",
        "small",
        (("organizer/staging.py", "                if sync:\n", "                if sync and not name:\n"),),
    ),
    "decoded files are not synced": Mutant(
        "rule 1",
        "small",
        (("stage.py", "            if job.sync:\n", "            if job.sync and not name:\n"),),
    ),
    "large batches are not synced": Mutant(
        "rule 1",
        "large",
        (("organizer/archive.py", "            if not synced:\n", "            if synced is None:\n"),),
    ),
    "folders are not synced": Mutant(
        "rule 2",
        "small",
        (("organizer/archive.py", _REFUSED + _SYNC, _REFUSED),),
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
            ("ingest.py", _RECORD, _RECORD + "            archive._tree.sync()\n"),
        ),
    ),
    "row before file": Mutant(
        "rule 2",
        "small",
        (("ingest.py", _PUBLISH + _RECORD, _EARLY + _PUBLISH + _LATE),),
        "linkat",
    ),
    "commits are not synced": Mutant(
        "rule 3",
        "delete",
        (("index/engine.py", '"synchronous = FULL"', '"synchronous = NORMAL"'),),
    ),
    "source retired before its row": Mutant(
        "rule 3",
        "delete",
        (
            ("ingest.py", _RECORD, ""),
            ("ingest.py", _YIELD, _YIELD + _RECORD.replace(" " * 12, " " * 8)),
            # The second belt: without a row nothing is found whole, and nothing is retired.
            (
                "intake.py",
                "return recorded is not None and self.archive.digest(path) == recorded",
                "return True",
            ),
        ),
        "unlinkat",
    ),
    "written in place": Mutant(
        "rule 4",
        "small",
        (("organizer/tree.py", _LINK, _IN_PLACE),),
        "write",
    ),
    "published by a rename that replaces": Mutant(
        "rule 4",
        "obstructed",
        (("organizer/tree.py", _LINK, _RENAME),),
        "fsync",
    ),
    "own bytes under a name are not adopted": Mutant(
        "rule 4",
        "obstructed",
        (("organizer/archive.py", "lambda fd: _digest(fd) == sha256)", "lambda fd: False)"),),
        "fdatasync",
    ),
    "staging is not swept": Mutant(
        "the sweep",
        "small",
        (("rescan.py", "        intake.archive.sweep()\n", ""),),
        "linkat",
    ),
}
