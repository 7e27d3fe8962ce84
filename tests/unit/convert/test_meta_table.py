"""Tables of facts: CSV and JSON."""

import pytest

from sorter.convert import meta
from sorter.errors import ConfigError


def table(tmp_path, text, name="facts.csv"):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return meta.read(path)


def test_columns_have_the_names_people_use(tmp_path):
    found = table(
        tmp_path,
        "File,Patient,Accession,study,series,Body Part,spacing,Study Date\n"
        "a.png,P1,A1,knee,front,KNEE,0.5\\0.5,2020-01-02\n"
        "sub/b.png,P2,,,,,,\n",
    )
    assert [tmp_path / "a.png", tmp_path / "sub" / "b.png"] == found.files
    assert found.of(tmp_path / "a.png") == {
        "PatientID": "P1", "AccessionNumber": "A1", "StudyDescription": "knee", "SeriesDescription": "front",
        "BodyPartExamined": "KNEE", "PixelSpacing": "0.5\\0.5", "StudyDate": "2020-01-02",
    }  # fmt: skip
    assert found.of(tmp_path / "sub" / "b.png") == {"PatientID": "P2"}
    assert found.of(tmp_path / "c.png") == {}


def test_keywords_are_columns_too_and_semicolons_separate(tmp_path):
    assert table(tmp_path, "\ufefffile;PatientID;echotime\na.nii;P1;30\n").of(tmp_path / "a.nii") == {
        "PatientID": "P1",
        "EchoTime": "30",
    }


def test_a_name_finds_its_row_from_another_folder_but_never_that_of_another_file(tmp_path):
    found = table(tmp_path, "file,patient\na.png,P1\nb.png,P2\n")
    elsewhere = tmp_path / "elsewhere"
    assert found.of(elsewhere / "a.png") == {"PatientID": "P1"}
    (tmp_path / "b.png").touch()
    assert found.of(elsewhere / "b.png") == {}


def test_json_states_facts_of_all_or_of_each(tmp_path):
    of_all = table(tmp_path, '{"PatientID": "P1"}', "facts.json")
    assert (of_all.of(tmp_path / "x"), of_all.files) == ({"PatientID": "P1"}, [])
    of_each = table(tmp_path, '[{"file": "a.nii", "PatientID": "P2"}]', "facts.json")
    assert of_each.of(tmp_path / "a.nii") == {"PatientID": "P2"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("patient\nP1\n", "no column file"),
        ("file,patient\na.png,P1,more\n", "line 2"),
        ("file,patient\n,P1\n", "row 2: file is empty"),
        ("file,patient\na.png,P1\na.png,P2\n", "row 3"),
        ("[1]", "objects"),
        ("{", "JSON"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_by_its_row(tmp_path, text, why):
    with pytest.raises(ConfigError, match=why):
        table(tmp_path, text)
