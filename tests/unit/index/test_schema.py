"""Facts about the tables."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Integer

from sorter import index as room
from sorter.index.find import LEVELS
from sorter.index.schema import column_name, metadata
from sorter.index.version import KNOWN_VERSIONS, VERSION
from sorter.keywords import INDEXED_KEYWORDS, INTEGER_KEYWORDS

MIGRATIONS = Path(room.__file__).parent / "migrations"


@pytest.mark.parametrize(
    ("keyword", "column"),
    [
        ("SOPInstanceUID", "sop_instance_uid"),
        ("PatientID", "patient_id"),
        ("IssuerOfPatientID", "issuer_of_patient_id"),
        ("FrameOfReferenceUID", "frame_of_reference_uid"),
        ("Rows", "rows"),
        ("patient_id", "patient_id"),
    ],
)
def test_a_column_is_the_snake_case_of_its_keyword(keyword, column):
    assert column_name(keyword) == column


def test_no_two_keywords_share_a_column():
    assert len({column_name(keyword) for keyword in INDEXED_KEYWORDS}) == len(INDEXED_KEYWORDS)


def test_every_indexed_keyword_has_one_column_with_its_type():
    columns = [column for table in LEVELS.values() for column in table.columns]
    for keyword in INDEXED_KEYWORDS:
        (column,) = [one for one in columns if one.name == column_name(keyword)]
        whole = isinstance(column.type, (Integer, BigInteger))
        assert (keyword, whole) == (keyword, keyword in INTEGER_KEYWORDS)


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_every_table_has_an_integer_key_and_named_constraints(table):
    assert [column.name for column in table.primary_key] == ["id"]
    assert [one for one in table.constraints if one.name is None] == []


def test_the_version_is_that_of_the_newest_migration():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Alembic's, about options we do not use
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        script = ScriptDirectory.from_config(config)
        assert script.get_current_head() == VERSION
        assert sorted(one.revision for one in script.walk_revisions()) == sorted(KNOWN_VERSIONS)


def test_opening_an_up_to_date_index_does_not_load_alembic(tmp_path):
    """It costs 0.1 s of every command."""
    url = f"sqlite:///{tmp_path}/index.sqlite"
    room.Index.open(url).close()
    opening = f"from sorter.index import Index; Index.open({url!r}).close()"
    code = f"import sys; {opening}; print('sqlalchemy' in sys.modules, 'alembic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True False\n"
