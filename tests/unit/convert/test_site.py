"""What the configuration says of every file that is converted."""

import subprocess
import sys

import pytest
from inline import config

from sorter.convert.site import site_facts
from sorter.errors import ConfigError


def test_institution_equipment_and_issuer_hold_of_every_file(tmp_path):
    stated = {"InstitutionName": " City Hospital ", "IssuerOfPatientID": "CITY"}
    assert site_facts(config(tmp_path, facts=stated)) == {
        "InstitutionName": "City Hospital",
        "IssuerOfPatientID": "CITY",
    }


@pytest.mark.parametrize(
    "keyword", ["PatientID", "PatientName", "StudyInstanceUID", "Orientation", "Nonsense"]
)
def test_a_patient_or_a_study_never_does(tmp_path, keyword):
    with pytest.raises(ConfigError, match=f"facts: '{keyword}' is none of IssuerOfPatientID, "):
        site_facts(config(tmp_path, facts={keyword: "1"}))


def test_a_value_that_is_not_valid_is_named_by_its_keyword(tmp_path):
    with pytest.raises(ConfigError) as caught:
        site_facts(config(tmp_path, facts={"StationName": "CANARY" * 10}))
    assert str(caught.value) == "facts: the value of StationName is not valid for its VR, SH"


def test_without_any_nothing_heavy_is_loaded():
    """It is asked at every start."""
    code = """
import sys
from sorter.config import Config
from sorter.convert.site import site_facts
print(site_facts(Config()), "pydicom" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "{} False\n"
