"""SIGKILL and failing calls in ``sorter relayout`` and ``sorter undo``, then the same command again.

``SORTER_CRASH=full`` tries every call that writes, names, syncs or removes something; without it a fixed
sample of each.
"""

import sqlite3
from contextlib import closing

import pytest
from crash.facts import Work, sha256
from crash.runs import KILLED, inject, place_of, points, sample
from crash.scenarios import CANARY, PATIENT
from inline import Inline, config
from support import dicom, tree

from sorter import intake
from sorter.audit import audit
from sorter.rescan import backfill

ALWAYS = ("linkat", "rename", "renameat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat")
SAMPLED = ("fsync", "fdatasync", "syncfs", "write", "pwrite64", "ftruncate", "openat")
ERRORS = {"ENOSPC": 5, "EIO": 4, "EDQUOT": 5, "EROFS": 4, "EMFILE": 4}
APPLY = (
    "relayout",
    "--apply",
    "--yes",
    "--json",
    "--template",
    "{Modality}/{PatientID}/{InstanceNumber}.dcm",
)
BACK = ("relayout", "--undo", "--yes", "--json")
UNDO = ("undo", "2", "--yes", "--json")
NUMBERED = "{PatientID}/{StudyDate}/{InstanceNumber}.dcm"
CIRCLE = (*APPLY[:-1], NUMBERED)
# "out" is with --to; in "circle" two files want each other's names.
COMMANDS = {"apply": APPLY, "back": BACK, "undo": UNDO, "out": UNDO, "circle": CIRCLE}


def prepare(folder, name):
    """An archive of two batches, re-sorted already where that is to be taken back."""
    files = {f"1/{number}.dcm": dicom(number, patient=PATIENT, PatientName=CANARY) for number in (1, 2)}
    files |= {"2/1.dcm": dicom(1, study=2, patient="P2"), "2/2.dcm": dicom(2, study=2, patient="P2")}
    files |= {"2/again.dcm": files["2/1.dcm"], "2/of 1.dcm": files["1/1.dcm"]}
    files |= {"2/3.dcm": dicom(3, patient=PATIENT, PatientName=CANARY)}
    work = Work(folder, files)
    template = {"template": NUMBERED} if name == "circle" else {}
    found = config(folder, incoming=[work.incoming], archive=work.archive, **template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "Workers", Inline)
        for part in ("1", "2"):
            backfill(found, [work.incoming / part])
        if name == "back":
            from sorter.relayout import relayout

            relayout(found.model_copy(update={"template": APPLY[-1]}), apply=True)
    if name == "circle":
        with closing(sqlite3.connect(found.index_location)) as connection, connection:
            change = "UPDATE instances SET instance_number = 3 - instance_number WHERE instance_number < 3"
            connection.execute(change)
    return work, found


def facts(work):
    """Where everything lies and what is said of it; withdrawn files without the time in their folder."""
    withdrawn = [work.archive / ".sorter/withdrawn", work.folder / "out"]
    without = [
        {
            path.relative_to(folder).as_posix().partition("/")[2]: path.read_bytes()
            for path in folder.rglob("*.dcm")
        }
        for folder in withdrawn
    ]
    columns = "path, sop_instance_uid, sha256, study_instance_uid, patient_id"
    rows = work.index("SELECT * FROM instance_view") and [
        {key: row[key] for key in columns.split(", ")} for row in work.instances()
    ]
    drafts = [path.name for path in work.folder.rglob("*.part")]
    said = {"rows": rows, "ledger": work.ledger(), "drafts": drafts}
    return {"tree": tree(work.archive), "withdrawn": without[0], "out": without[1], **said}


def broken(work):
    """What must hold at any moment: each row has its file, whole, and no bytes are gone."""
    wrong = []
    for row in work.instances():
        path = work.archive / row["path"]
        if not path.is_file() or sha256(path.read_bytes()) != row["sha256"]:
            wrong.append("a row without its whole file")
    places = [*work.archive.rglob("*.dcm"), *(work.folder / "out").rglob("*.dcm")]
    everywhere = {sha256(path.read_bytes()) for path in places}
    wrong += [f"lost: {name}" for name, data in work.sources.items() if sha256(data) not in everywhere]
    return wrong + [f"a source was changed: {name}" for name in work.changed_sources()]


@pytest.fixture(scope="module")
def undisturbed(sorter, tmp_path_factory):
    """Of a command: what it leaves, and its system calls; run once."""
    made = {}

    def of(name):
        if name not in made:
            work, found = prepare(tmp_path_factory.mktemp(name), name)
            finished = run(sorter, work, name, trace=[])
            assert finished.status == 0, finished.stderr
            assert broken(work) == []
            assert audit(found).balanced
            made[name] = facts(work), finished
        return made[name]

    return of


def run(sorter, work, name, **how):
    more = ["--to", work.folder / "out"] if name == "out" else []
    return sorter.run(work.folder, *COMMANDS[name], *more, "--archive", work.archive, **how)


def touching(finished):
    """The calls that change or sync something of ours, in the other folder too."""
    inside = points(finished, finished.log)
    outside = [
        one
        for one in finished.log
        if one.target.startswith(f"{finished.folder}/out") and (one.name != "openat" or one.creates)
    ]
    return sorted({*inside, *outside}, key=lambda one: one.end)


def converges(sorter, work, found, name, expected):
    """Run again after a crash: what is otherwise than after an undisturbed run."""
    again = run(sorter, work, name)
    # A relayout that had come to its end is not undone twice; an undo that had, finds nothing to do.
    if again.status not in (0, 1, 2):
        return [f"the rerun ended with {again.status}: {again.stderr[-300:]}"]
    if name == "out":  # what is left of the run that was cut off, all that was taken out is brought
        rest = sorter.run(
            work.folder, "undo", "--yes", "--to", work.folder / "out", "--archive", work.archive
        )
        if rest.status not in (0, 1):
            return [f"bringing the rest ended with {rest.status}: {rest.stderr[-300:]}"]
    now = facts(work)
    wrong = [f"otherwise: {key}" for key in expected if now[key] != expected[key]]
    wrong += [f"staged: {one}" for one in work.staged()]
    wrong += [f"audit: {one.kind} {one.detail}" for one in audit(found).findings]
    if work.index("SELECT * FROM moves WHERE state <> 'done'"):
        wrong.append("a move is not ended")
    return wrong


def disturbed(sorter, undisturbed, tmp_path, name, tries):
    """What was wrong at each (call, strace's words, statuses that are right)."""
    expected, finished = undisturbed(name)
    wrong = {}
    for number, (one, words, statuses) in enumerate(tries):
        work, found = prepare(tmp_path / str(number), name)
        ended = run(sorter, work, name, trace=inject(one.name, one.number, words))
        said = broken(work)
        if ended.status not in statuses:
            said.append(f"ended with {ended.status}: {ended.stderr[-300:]}")
        said += [f"{word!r} in its output" for word in ("Traceback", CANARY, PATIENT) if word in ended.stderr]
        done = facts(work) == expected
        if not (name == "back" and done):
            said += converges(sorter, work, found, name, expected)
        if said:
            wrong[f"{words} at {place_of(one, finished)}"] = said
    print(f"{name}: disturbed at {len(tries)} calls")
    return wrong


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_call(sorter, undisturbed, full, tmp_path, name):
    finished = undisturbed(name)[1]
    found = touching(finished)
    tries = []
    for call in (*ALWAYS, *SAMPLED):
        mine = [one for one in found if one.name == call]
        tries += mine if full else sample(mine, 2 if call in ALWAYS else 1)
    kills = [(one, "signal=KILL", (KILLED,)) for one in tries]
    assert disturbed(sorter, undisturbed, tmp_path, name, kills) == {}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_at_any_call(sorter, undisturbed, full, tmp_path, name):
    finished = undisturbed(name)[1]
    found = [one for one in touching(finished) if one.name != "rmdir"]
    tried = found if full else sample(found, 6)
    # An empty folder that stays, or a lock file that cannot be made twice, matters to nobody.
    tries = [
        (one, f"error={error}", (0, 1, 3, ERRORS[error]))
        for number, one in enumerate(tried)
        for error in (ERRORS if full else [list(ERRORS)[number % len(ERRORS)]])
    ]
    assert disturbed(sorter, undisturbed, tmp_path, name, tries) == {}


def test_a_rescan_after_a_crash_finishes_the_move_before_it_looks_for_files_without_rows(
    sorter, undisturbed, tmp_path
):
    """Else a withdrawn file would be adopted again under the name that it is about to lose."""
    _, finished = undisturbed("undo")
    unlinks = [one for one in finished.log if one.name == "unlink" and one.target.endswith(".dcm")]
    unlinks += [one for one in finished.log if one.name == "unlinkat" and one.target.endswith(".dcm")]
    assert unlinks
    for one in sample(unlinks, 3):
        work, found = prepare(tmp_path / str(one.number), "undo")
        assert run(sorter, work, "undo", trace=inject(one.name, one.number)).status == KILLED
        done = sorter.run(
            work.folder, "--rescan", "--json", "--archive", work.archive, "--incoming", work.incoming
        )
        assert (done.summary["stored"], done.summary["adopted"]) == (0, 0)
        assert audit(found).balanced
        assert broken(work) == []
