"""The identity matrix: who came first, what came second, in both orders."""

from dataclasses import dataclass, field

import pytest

from sorter.model import Candidate, Header, Instance, Kind, Pixels, Staged
from sorter.organizer.judge import KnownInstance, Verdict, collides, judge

UID = "1.2.3"


@dataclass(frozen=True)
class Print:
    header_sha256: str = "header"
    pixel_sha256: str = "pixels"
    elements: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """One file in the drop folder, with all that the judge may learn of it."""

    source: str  # digest of its DICOM stream
    stored: str  # digest of its bytes in the archive
    print: Print = Print()
    patient: tuple[str, str] = ("", "P1")
    file: str = ""  # digest as it lies there; the stream's unless it is packed

    @property
    def staged(self):
        issuer, patient_id = self.patient
        values = {"SOPInstanceUID": UID, "IssuerOfPatientID": issuer, "PatientID": patient_id}
        instance = Instance(Header(values), self.source, self.stored, 1, "ts", "ts", Pixels.NATIVE)
        return Staged(Candidate("/in", "a", 1, 1, 1, 1, 1), instance, "name", self.file or self.source)

    @property
    def known(self):
        return KnownInstance(UID, self.stored, self.source, "a/b.dcm", self.patient)


def verdict(first, second):
    prints = (first.print, second.print) if collides(second.staged.instance, first.known) else None
    return judge(second.staged, first.known, prints)


NATIVE = File("native", "native")
J2K = File("j2k", "j2k made native")
J2K_KEPT = File("j2k", "j2k")
GZIPPED = File("native", "native", file="gzip of native")
EXPORTED = File("j2k made native", "j2k made native")  # the archive's own file, dropped again
REEDITED = File("edited", "edited", Print(header_sha256="other"))
REPAINTED = File("painted", "painted", Print(pixel_sha256="other"))
OTHER_PATIENT = File("other", "other", Print(header_sha256="p2"), ("", "P2"))
OTHER_ISSUER = File("issuer", "issuer", Print(header_sha256="p3"), ("East", "P1"))

MATRIX = [
    (NATIVE, NATIVE, Kind.DUPLICATE),
    (J2K, J2K, Kind.DUPLICATE),
    (NATIVE, GZIPPED, Kind.DUPLICATE),
    (J2K, J2K_KEPT, Kind.DUPLICATE),
    (J2K, EXPORTED, Kind.DUPLICATE),
    (NATIVE, J2K, Kind.EQUIVALENT),
    (NATIVE, EXPORTED, Kind.EQUIVALENT),
    (NATIVE, REEDITED, Kind.CONFLICT),
    (NATIVE, REPAINTED, Kind.CONFLICT),
    (NATIVE, OTHER_PATIENT, Kind.CONFLICT),
    (NATIVE, OTHER_ISSUER, Kind.CONFLICT),
    (J2K, OTHER_PATIENT, Kind.CONFLICT),
    (REEDITED, REPAINTED, Kind.CONFLICT),
]


@pytest.mark.parametrize(("one", "other", "expected"), MATRIX)
def test_the_order_of_arrival_does_not_change_what_two_files_are_to_each_other(one, other, expected):
    assert (expected, expected) == (verdict(one, other).kind, verdict(other, one).kind)


def test_an_unknown_instance_is_stored():
    assert judge(NATIVE.staged, None, None) == Verdict(NATIVE.staged, Kind.STORED, None, "")
    assert not collides(NATIVE.staged.instance, None)


@pytest.mark.parametrize("second", [NATIVE, J2K, REEDITED])
def test_what_is_not_stored_names_the_one_that_came_first(second):
    assert verdict(NATIVE, second).existing == NATIVE.known


def test_the_first_of_the_same_batch_counts_as_known():
    known = KnownInstance(UID, "native", "native", "", ("", "P1"))
    assert judge(NATIVE.staged, known, None) == Verdict(NATIVE.staged, Kind.DUPLICATE, known)


def test_the_digest_of_the_file_in_the_drop_folder_is_enough_for_a_duplicate():
    second = File("stream", "stored", file="native")
    assert judge(second.staged, NATIVE.known, None).kind == Kind.DUPLICATE


def test_equal_fingerprints_of_another_patient_are_a_conflict():
    second = File("other", "other", patient=("", "P2"))
    assert verdict(NATIVE, second) == Verdict(second.staged, Kind.CONFLICT, NATIVE.known, "patient differs")


def test_missing_digests_are_no_evidence_of_equality():
    known = KnownInstance(UID, "", "", "a/b.dcm", ("", "P1"))
    second = File("", "")
    assert collides(second.staged.instance, known)
    assert judge(second.staged, known, (Print(), REEDITED.print)).kind == Kind.CONFLICT


def test_a_conflict_says_what_differs_by_tag():
    first = File("a", "a", Print("h1", "p1", {"(0010,0010)": "1", "(0010,0020)": "2", "(0008,0060)": "3"}))
    second = File(
        "b", "b", Print("h2", "p2", {"(0010,0020)": "9", "(0008,0060)": "3", "(0018,0050)": "4"}), ("", "P2")
    )
    expected = "patient differs; 3 elements differ: (0010,0010) (0010,0020) (0018,0050); pixels differ"
    assert [expected] * 2 == [verdict(first, second).detail, verdict(second, first).detail]


def test_one_differing_element_is_in_the_singular():
    first, second = (File(v, v, Print(v, "p", {"(0010,0010)": v})) for v in "ab")
    assert verdict(first, second).detail == "1 element differs: (0010,0010)"


def test_a_header_that_differs_in_no_known_element_still_differs():
    assert verdict(NATIVE, REEDITED).detail == "header differs"


def test_many_differences_are_counted_and_the_first_named():
    tags = [f"(0018,{n:04x})" for n in range(25)]
    second = File("b", "b", Print("h2", "pixels", dict.fromkeys(tags, "x")))
    assert verdict(NATIVE, second).detail == f"25 elements differ: {' '.join(tags[:20])} and 5 more"


def test_other_bytes_without_fingerprints_are_a_programming_error():
    with pytest.raises(ValueError, match="without fingerprints"):
        judge(J2K.staged, NATIVE.known, None)


def test_another_sop_instance_uid_is_a_programming_error():
    with pytest.raises(ValueError, match="another SOP Instance UID"):
        judge(NATIVE.staged, KnownInstance("1.9", "native", "native", "", ("", "P1")), None)
