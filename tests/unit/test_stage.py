"""What a worker makes of one source: its bytes in staging, or why not; never trouble for the others."""

import errno
import gzip
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import bundled, dicom, drop

from sorter import decoding, reading, source, stage
from sorter.errors import ArchiveError, ArchiveFullError
from sorter.model import Candidate, Kind, Pixels, Reason, Refused, Staged
from sorter.organizer.staging import Staging, WriteBehind
from sorter.parser.pixels import FAMILIES

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"


@pytest.fixture
def staging(tmp_path):
    (tmp_path / "staging").mkdir()
    return Staging(str(tmp_path / "staging"))


def candidate(path):
    """The version of a path that ``lstat`` shows now."""
    seen = os.lstat(path)
    version = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    return Candidate(str(Path(path).parent), Path(path).name, *version)


def run(staging, *candidates, **more):
    job = stage.Job(candidates, staging, "1-0-", more.pop("families", frozenset(FAMILIES)), **more)
    return stage.stage(job)


def run_one(staging, path, **more):
    (one,) = run(staging, candidate(path), **more)
    return one


def verdict(one):
    """Kind and reason of a refusal."""
    assert isinstance(one, Refused)
    return one.kind, one.reason


def staged_bytes(staging, one):
    return Path(staging.path(one.name)).read_bytes()


def left(staging):
    """The names in staging."""
    return sorted(os.listdir(staging.folder))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# -- what is taken --------------------------------------------------------------------------------------


def test_a_small_file_is_staged_byte_for_byte(tmp_path, staging):
    data = dicom()
    one = run_one(staging, drop(tmp_path, "a", data))
    assert staged_bytes(staging, one) == data
    facts = (one.instance.sha256, one.instance.source_sha256, one.source_sha256, one.instance.size)
    assert facts == (sha256(data), sha256(data), sha256(data), len(data))
    assert one.instance.pixels is Pixels.NATIVE


def test_a_large_file_comes_out_as_a_small_one_does(tmp_path, staging, monkeypatch):
    path = drop(tmp_path, "a", dicom())
    small = run_one(staging, path)
    monkeypatch.setattr(reading, "IN_MEMORY", 100)
    (tmp_path / "large").mkdir()
    large_staging = Staging(str(tmp_path / "large"))
    large = run_one(large_staging, path)
    assert (large.instance, large.source_sha256) == (small.instance, small.source_sha256)
    assert staged_bytes(large_staging, large) == staged_bytes(staging, small)


@pytest.mark.parametrize("sync", [True, False])
def test_it_is_synced_only_where_asked(tmp_path, staging, monkeypatch, sync):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    one = run_one(staging, drop(tmp_path, "a", dicom()), sync=sync)
    assert synced == ([staging.path(one.name)] if sync else [])


def test_the_staged_file_is_read_only(tmp_path, staging):
    one = run_one(staging, drop(tmp_path, "a", dicom()))
    assert os.stat(staging.path(one.name)).st_mode & 0o222 == 0


def test_results_come_in_the_order_of_the_candidates(tmp_path, staging):
    data = [dicom(1), b"junk", dicom(2)]
    paths = [drop(tmp_path, f"{number}", one) for number, one in enumerate(data)]
    results = run(staging, *map(candidate, paths))
    assert [one.candidate.name for one in results] == ["0", "1", "2"]
    assert [type(one) for one in results] == [Staged, Refused, Staged]
    assert [staged_bytes(staging, one) for one in results] == data


def test_an_object_without_pixels_is_staged(staging):
    one = run_one(staging, bundled("test-SR.dcm"))
    assert one.instance.pixels is Pixels.NONE


# -- pixels ---------------------------------------------------------------------------------------------


def test_encapsulated_pixels_become_native(staging):
    path = bundled("MR_small_RLE.dcm")
    one = run_one(staging, path)
    data = staged_bytes(staging, one)
    syntaxes = (one.instance.source_transfer_syntax_uid, one.instance.transfer_syntax_uid)
    assert (one.instance.pixels, syntaxes) == (Pixels.TRANSCODED, (RLE, EXPLICIT_LITTLE))
    assert (one.instance.source_sha256, one.instance.sha256) == (sha256(path.read_bytes()), sha256(data))
    assert (one.instance.size, len(one.instance.pixel_sha256)) == (len(data), 64)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"decode": False}, Pixels.KEPT_DECODER_CRASHED),
        ({"families": frozenset()}, Pixels.KEPT_CONFIG),
        ({"families": frozenset({"jpeg"})}, Pixels.KEPT_CONFIG),
    ],
)
def test_pixels_that_are_kept_stay_byte_for_byte(staging, more, expected):
    path = bundled("MR_small_RLE.dcm")
    one = run_one(staging, path, **more)
    assert (one.instance.pixels, one.instance.transfer_syntax_uid) == (expected, RLE)
    assert one.instance.pixel_sha256 is None
    assert staged_bytes(staging, one) == path.read_bytes()


def test_without_decoding_native_files_are_staged_as_ever(tmp_path, staging):
    assert run_one(staging, drop(tmp_path, "a", dicom()), decode=False).instance.pixels is Pixels.NATIVE


def set_in_memory(monkeypatch, size):
    """Up to which size sources and native files are held in memory."""
    monkeypatch.setattr(reading, "IN_MEMORY", size)
    monkeypatch.setattr(decoding, "IN_MEMORY", size)


def test_a_decoded_file_is_the_same_whether_it_was_streamed(staging, monkeypatch):
    found = []
    for size in (reading.IN_MEMORY, 100):
        set_in_memory(monkeypatch, size)
        one = run_one(staging, bundled("MR_small_RLE.dcm"))
        found.append((one.instance, staged_bytes(staging, one)))
        staging.discard(one.name)
    assert found[0] == found[1]


def test_trouble_after_decoding_refuses_the_file_as_it_came(staging, monkeypatch):
    """Its name in staging is used for what came: nothing may be under way there."""
    monkeypatch.setattr(WriteBehind, "write", lambda *_, **__: pytest.fail("written behind"))

    def fail(*_):
        raise ValueError

    monkeypatch.setattr(decoding, "native_instance", fail)
    path = bundled("MR_small_RLE.dcm")
    one = run_one(staging, path)
    assert verdict(one) == (Kind.REJECTED, Reason.MALFORMED)
    assert left(staging) == [one.name]
    assert Path(staging.path(one.name)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_one_staged_file_is_left_of_a_transcoded_one(staging, monkeypatch, in_memory):
    set_in_memory(monkeypatch, in_memory)
    one = run_one(staging, bundled("MR_small_RLE.dcm"))
    assert left(staging) == [one.name]


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_one_staged_file_is_left_of_one_that_cannot_be_decoded(tmp_path, staging, monkeypatch, in_memory):
    """Frames of garbage: the file is kept as it came, and marked."""
    set_in_memory(monkeypatch, in_memory)
    data = bytearray(bundled("MR_small_RLE.dcm").read_bytes())
    end = data.rindex(b"\xfe\xff\xdd\xe0")  # Sequence Delimitation Item
    start = data.rindex(b"\xfe\xff\x00\xe0", 0, end) + 8
    data[start:end] = b"\xff" * (end - start)
    path = drop(tmp_path, "a", bytes(data))
    one = run_one(staging, path)
    assert (one.instance.pixels, one.instance.note != "") == (Pixels.KEPT_UNDECODABLE, True)
    assert (left(staging), staged_bytes(staging, one)) == ([one.name], path.read_bytes())


# -- gzip -----------------------------------------------------------------------------------------------


def test_a_gzipped_instance_is_staged_inflated(tmp_path, staging):
    data, packed = dicom(), gzip.compress(dicom(), mtime=0)
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", packed))
    assert staged_bytes(staging, one) == data
    assert (one.instance.source_sha256, one.source_sha256) == (sha256(data), sha256(packed))


def test_a_gzip_of_anything_else_is_no_dicom_and_kept_as_it_came(tmp_path, staging):
    packed = gzip.compress(b"holiday pictures" * 99)
    one = run_one(staging, drop(tmp_path, "a.gz", packed))
    assert verdict(one) == (Kind.REJECTED, Reason.NOT_DICOM)
    assert (staged_bytes(staging, one), one.source_sha256) == (packed, sha256(packed))


def refused_as_it_came(staging, one, packed):
    """The reason; the gzip itself is staged for quarantine, and nothing else."""
    assert (left(staging), staged_bytes(staging, one)) == ([one.name], packed)
    assert one.source_sha256 == sha256(packed)
    return verdict(one)


@pytest.mark.parametrize(("limit", "value"), [("GZIP_LIMIT", 1 << 20), ("GZIP_FREE", 1 << 20)])
def test_a_gzip_bomb_is_refused_as_it_came(tmp_path, staging, monkeypatch, limit, value):
    monkeypatch.setattr(source, limit, value)
    bomb = gzip.compress(dicom() + b"\0" * (8 << 20))
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", bomb))
    assert refused_as_it_came(staging, one, bomb) == (Kind.REJECTED, Reason.TOO_LARGE)


def test_a_gzip_may_not_take_the_room_that_is_left(tmp_path, staging, monkeypatch):
    """It is no fault of the file: it waits for room."""
    facts = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=1000, f_frsize=facts.f_frsize))
    packed = gzip.compress(dicom() + b"\0" * (1000 * facts.f_frsize))
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", packed))
    assert (verdict(one), left(staging)) == ((Kind.DEFERRED, Reason.NO_SPACE), [])


@pytest.mark.parametrize("cut", [8, 20, 100, -1, -8, -9])
def test_a_gzip_that_is_cut_is_truncated(tmp_path, staging, cut):
    packed = gzip.compress(dicom(), mtime=0)[:cut]
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", packed))
    assert refused_as_it_came(staging, one, packed)[0] is Kind.REJECTED
    assert one.reason in (Reason.TRUNCATED, Reason.NOT_DICOM)


def test_a_gzip_with_a_wrong_checksum_is_malformed(tmp_path, staging):
    packed = bytearray(gzip.compress(dicom()))
    packed[-5] ^= 1
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", bytes(packed)))
    assert refused_as_it_came(staging, one, bytes(packed)) == (Kind.REJECTED, Reason.MALFORMED)


def test_a_gzip_of_two_instances_is_not_taken_for_the_first_one(tmp_path, staging):
    """The second one would be lost with its source."""
    packed = gzip.compress(dicom(1)) + gzip.compress(dicom(2))
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", packed))
    assert refused_as_it_came(staging, one, packed) == (Kind.REJECTED, Reason.MALFORMED)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("size", [8, 800])  # 800 x 800 is more than is inflated in one piece
@pytest.mark.parametrize("zeros", [1, 512, 3 << 20])
def test_zeros_behind_a_gzip_are_padding(tmp_path, staging, size, zeros):
    data = dicom(size=size)
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", gzip.compress(data) + bytes(zeros)))
    assert staged_bytes(staging, one) == data


@pytest.mark.timeout(30)
@pytest.mark.parametrize("zeros", [0, 3 << 20])
def test_anything_else_behind_a_large_gzip_is_malformed(tmp_path, staging, zeros):
    packed = gzip.compress(dicom(size=800)) + bytes(zeros) + b"junk"
    one = run_one(staging, drop(tmp_path, "a.dcm.gz", packed))
    assert refused_as_it_came(staging, one, packed) == (Kind.REJECTED, Reason.MALFORMED)


# -- while it is read -----------------------------------------------------------------------------------


def read_once_then(monkeypatch, change):
    """Let something happen to the source at the first read of it."""
    real, done = os.read, []

    def read(fd, size):
        data = real(fd, size)
        if not done:
            done.append(True)
            change()
        return data

    monkeypatch.setattr(os, "read", read)


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_a_file_that_grows_while_it_is_read_waits(tmp_path, staging, monkeypatch, in_memory):
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    path = drop(tmp_path, "a", dicom())
    one = candidate(path)
    with path.open("ab") as writer:
        read_once_then(monkeypatch, lambda: (writer.write(b"more"), writer.flush()))
        (result,) = run(staging, one)
    assert (verdict(result), left(staging)) == ((Kind.DEFERRED, Reason.CHANGING), [])


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_a_file_that_is_replaced_while_it_is_read_waits(tmp_path, staging, monkeypatch, in_memory):
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    path = drop(tmp_path, "a", dicom())
    one, other = candidate(path), drop(tmp_path, "b", dicom(2))
    read_once_then(monkeypatch, lambda: other.rename(path))
    assert verdict(run(staging, one)[0]) == (Kind.DEFERRED, Reason.CHANGING)


def test_a_file_that_vanishes_while_it_is_read_is_looked_for_again(tmp_path, staging, monkeypatch):
    path = drop(tmp_path, "a", dicom())
    one = candidate(path)
    read_once_then(monkeypatch, path.unlink)
    assert (verdict(run(staging, one)[0]), left(staging)) == ((Kind.DEFERRED, Reason.CHANGING), [])


@pytest.mark.parametrize(("in_memory", "call"), [(reading.IN_MEMORY, "read"), (100, "pread")])
def test_a_file_that_shrinks_while_it_is_read_waits(tmp_path, staging, monkeypatch, in_memory, call):
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    path = drop(tmp_path, "a", dicom())
    one, real = candidate(path), getattr(os, call)

    def read_and_truncate(fd, *size):
        data = real(fd, *size)
        os.truncate(path, 200)
        return data

    monkeypatch.setattr(os, call, read_and_truncate)
    assert verdict(run(staging, one)[0]) == (Kind.DEFERRED, Reason.CHANGING)


def test_a_file_that_changed_since_it_was_looked_at_waits(tmp_path, staging):
    path = drop(tmp_path, "a", dicom())
    one = candidate(path)
    path.write_bytes(dicom(2))
    assert (verdict(run(staging, one)[0]), left(staging)) == ((Kind.DEFERRED, Reason.CHANGING), [])


def test_a_file_that_vanished_is_ignored(tmp_path, staging):
    path = drop(tmp_path, "a", dicom())
    one = candidate(path)
    path.unlink()
    assert verdict(run(staging, one)[0]) == (Kind.IGNORED, Reason.VANISHED)


def test_a_file_whose_folder_became_a_file_is_ignored(tmp_path, staging):
    path = drop(tmp_path / "deep", "a", dicom())
    one = candidate(path)
    path.unlink()
    path.parent.rmdir()
    drop(tmp_path, "deep", b"")
    assert verdict(run(staging, one)[0]) == (Kind.IGNORED, Reason.VANISHED)


def test_a_symlink_is_not_followed(tmp_path, staging):
    drop(tmp_path, "real", dicom())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert verdict(run_one(staging, tmp_path / "link")) == (Kind.IGNORED, Reason.SYMLINK)


def test_a_fifo_is_ignored_without_waiting_for_a_writer(tmp_path, staging):
    os.mkfifo(tmp_path / "fifo")
    assert verdict(run_one(staging, tmp_path / "fifo")) == (Kind.IGNORED, Reason.NOT_REGULAR)


@pytest.mark.parametrize(
    ("call", "number", "detail"),
    [
        ("open", errno.EACCES, "EACCES: Permission denied"),
        ("read", errno.EIO, "EIO: Input/output error"),
        ("read", errno.ESTALE, None),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_without_its_name(
    tmp_path, staging, monkeypatch, call, number, detail
):
    path = drop(tmp_path, "a", dicom())
    one, real = candidate(path), getattr(os, call)

    def fail(first, *rest, **more):
        if call == "read" or first == str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(first, *rest, **more)

    monkeypatch.setattr(os, call, fail)
    (result,) = run(staging, one)
    monkeypatch.undo()
    gone = (Kind.IGNORED, Reason.VANISHED)
    assert verdict(result) == ((Kind.REJECTED, Reason.UNREADABLE) if detail else gone)
    assert (result.detail, left(staging)) == (detail or "", [])


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EIO, (Kind.REJECTED, Reason.UNREADABLE)),
        (errno.ESTALE, (Kind.IGNORED, Reason.VANISHED)),
        (None, (Kind.REJECTED, Reason.MALFORMED)),  # as some libraries say of what they do not understand
    ],
)
def test_an_error_of_the_system_met_anywhere_says_nothing_about_the_file(
    tmp_path, staging, monkeypatch, number, expected
):
    def fail(_descriptor):
        raise OSError(number, "no") if number else OSError("no")

    path = drop(tmp_path, "a", dicom())
    one, before = candidate(path), len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fstat", fail)
    (found,) = run(staging, one)
    monkeypatch.undo()
    assert (verdict(found), left(staging)) == (expected, [])
    assert len(os.listdir("/proc/self/fd")) == before


# -- what is refused ------------------------------------------------------------------------------------


def test_a_dicomdir_is_ignored_and_leaves_nothing(staging):
    one = run_one(staging, bundled("dicomdirtests/DICOMDIR"))
    assert (verdict(one), left(staging)) == ((Kind.IGNORED, Reason.DICOMDIR), [])


@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.NOT_DICOM),
        (b"just text, and long enough to count as large " * 9, Reason.NOT_DICOM),
        (dicom()[:-20], Reason.TRUNCATED),
        (dicom(StudyInstanceUID=None), Reason.MISSING_UID),
        (dicom(SeriesInstanceUID="../../etc"), Reason.INVALID_UID),
    ],
    ids=["empty", "text", "truncated", "missing", "invalid"],
)
def test_the_bytes_of_a_refused_file_are_staged_for_quarantine(
    tmp_path, staging, monkeypatch, data, reason, in_memory
):
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    one = run_one(staging, drop(tmp_path, "a", data))
    assert (verdict(one), one.source_sha256) == ((Kind.REJECTED, reason), sha256(data))
    assert (staged_bytes(staging, one), left(staging)) == (data, [one.name])


def test_a_truncated_file_tells_whose_it_is(tmp_path, staging):
    one = run_one(staging, drop(tmp_path, "a", dicom(patient="P7")[:-20]))
    assert one.header.text("PatientID") == "P7"


def test_a_file_without_a_needed_uid_tells_whose_it_is(tmp_path, staging):
    one = run_one(staging, drop(tmp_path, "a", dicom(patient="P7", StudyInstanceUID=None)))
    assert one.header.text("PatientID") == "P7"


def test_what_a_refusal_says_holds_no_value_of_the_file(tmp_path, staging):
    one = run_one(staging, drop(tmp_path, "a", dicom(patient="Canary", SeriesInstanceUID="../Canary")))
    assert "Canary" not in one.detail


def test_large_junk_is_noted_and_not_copied(tmp_path, staging, monkeypatch):
    monkeypatch.setattr(reading, "IN_MEMORY", 100)
    monkeypatch.setattr(reading, "JUNK_COPIED_UP_TO", 1000)
    one = run_one(staging, drop(tmp_path, "film.mp4", b"film" * 1000))
    assert (verdict(one), left(staging)) == ((Kind.REJECTED, Reason.NOT_DICOM), [])
    assert one.detail.endswith("; too large to copy")


def test_large_gzipped_junk_is_noted_and_not_copied(tmp_path, staging, monkeypatch):
    monkeypatch.setattr(reading, "JUNK_COPIED_UP_TO", 1000)
    one = run_one(staging, drop(tmp_path, "a.tar.gz", gzip.compress(os.urandom(4000))))
    assert (verdict(one), left(staging)) == ((Kind.REJECTED, Reason.NOT_DICOM), [])


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), ValueError("Canary")])
def test_whatever_the_parser_raises_concerns_one_file(tmp_path, staging, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(stage, "read_header", fail)
    one = run_one(staging, drop(tmp_path, "a", dicom()))
    reason = Reason.TOO_LARGE if isinstance(error, MemoryError) else Reason.MALFORMED
    assert (verdict(one), staged_bytes(staging, one)) == ((Kind.REJECTED, reason), dicom())
    assert "Canary" not in one.detail


# -- trouble with the archive ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, ArchiveFullError), (errno.EDQUOT, ArchiveFullError), (errno.EIO, ArchiveError)],
)
@pytest.mark.parametrize("in_memory", [reading.IN_MEMORY, 100])
def test_a_full_or_broken_archive_is_raised_and_half_a_file_is_removed(
    tmp_path, staging, monkeypatch, number, expected, in_memory
):
    monkeypatch.setattr(reading, "IN_MEMORY", in_memory)
    path = drop(tmp_path, "a", dicom())

    def fail(_fd, _data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(expected) as caught:
        run(staging, candidate(path))
    monkeypatch.undo()
    assert (type(caught.value), left(staging)) == (expected, [])


def test_an_fsync_that_fails_is_raised_and_the_file_is_removed(tmp_path, staging, monkeypatch):
    def fail(_fd):
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArchiveError):
        run_one(staging, drop(tmp_path, "a", dicom()))
    assert left(staging) == []


def test_an_archive_that_cannot_take_a_decoded_file_is_raised(staging):
    """Written through a buffer: it must not count as a fault of the file when closing it fails once more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))  # between encapsulated and native
    try:
        with pytest.raises(ArchiveError):
            run_one(staging, bundled("MR_small_RLE.dcm"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_staged_name_that_is_taken_is_raised(tmp_path, staging):
    drop(staging.folder, "1-0-0", b"not mine")
    with pytest.raises(ArchiveError):
        run_one(staging, drop(tmp_path, "a", dicom()))
    assert Path(staging.path("1-0-0")).read_bytes() == b"not mine"


# -- memory ---------------------------------------------------------------------------------------------

LARGE = 96 << 20
BOUNDED = """
import os, resource, sys
from sorter.model import Candidate
from sorter.organizer.staging import Staging, WriteBehind
from sorter.stage import Job, stage
from sorter.pool import _data_bytes
path, folder = sys.argv[1:]
seen = os.lstat(path)
version = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
limit = _data_bytes() + (24 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
candidate = Candidate(*os.path.split(path), *version)
(one,) = stage(Job((candidate,), Staging(folder), "1-", frozenset(), sync=False))
print(type(one).__name__, getattr(one, "reason", ""))
"""


def test_a_large_file_is_staged_in_little_memory(tmp_path, staging):
    data = dicom(Rows=6912, Columns=6912)
    head = data[: -8 * 8 * 2 - 4]
    path = drop(tmp_path, "large", head + (6912 * 6912 * 2).to_bytes(4, "little"))
    os.truncate(path, len(head) + 4 + 6912 * 6912 * 2)
    command = [sys.executable, "-c", BOUNDED, str(path), staging.folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Staged"]
