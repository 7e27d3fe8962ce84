"""Real files of many scanners and libraries (``SORTER_TEST_DATA``), against what census.csv says of each."""

import csv
import hashlib
import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from e2e.program import KINDS, instances, rescan, snapshot, sources
from pydicom.pixels import pixel_array
from support import shared_data, tree

pytestmark = pytest.mark.xdist_group("real data")

NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
# Readable instances with all UIDs that are refused all the same: cut short, or images without pixel data.
TRUNCATED = {
    "karawun/Dicom/1.3.12.2.1107.5.2.43.167031.2019040213095021814319052.dcm",
    "nibabel/nicom/tests/data/csa_slice_norm.dcm",
    "pydicom/charset_files/chrJapMulti.dcm",
    "pydicom/charset_files/chrJapMultiExplicitIR6.dcm",
    "pydicom/charset_files/chrKoreanMulti.dcm",
    "pydicom/test_files/MR_truncated.dcm",
    "pydicom/test_files/rtplan_truncated.dcm",
}
# Decoded siblings, from SOURCES.md: each encapsulated file and the native one with the same pixels.
CT = "cornerstone3D/CTImage.dcm"
PAIRS = {
    f"{CT}_JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm": CT,
    f"{CT}_JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm": CT,
    f"{CT}_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm": CT,
    f"{CT}_JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm": CT,
    f"{CT}_RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm": CT,
    "cornerstone3D/TestPattern_JPEG-LS-Lossless.dcm": "cornerstone3D/TestPattern_RGB.dcm",
    "cornerstone3D/TestPattern_JPEG-Lossless_RGB.dcm": "cornerstone3D/TestPattern_RGB.dcm",
    "pydicom-data/693_J2KR.dcm": "pydicom-data/693_UNCR.dcm",
    "pydicom/test_files/693_J2KI.dcm": "pydicom-data/693_UNCI.dcm",
    "pydicom-data/emri_small_RLE.dcm": "pydicom-data/emri_small.dcm",
    "pydicom-data/emri_small_jpeg_2k_lossless.dcm": "pydicom-data/emri_small.dcm",
    "pydicom-data/emri_small_jpeg_ls_lossless.dcm": "pydicom-data/emri_small.dcm",
    "pydicom/test_files/MR_small_RLE.dcm": "pydicom/test_files/MR_small.dcm",
    "pydicom/test_files/MR_small_jp2klossless.dcm": "pydicom/test_files/MR_small.dcm",
    "pydicom/test_files/MR_small_jpeg_ls_lossless.dcm": "pydicom/test_files/MR_small.dcm",
    "pydicom/test_files/SC_rgb_rle.dcm": "pydicom-data/SC_rgb.dcm",
    "pydicom/test_files/SC_rgb_rle_16bit.dcm": "pydicom-data/SC_rgb_16bit.dcm",
    "pydicom/test_files/SC_rgb_rle_32bit_2frame.dcm": "pydicom-data/SC_rgb_32bit_2frame.dcm",
    "pydicom/test_files/rtdose_rle.dcm": "pydicom/test_files/rtdose.dcm",
}


@pytest.fixture(scope="module")
def data():
    return shared_data()


@pytest.fixture(scope="module")
def census(data):
    with (data / "census.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def sorted_once(data, tmp_path_factory):
    """The archive, the summary, and the ledger by path in the data folder, after one rescan of everything."""
    archive = tmp_path_factory.mktemp("real") / "archive"
    done = rescan(archive, data)
    rows = {os.path.relpath(row["source"], data): row for row in sources(archive)}
    return archive, done.facts, rows


def identified(row):
    """Whether pydicom reads it as an instance with its UIDs."""
    uids = ("sop_class", "sop_instance_uid", "study_uid", "series_uid")
    return row["readable"] == "yes" and row["kind"].startswith("dicom") and all(row[uid] for uid in uids)


# Archives of the corpus with DICOM inside; all but one hold something else too, and so would stay.
EXPANDED = {
    "dcmqi/paramaps/pm-example-dcm.zip": "",
    "panimg/dicom.zip": "partly",
    "panimg/same_name_zipped.zip": "partly",
    "panimg/test.tar": "partly",
    "panimg/test.zip": "partly",
    "panimg/valid.zip": "partly",
    "panimg/valid.zip/valid/dicom.tar": "partly",
}


def is_member(path):
    """Whether it came in an archive of the corpus."""
    return any(path.startswith(f"{archive}/") for archive in EXPANDED)


def test_every_file_has_one_outcome(data, sorted_once):
    """So has every member of the archives that were opened: each is a source of its own."""
    archive, facts, rows = sorted_once
    files = [os.path.relpath(Path(folder) / n, data) for folder, _, names in os.walk(data) for n in names]
    members = {path for path in rows if is_member(path)}
    assert set(rows) - members == set(files)
    assert facts["seen"] == len(sources(archive)) == len(rows) == len(files) + len(members)
    assert {p: row["reason"] or "" for p, row in rows.items() if row["outcome"] == "expanded"} == EXPANDED
    print(f"{len(files)} files, {len(members)} members")
    found = Counter(row["outcome"] for row in rows.values())
    assert {kind: facts[kind] for kind in KINDS} == {kind: found[kind] for kind in KINDS}
    print("what became of the corpus:", dict(found))


def test_each_readable_instance_is_in_the_tree_once_or_refused_for_a_known_reason(census, sorted_once):
    archive, _, rows = sorted_once
    by_uid = {row["sop_instance_uid"]: row for row in instances(archive)}
    in_tree = defaultdict(list)
    for path in tree(archive):
        in_tree[path].append(path)
    absent = {}
    for path, facts in census.items():
        if not identified(facts):
            continue
        row = rows[path]
        assert row["outcome"] in ("stored", "duplicate", "equivalent", "conflict", "rejected"), path
        if row["outcome"] in ("rejected", "conflict"):
            absent[path] = (row["outcome"], row["reason"], row["detail"])
            assert (archive / row["path"]).is_file()
        if row["outcome"] != "rejected":
            assert in_tree[by_uid[facts["sop_instance_uid"]]["path"]], path
        if row["outcome"] in ("stored", "duplicate", "equivalent"):
            assert row["path"] == by_uid[facts["sop_instance_uid"]]["path"], path
    for path, why in sorted(absent.items()):
        print("not in the tree:", *why[:2], path, why[2], sep="  ")
    refused = {path: why[1] for path, why in absent.items() if why[0] == "rejected"}
    assert refused == dict.fromkeys(TRUNCATED, "truncated")
    assert len(by_uid) == len(tree(archive))


def test_what_is_no_instance_is_refused(census, sorted_once):
    """No picture, volume, text or archive file is taken for an instance; nothing without its UIDs is."""
    for path, facts in census.items():
        if not facts["sop_instance_uid"] and not facts["kind"].startswith("dicom.gz"):
            expected = ("expanded",) if path in EXPANDED else ("rejected", "ignored")
            assert sorted_once[2][path]["outcome"] in expected, path


def test_a_volume_of_nobody_waits_for_a_word(sorted_once):
    """The NIfTI files of the corpus come without a Patient ID; their JSON files are no patient's either."""
    reasons = {(row["outcome"], row["reason"]) for path, row in sorted_once[2].items() if ".nii" in path}
    assert reasons <= {("rejected", "needs_info"), ("rejected", "not_dicom"), ("rejected", "truncated")}
    assert ("rejected", "needs_info") in reasons


def test_what_is_not_transcoded_is_kept_byte_for_byte(data, sorted_once):
    archive, _, rows = sorted_once
    states = {row["path"]: row for row in instances(archive)}
    compared = 0
    for path, row in rows.items():
        if is_member(path):
            continue
        source = (data / path).read_bytes()
        if row["outcome"] != "stored" or source.startswith(b"\x1f\x8b"):
            continue
        assert hashlib.sha256(source).hexdigest() == states[row["path"]]["source_sha256"]
        if states[row["path"]]["pixels"] != "transcoded":
            assert (archive / row["path"]).read_bytes() == source
            compared += 1
    print(f"{compared} files are byte-identical to their sources")
    assert compared > 1_000


def lasting(archive):
    """The archive without what each run may touch: the index, and the folder of its staging folder."""
    meta = archive / ".sorter"
    passing = (str(meta), str(meta / "staging"))
    return {p: one for p, one in snapshot(archive).items() if p not in passing and "index.sqlite" not in p}


def test_a_second_run_stores_nothing_and_touches_nothing(data, sorted_once):
    archive, _, rows = sorted_once
    before = lasting(archive)
    again = rescan(archive, data).facts
    assert lasting(archive) == before
    # What was expanded is not opened again, so its members are not met.
    own = {path: row for path, row in rows.items() if not is_member(path)}
    size = sum(os.lstat(data / path).st_size for path in own)
    assert (again["seen"], again["stored"], again["bytes"]) == (len(own), 0, size)
    found = Counter(row["outcome"] for row in own.values())
    found["duplicate"] += found.pop("stored")
    assert {kind: again[kind] for kind in KINDS} == {kind: found[kind] for kind in KINDS}


# -- pixels ---------------------------------------------------------------------------------------------


def decoded(path, *, raw=False):
    return pixel_array(pydicom.dcmread(path), raw=raw)


@pytest.fixture(scope="module")
def archived(data, census, tmp_path_factory):
    """Every encapsulated file that something decodes -> its row; each in an archive where it comes first."""
    rounds = defaultdict(list)
    seen = Counter()
    for path, facts in census.items():
        decoded = facts["decode"] == "ok" or facts["decode2"].endswith(":ok")
        if identified(facts) and facts["transfer_syntax"] not in NATIVE and decoded:
            rounds[seen[facts["sop_instance_uid"]]].append(path)
            seen[facts["sop_instance_uid"]] += 1
    found = {}
    for number, paths in rounds.items():
        archive = tmp_path_factory.mktemp(f"round{number}") / "archive"
        facts = rescan(archive, *(data / path for path in paths)).facts
        assert facts["stored"] == len(paths)
        rows = {row["path"]: row for row in instances(archive)}
        for row in sources(archive):
            found[os.path.relpath(row["source"], data)] = rows[row["path"]] | {"file": archive / row["path"]}
    return found


def test_every_encapsulated_file_that_pydicom_decodes_is_native_with_the_same_pixels(data, census, archived):
    kept, compared, by_sha1 = {}, 0, 0
    for path, row in archived.items():
        if row["pixels"] != "transcoded":
            kept[path] = (row["pixels"], row["note"])
            continue
        assert row["transfer_syntax_uid"] in NATIVE
        if census[path]["decode"] != "ok":
            print("pydicom does not decode the source:", path)
            continue
        # Where the colour space stays, the values in the file are compared too.
        if row["photometric_interpretation"] == census[path]["photometric"]:
            np.testing.assert_array_equal(decoded(row["file"], raw=True), decoded(data / path, raw=True))
        np.testing.assert_array_equal(decoded(row["file"]), decoded(data / path))
        compared += 1
        digest = hashlib.sha1(np.ascontiguousarray(decoded(row["file"])).tobytes()).hexdigest()
        by_sha1 += digest == census[path]["pixel_sha1"]
    for path, why in kept.items():
        print("kept as it came:", path, *why)
    print(
        f"{compared} of {len(archived)} encapsulated files compared, {by_sha1} also with the census's SHA-1"
    )
    assert compared > 50
    assert {path for path in kept if census[path]["decode"] == "ok"} == set()


@pytest.mark.parametrize("encapsulated", PAIRS, ids=lambda path: path.rsplit("/", 1)[1][-40:])
def test_the_pixels_are_those_of_the_native_sibling(encapsulated, data, archived):
    if not (data / PAIRS[encapsulated]).exists():
        pytest.skip("its sibling is not in this folder")
    np.testing.assert_array_equal(
        decoded(archived[encapsulated]["file"]), decoded(data / PAIRS[encapsulated])
    )
