"""What commands leave behind in this process is put back: they set the log's level for good."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A command that logs errors only would hide what the next test waits for."""
    yield
    structlog.reset_defaults()
