"""A large file is decoded by all workers: the same bytes as by one; a death costs it only its decoding."""

import hashlib
import stat
from pathlib import Path

import misbehaving
import pytest
from support import bundled, dicom, drop

from sorter import assembly, workers
from sorter import pool as pool_module
from sorter.model import Kind, Pixels, Reason, Refused, Staged
from sorter.observer.listing import look
from sorter.organizer.staging import Staging
from sorter.parser.pixels import FAMILIES
from sorter.workers import Recipe, Workers

MANY = "rtdose_rle.dcm"  # 15 frames
NOTE = "crashed, hung or needed too much memory"


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "staging").mkdir()
    return Recipe(Staging(str(tmp_path / "staging")), frozenset(FAMILIES))


@pytest.fixture
def pool(monkeypatch):
    """Two workers, which share out whatever has two frames, each frame a share."""
    monkeypatch.setattr(workers, "SHARE_ABOVE", 1)
    monkeypatch.setattr(workers, "stage", misbehaving.sharing_finely)
    pool = Workers(count=2, memory_mb=512, seconds=60)
    yield pool
    pool.close()


def batch(tmp_path):
    """A file with many frames between two native ones."""
    many = bundled(MANY).read_bytes()
    return [look(str(drop(tmp_path / "in", *one))) for one in (("a", dicom(1)), ("b", many), ("c", dicom(2)))]


def staged(pool, recipe, candidates):
    (found,) = pool.stage([candidates], recipe)
    return found.results


def left(recipe):
    """Names of the staged files, with their lanes."""
    folder = Path(recipe.staging.folder)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_two_workers_share_is_what_one_makes(pool, recipe, tmp_path):
    candidates = batch(tmp_path)
    shared = staged(pool, recipe, candidates)
    alone = Workers(count=1, memory_mb=512, seconds=60)
    (tmp_path / "alone").mkdir()
    whole = staged(alone, Recipe(Staging(str(tmp_path / "alone")), recipe.families), candidates)
    alone.close()
    assert [one.candidate for one in shared] == candidates
    assert [one.instance for one in shared] == [one.instance for one in whole]
    assert shared[1].instance.pixels is Pixels.TRANSCODED
    assert left(recipe) == sorted(one.name for one in shared)


def test_what_the_index_will_say_is_true_of_the_staged_file(pool, recipe, tmp_path):
    one = staged(pool, recipe, batch(tmp_path))[1]
    path = Path(recipe.staging.path(one.name))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == one.instance.sha256
    assert path.stat().st_size == one.instance.size
    assert one.source_sha256 == hashlib.sha256(bundled(MANY).read_bytes()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) & 0o222 == 0


@pytest.mark.parametrize(
    ("step", "how", "state", "note"),
    [
        ("decode_portion", "killed_portion", Pixels.KEPT_DECODER_CRASHED, NOTE),
        ("decode_portion", "refused_portion", Pixels.KEPT_UNDECODABLE, "a frame"),
        ("seal", "killed_seal", Pixels.KEPT_DECODER_CRASHED, NOTE),
    ],
)
def test_a_share_that_goes_wrong_costs_one_file_its_decoding(
    pool, recipe, tmp_path, monkeypatch, step, how, state, note
):
    monkeypatch.setattr(assembly, step, getattr(misbehaving, how))
    results = staged(pool, recipe, batch(tmp_path))
    assert [type(one) for one in results] == [Staged] * 3
    assert [one.instance.pixels for one in results] == [Pixels.NATIVE, state, Pixels.NATIVE]
    kept = results[1]
    assert kept.instance.note == note
    assert Path(recipe.staging.path(kept.name)).read_bytes() == bundled(MANY).read_bytes()
    assert left(recipe) == sorted(one.name for one in results)


def test_a_share_that_hangs_is_killed_at_the_deadline(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SHARE_ABOVE", 1)
    monkeypatch.setattr(assembly, "decode_portion", misbehaving.hanging_portion)
    pool = Workers(count=2, memory_mb=512, seconds=1.5)
    results = staged(pool, recipe, batch(tmp_path))
    pool.close()
    assert [one.instance.pixels for one in results] == [
        Pixels.NATIVE,
        Pixels.KEPT_DECODER_CRASHED,
        Pixels.NATIVE,
    ]


def test_the_end_does_not_wait_for_shares_that_hang(pool, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(assembly, "decode_portion", misbehaving.hanging_portion)
    pool.stopping = lambda: True
    results = staged(pool, recipe, batch(tmp_path))
    assert [type(one) for one in results] == [Staged, Refused, Staged]
    assert (results[1].kind, results[1].reason) == (Kind.DEFERRED, Reason.SETTLING)
    assert left(recipe) == sorted(one.name for one in (results[0], results[2]))


def test_a_pool_that_breaks_under_the_shares_costs_no_file_its_decoding(pool, recipe, tmp_path, monkeypatch):
    """All workers are let go while the first frames are waited for."""
    real, broken = assembly.Assembly.assemble, []

    def assemble(begun, wait):
        if not broken:
            broken.append(True)
            pool._pool.stop()
        real(begun, wait)

    monkeypatch.setattr(assembly.Assembly, "assemble", assemble)
    results = staged(pool, recipe, batch(tmp_path))
    assert [one.instance.pixels for one in results] == [Pixels.NATIVE, Pixels.TRANSCODED, Pixels.NATIVE]
