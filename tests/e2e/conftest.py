"""Drop folder, archive and daemon for one test."""

import contextlib

import pytest
from e2e import program


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "archive"


@pytest.fixture
def daemon(incoming, archive, tmp_path):
    """``daemon(**settings)`` starts one; those still running at the end are stopped and must exit with 0."""
    with contextlib.ExitStack() as stack:

        def start(*args, incoming=incoming, archive=archive, **settings):
            running = program.start(incoming, archive, tmp_path / "daemon.log", *args, **settings)
            stack.callback(_stop, running)
            return running

        yield start


def _stop(running):
    try:
        if running.process.returncode is None:
            running.stop()
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
