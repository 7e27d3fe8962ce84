"""Facts about the archive's paths: the language of templates, safe names, patients that stay apart."""

import re
from pathlib import Path

import pytest

from sorter.model import Header
from sorter.organizer.layout import PRESETS, Layout, TemplateError, path_key, study_view

DOCS = Path(__file__).parents[3] / "docs" / "layout.md"
UID = "1.2.840.113619.2.30.1.1762295590.1623.978668950.109"

DOCUMENTED = Header(
    {
        "PatientID": "P-007",
        "StudyDate": "20200301",
        "StudyDescription": "Brain  MR / Routine",
        "StudyID": "S1",
        "StudyInstanceUID": "1.2.1",
        "Modality": "MR",
        "SeriesNumber": 3,
        "SeriesDescription": "T1 MPRAGE sag.",
        "SeriesInstanceUID": "1.2.2",
        "SOPInstanceUID": "1.2.3",
        "InstanceNumber": 12,
    }
)


def path(template, header):
    layout = Layout(template)
    folder = layout.folder(header, layout.patient_folder(header))
    return f"{folder}/{layout.leaf(header)}" if folder else layout.leaf(header)


def patient(patient_id, issuer="", template="{PatientID}/{SOPInstanceUID}.dcm", **options):
    header = Header({"PatientID": patient_id, "IssuerOfPatientID": issuer})
    return Layout(template).patient_folder(header, **options)


def rows(heading):
    """The cells of the first table below a heading of docs/layout.md."""
    section = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [
        tuple(cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        for line in lines
    ]


class TestDocumentation:
    @pytest.mark.parametrize(("template", "expected"), rows("Examples"))
    def test_examples_are_true(self, template, expected):
        assert expected == path(template, DOCUMENTED)

    @pytest.mark.parametrize(("patient_id", "issuer", "expected"), rows("Patients never share a folder"))
    def test_patients_folders_are_true(self, patient_id, issuer, expected):
        assert expected == patient(patient_id, issuer)

    def test_presets_are_documented_as_they_are(self):
        documented = {name.split("`")[0]: text for name, text in rows("Presets")}
        assert documented == dict(PRESETS)

    def test_taken_name_is_true(self):
        header = Header({**DOCUMENTED.values, "SOPInstanceUID": "1.2.4"})
        assert Layout("descriptive").leaf(header, distinct=True) == "MR.1.2.2.12.1.2.4.dcm"


class TestTemplate:
    def test_nothing_known_is_na_throughout(self):
        assert path("descriptive", Header()) == "NA/NA/NA/NA/NA.NA.NA.dcm"

    def test_keywords_are_those_of_the_template(self):
        expected = {"PatientID", "EchoTime", "StudyDate", "Modality"}
        assert Layout("{PatientID}/{EchoTime|StudyDate:%Y|none}/{Modality}.dcm").keywords == expected

    def test_a_bare_file_name_has_no_folder(self):
        assert path("{SOPInstanceUID}.dcm", Header({"SOPInstanceUID": UID})) == f"{UID}.dcm"

    def test_fallback_takes_the_first_that_has_a_readable_value(self):
        values = {"StudyDescription": " ??? ", "StudyID": "7"}
        assert path("{StudyDescription|StudyID|none}.dcm", Header(values)) == "7.dcm"

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"SeriesDate": "20210101", "ContentDate": "20230101"}, "2021"),
            ({"AcquisitionDate": "20220101", "ContentDate": "20230101"}, "2022"),
            ({"ContentDate": "20230101"}, "2023"),
            ({"StudyDate": "20230231"}, "NA"),
            ({"StudyDate": "1993.10.18"}, "NA"),
            ({"StudyDate": "٢٠٢٣٠١٠١"}, "NA"),
            ({}, "NA"),
        ],
    )
    def test_study_date_is_the_nearest_date_there_is(self, values, expected):
        assert path("{StudyDate:%Y}.dcm", Header(values)) == f"{expected}.dcm"

    def test_other_dates_stand_for_themselves(self):
        assert path("{ContentDate:%Y}.dcm", Header({"StudyDate": "20200101"})) == "NA.dcm"

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(7, "007"), (12345, "12345"), (0, "000"), ("7", "007"), ("A7", "A7"), ("", "NA")],
    )
    def test_whole_numbers_are_padded(self, value, expected):
        assert path("{InstanceNumber:03}.dcm", Header({"InstanceNumber": value})) == f"{expected}.dcm"

    def test_numbers_that_the_index_does_not_keep_are_padded_too(self):
        assert path("{EchoNumbers:02}.dcm", Header({"EchoNumbers": "2"})) == "02.dcm"

    def test_descriptions_are_lower_case_and_identifiers_keep_theirs(self):
        values = {
            "SeriesDescription": "Ax T2",
            "Modality": "MR",
            "PatientName": "Doe^J",
            "PatientComments": "A B",
        }
        template = "{SeriesDescription}-{Modality}-{PatientName}-{PatientComments}.dcm"
        assert path(template, Header(values)) == "ax_t2-MR-Doe^J-a_b.dcm"

    @pytest.mark.parametrize(
        ("template", "says"),
        [
            ("descriptve", "no preset (descriptive, uid)"),
            ("", "no preset"),
            ("{PatientId}/a.dcm", "did you mean {PatientID}?"),
            ("{StudyDescripton|NA}/a.dcm", "did you mean {StudyDescription}?"),
            ("{StudyDescription|StudyIDD}/a.dcm", "did you mean {StudyID}?"),
            ("{}.dcm", "{} is no DICOM keyword"),
            ("{PatientID|}.dcm", "{} is no DICOM keyword"),
            ("{NA}.dcm", "{NA} is no DICOM keyword"),
            ("{PixelData}.dcm", "no text"),
            ("{ReferencedStudySequence}.dcm", "no text"),
            ("{TransferSyntaxUID}.dcm", "no text"),
            ("{PatientID/a.dcm", "a { without"),
            ("PatientID}/a.dcm", "a } without"),
            ("{{PatientID}}/a.dcm", "a { without"),
            ("/{PatientID}/a.dcm", "relative"),
            ("a//b.dcm", "empty part"),
            ("../{PatientID}.dcm", "no .."),
            ("a/./b.dcm", "no . "),
            (".sorter/a.dcm", "begin with a dot"),
            ("-a/b.dcm", "dash"),
            ("a /b.dcm", "end with a dot or blank"),
            ("a./b.dcm", "end with a dot or blank"),
            ("a:b/c.dcm", "':' may not"),
            ("a\\b.dcm", "may not stand"),
            ("a\u202eb.dcm", "may not stand"),
            ("{StudyID|a:b}.dcm", "is no DICOM keyword"),
            ("{StudyID|a?}.dcm", "'?' may not"),
            ("{StudyID| x}.dcm", "blank"),
            ("{PatientID}/{SOPInstanceUID}", "must end in .dcm"),
            ("{PatientID}/.dcm", "must end in .dcm"),
            ("{PatientID}/", "must end in .dcm"),
            ("{StudyDate:%Y/%m}/a.dcm", "one field for each folder"),
            ("{StudyDate:%B}.dcm", "a date's format has"),
            ("{StudyDate:%Y:%m}.dcm", "a date's format has"),
            ("{StudyDate:}.dcm", "a date's format has"),
            ("{StudyTime:%H}.dcm", "neither a date nor a whole number"),
            ("{InstanceNumber:5}.dcm", "written 05"),
            ("{InstanceNumber:0}.dcm", "written 05"),
            ("{InstanceNumber:0999}.dcm", "written 05"),
            ("{PatientID:05}.dcm", "neither a date nor a whole number"),
            ("{PatientID}_{StudyDate}/a.dcm", "put {StudyDate} into a folder of its own"),
            ("{PatientID|StudyID}/a.dcm", "put {StudyID} into a folder of its own"),
        ],
    )
    def test_an_unusable_template_is_explained(self, template, says):
        with pytest.raises(TemplateError, match=re.escape(says)):
            Layout(template)


class TestNames:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("T1 MPRAGE", "t1_mprage"),
            ("a _ b", "a_b"),
            ("a__b", "a__b"),
            ("../../etc/passwd", "_etc_passwd"),
            (".hidden", "_hidden"),
            ("..", "_"),
            ("-rf *", "_rf"),
            ("CON", "_con"),
            ("nul.tar", "_nul.tar"),
            ("COM\u00b9", "_com\u00b9"),
            ("console", "console"),
            ("a\x00b\nc", "a_b_c"),
            ("\u202egnp\u202c.exe", "gnp.exe"),
            ("a\u200b\ufeff\u2066b", "ab"),
            ("\ud800", "NA"),
            ("\u3164", "NA"),
            ("trailing. . ", "trailing._"),
            ("trailing...", "trailing"),
            ("E\u0301COLE", "\u00e9cole"),
            ("e\u200d\u0301", "\u00e9"),
            ("\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
            ("\U0001f600", "\U0001f600"),
        ],
    )
    def test_a_description_becomes_a_safe_folder(self, text, expected):
        layout = Layout("{SeriesDescription}/a.dcm")
        assert layout.folder(Header({"SeriesDescription": text}), "") == expected

    def test_a_long_name_is_cut_at_a_character_and_keeps_its_uids(self):
        header = Header({"SeriesDescription": "\u00e4" * 5000, "SOPInstanceUID": UID})
        leaf = Layout("{SeriesDescription}.{SOPInstanceUID}.dcm").leaf(header)
        assert leaf == f"{'ä' * 48}.{UID}.dcm"

    def test_a_single_long_value_fills_255_bytes_at_most(self):
        header = Header({"SeriesDescription": "\u20ac" * 5000})
        assert Layout("{SeriesDescription}/a.dcm").folder(header, "") == "€" * 32

    def test_a_distinct_long_name_keeps_both_uids(self):
        header = Header({"SeriesDescription": "x" * 5000, "SOPInstanceUID": UID, "SeriesInstanceUID": "1.2"})
        leaf = Layout("{SeriesDescription}.{SeriesInstanceUID}.dcm").leaf(header, distinct=True)
        assert leaf == f"{'x' * 96}.1.2.{UID}.dcm"

    def test_literals_between_values_keep_their_blanks(self):
        assert path("Series {SeriesNumber} of/a.dcm", Header({"SeriesNumber": 2})) == "Series 2 of/a.dcm"


class TestPatientFolder:
    def test_a_template_without_patient_has_none(self):
        assert patient("A", template="{PatientName}/{PatientID}.{SOPInstanceUID}.dcm") == ""

    def test_a_plain_id_is_the_folder(self):
        assert patient("DOE^J_12") == "DOE^J_12"

    def test_ids_that_clean_to_one_text_stay_apart(self):
        ids = ["A B", "A_B", "A/B", "A\\B", "A  B", "A:B", "A\u200b_B", "_A_B", "A_B.", "A_B-12345678"]
        assert len(ids) == len({patient(one) for one in ids})

    def test_one_id_of_two_issuers_has_two_folders(self):
        assert len({patient("1"), patient("1", "East"), patient("1", "West")}) == 3

    def test_issuer_and_id_are_joined_unambiguously(self):
        template = "{IssuerOfPatientID}{PatientID}/a.dcm"
        assert patient("bc", "a", template) != patient("c", "ab", template)

    def test_an_id_made_to_look_like_another_patients_hash_is_hashed_itself(self):
        hashed = patient("A/B")
        assert patient(hashed) not in (hashed, patient("A_B"))

    def test_the_missing_id_is_not_the_id_that_spells_like_it(self):
        assert patient("") == "NA"
        assert re.fullmatch("NA-[0-9a-f]{8}", patient("NA"))
        assert re.fullmatch("na-[0-9a-f]{8}", patient("na"))

    def test_the_templates_own_word_for_missing_is_guarded_too(self):
        template = "p_{PatientID|none}/a.dcm"
        assert patient("", template=template) == "p_none"
        assert re.fullmatch("p_none-[0-9a-f]{8}", patient("none", template=template))

    def test_other_values_beside_the_id_do_not_blur_patients(self):
        layout = Layout("{PatientName}_{PatientID}/a.dcm")
        first = layout.patient_folder(Header({"PatientName": "a_b", "PatientID": "c"}))
        second = layout.patient_folder(Header({"PatientName": "a", "PatientID": "b_c"}))
        assert first != second

    def test_a_long_id_keeps_the_hash(self):
        folder = patient("x" * 5000)
        assert re.fullmatch("x+-[0-9a-f]{8}", folder)
        assert len(folder) <= 255
        assert folder != patient("x" * 5001)

    def test_distinct_appends_the_hash_and_lengthens_one_that_is_there(self):
        assert re.fullmatch("abc-[0-9a-f]{8}", patient("abc", distinct=True))
        assert re.fullmatch("a_c-[0-9a-f]{32}", patient("a c", distinct=True))

    def test_the_folder_recorded_for_the_patient_is_used_wherever_the_template_has_it(self):
        layout = Layout("{Modality}/{PatientID}/a.dcm")
        assert layout.folder(Header({"Modality": "CT", "PatientID": "x"}), "recorded") == "CT/recorded"

    def test_a_patient_recorded_without_folder_gets_the_templates(self):
        assert Layout("{PatientID}/a.dcm").folder(Header({"PatientID": "x"}), "") == "x"

    @pytest.mark.parametrize(
        "folder", ["..", "a/b", "../../etc", "/etc", "a\0b", ".sorter", "CON", "a" * 256]
    )
    def test_a_tampered_recorded_folder_is_refused(self, folder):
        with pytest.raises(ValueError, match="not one safe component"):
            Layout("uid").folder(Header(), folder)


class TestPathKey:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("A/b.dcm", "a/B.DCM"),
            ("caf\u00e9", "cafe\u0301"),
            ("CAF\u00c9", "cafe\u0301"),
            ("stra\u00dfe", "STRASSE"),
            ("\u03c3", "\u03c2"),
            ("\u0131", "I"),
            ("\u212a", "k"),
        ],
    )
    def test_names_that_some_file_system_takes_for_one_have_one_key(self, one, other):
        assert path_key(one) == path_key(other)

    @pytest.mark.parametrize(("one", "other"), [("a/b", "ab"), ("a", "b"), ("e", "\u00e9")])
    def test_other_names_have_other_keys(self, one, other):
        assert path_key(one) != path_key(other)

    def test_a_key_never_changes_since_indexes_record_it(self):
        assert [path_key("A/b.dcm"), path_key("É")] == [2667578495845135108, -3811523526868657873]


FIRST = {"StudyInstanceUID": "1.2", "StudyDate": "20200101", "StudyDescription": "Brain"}


class TestStudyView:
    def test_a_new_study_is_seen_as_it_is(self):
        assert study_view(DOCUMENTED, patient={}, study={}) == DOCUMENTED

    def test_recorded_values_are_on_top_and_unrecorded_ones_are_missing(self):
        header = Header({**FIRST, "StudyDate": "20200102", "StudyID": "9", "SeriesDescription": "T1"})
        view = study_view(header, patient={}, study=FIRST)
        assert view.values == {**FIRST, "SeriesDescription": "T1"}

    def test_a_study_recorded_without_date_keeps_none(self):
        header = Header({"StudyInstanceUID": "1.2", "SeriesDate": "20200102", "StudyDate": "20200101"})
        assert (
            study_view(header, patient={}, study={"StudyInstanceUID": "1.2", "StudyDate": ""}).study_date
            == ""
        )

    def test_a_study_dated_by_its_first_series_keeps_that_date(self):
        header = Header({"StudyInstanceUID": "1.2", "SeriesDate": "20200102"})
        view = study_view(header, patient={}, study={"StudyInstanceUID": "1.2", "StudyDate": "20200101"})
        assert (view.study_date, view.text("SeriesDate")) == ("20200101", "20200102")

    def test_a_renamed_patient_keeps_the_recorded_name(self):
        header = Header({"PatientID": "1", "PatientName": "Roe^Jane", "PatientSex": "F"})
        view = study_view(header, patient={"PatientID": "1", "PatientName": "Doe^Jane"}, study={})
        assert view.values == {"PatientID": "1", "PatientName": "Doe^Jane"}

    def test_nobody_without_id_lies_under_anothers_name(self):
        header = Header({"PatientName": "Roe^Jane"})
        assert study_view(header, patient={"PatientName": "Doe^John"}, study={}) == header
