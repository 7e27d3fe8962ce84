"""Whatever a header holds, paths are safe and patients stay apart."""

import re
import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sorter.model import Header
from sorter.organizer.layout import PRESETS, Layout, path_key, study_view
from sorter.organizer.names import component, description, identifier

NASTY = [
    "../../etc", "CON", "nul.txt", "-rf", ".", "..", "\0", "a\nb", "A\\B", " ", "NA", "x" * 5000, "ä" * 300,
    "a.", "\u202egnp", "e\u0301", "\U0001f469\u200d\U0001f52c", "\ud800", "x-0123abcd", "~", "\u0345",
    "\ufb01",
]  # fmt: skip
# Every code point, surrogates included; and texts from few characters, so that they clash.
TEXT = st.one_of(
    st.text(st.characters(), max_size=40),
    st.text("aA_ /.\\-\u0301é0", max_size=6),
    st.sampled_from(NASTY),
    st.builds("".join, st.lists(st.sampled_from(NASTY), max_size=4)),
)
KEYWORDS = (
    "PatientID", "IssuerOfPatientID", "PatientName", "StudyDate", "StudyDescription", "StudyID",
    "StudyInstanceUID", "SeriesDescription", "SeriesInstanceUID", "Modality", "SOPInstanceUID",
)  # fmt: skip
HEADERS = st.builds(
    lambda texts, number: Header({**texts, **({} if number is None else {"InstanceNumber": number})}),
    st.dictionaries(st.sampled_from(KEYWORDS), TEXT),
    st.none() | st.integers(),
)
TEMPLATES = st.sampled_from(
    [Layout(preset) for preset in PRESETS]
    + [
        Layout("{Modality}/sub-{PatientID}_x/{StudyDate:%Y-%m}/{SeriesDescription}{StudyID|none}.dcm"),
        Layout("{PatientName}_{PatientID}/{StudyDescription}.{SeriesInstanceUID}/{InstanceNumber:05}.dcm"),
    ]
)
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE)


def assert_safe(name):
    assert name
    assert len(name.encode()) <= 255
    assert not set('/\\<>:"|?*').intersection(name)
    assert name[0] not in ".- "
    assert name[-1] not in ". "
    assert not {unicodedata.category(c)[0] for c in name}.intersection("CZ")
    assert unicodedata.is_normalized("NFC", name)
    assert not RESERVED.fullmatch(name)


@given(TEMPLATES, HEADERS)
@settings(max_examples=400)
def test_every_component_is_one_safe_name_and_no_header_changes_the_depth(layout, header):
    patient_folder = layout.patient_folder(header)
    folder = layout.folder(header, patient_folder)
    assert layout.template.count("/") == folder.count("/") + 1
    for name in (*folder.split("/"), layout.leaf(header), layout.leaf(header, distinct=True)):
        assert_safe(name)
    assert layout.leaf(header).endswith(".dcm")
    assert_safe(layout.patient_folder(header, distinct=True))


@given(TEMPLATES, HEADERS)
@settings(max_examples=200)
def test_a_distinct_leaf_differs_from_the_plain_one(layout, header):
    assert layout.leaf(header) != layout.leaf(header, distinct=True)


@given(TEXT)
@settings(max_examples=400)
@example("\u1e9b\u0323")
@example("ΑΣ\u200bb")
def test_a_clean_name_is_left_alone(text):
    for clean in (identifier, description):
        once = component(clean(text))
        assert (clean(once), component(once)) == (once, once)


@given(TEMPLATES, st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT), TEXT, st.booleans())
@settings(max_examples=800)
@example(Layout("uid"), ("", "A/B"), ("", "A_B"), "", False)
@example(Layout("uid"), ("", ""), ("", "NA"), "", False)
def test_two_patients_never_share_a_folder(layout, one, other, name, distinct):
    def folder(patient):
        issuer, patient_id = patient
        header = Header({"IssuerOfPatientID": issuer, "PatientID": patient_id, "PatientName": name})
        return layout.patient_folder(header, distinct=distinct)

    assert (folder(one) == folder(other)) == (one == other)


@given(TEXT, TEXT)
@settings(max_examples=300)
def test_patients_whose_folders_a_file_system_may_confuse_part_when_distinct(one, other):
    layout = Layout("uid")
    headers = [Header({"PatientID": text}) for text in (one, other)]
    plain = path_key(layout.patient_folder(headers[0]))
    if one != other:
        assert plain != path_key(layout.patient_folder(headers[1], distinct=True))


@given(st.text(max_size=20))
@settings(max_examples=400)
def test_a_path_key_sees_neither_case_nor_normal_form(text):
    text = unicodedata.normalize("NFC", text)
    variants = [text.casefold(), unicodedata.normalize("NFD", text), text.upper(), text.lower()]
    assert {path_key(text)} == {path_key(variant) for variant in variants}


@given(TEXT)
def test_a_path_key_fits_a_signed_64_bit_column(text):
    assert -(2**63) <= path_key(text) < 2**63


@given(TEMPLATES, HEADERS, HEADERS)
@settings(max_examples=200)
def test_one_study_never_splits_at_the_levels_of_patient_and_study(layout, first, later):
    """The second instance of a patient and study goes by what was recorded of the first."""
    same = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")
    later = Header({**later.values, **dict.fromkeys(same, "1.2")})
    first = Header({**first.values, **dict.fromkeys(same, "1.2")})
    recorded = {**first.values, "StudyDate": first.study_date}
    plain = Layout("{PatientName}/{StudyDate}/{StudyDescription|StudyID}/{SOPInstanceUID}.dcm")
    view = study_view(later, patient=recorded, study=recorded)
    assert plain.folder(first, "") == plain.folder(view, "")
    assert layout.patient_folder(first) == layout.patient_folder(view)
