"""The identity matrix end to end, in both orders of arrival: the first stays, nothing is lost."""

import json
import os
from collections import Counter

import pydicom
import pytest
from e2e.program import counts, instances, ledger, rescan, sources
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from support import bundled, dicom, drop, tree

BOTH_ORDERS = pytest.mark.parametrize("turned", [False, True], ids=["a then b", "b then a"])


def cases():
    """Name -> (one instance, another under its SOP Instance UID, what becomes of the second)."""
    conflict = ("conflict", "conflict")
    others = {
        "the same bytes": ({}, ("duplicate", None)),
        "other pixels": ({"pixels": 9}, conflict),
        "another patient": ({"patient": "P2"}, conflict),
        "another issuer": ({"IssuerOfPatientID": "H"}, conflict),
        "another study": ({"StudyInstanceUID": "1.2.3"}, conflict),
        "another series": ({"SeriesInstanceUID": "1.2.3.4"}, conflict),
        "another comment": ({"ImageComments": "late"}, conflict),
    }
    for number, (name, (more, outcome)) in enumerate(others.items(), 1):
        yield name, dicom(1, study=number), dicom(1, study=number, **more), outcome
    for file in ("MR_small_RLE.dcm", "693_J2KI.dcm", "JPEG2000.dcm", "examples_rgb_color.dcm"):
        dataset = pydicom.dcmread(bundled(file))
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.decompress(generate_instance_uid=False)
            out = pydicom.filebase.DicomBytesIO()
            dataset.save_as(out)
            yield file, bundled(file).read_bytes(), out.getvalue(), ("equivalent", None)


def bring_in(incoming, archive, turned, *, together=False):
    """Each case's two files, the second after the first was recorded; the cases, and all outcomes."""
    found = []
    for name, a, b, outcome in cases():
        found.append((name, *((b, a) if turned else (a, b)), outcome))
    for name, first, _, _ in found:
        drop(incoming, f"{name}/first.dcm", first)
    if not together:
        rescan(archive, incoming=incoming)
    for name, _, second, _ in found:
        drop(incoming, f"{name}/second.dcm", second)
    rescan(archive, incoming=incoming)
    return found, ledger(archive, incoming)


STORED = ("stored", None)


@BOTH_ORDERS
def test_of_two_under_one_sop_instance_uid_the_first_stays(turned, incoming, archive):
    found, outcomes = bring_in(incoming, archive, turned)
    assert outcomes == {
        f"{name}/{which}.dcm": one
        for name, _, _, outcome in found
        for which, one in (("first", STORED), ("second", outcome))
    }
    by_source = {os.path.relpath(row["source"], incoming): row for row in sources(archive)}
    rows = {row["path"]: row for row in instances(archive)}
    assert len(rows) == len(tree(archive)) == len(found)
    for name, first, second, outcome in found:
        place = by_source[f"{name}/first.dcm"]["path"]
        if rows[place]["pixels"] == "transcoded":
            assert (outcome[0], turned) == ("equivalent", False)
            assert rows[place]["transfer_syntax_uid"] == ExplicitVRLittleEndian
        else:
            assert (archive / place).read_bytes() == first
        other = by_source[f"{name}/second.dcm"]
        if outcome[0] != "conflict":
            assert other["path"] == place
            continue
        kept = archive / other["path"]
        assert kept.read_bytes() == second
        note = json.loads(kept.with_suffix(".json").read_text())
        assert (note["existing"], note["detail"]) == (place, other["detail"])


def test_of_two_in_one_batch_one_is_stored_and_neither_is_lost(incoming, archive):
    found, outcomes = bring_in(incoming, archive, False, together=True)
    kept = [path.read_bytes() for path in (archive / ".sorter" / "quarantine").rglob("*.dcm")]
    have = {*tree(archive).values(), *kept}
    for name, a, b, outcome in found:
        both = [outcomes[f"{name}/first.dcm"], outcomes[f"{name}/second.dcm"]]
        assert Counter(both) == Counter((STORED, outcome)), name
        if outcome[0] != "equivalent":
            assert {a, b} <= have


@BOTH_ORDERS
def test_neither_shared_numbers_nor_disagreeing_headers_mix_or_split(turned, incoming, archive):
    """Instance Number is not unique in a series (trap 31), and a study's headers need not agree."""
    pairs = {
        "numbers": (dicom(1, InstanceNumber=7), dicom(2, InstanceNumber=7)),
        "headers": (
            dicom(1, study=2, patient="P2", StudyDescription="Head", StudyDate="20240131"),
            dicom(2, study=2, patient="P2", StudyDescription="HEAD routine", StudyDate="20240201"),
        ),
    }
    for which in (1, 0) if turned else (0, 1):
        for name, pair in pairs.items():
            drop(incoming, f"{name}/{which}.dcm", pair[which])
        rescan(archive, incoming=incoming)
    assert set(ledger(archive, incoming).values()) == {STORED}
    assert Counter(tree(archive).values()) == Counter(one for pair in pairs.values() for one in pair)
    assert len({path.rpartition("/")[0] for path in tree(archive)}) == 2


@pytest.mark.parametrize(
    "patients",
    [("AB/C", "AB:C", "ab_c"), ("ab_c", "AB:C", "AB/C"), ("AB_C", "ab_c"), ("ab_c", "AB_C")],
    ids=" then ".join,
)
def test_patients_whose_names_collide_never_share_a_folder(patients, incoming, archive):
    check_folders(patients, incoming, archive, together=False)


def test_patients_whose_names_collide_never_share_a_folder_in_one_batch(incoming, archive):
    check_folders(("AB/C", "AB:C", "AB_C", "ab_c", "AB C"), incoming, archive, together=True)


def check_folders(patients, incoming, archive, *, together):
    for number, patient in enumerate(patients):
        drop(incoming, f"{number}.dcm", dicom(1, study=number + 1, patient=patient))
        if not together:
            rescan(archive, incoming=incoming)
    if together:
        rescan(archive, incoming=incoming)
    owners = {}
    for row in instances(archive):
        folder = row["path"].split("/")[0].casefold()
        owners.setdefault(folder, set()).add(row["patient_id"])
    assert sorted(map(sorted, owners.values())) == sorted([patient] for patient in patients)


def test_fifty_copies_at_once_are_one_instance_and_49_duplicates(incoming, archive):
    for number in range(50):
        drop(incoming, f"{number % 7}/{number}.dcm", dicom(1))
    assert counts(rescan(archive, incoming=incoming).facts) == {"stored": 1, "duplicate": 49}
    assert len(tree(archive)) == 1


def test_a_conflict_dropped_again_and_again_is_kept_once(incoming, archive):
    drop(incoming, "a.dcm", dicom(1))
    rescan(archive, incoming=incoming)
    for number in range(5):
        drop(incoming, f"other {number}.dcm", dicom(1, pixels=5))
    uid = generate_uid()
    drop(incoming, "new.dcm", dicom(2, SOPInstanceUID=uid))
    facts = rescan(archive, incoming=incoming).facts
    assert counts(facts) == {"stored": 1, "duplicate": 1, "conflict": 5}
    assert len(list((archive / ".sorter" / "quarantine").rglob("*.dcm"))) == 1
