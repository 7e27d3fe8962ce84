"""What becomes of sources: they go only when their instance is stored, and refused ones stay."""

import pytest
from e2e.program import counts, ledger, rescan, sources
from support import dicom, drop, tree

REFUSED = {
    "cut.dcm": dicom(9)[:-5],
    "text.dcm": b"no DICOM",
    "conflict.dcm": dicom(1, pixels=3),
    "none.dcm": dicom(8, SOPInstanceUID=None),
}
TAKEN = {"a/one.dcm": dicom(1), "a/b/two.dcm": dicom(2), "a/again.dcm": dicom(1)}


def fill(incoming, *names):
    for name in names or TAKEN:
        drop(incoming, name, TAKEN[name])


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("by", ["daemon", "rescan"])
@pytest.mark.parametrize("how", ["keep", "delete", "move", "move elsewhere"])
def test_sources_go_only_when_stored_and_refused_ones_stay(how, by, daemon, incoming, archive, tmp_path):
    settings = {"retire": how.split()[0]}
    if "elsewhere" in how:
        settings["retire_to"] = tmp_path / "sorted"
    drop(incoming, "first.dcm", TAKEN["a/one.dcm"])
    rescan(archive, incoming=incoming)  # so that it is clear which of the conflict comes first
    everything = {"first.dcm": TAKEN["a/one.dcm"]} | TAKEN | REFUSED
    for name, data in (TAKEN | REFUSED).items():
        drop(incoming, name, data)
    if by == "rescan":
        facts = rescan(archive, incoming=incoming, **settings).facts
        assert counts(facts) == {"stored": 1, "duplicate": 3, "conflict": 1, "rejected": 3}
    else:
        running = daemon(settle_seconds=0.1, incomplete_seconds=0, **settings)
        running.wait(lambda: len(sources(archive)) == len(everything), what="all outcomes")
        running.wait(lambda: running.report["state"] == "idle", what="the daemon to rest")
        running.stop()
    stay = everything if how == "keep" else REFUSED
    gone = {name: data for name, data in everything.items() if name not in stay}
    moved = {"move": incoming / ".sorted", "move elsewhere": tmp_path / "sorted"}.get(how)
    left = {name: data for name, data in files(incoming).items() if not name.startswith(".sorted/")}
    assert left == stay
    if moved:
        assert files(moved) == gone
    assert sorted(tree(archive).values()) == sorted((dicom(1), dicom(2)))
    outcomes = ledger(archive, incoming)
    assert {name: outcomes[name][0] for name in REFUSED} == {
        "cut.dcm": "rejected",
        "text.dcm": "rejected",
        "conflict.dcm": "conflict",
        "none.dcm": "rejected",
    }


def test_paths_by_hand_are_never_retired(incoming, archive):
    fill(incoming)
    rescan(archive, incoming / "a", incoming=incoming, retire="delete")
    assert files(incoming) == TAKEN


def test_a_source_that_changed_after_it_was_stored_is_not_deleted(incoming, archive):
    source = drop(incoming, "a.dcm", dicom(1))
    rescan(archive, incoming=incoming)
    source.write_bytes(dicom(1, pixels=7))
    facts = rescan(archive, incoming=incoming, retire="delete").facts
    assert counts(facts) == {"conflict": 1}
    assert files(incoming) == {"a.dcm": dicom(1, pixels=7)}
