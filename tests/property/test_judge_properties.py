"""Whatever the digests are: a verdict loses nothing, and arrival order does not matter."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sorter.model import Candidate, Header, Instance, Kind, Pixels, Staged
from sorter.organizer.judge import KnownInstance, collides, judge


@dataclass(frozen=True)
class File:
    source: str
    stored: str
    header: str
    pixels: str
    patient: str

    @property
    def header_sha256(self):
        return self.header

    @property
    def pixel_sha256(self):
        return self.pixels

    @property
    def elements(self):
        return {"(0010,0010)": self.header}

    @property
    def staged(self):
        header = Header({"SOPInstanceUID": "1.2", "PatientID": self.patient})
        instance = Instance(header, self.source, self.stored, 1, "ts", "ts", Pixels.NATIVE)
        return Staged(Candidate("/in", "a", 1, 1, 1, 1, 1), instance, "name", self.source)

    @property
    def known(self):
        return KnownInstance("1.2", self.stored, self.source, "p", ("", self.patient))


FEW = st.sampled_from("abc")
FILES = st.builds(File, FEW, FEW, FEW, FEW, FEW)


def verdict(first, second):
    prints = (first, second) if collides(second.staged.instance, first.known) else None
    return judge(second.staged, first.known, prints)


@given(FILES, FILES)
def test_two_files_are_the_same_to_each_other_in_both_orders(one, other):
    there, back = verdict(one, other), verdict(other, one)
    assert (there.kind, there.detail) == (back.kind, back.detail)


@given(FILES, FILES)
def test_a_known_uid_is_never_stored_again(one, other):
    assert verdict(one, other).kind in (Kind.DUPLICATE, Kind.EQUIVALENT, Kind.CONFLICT)


@given(FILES, FILES)
def test_only_a_conflict_has_a_detail_and_every_conflict_has_one(one, other):
    result = verdict(one, other)
    assert bool(result.detail) == (result.kind is Kind.CONFLICT)


@given(FILES, FILES)
def test_without_a_common_digest_only_full_agreement_is_not_a_conflict(one, other):
    if not {one.source, one.stored} & {other.source, other.stored}:
        agree = (one.header, one.pixels, one.patient) == (other.header, other.pixels, other.patient)
        assert verdict(one, other).kind == (Kind.EQUIVALENT if agree else Kind.CONFLICT)
