"""An explanation never disagrees with the place that it explains."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_layout_properties import HEADERS, TEMPLATES, TEXT

from sorter.model import Candidate, Header, Instance, Kind, Pixels, Staged
from sorter.organizer.explanation import explain
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import path_key
from sorter.organizer.place import place


@dataclass
class Row:
    """A recorded patient, study or series, as far as a place needs it."""

    folder: str = ""
    date: str = ""
    values: dict = field(default_factory=dict)


@dataclass
class Facts:
    patients: dict
    studies: dict
    series: dict


FOLDERS = st.sampled_from(["P1", "A_B-c4540ad1", ""])
ROWS = st.none() | st.builds(
    Row, FOLDERS, st.sampled_from(["20240131", ""]), st.dictionaries(st.sampled_from(
        ("PatientID", "PatientName", "StudyDescription", "StudyID", "StudyDate", "IssuerOfPatientID")
    ), TEXT)
)  # fmt: skip


def placed(header, facts, layout, *, others, taken):
    instance = Instance(header, "0", "0", 1, "x", "x", Pixels.NATIVE)
    verdict = Verdict(Staged(Candidate("/in", "a", 1, 1, 1, 1, 1), instance, "n", "0"), Kind.STORED)
    found = place(
        [verdict],
        facts,
        layout,
        owners=lambda keys: dict.fromkeys(keys, ("", "another patient")) if others else {},
        taken=lambda keys: keys if taken else [],
    )
    return found[header.text("SOPInstanceUID")]


@given(
    TEMPLATES,
    HEADERS,
    ROWS,
    ROWS,
    st.none() | st.sampled_from(["P1/s", "s", ""]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=400)
def test_the_steps_make_the_path(layout, header, patient, study, series, others, taken):
    of_study = (header.patient, header.text("StudyInstanceUID"))
    facts = Facts(
        {header.patient: patient} if patient else {},
        {of_study: study} if study else {},
        {(*of_study, header.text("SeriesInstanceUID")): Row(series)} if series is not None else {},
    )
    found = placed(header, facts, layout, others=others, taken=taken)
    explained = explain(header, found, facts, layout)
    assert explained.path == "/".join(filter(None, (found.folder, found.leaf)))
    assert explained.study_date == found.study_date
    assert path_key(explained.path) == path_key(f"{found.folder}/{found.leaf}".lstrip("/"))


@given(TEMPLATES, HEADERS)
@settings(max_examples=200)
def test_what_is_used_is_the_first_that_has_a_text(layout, header):
    facts = Facts({}, {}, {})
    found = explain(header, placed(header, facts, layout, others=False, taken=False), facts, layout)
    for part in (part for step in found.steps for part in step.parts):
        *before, last = [one.text for one in part.tried] or [part.text]
        assert not any(before)
        assert (part.text == last) if part.used or not part.tried else not last


@given(HEADERS)
def test_the_date_is_that_of_the_element_it_is_said_to_come_from(header):
    from sorter.organizer.layout import Layout

    facts, layout = Facts({}, {}, {}), Layout("descriptive")
    found = explain(header, placed(header, facts, layout, others=False, taken=False), facts, layout)
    assert found.study_date == header.study_date
    assert found.study_date == (header.text(found.study_date_from) if found.study_date_from else "")


def test_a_header_without_anything_is_explained_by_defaults():
    from sorter.organizer.layout import Layout

    facts, layout, header = Facts({}, {}, {}), Layout("{PatientID}/{StudyID|none}/{Modality}.dcm"), Header()
    found = explain(header, placed(header, facts, layout, others=False, taken=False), facts, layout)
    assert found.path == "NA/none/NA.dcm"
    assert all(part.is_default for step in found.steps for part in step.parts)
