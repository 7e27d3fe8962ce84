"""What grows with the archive: an index of many instances, made as ingest makes it.

Recorded are batches as large as those of a rescan, through :meth:`Index.record`, each after the look-ups that
ingest makes. Series and path keys are in random order, as names of folders are; instances come by series.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.latency import daemon
from benchmarks.options import Options
from benchmarks.peers import sorter_environment
from benchmarks.report import Cell, Table
from sorter.index import Index
from sorter.intake import BATCH_FILES
from sorter.model import Candidate, Header, Instance, Kind, Outcome, Pixels, Place
from sorter.organizer.layout import path_key

SERIES = 200  # instances a series; 5 series a study, 2 studies a patient
LOOKUPS = 2000
STARTS = 5
_NATIVE = "1.2.840.10008.1.2.1"
COLUMNS = (
    "instances", "inserts/s", "look-ups of a batch, ms", "look-up by key p50, us", "look-up by key p99, us",
    "bytes an instance", "find, s", "find, MB", "status, s", "status -q, s", "--help, s",
    "daemon watching after, s",
)  # fmt: skip


@dataclass(slots=True)
class Filled:
    """What filling up to one size took."""

    inserts_per_second: float
    lookup_ms: float


def scale(work: Path, options: Options) -> list[Table]:
    """A row for each size, measured as the index grows through it."""
    with options.folder(work, "index") as archive:
        (archive / ".sorter").mkdir(parents=True)
        rows = [list(row) for row in _rows(archive, sorted(options.instances))]
    return [
        Table(
            "index", "The index as it grows", COLUMNS, rows,
            ["inserts/s and look-ups of a batch: of the last tenth of each size, with the ledger's rows"],
            curves=("inserts/s", "look-up by key p99, us", "bytes an instance"),
        )
    ]  # fmt: skip


def known(work: Path, options: Options) -> list[Table]:
    """A second rescan of files that are all known, against ``find`` (``benchmarks.known``)."""
    rows: list[list[Cell]] = []
    for size in sorted(options.instances):
        command = [sys.executable, "-m", "benchmarks.known", "--files", str(size), "--dir", str(work)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        facts = json.loads(done.stdout)
        rows.append([facts[key] for key in ("files", "find_seconds", "rescan_seconds", "ratio", "peak_mb")])
    columns = ("files", "find, s", "rescan, s", "by find", "peak MB")
    return [Table("known", "A second rescan, of known files", columns, rows, curves=("find, s", "rescan, s"))]


def _rows(archive: Path, sizes: Sequence[int]) -> Iterator[list[Cell]]:
    start = 0
    for size in sizes:
        index = Index.open(archive / ".sorter" / "index.sqlite")
        try:
            filled = fill(index, start, size)
            times = sorted(_lookups(index, size))
        finally:
            index.close()
        start = size
        bytes_each = sum(one.stat().st_size for one in (archive / ".sorter").iterdir()) / size
        patient = header(size // 2).text("PatientID")
        find, most = started(["find", f"PatientID={patient}"], archive)
        with daemon(archive.with_name(f"daemon-{size}"), archive=archive) as running:
            watching = running.start_seconds
        yield [
            size, filled.inserts_per_second, filled.lookup_ms,
            times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6, bytes_each, find, most,
            started(["status"], archive)[0], started(["status", "-q"], archive)[0],
            started(["--help"], None)[0], watching,
        ]  # fmt: skip


def fill(index: Index, start: int, end: int) -> Filled:
    """Record instances ``start`` to ``end``, as ingest does; measured over the last tenth."""
    measured_from = end - max(BATCH_FILES, (end - start) // 10)
    recording = looking = 0.0
    recorded = batches = 0
    for first in range(start, end, BATCH_FILES):
        batch = [outcome(number) for number in range(first, min(first + BATCH_FILES, end))]
        headers = [one.instance.header for one in batch if one.instance]
        places = {one.text("SOPInstanceUID"): place(one) for one in headers}
        keys = {
            head.text("SOPInstanceUID"): path_key(one.path) for head, one in zip(headers, batch, strict=True)
        }
        began = time.perf_counter()
        index.lookup(headers)
        index.folder_owners([one.patient_folder_key for one in places.values() if one.patient_folder_key])
        index.taken(list(keys.values()))
        looked = time.perf_counter()
        index.record(batch, places, keys)
        ended = time.perf_counter()
        if first >= measured_from:
            looking += looked - began
            recording += ended - looked
            recorded += len(batch)
            batches += 1
    return Filled(recorded / recording, looking / batches * 1e3)


def _lookups(index: Index, size: int) -> Iterator[float]:
    """Seconds of the look-up of one known instance by its SOP Instance UID, each time another."""
    numbers = random.Random(1).sample(range(size), min(LOOKUPS, size))
    with index.reading() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        for number in numbers:
            uid = header(number).text("SOPInstanceUID")
            began = time.perf_counter()
            found = raw.execute("SELECT path FROM instances WHERE sop_instance_uid = ?", (uid,)).fetchone()
            yield time.perf_counter() - began
            assert found


def started(words: Sequence[str], archive: Path | None) -> tuple[float, int]:
    """Seconds of ``sorter`` with these words, start-up included, and its peak memory in MiB.

    The median of five, after a first one.
    """
    more = [] if archive is None else ["--archive", str(archive)]
    command = [sys.executable, "-m", "sorter", *words, *more]
    taken, most = [], 0
    for _ in range(STARTS + 1):
        began = time.perf_counter()
        running = subprocess.Popen(command, env=sorter_environment(), stdout=subprocess.DEVNULL)
        _, _, usage = os.wait4(running.pid, 0)
        running.returncode = 0
        taken.append(time.perf_counter() - began)
        most = max(most, usage.ru_maxrss >> 10)
    return statistics.median(taken[1:]), most


# -- instances ----------------------------------------------------------------------------------------------


def _random(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=32).hexdigest()


def header(number: int) -> Header:
    """What the index keeps of instance ``number``, about as much as a CT has."""
    series, position = divmod(number, SERIES)
    study = series // 5
    series_uid = f"1.2.826.0.1.3680043.10.2.{_random('series', series)}"
    return Header({
        "PatientID": f"{_random('patient', study // 2) % 10**8:08}{study // 2}",
        "PatientName": "Bench^Mark", "PatientBirthDate": "19700101", "PatientSex": "O",
        "StudyInstanceUID": f"1.2.826.0.1.3680043.10.2.{_random('study', study)}",
        "StudyDate": f"20{study % 25:02}0131", "StudyTime": "101500", "StudyDescription": "Abdomen",
        "StudyID": str(study), "AccessionNumber": f"A{study:08}", "InstitutionName": "Hospital",
        "SeriesInstanceUID": series_uid, "Modality": "CT", "SeriesNumber": series % 5 + 1,
        "SeriesDescription": "Portal venous 2.0", "Manufacturer": "Bench", "BodyPartExamined": "ABDOMEN",
        "SOPInstanceUID": f"{series_uid}.{position + 1}", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "InstanceNumber": position + 1, "AcquisitionNumber": 1, "AcquisitionDate": "20240131",
        "ContentDate": "20240131", "ImageType": "ORIGINAL\\PRIMARY\\AXIAL", "Rows": 512, "Columns": 512,
        "BitsAllocated": 16, "BitsStored": 12, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    })  # fmt: skip


def place(head: Header) -> Place:
    """Where an instance goes; as the descriptive template has it."""
    patient, uid = head.text("PatientID"), head.text("SOPInstanceUID")
    folder = f"{patient}/{head.study_date}/abdomen/portal_venous_2.0_{head.text('SeriesNumber')}"
    leaf = f"CT.{head.text('SeriesInstanceUID')}.{head.number('InstanceNumber')}.dcm"
    return Place(patient, path_key(patient), head.study_date, folder, leaf, f"{leaf[:-4]}.{uid}.dcm")


def outcome(number: int) -> Outcome:
    """Instance ``number``, stored."""
    head = header(number)
    where = place(head)
    digest = _digest(number)
    instance = Instance(head, digest, digest, 525_242, _NATIVE, _NATIVE, Pixels.NATIVE)
    series = number // SERIES
    folder = f"/srv/incoming/study{series // 5:07}/series{series:07}"
    source = Candidate(
        folder, f"IM{number:07}.dcm", 66_305, 10_000_000 + number, 525_242, 1_700_000_000 * 10**9 + number,
        1_700_000_000 * 10**9 + number, "/srv/incoming",
    )  # fmt: skip
    return Outcome(
        source, Kind.STORED, path=f"{where.folder}/{where.leaf}", source_sha256=digest, instance=instance
    )
