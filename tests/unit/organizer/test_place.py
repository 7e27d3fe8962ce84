"""Where new instances go: the first of a patient, study or series decides for those that follow."""

from dataclasses import dataclass, field

from sorter.model import Candidate, Header, Instance, Kind, Pixels, Staged
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import Layout, path_key
from sorter.organizer.place import place


@dataclass
class PatientFacts:
    folder: str
    values: dict = field(default_factory=dict)


@dataclass
class StudyFacts:
    date: str
    values: dict = field(default_factory=dict)


@dataclass
class SeriesFacts:
    folder: str


@dataclass
class Facts:
    """What the index knows; ``owners`` and ``paths`` are asked for by key."""

    patients: dict = field(default_factory=dict)
    studies: dict = field(default_factory=dict)
    series: dict = field(default_factory=dict)
    owners: dict = field(default_factory=dict)
    paths: tuple = ()


def header(number=1, *, series="s", study="t", patient="P1", issuer="", **more):
    values = {
        "PatientID": patient,
        "IssuerOfPatientID": issuer,
        "StudyInstanceUID": study,
        "StudyDate": "20240131",
        "StudyDescription": "Head",
        "SeriesInstanceUID": series,
        "SeriesDescription": "Axial",
        "SOPInstanceUID": f"{study}.{series}.{number}",
        "Modality": "CT",
        "InstanceNumber": number,
        **more,
    }
    return Header({keyword: value for keyword, value in values.items() if value not in ("", None)})


def verdict(one, kind=Kind.STORED):
    instance = Instance(one, "0", "0", 1, "x", "x", Pixels.NATIVE)
    return Verdict(Staged(Candidate("/in", "a", 1, 1, 1, 1, 1), instance, "n", "0"), kind)


def places(*headers, facts=None, template="descriptive", kind=Kind.STORED):
    """The places of some headers that arrive in one batch, in their order."""
    facts = facts or Facts()
    owners = {path_key(folder): patient for folder, patient in facts.owners.items()}
    taken = {path_key(path) for path in facts.paths}
    found = place(
        [verdict(one, kind) for one in headers],
        facts,
        Layout(template),
        owners=lambda keys: {key: owners[key] for key in keys if key in owners},
        taken=lambda keys: taken & set(keys),
    )
    return [
        found[uid] for uid in dict.fromkeys(one.text("SOPInstanceUID") for one in headers) if uid in found
    ]


def folders(*headers, **more):
    return [one.folder for one in places(*headers, **more)]


def test_a_new_instance_goes_where_the_layout_says():
    (one,) = places(header())
    assert (one.folder, one.leaf, one.spare) == (
        "P1/20240131/head/axial",
        "CT.s.1.dcm",
        "CT.s.1.t.s.1.dcm",
    )
    assert (one.patient_folder_key, one.study_date) == (path_key(one.patient_folder), "20240131")


def test_only_what_is_stored_gets_a_place():
    assert [places(header(), kind=kind) for kind in (Kind.DUPLICATE, Kind.EQUIVALENT, Kind.CONFLICT)] == [
        []
    ] * 3


# -- a study never splits -------------------------------------------------------------------------------


def test_the_first_instance_of_a_batch_fixes_the_date_of_the_study():
    first, second = places(header(1), header(2, series="s2", StudyDate="20240201"))
    assert (second.study_date, second.folder) == ("20240131", first.folder)


def test_a_recorded_study_keeps_its_date():
    facts = Facts(studies={(("", "P1"), "t"): StudyFacts("20231224", {"StudyDescription": "Head"})})
    (one,) = places(header(), facts=facts)
    assert (one.study_date, one.folder.split("/")[1]) == ("20231224", "20231224")


def test_a_study_that_was_recorded_without_a_date_keeps_having_none():
    facts = Facts(studies={(("", "P1"), "t"): StudyFacts("", {"StudyDescription": "Head"})})
    (one,) = places(header(), facts=facts)
    assert (one.study_date, one.folder.split("/")[1]) == ("", "NA")


def test_the_date_of_a_study_comes_from_the_first_instance_even_where_it_is_the_series_date():
    first, second = places(
        header(1, StudyDate="", SeriesDate="20240131"), header(2, series="s2", StudyDate="20240201")
    )
    assert (first.study_date, second.study_date) == ("20240131", "20240131")


def test_another_spelling_of_the_study_description_does_not_split_the_study():
    first, second = folders(header(1), header(2, series="s2", StudyDescription="HEAD w/o contrast"))
    assert second == first


def test_a_recorded_spelling_of_the_study_description_stays():
    facts = Facts(studies={(("", "P1"), "t"): StudyFacts("20240131", {"StudyDescription": "Skull"})})
    (one,) = folders(header(), facts=facts)
    assert one.split("/")[2] == "skull"


def test_the_same_study_uid_of_two_patients_is_two_studies():
    first, second = places(header(1), header(2, patient="P2", StudyDate="20240201", StudyDescription="Foot"))
    assert (first.study_date, second.study_date) == ("20240131", "20240201")
    assert [one.folder.split("/")[2] for one in (first, second)] == ["head", "foot"]


# -- a series never splits ------------------------------------------------------------------------------


def test_the_first_instance_of_a_batch_fixes_the_folder_of_the_series():
    first, second = folders(header(1), header(2, SeriesDescription="axial (late)"))
    assert second == first


def test_a_recorded_series_keeps_its_folder_even_under_another_layout():
    facts = Facts(series={(("", "P1"), "t", "s"): SeriesFacts("old/place")})
    assert folders(header(1), header(2), facts=facts, template="uid") == ["old/place", "old/place"]


def test_two_series_of_one_description_share_a_folder_and_no_name():
    first, second = places(header(1, series="s1"), header(1, series="s2"))
    assert (first.folder == second.folder, first.leaf == second.leaf) == (True, False)


def test_the_same_series_uid_in_two_studies_is_two_series():
    first, second = folders(header(1), header(2, study="t2", StudyDescription="Foot"))
    assert first != second


# -- patients never share -------------------------------------------------------------------------------


def test_patients_whose_ids_differ_only_in_case_get_two_folders():
    first, second = places(header(1, patient="Ab"), header(2, patient="aB", study="t2"))
    assert path_key(first.patient_folder) != path_key(second.patient_folder)


def test_the_second_of_two_colliding_patients_gets_the_mark_whoever_is_recorded():
    facts = Facts(owners={"ab": ("", "ab")})
    (one,) = places(header(1, patient="AB"), facts=facts)
    assert one.patient_folder.startswith("AB-")


def test_a_recorded_owner_of_a_folder_keeps_getting_it():
    facts = Facts(
        patients={("", "AB"): PatientFacts("AB-12345678", {"PatientID": "AB"})}, owners={"AB": ("", "ab")}
    )
    assert [one.patient_folder for one in places(header(1, patient="AB"), facts=facts)] == ["AB-12345678"]


def test_the_same_id_of_two_issuers_gets_two_folders():
    first, second = places(header(1), header(2, issuer="Other", study="t2"))
    assert path_key(first.patient_folder) != path_key(second.patient_folder)


def test_all_instances_of_a_patient_of_a_batch_get_one_folder():
    found = places(header(1, patient="ab"), header(2, patient="AB"), header(3, patient="AB", study="t2"))
    assert found[1].patient_folder == found[2].patient_folder != found[0].patient_folder


def test_another_spelling_of_the_name_does_not_move_a_patient():
    template = "{PatientID}-{PatientName}/{StudyDate}/{SOPInstanceUID}.dcm"
    first, second = folders(
        header(1, PatientName="Doe^Jane"), header(2, PatientName="DOE^JANE M"), template=template
    )
    assert first == second


def test_a_template_without_a_patient_has_no_owner_of_a_folder():
    (one,) = places(header(), template="{StudyInstanceUID}/{SOPInstanceUID}.dcm")
    assert (one.patient_folder, one.patient_folder_key, one.folder) == ("", None, "t")


def test_a_bare_file_name_has_no_folder():
    (one,) = places(header(), template="{SOPInstanceUID}.dcm")
    assert (one.folder, one.leaf) == ("", "t.s.1.dcm")


# -- names are used once --------------------------------------------------------------------------------


def same_number(number, uid):
    return header(number, SOPInstanceUID=uid, InstanceNumber=1)


def test_the_second_of_two_instances_with_one_number_gets_its_uid_into_the_name():
    first, second = places(same_number(1, "1.1"), same_number(2, "1.2"))
    assert (first.leaf, second.leaf) == ("CT.s.1.dcm", "CT.s.1.1.2.dcm")


def test_a_name_that_is_recorded_is_not_used_again():
    plain = places(header())[0]
    (one,) = places(header(), facts=Facts(paths=(f"{plain.folder}/{plain.leaf}",)))
    assert (one.leaf, one.spare) == (plain.spare, plain.spare)


def test_a_name_that_differs_only_in_case_counts_as_used():
    plain = places(header())[0]
    (one,) = places(header(), facts=Facts(paths=(f"{plain.folder}/{plain.leaf}".upper(),)))
    assert one.leaf == plain.spare


def test_the_index_is_asked_once_for_a_batch():
    asked = []

    def ask(answer):
        def asker(keys):
            asked.append(len(keys))
            return answer

        return asker

    batch = [verdict(header(number)) for number in range(9)]
    place(batch, Facts(), Layout("descriptive"), owners=ask({}), taken=ask(set()))
    assert asked == [1, 9]
