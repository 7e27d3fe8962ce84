"""What the workers do with one large file: begun, its frames decoded share by share, and sealed."""

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from support import bundled, dicom, drop

from sorter import sharing
from sorter.job import Job
from sorter.model import Pixels
from sorter.observer.listing import look
from sorter.organizer.staging import Staging
from sorter.parser.pixels import FAMILIES
from sorter.reading import map_path
from sorter.sharing import Begun, decode_portion, seal
from sorter.stage import stage

MANY = "rtdose_rle.dcm"  # 15 frames


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Begins whatever has two frames, each frame a share."""
    monkeypatch.setattr(sharing, "SHARE_BYTES", 1)
    (tmp_path / "staging").mkdir()
    candidate = look(str(drop(tmp_path / "in", "many", bundled(MANY).read_bytes())))
    return Job((candidate,), Staging(str(tmp_path / "staging")), "1-", frozenset(FAMILIES), share_above=1)


def begun(job):
    (one,) = stage(job)
    assert isinstance(one, Begun)
    return one


def decode(one, job, portions):
    """Decode these shares into the drafted file."""
    said = [decode_portion(job.staging, one.source, one.name, portion.share) for portion in portions]
    assert said == [None] * len(portions)


def frames(one, job):
    """SHA-256 of the frames as they lie in the drafted file."""
    data = Path(job.staging.path(one.name)).read_bytes()
    parts = [data[portion.offset : portion.offset + portion.length] for portion in one.portions]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def left(job):
    return sorted(os.listdir(job.staging.folder))


def test_a_file_that_is_begun_lies_in_staging_as_it_came_and_as_a_draft_that_all_workers_may_write(job):
    one = begun(job)
    assert left(job) == sorted((one.source, one.name))
    assert Path(job.staging.path(one.source)).read_bytes() == bundled(MANY).read_bytes()
    assert os.stat(job.staging.path(one.name)).st_mode & stat.S_IWUSR
    assert len(one.portions) == 15


def test_the_shares_follow_each_other_in_the_draft_without_a_gap(job):
    portions = begun(job).portions
    ends = [one.offset + one.length for one in portions]
    assert ends[:-1] == [one.offset for one in portions[1:]]


@pytest.mark.parametrize("order", [1, -1])
def test_shares_decoded_in_any_order_and_sealed_are_what_one_worker_makes(job, order):
    one = begun(job)
    decode(one, job, one.portions[::order])
    sealed = seal(one, frames(one, job), job)
    (whole,) = stage(replace(job, prefix="2-", share_above=None))
    assert sealed.instance == whole.instance
    assert sealed.instance.pixels is Pixels.TRANSCODED
    assert os.stat(job.staging.path(sealed.name)).st_mode & 0o222 == 0


def test_a_share_that_is_decoded_twice_is_the_same_share(job):
    """Its worker may have died after the first time."""
    one = begun(job)
    decode(one, job, one.portions)
    once = frames(one, job)
    decode(one, job, one.portions[3:5])
    assert frames(one, job) == once


def test_a_share_whose_bytes_are_damaged_says_that_the_pixels_stay_as_they_came(job):
    one = begun(job)
    source = Path(job.staging.path(one.source))
    source.chmod(0o600)
    source.write_bytes(bundled(MANY).read_bytes()[:-200])
    state, note = decode_portion(job.staging, one.source, one.name, one.portions[-1].share)
    assert (state, bool(note)) == (Pixels.KEPT_UNDECODABLE, True)


def test_a_draft_whose_frames_lie_elsewhere_than_it_says_is_not_taken(job):
    one = begun(job)
    decode(one, job, one.portions)
    moved = replace(one, portions=tuple(portion._replace(length=1) for portion in one.portions))
    kept = seal(moved, frames(one, job), job)
    assert (kept.instance.pixels, kept.instance.note, kept.name) == (
        Pixels.KEPT_UNDECODABLE,
        "read-back: the frames lie elsewhere",
        one.source,
    )
    assert left(job) == [one.source]


@pytest.mark.parametrize("more", [{"share_above": None}, {"share_above": 1 << 30}, {"decode": False}])
def test_a_file_is_begun_only_where_it_is_large_and_to_be_decoded(job, more):
    (one,) = stage(replace(job, **more))
    assert not isinstance(one, Begun)


def test_a_file_with_native_pixels_is_never_begun(job, tmp_path):
    native = look(str(drop(tmp_path / "in", "native", dicom())))
    (one,) = stage(replace(job, candidates=(native,)))
    assert one.instance.pixels is Pixels.NATIVE


def test_the_digest_of_a_mapped_file_is_that_of_its_bytes(tmp_path):
    data = os.urandom(100_000)
    drop(tmp_path, "a", data)
    assert sharing.digest(map_path(str(tmp_path / "a"))) == hashlib.sha256(data).hexdigest()
    assert sharing.digest(data) == hashlib.sha256(data).hexdigest()
