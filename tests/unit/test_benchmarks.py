"""The benchmarks measure what they say: valid, distinct corpora, and losses counted right."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from support import drop

from benchmarks.corpus import KINDS, make
from benchmarks.decode import extract
from benchmarks.lost import lost, uids
from benchmarks.peers import BASELINE, Peer, Tools
from benchmarks.report import Table
from benchmarks.rounds import Result, measure
from benchmarks.scale import fill
from sorter.index import Index
from sorter.parser.elements import walk
from sorter.parser.header import wanted_tags

SMALL = {name: replace(kind, rows=64, columns=48) for name, kind in KINDS.items()}
SMALL["j2k-multiframe"] = replace(SMALL["j2k-multiframe"], frames=11)


@pytest.fixture(params=SMALL)
def corpus(request, tmp_path):
    """A kind, and a folder with a few of its files."""
    kind = SMALL[request.param]
    make(tmp_path / "source", kind, 12)
    return kind, tmp_path / "source"


def test_every_file_is_whole_and_distinct_and_decodes_to_the_pixels_its_header_states(corpus):
    kind, root = corpus
    found = [pydicom.dcmread(path) for path in sorted(root.rglob("*.dcm"))]
    assert len(found) == len({one.SOPInstanceUID for one in found}) == 12
    assert all(one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID for one in found)
    frames = (kind.frames,) if kind.frames > 1 else ()
    assert {one.pixel_array.shape for one in found[:3]} == {(*frames, kind.rows, kind.columns)}


def test_every_file_passes_the_structural_walk(corpus):
    for path in corpus[1].rglob("*.dcm"):
        assert walk(path.read_bytes(), wanted_tags(frozenset())).pixel_data is not None


def test_a_tenth_of_the_small_files_repeats_an_instance_number_within_its_series(tmp_path):
    make(tmp_path, replace(SMALL["small"], templates=1), 400)
    found = [pydicom.dcmread(path, stop_before_pixels=True) for path in tmp_path.rglob("*.dcm")]
    names = {(one.SeriesInstanceUID, one.InstanceNumber) for one in found}
    assert (len(found), len(names)) == (400, 360)


def test_small_files_are_16_kilobytes_with_a_hundred_elements_private_ones_and_sequences(tmp_path):
    make(tmp_path, KINDS["small"], 1)
    path = next(tmp_path.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    assert 15_000 < path.stat().st_size < 17_000
    assert len(dataset) > 100
    assert sum(one.tag.is_private for one in dataset) > 50
    assert dataset.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeMeaning == "Abdomen"


def test_corpora_of_different_kinds_share_no_uid(tmp_path):
    for name, kind in SMALL.items():
        make(tmp_path / name, kind, 3)
    assert set(uids(tmp_path).values()) == {1}


def test_the_same_options_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name, SMALL["j2k-ct"], 2)
    first, second = (
        [path.read_bytes() for path in sorted((tmp_path / n).rglob("*.dcm"))] for n in ("a", "b")
    )
    assert first == second


def test_every_frame_is_extracted_as_a_codestream(tmp_path):
    make(tmp_path / "source", SMALL["j2k-multiframe"], 2)
    extract(tmp_path / "source", tmp_path / "streams")
    streams = [path.read_bytes() for path in sorted((tmp_path / "streams").iterdir())]
    assert len(streams) == 22
    assert {stream[:4] for stream in streams} == {b"\xff\x4f\xff\x51"}  # SOC, SIZ: ISO 15444-1 A.4


# -- losses -------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    make(tmp_path / "source", SMALL["small"], 20)
    return tmp_path / "source"


def test_nothing_is_lost_by_a_copy(source, tmp_path):
    shutil.copytree(source, tmp_path / "copy")
    assert lost(uids(source), uids(tmp_path / "copy")) == 0


def test_each_missing_instance_is_lost_once(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy")
    for path in sorted(copy.rglob("*.dcm"))[:3]:
        path.unlink()
    assert lost(uids(source), uids(copy)) == 3


def test_a_second_copy_makes_up_for_no_other_instance(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy")
    first, second = sorted(copy.rglob("*.dcm"))[:2]
    shutil.copy(first, second)
    assert lost(uids(source), uids(copy)) == 1


def test_what_lies_in_quarantine_and_what_is_no_dicom_is_not_kept(source, tmp_path):
    shutil.copytree(source, tmp_path / "archive" / ".sorter" / "quarantine")
    drop(tmp_path / "archive", "index.db", b"\x08\x00\x18\x00UI\x04\x001.2\0")
    drop(tmp_path / "archive", "empty", b"")
    assert uids(tmp_path / "archive") == Counter()
    assert lost(uids(source), uids(tmp_path / "archive")) == 20


def test_uids_are_found_in_files_of_another_encoding_too(source, tmp_path):
    path = next(source.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    (tmp_path / "implicit").mkdir()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(tmp_path / "implicit" / "x")
    assert uids(tmp_path / "implicit") == Counter([str(dataset.SOPInstanceUID)])


# -- measuring ----------------------------------------------------------------------------------------------


def test_contestants_take_turns_and_losses_are_those_of_the_peer(source, tmp_path):
    peers = [BASELINE, Peer("none", ("no-such-program",), "nowhere", "no", "no", BASELINE.ready)]
    copied, absent = measure(peers, source, tmp_path, tools=Tools(), rounds=2, patience=60)
    assert (copied.lost, sorted(copied.seconds)) == (0, [0, 1, 2])
    assert absent.skipped == "no-such-program not installed (nowhere)"
    assert not (tmp_path / "result").exists()


def test_a_peer_without_patience_for_it_has_one_turn_only(source, tmp_path):
    (slow,) = measure([BASELINE], source, tmp_path, tools=Tools(), rounds=2, patience=0.0)
    assert sorted(slow.seconds) == [0]


def test_ratios_are_of_the_same_round_and_leave_the_warm_up_out():
    mine = Result(BASELINE, seconds={0: 100.0, 1: 3.0, 2: 8.0})
    theirs = Result(BASELINE, seconds={0: 1.0, 1: 1.0, 2: 2.0})
    slow = Result(BASELINE, seconds={0: 7.0})
    assert mine.ratios(theirs) == [3.0, 4.0]
    assert slow.ratios(theirs) == [7.0]
    assert slow.ratio(Result(BASELINE)) is None


def test_a_table_is_written_as_markdown():
    table = Table("t", "Title", ("what", "n"), [["a", 1234], ["b", None], ["c", 0.12345]], ["A note."])
    expected = (
        "### Title\n\n| what | n |\n| --- | --- |\n| a | 1,234 |\n| b | - |\n| c | 0.123 |\n\n- A note.\n"
    )
    assert table.markdown() == expected


def test_the_generated_index_has_its_instances_and_each_is_a_stored_source(tmp_path):
    index = Index.open(tmp_path / "index.sqlite")
    fill(index, 0, 1000)
    fill(index, 1000, 1500)
    counts = index.counts()
    index.close()
    assert (counts["instances"], counts["series"], counts["outcomes"]) == (1500, 8, {"stored": 1500})


def test_pixels_compress_as_those_of_a_scanner(tmp_path):
    make(tmp_path, KINDS["j2k-ct"], 1)
    dataset = pydicom.dcmread(next(tmp_path.rglob("*.dcm")))
    assert 0.3 < len(dataset.PixelData) / dataset.pixel_array.nbytes < 0.5
    assert np.ptp(dataset.pixel_array) > 1000
