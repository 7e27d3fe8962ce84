"""An archive to publish in, and a source as the organizer knows it."""

import pytest

from sorter.model import Candidate
from sorter.organizer.archive import Archive


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "archive")
    yield archive
    archive.close()


def candidate(name="a.dcm", size=3):
    return Candidate("/drop", name, 1, 2, size, 3, 4)
