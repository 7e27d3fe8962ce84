"""SIGKILL at the system calls of ``sorter quarantine retry`` and ``discard``, then the same command again.

``SORTER_CRASH=full`` tries every call that writes, names, syncs or removes something; without it a fixed
sample of each.
"""

import pytest
from crash import scenarios
from crash.facts import Expected, Work, sha256
from crash.runs import KILLED, inject, place_of, points, sample
from inline import Inline, config
from support import dicom

from sorter import intake, stage
from sorter.audit import audit
from sorter.index.chain import open_batch, seal
from sorter.index.ledger import append
from sorter.index.schema import instances, sources
from sorter.intake import Intake
from sorter.model import BatchKind, Reason
from sorter.parser.elements import Unparsable
from sorter.rescan import backfill

ALWAYS = ("linkat", "rename", "renameat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat")
SAMPLED = ("fsync", "fdatasync", "syncfs", "write", "pwrite64", "ftruncate", "openat")
RETRY = ("quarantine", "retry", "--all", "--json")
DISCARD = ("quarantine", "discard", "--all", "--yes", "--json")


def _old(number, **more):
    """An instance that an older sorter could not read."""
    return dicom(number, patient="OLD", PatientName=scenarios.CANARY, **more)


def _sources():
    """For each end of a retry: stored, the same twice, decoded, a conflict's end, another reason, none."""
    return {
        "1/good.dcm": dicom(1),
        "1/withdrawn.dcm": dicom(2),
        "2/conflict.dcm": dicom(2, pixels=7),
        "2/old.dcm": _old(1, study=2),
        "2/again.dcm": _old(1, study=2),
        "2/rle.dcm": scenarios._encapsulated(3, study=3, patient="OLD", pixels=3),
        "2/refiled.dcm": _old(1),
        "2/truncated.dcm": dicom(9)[:-40],
        "2/junk.txt": b"no DICOM at all",
    }


def _withdraw(found, uid):
    """What ``sorter undo`` does with one instance."""
    with Intake(found) as running, running.archive.turn(), running.index.writing() as connection:
        row = connection.execute(instances.select().where(instances.c.sop_instance_uid == uid)).one()
        (found.archive / row.path).unlink()
        batch = open_batch(connection, BatchKind.WITHDRAW, "2026-01-01T00:00:00+00:00")
        words = connection.execute(sources.select().where(sources.c.instance_fk == row.id)).all()
        gone = {"outcome": "ignored", "reason": "withdrawn", "path": None, "instance_fk": None}
        gone |= {"archived_sha256": None, "batch_fk": batch}
        rows = [{k: v for k, v in word._mapping.items() if k != "id"} | gone for word in words]
        append(connection, [row | {"replaces": word.id} for row, word in zip(rows, words, strict=True)])
        connection.execute(sources.update().values(instance_fk=None).where(sources.c.instance_fk == row.id))
        connection.execute(instances.delete().where(instances.c.id == row.id))
        seal(connection, batch)


def prepare(folder):
    """A drop folder and an archive with all of that in quarantine."""
    work = Work(folder, _sources())
    found = config(folder, incoming=[work.incoming], archive=work.archive)
    real = stage.walk

    def walk(data, wanted, **more):
        if b"OLD" in data[:]:
            raise Unparsable(Reason.MALFORMED, "an old parser's mistake")
        return real(data, wanted, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "Workers", Inline)
        backfill(found, [work.incoming / "1"])
        patch.setattr(stage, "walk", walk)
        backfill(found, [work.incoming / "2"])
        _withdraw(found, "1.2.826.0.1.3680043.10.1.1.1.2")
    return work, found


def findings(found):
    return [f"audit: {one.kind} {one.detail}" for one in audit(found).findings]


def broken(work, found):
    """What must hold at any moment: rows have their files, and each source's bytes are somewhere, whole."""
    wrong = findings(found) if found.index_location.exists() else ["the index is gone"]
    safe = set()
    for row in work.instances():
        path = work.archive / row["path"]
        if not path.is_file() or sha256(path.read_bytes()) != row["sha256"]:
            wrong.append("a row without its whole file")
        safe |= {row["sha256"], row["source_sha256"]}
    for name, data in work.quarantine().items():
        if name.endswith(".dcm"):
            if not name.rpartition("/")[2].startswith(sha256(data)[:24]):
                wrong.append(f"in quarantine, other than whole bytes: {name}")
            safe.add(sha256(data))
    wrong += [
        f"lost: {name}"
        for name, data in work.sources.items()
        if sha256(data) not in safe and name != "1/withdrawn.dcm"
    ]
    return wrong + [f"a source was changed: {name}" for name in work.changed_sources()]


def differences(work, expected):
    """What is otherwise than after an undisturbed run."""
    now = Expected.of(work)
    wrong = [
        name
        for name in ("tree", "quarantine", "instances", "present")
        if getattr(now, name) != getattr(expected, name)
    ]
    words = {name: "stored" if word == "duplicate" else word for name, word in now.ledger.items()}
    if words != {name: "stored" if word == "duplicate" else word for name, word in expected.ledger.items()}:
        wrong.append("ledger")
    return [f"otherwise: {name}" for name in wrong]


@pytest.fixture(scope="module")
def undisturbed(sorter, tmp_path_factory):
    """Of a command: what it leaves, and its system calls; run once."""
    made = {}

    def of(command):
        if command not in made:
            work, found = prepare(tmp_path_factory.mktemp(command[1]))
            finished = sorter.run(work.folder, *command, "--archive", work.archive, trace=[])
            assert finished.status in (0, 1), finished.stderr
            assert scenarios.CANARY not in finished.stderr
            assert audit(found).balanced
            made[command] = Expected.of(work), finished
        return made[command]

    return of


def kill(sorter, work, found, command, one, expected, *, keeps):
    """Kill a run at one call, look, run again, look, run a third time; what was wrong."""
    killed = sorter.run(work.folder, *command, "--archive", work.archive, trace=inject(one.name, one.number))
    if killed.status != KILLED:
        return [f"was not killed but ended with {killed.status}"]
    wrong = broken(work, found) if keeps else findings(found)
    again = sorter.run(work.folder, *command, "--archive", work.archive)
    if again.status not in (0, 1):
        return [*wrong, f"the rerun ended with {again.status}: {again.stderr[-300:]}"]
    wrong += differences(work, expected) + findings(found)
    if keeps:  # a discard that finds nothing to do does not even open the archive
        wrong += [f"staged: {one}" for one in work.staged()]
    stamps = work.stamps()
    sorter.run(work.folder, *command, "--archive", work.archive)
    if work.stamps() != stamps or differences(work, expected):
        wrong.append("a run with nothing to do changed something")
    if not audit(found).balanced:
        wrong.append("the account does not balance")
    return wrong


def chosen(found, most):
    """A fixed sample; of one the middle, since a run begins and ends with what all runs do."""
    return found[len(found) // 2 :][:1] if most == 1 else sample(found, most)


def killed_at(sorter, undisturbed, tmp_path, command, calls, most, *, keeps):
    expected, finished = undisturbed(command)
    wrong, tried = {}, 0
    for call in calls:
        for one in chosen([one for one in points(finished, finished.log) if one.name == call], most):
            work, found = prepare(tmp_path / f"{call}-{one.number}")
            tried += 1
            if said := kill(sorter, work, found, command, one, expected, keeps=keeps):
                wrong[place_of(one, finished)] = said
    print(f"{command[1]}: killed at {tried} calls")
    return wrong, tried


def test_an_undisturbed_retry_brings_in_what_it_should(undisturbed):
    expected, finished = undisturbed(RETRY)
    assert finished.summary["outcomes"] == {"conflict": 1, "rejected": 2, "stored": 3}
    assert finished.summary["removed"] == 4
    assert {name: word for name, word in expected.ledger.items() if name.startswith("2/")} == {
        "2/conflict.dcm": "stored",
        "2/old.dcm": expected.ledger["2/old.dcm"],
        "2/again.dcm": expected.ledger["2/again.dcm"],
        "2/rle.dcm": "stored",
        "2/refiled.dcm": "conflict",
        "2/truncated.dcm": "rejected",
        "2/junk.txt": "rejected",
    }
    assert {expected.ledger["2/old.dcm"], expected.ledger["2/again.dcm"]} == {"stored", "duplicate"}


def test_a_retry_killed_where_it_names_or_removes(sorter, undisturbed, full, tmp_path):
    most = 10_000 if full else 2
    wrong, tried = killed_at(sorter, undisturbed, tmp_path, RETRY, ALWAYS, most, keeps=True)
    assert wrong == {}
    assert tried >= 8


def test_a_retry_killed_where_it_writes_or_syncs(sorter, undisturbed, full, tmp_path):
    most = 10_000 if full else 1
    wrong, tried = killed_at(sorter, undisturbed, tmp_path, RETRY, SAMPLED, most, keeps=True)
    assert wrong == {}
    assert tried >= 5


@pytest.mark.parametrize("calls", [ALWAYS, SAMPLED], ids=["names", "syncs"])
def test_a_discard_killed(sorter, undisturbed, full, tmp_path, calls):
    most = 10_000 if full else 1
    wrong, tried = killed_at(sorter, undisturbed, tmp_path, DISCARD, calls, most, keeps=False)
    assert wrong == {}
    assert tried >= 3


def test_nothing_is_removed_before_it_is_recorded(undisturbed):
    """The index's last sync comes before the first removal from the quarantine, in both commands."""
    for command in (RETRY, DISCARD):
        _, finished = undisturbed(command)
        removed = [
            one.start
            for one in finished.log
            if one.name in ("unlink", "unlinkat") and "/quarantine/" in one.target
        ]
        synced = [
            one.end
            for one in finished.log
            if one.name in ("fsync", "fdatasync") and one.descriptor.endswith("index.sqlite-wal")
        ]
        assert removed
        assert any(end < min(removed) for end in synced)
        notes = [one.start for one in finished.log if one.name == "unlinkat" and one.target.endswith(".json")]
        folders = [
            one.end for one in finished.log if one.name == "fsync" and "/quarantine/" in one.descriptor
        ]
        bytes_ = [one.start for one in finished.log if one.name == "unlinkat" and one.target.endswith(".dcm")]
        quarantined = [start for start in bytes_ if start >= min(removed)]
        assert max(start for start in notes if start < min(quarantined)) < min(quarantined)
        assert any(min(removed) < end < min(quarantined) for end in folders)
