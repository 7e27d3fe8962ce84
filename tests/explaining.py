"""An archive to explain files against, for the tests of ``explain``."""

import pytest
from inline import config
from support import bundled, dicom, drop

from sorter.rescan import backfill


@pytest.fixture
def found(tmp_path):
    """An archive that holds one CT and one MR instance."""
    drop(tmp_path / "in", "ct.dcm", dicom(1))
    drop(tmp_path / "in", "mr.dcm", bundled("MR_small.dcm").read_bytes())
    found = config(tmp_path)
    backfill(found)
    return found
