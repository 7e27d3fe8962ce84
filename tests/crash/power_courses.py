"""During which command lines the power fails: to add one, add an entry to ``COURSES``."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from crash.facts import META, Work
from crash.scenarios import SCENARIOS, Scenario

RESCAN = ("--rescan", "--json", "--archive", "{archive}", "--incoming", "{incoming}")
BY_HAND = ("--rescan", "--json", "--archive", "{archive}", "{incoming}")


@dataclass(frozen=True)
class Course:
    """Command lines: some before, the one during which the power fails, and those that follow it.

    ``{folder}``, ``{incoming}`` and ``{archive}`` stand for paths. The last of ``again`` is a rescan with
    ``--json``; once the power is back, all of ``again`` must lead where it leads without a cut.
    """

    scenario: Scenario
    command: tuple[str, ...] = RESCAN
    before: tuple[tuple[str, ...] | Callable[[Work], None], ...] = ()  # or what a person does
    again: tuple[tuple[str, ...], ...] = (RESCAN,)
    environ: dict[str, str] = field(default_factory=dict)
    until: Callable[[Work], bool] | None = None  # the command is a daemon: end it by SIGTERM then
    foreign: bool = False  # what lies in the archive before was put there just now, unsynced, by somebody
    also: Callable[[Work, bool], list[str]] = lambda _work, _is_end: []  # what else is wrong after a cut

    @property
    def converges(self):
        """Whether all cuts lead to one end: not where the power takes somebody else's files away."""
        return not self.foreign

    def __post_init__(self):
        assert self.again[-1] in (RESCAN, BY_HAND), "its summary is looked at"


BACKUP = ("backup", "--archive", "{archive}", "{folder}/copy.sqlite")
EXPORT = ("quarantine", "export", "--all", "--archive", "{archive}", "{folder}/handed")
RETRY = ("quarantine", "retry", "--all", "--archive", "{archive}", "--incoming", "{incoming}")
REINDEX = ("reindex", "--archive", "{archive}")


def _copy(work, is_end):
    """A backup that has its name is whole; one that was reported has its name."""
    path = work.folder / "copy.sqlite"
    if not path.exists():
        return ["the backup that was reported is not there"] if is_end else []
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT count(*) FROM instances").fetchone()[0]
    return [] if rows == len(work.instances()) else ["the backup lacks rows"]


def _old_ledger(work, _is_end):
    """The ledger that reindexing sets aside is there, under the one or the other name."""
    for path in (work.archive / META).glob("index.sqlite*"):
        if not path.name.endswith(("-wal", "-shm", "-journal")):
            with closing(sqlite3.connect(path)) as connection:
                tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sources'").fetchall()
                if tables and connection.execute("SELECT count(*) FROM sources").fetchone()[0] >= 8:
                    return []
    return ["the old ledger is gone"]


def _exported(work, is_end):
    """A file that was handed out is whole under its name; when that was reported, all are there."""
    theirs = {path.name: path.read_bytes() for path in (work.archive / META / "quarantine").rglob("*.*")}
    found = {path.name: path.read_bytes() for path in work.folder.glob("handed/**/*.*") if path.is_file()}
    named = {name: data for name, data in found.items() if not name.startswith(".")}
    wrong = [f"handed out, and not whole: {name}" for name in named if named[name] != theirs[name]]
    lacking = theirs.keys() - named.keys() if is_end else ()
    return wrong + [f"reported as handed out, and not there: {name}" for name in lacking]


def _obstructed_twice():
    """Two files of somebody else under the only two names that an instance may have."""
    taken = next(name for name, data in SCENARIOS["obstructed"].leftovers().items() if not is_dicom(data))
    uid = taken.removesuffix(".dcm").partition("/CT.")[2]
    return {taken: b"somebody's notes", f"{taken.removesuffix('.dcm')}.{uid}.dcm": b"more notes"}


def _make_way(work):
    """Move one of them away."""
    name = next(iter(work.leftovers))
    (work.archive / name).unlink()
    del work.leftovers[name]


def is_dicom(data):
    return data[128:132] == b"DICM"


def _is_done(work):
    """Whether the daemon has an outcome for each source."""
    try:
        report = json.loads((work.archive / META / "status.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return report.get("since_start", {}).get("seen", 0) >= len(work.sources)


_SOURCES = SCENARIOS["obstructed"].sources()
COURSES = {name: Course(scenario) for name, scenario in SCENARIOS.items() if not scenario.by_hand} | {
    "obstructed": Course(SCENARIOS["obstructed"], BY_HAND, again=(BY_HAND,)),
    "foreign": Course(
        Scenario(lambda: {"a.dcm": _SOURCES["a/1.dcm"]}, leftovers=SCENARIOS["obstructed"].leftovers),
        BY_HAND,
        again=(BY_HAND,),
        foreign=True,
    ),
    "daemon": Course(
        SCENARIOS["delete"],
        ("run", "--archive", "{archive}", "--incoming", "{incoming}"),
        environ={"SORTER_INCOMPLETE_SECONDS": "0"},
        until=_is_done,
    ),
    "retry": Course(
        Scenario(lambda: {"a.dcm": _SOURCES["a/2.dcm"]}, leftovers=_obstructed_twice),
        RETRY,
        before=(BY_HAND, _make_way),
        again=(RETRY, BY_HAND),
    ),
    "export": Course(SCENARIOS["small"], EXPORT, before=(RESCAN,), also=_exported),
    "backup": Course(SCENARIOS["small"], BACKUP, before=(RESCAN,), also=_copy),
    "reindex": Course(
        SCENARIOS["small"], REINDEX, before=(RESCAN,), again=(REINDEX, RESCAN), also=_old_ledger
    ),
}
