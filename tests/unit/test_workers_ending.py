"""Deadlines grow with the bytes of a task, and the end does not wait for a batch that hangs."""

import time

import misbehaving
import pytest
from support import dicom, drop

from sorter import pool as pool_module
from sorter import workers as module
from sorter.model import Kind, Staged
from sorter.observer.listing import look
from sorter.organizer.staging import Staging
from sorter.parser.pixels import FAMILIES
from sorter.workers import Recipe, Workers


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "staging").mkdir()
    return Recipe(Staging(str(tmp_path / "staging")), frozenset(FAMILIES))


@pytest.fixture
def pool():
    pool = Workers(count=1, memory_mb=512, seconds=60)
    yield pool
    pool.close()


def candidates(tmp_path, count):
    return [look(str(drop(tmp_path / "in", str(number), dicom(number + 1)))) for number in range(count)]


def test_the_deadline_of_a_task_grows_with_what_it_has_to_read(pool, recipe, tmp_path, monkeypatch):
    asked = []
    real = pool._start()

    class Pool:
        active = True

        def schedule(self, function, args, timeout):
            asked.append(timeout)
            return real.schedule(function, args=args, timeout=timeout)

    monkeypatch.setattr(pool, "_start", Pool)
    one = candidates(tmp_path, 1)[0]
    _job, future = pool._schedule(
        module.Job((one._replace(size=600 << 20),), recipe.staging, "p-", recipe.families)
    )
    future.result()
    assert (asked, pool.longest) == ([60 + 600], 660)
    pool.rest()
    assert pool.longest == 60


def test_the_end_does_not_wait_for_a_batch_that_hangs(pool, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "stage", misbehaving._hang)
    monkeypatch.setattr(pool_module, "STOP_SECONDS", 0.5)
    asked_at = time.monotonic() + 1
    pool.stopping = lambda: time.monotonic() > asked_at
    began = time.monotonic()
    batches = list(pool.stage([candidates(tmp_path, 40), candidates(tmp_path, 40)], recipe))
    assert time.monotonic() - began < 10
    assert [{one.kind for one in batch.results} for batch in batches] == [{Kind.DEFERRED}] * 2
    assert [len(batch.results) for batch in batches] == [40, 40]


def test_what_was_staged_before_the_end_is_kept(pool, recipe, tmp_path, monkeypatch):
    pool.stopping = lambda: True
    batches = list(pool.stage([candidates(tmp_path, 3)], recipe))
    assert [type(one) for one in batches[0].results] == [Staged] * 3
