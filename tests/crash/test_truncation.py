"""A file that was cut, wherever, is never published: in every transfer syntax, alone or in a gzip.

A small file is cut at every offset; a larger one at every 64th, before each element, and in its last bytes.

    SORTER_TRUNCATION=full sh tests/run tests/crash/test_truncation.py -rP

cuts every real file (SORTER_TEST_DATA) like this as well, which takes a while. ``-rP`` shows how many offsets
were tried.
"""

import csv
import gzip
import os
import zlib
from functools import cache
from pathlib import Path

import pytest
from e2e.program import counts, ledger, rescan
from fuzz.seeds import corpus
from support import shared_data, tree

from sorter.model import Candidate, Reason, Staged
from sorter.organizer.staging import Staging
from sorter.parser.elements import DEFLATED_LITTLE, top_level, walk
from sorter.parser.pixels import FAMILIES
from sorter.stage import Job, stage

FULL = os.environ.get("SORTER_TRUNCATION") == "full"
EVERY, LAST = 64, 16
EVERY_OFFSET_UP_TO = 4096  # bytes
A_SYNTAX, LARGEST = 1, 16_000  # the sample: so many files of each transfer syntax, of at most so many bytes
MANY = 150  # cuts of the files that the real program is given
PADDING = 0xFFFCFFFC
SYNTAXES = [
    f"1.2.840.10008.1.2{end}"
    for end in (
        "", ".1", ".1.99", ".2", ".4.50", ".4.51", ".4.53", ".4.55", ".4.57", ".4.70", ".4.80", ".4.81",
        ".4.90", ".4.91", ".4.94", ".4.100", ".4.102", ".4.201", ".4.202", ".4.203", ".5", ".8.1",
    )
]  # fmt: skip
# Tags, by a part of the file's name, before which a cut is not seen: only what is optional or small is lost,
# or nobody knows what the SOP class needs (docs/architecture.md, "Whole or not").
UNSEEN = {
    # Dose References; fractions (but then its beams); what follows the beams.
    "test_files/rtplan.dcm": (0x300A0010, 0x300A0070, 0x300A0180, 0x300C0002, 0x300C0060, 0x300E0002),
    # Label, description and creator of a mapping, of annotations, of a presentation state; its LUT Shape.
    "sr-example/rwvm.dcm": (0x00700080, 0x00700081, 0x00700084),
    "sm_annotations.dcm": (0x00700080, 0x00700081, 0x00700084),
    "gsps.dcm": (0x00700080, 0x00700081, 0x00700082, 0x00700083, 0x00700084, 0x20500020),
    # MIME type and length of a document, which itself stands before them.
    "encapsulated_pdf.dcm": (0x00420012, 0x00420015),
    # An element that does not belong into a report, behind its content.
    "reportsi_with_empty_number_tags.dcm": (0x00640009,),
    # Records that identify and describe no image: Study ID, Series and Instance Number.
    "dicomdirtests/TINY_ALPHA/": (0x00200010, 0x00200011, 0x00200013),
    # A SOP class that is none of PS3.4: known for an image from Bits Allocated on.
    "panimg/dicom_4d/": range(0x00200010, 0x00280101),
}


class Cutter:
    """Cuts one file shorter and shorter, and has the workers' code stage what is left, in this process."""

    def __init__(self, folder):
        self._path, self._staging = folder / "cut.dcm", Staging(str(folder / "staging"))
        Path(self._staging.folder).mkdir()

    def staged(self, data, cuts):
        """The offsets, of those given, at which what is left was taken for a whole instance."""
        self._path.write_bytes(data)
        found = []
        for cut in sorted(cuts, reverse=True):
            os.truncate(self._path, cut)
            if isinstance(self.stage(), Staged):
                found.append(cut)
        return found[::-1]

    def whole(self, data):
        """Whether the file itself is staged."""
        self._path.write_bytes(data)
        return isinstance(self.stage(), Staged)

    def stage(self):
        """What a worker makes of the file as it is now; nothing stays in staging."""
        seen = os.lstat(self._path)
        version = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        candidate = Candidate(str(self._path.parent), self._path.name, *version)
        job = Job((candidate,), self._staging, "1-", frozenset(FAMILIES), sync=False)
        (one,) = stage(job)
        if one.name:
            self._staging.discard(one.name)
        return one


@pytest.fixture
def cutter(tmp_path):
    return Cutter(tmp_path)


def content_end(data):
    """The length to which a whole file can be cut without losing more than padding."""
    if data[:2] == b"\x1f\x8b":
        return _deflated_end(data, 0, 31)
    dataset = walk(data, frozenset())
    if dataset.transfer_syntax_uid == DEFLATED_LITTLE:
        return _deflated_end(data, dataset.start, -15)
    return max(end for tag, *_, end in top_level(dataset) if tag != PADDING)


def _deflated_end(data, start, window):
    inflater = zlib.decompressobj(window)
    inflater.decompress(data[start:])
    return len(data) - len(inflater.unused_data)


def cuts(name, data):
    """(where to cut a whole file, at which of these offsets the loss is not seen)."""
    end, starts, unseen = content_end(data), [], set()
    if data[:2] != b"\x1f\x8b" and (dataset := walk(data, frozenset())).data is data:
        places = [(tag, start) for tag, _, start, *_ in top_level(dataset)]
        starts = [start for _, start in places]
        tags = next((tags for part, tags in UNSEEN.items() if part in name), ())
        unseen = {start for tag, start in places if tag in tags}
    step = 1 if end <= EVERY_OFFSET_UP_TO else EVERY
    every = {*range(0, end, step), *range(max(0, end - LAST), end), *starts}
    return {cut for cut in every if cut < end}, unseen


def check(cutter, files):
    """Cut each file; says how many offsets were tried."""
    tried = 0
    for name, data in files:
        where, unseen = cuts(name, data)
        assert (name, cutter.staged(data, where)) == (name, sorted(where & unseen))
        tried += len(where)
    print(f"{len(files)} files cut at {tried} offsets")


# -- the sample ---------------------------------------------------------------------------------------------


@cache
def sample():
    """Transfer syntax -> the smallest bundled and generated instances of it, and one of several frames."""
    found = {}
    for syntax, seeds in corpus().items():
        small = sorted(filter(_is_small_instance, seeds), key=lambda seed: len(seed.data))
        several = [seed for seed in small if _frames(seed) > 1][:1]
        found[syntax] = list(dict.fromkeys((seed.name, seed.data) for seed in small[:A_SYNTAX] + several))
    return found


def _is_small_instance(seed):
    return len(seed.data) <= LARGEST and seed.parsed.body[0].tag >> 16 != 4  # and no DICOMDIR


def _frames(seed):
    frames = seed.parsed.find(0x00280008)
    return int(frames.value) if frames and frames.value.strip().isdigit() else 1


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_file_that_was_cut_is_never_staged(cutter, syntax):
    files = sample()[syntax]
    assert [name for name, data in files if not cutter.whole(data)] == []
    check(cutter, files)


@pytest.mark.parametrize("syntax", [*SYNTAXES[:3], SYNTAXES[4]])
def test_a_gzip_that_was_cut_is_never_staged(cutter, syntax):
    files = [
        (name, gzip.compress(data, mtime=0)) for name, data in sample()[syntax] if data[128:132] == b"DICM"
    ]
    assert [name for name, data in files if not cutter.whole(data)] == []
    check(cutter, files)


def test_the_sample_has_files_of_several_frames_in_each_kind_of_encoding():
    several = {syntax for syntax, seeds in corpus().items() if any(_frames(seed) > 1 for seed in seeds)}
    assert several >= {f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".4.90", ".5", ".8.1")}


def test_of_a_plan_only_optional_ends_may_be_missing(cutter):
    """What is published though it was cut is cut before an optional last element, and just before it."""
    (data,) = [seed.data for seed in corpus()[SYNTAXES[0]] if seed.name == "test_files/rtplan.dcm"]
    starts = {tag: start for tag, _, start, *_ in top_level(walk(data, frozenset()))}
    expected = [starts[tag] for tag in UNSEEN["test_files/rtplan.dcm"]]
    assert cutter.staged(data, range(content_end(data))) == expected


# -- the real program ---------------------------------------------------------------------------------------


def test_the_program_publishes_no_file_that_was_cut(tmp_path):
    """Some cuts of a file of each transfer syntax, and of a gzip."""
    incoming, archive = tmp_path / "incoming", tmp_path / "archive"
    incoming.mkdir()
    wholes = {syntax: files[0] for syntax, files in sample().items() if syntax in SYNTAXES}
    wholes["gzip"] = ("gzip", gzip.compress(wholes[SYNTAXES[1]][1], mtime=0))
    each = MANY // len(wholes)
    cut_files = 0
    for syntax, (name, data) in wholes.items():
        where, unseen = cuts(name, data)
        chosen = sorted(where - unseen)
        for cut in chosen[:: len(chosen) // each]:
            (incoming / f"{syntax}-{cut}.dcm").write_bytes(data[:cut])
            cut_files += 1
    done = rescan(archive, incoming=incoming)
    assert counts(done.facts) == {"rejected": cut_files}
    reasons = {reason for _, reason in ledger(archive, incoming).values()}
    assert reasons <= {str(Reason.TRUNCATED), str(Reason.NOT_DICOM), str(Reason.MALFORMED)}
    assert tree(archive) == {}
    print(f"{cut_files} files that were cut, none of them published")


# -- every real file ----------------------------------------------------------------------------------------


def _census():
    """The paths of all real files, relative to their folder."""
    with (shared_data() / "census.csv").open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file) if row["kind"] == "dicom"]


def _folders():
    """Their folders, to be looked at side by side; none unless all are asked for."""
    return sorted({path.rpartition("/")[0] for path in _census()}) if FULL else []


@pytest.mark.timeout(0)
@pytest.mark.parametrize("folder", _folders())
def test_no_real_file_that_was_cut_is_staged(cutter, folder):
    """Unless it is refused as it is."""
    paths = [path for path in _census() if path.rpartition("/")[0] == folder]
    files = [(path, (shared_data() / path).read_bytes()) for path in paths]
    check(cutter, [(name, data) for name, data in files if cutter.whole(data)])
