"""Volumes become instances: what each holds, and that it is the same every time."""

import gzip
import io
import json
import shutil
import struct
from uuid import UUID

import nibabel as nib
import numpy as np
import pydicom
import pytest
from made_volumes import MADE, save, turned, volume, voxels

from sorter.convert import nifti
from sorter.convert.convert import convert
from sorter.convert.errors import ConversionError, NeedsInfo
from sorter.convert.facts import Facts
from sorter.convert.options import Options
from sorter.parser.elements import walk

FACTS = Facts({"PatientID": "P1", "PatientName": "Müller^J", "StudyDate": "20200102"})
MR = Facts({**FACTS.values, "Modality": "MR"})
CT = Facts({**FACTS.values, "Modality": "CT"})
PLAIN = Options()


def made(path, facts=FACTS, options=PLAIN, notes=None):
    return list(convert(path, options, facts, [].append if notes is None else notes.append))


def datasets(path, facts=FACTS, options=PLAIN, notes=None):
    return [pydicom.dcmread(io.BytesIO(content)) for _, content in made(path, facts, options, notes)]


@pytest.fixture
def saved(tmp_path):
    return lambda name, file="v.nii": save(MADE[name](), tmp_path / file)


def said(dataset):
    return dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(
        dataset.get("RescaleIntercept", 0)
    )


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("facts", [FACTS, MR, CT], ids=["SC", "MR", "CT"])
def test_every_voxel_is_said_where_it_lies(saved, name, facts):
    path = saved(name)
    source = nib.load(path)
    data = np.asanyarray(source.dataobj)
    if data.dtype.names:
        data = np.stack([data[channel] for channel in data.dtype.names], -1)[:, :, :, None]
    data = data.reshape(*data.shape[:3], -1) if data.dtype.names is None and data.ndim < 5 else data
    lowest, highest = float(np.nanmin(data)), float(np.nanmax(data))
    allowed = 0 if data.dtype.kind != "f" or name == "scaled" else 8e-6 * (highest - lowest)
    to_voxel = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ source.affine)
    volumes = {}
    for dataset in datasets(path, facts):
        k = round(float((to_voxel @ [*map(float, dataset.ImagePositionPatient), 1])[2]))
        key = dataset.SeriesInstanceUID, k
        time = volumes.setdefault(key, []).__len__()
        volumes[key].append(dataset)
        part = int(dataset.SeriesNumber) - 1 + time
        expected = np.swapaxes(np.nan_to_num(data[:, :, k, part].astype(float), nan=lowest), 0, 1)
        assert allowed >= np.abs(said(dataset) - expected).max()
    assert data.shape[2] * (1 if facts is MR else data.shape[3] if data.ndim == 4 else 1) == len(volumes)


@pytest.mark.parametrize(
    ("facts", "options", "name", "expected"),
    [
        (FACTS, Options(), "axial", "1.2.840.10008.5.1.4.1.1.7"),
        (MR, Options(), "axial", "1.2.840.10008.5.1.4.1.1.4"),
        (CT, Options(), "axial", "1.2.840.10008.5.1.4.1.1.2"),
        (MR, Options(kind="sc"), "axial", "1.2.840.10008.5.1.4.1.1.7"),
        (MR, Options(), "RGB24", "1.2.840.10008.5.1.4.1.1.7"),
        (MR, Options(one_file=True), "float32", "1.2.840.10008.5.1.4.1.1.4.1"),
        (CT, Options(one_file=True), "axial", "1.2.840.10008.5.1.4.1.1.7.3"),
        (MR, Options(kind="sc", one_file=True), "axial", "1.2.840.10008.5.1.4.1.1.7.3"),
        (FACTS, Options(one_file=True), "uint8", "1.2.840.10008.5.1.4.1.1.7.2"),
        (FACTS, Options(one_file=True), "axial", "1.2.840.10008.5.1.4.1.1.7.3"),
        (FACTS, Options(one_file=True), "RGB24", "1.2.840.10008.5.1.4.1.1.7.4"),
        (FACTS, Options(kind="pmap"), "NaN", "1.2.840.10008.5.1.4.1.1.30"),
        (FACTS, Options(kind="seg"), "uint8", "1.2.840.10008.5.1.4.1.1.66.4"),
    ],
)
def test_the_class_is_what_facts_and_options_allow(saved, facts, options, name, expected):
    assert {expected} == {dataset.SOPClassUID for dataset in datasets(saved(name), facts, options)}


@pytest.mark.parametrize(
    "options", [Options(), Options(one_file=True), Options(kind="pmap"), Options(kind="seg")], ids=str
)
def test_converting_twice_gives_identical_bytes_and_no_uid_twice(saved, tmp_path, options):
    path = saved("uint8")
    (tmp_path / "again").mkdir()
    once, again = (
        made(path, options=options),
        made(save(MADE["uint8"](), tmp_path / "again" / "w.nii.gz"), options=options),
    )
    assert once == again
    assert len(once) == len({dataset.SOPInstanceUID for dataset in datasets(path, options=options)})


@pytest.mark.parametrize(
    ("facts", "options"),
    [
        (Facts({**FACTS.values, "PatientName": "Other"}), Options()),
        (Facts({**FACTS.values, "BodyPartExamined": "HEAD"}), Options()),
        (FACTS, Options(kind="sc")),
        (FACTS, Options(namespace=UUID(int=5))),
    ],
)
def test_other_facts_or_options_never_share_an_instance_uid(saved, facts, options):
    path = saved("axial")
    one, other = (
        {dataset.SOPInstanceUID for dataset in datasets(path, *case)}
        for case in ((FACTS, Options()), (facts, options))
    )
    assert set() == one & other


def test_files_of_one_study_share_it_and_without_study_facts_none_do(tmp_path):
    one, other = (save(volume(voxels(high=high)), tmp_path / f"{high}.nii") for high in (500, 600))
    known, unknown = FACTS, Facts({"PatientID": "P1"})
    assert len({datasets(path, known)[0].StudyInstanceUID for path in (one, other)}) == 1
    assert len({datasets(path, unknown)[0].StudyInstanceUID for path in (one, other)}) == 2


def test_no_clock_is_in_the_files(saved):
    for dataset in datasets(saved("axial"), MR):
        assert {"StudyDate"} == {
            element.keyword for element in dataset if element.VR in ("DA", "TM", "DT") and element.value
        }


def test_volumes_of_an_mr_are_temporal_positions_and_of_others_series(saved):
    path = saved("4-D")
    of_mr, of_ct = datasets(path, MR), datasets(path, CT)
    assert [(one.TemporalPositionIdentifier, one.NumberOfTemporalPositions) for one in of_mr] == [
        (1, 3)
    ] * 6 + [(2, 3)] * 6 + [(3, 3)] * 6
    assert (list(range(1, 19)), 1) == (
        [one.InstanceNumber for one in of_mr],
        len({one.SeriesInstanceUID for one in of_mr}),
    )
    assert (
        sorted({one.SeriesNumber for one in of_ct}),
        len({one.FrameOfReferenceUID for one in of_ct}),
    ) == ([1, 2, 3], 1)
    assert [made(path, CT)[at][0] for at in (0, -1)] == ["0001-00001.dcm", "0003-00006.dcm"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, PLAIN) for name in ("oblique", "left-handed", "RGB24", "float32")),
        *((name, Options(kind="pmap")) for name in ("oblique", "float32", "float64")),
        *((name, Options(one_file=True)) for name in ("oblique", "RGB24", "uint8")),
    ],
)
def test_sorters_own_walk_finds_each_whole(saved, name, options):
    for _, content in made(saved(name), options=options):
        found = walk(content, frozenset())
        assert (found.transfer_syntax_uid, found.unusual) == ("1.2.840.10008.1.2.1", False)


def test_units_become_millimetres(tmp_path):
    affine = np.diag([1000.0, 2000.0, 3000.0, 1.0])
    path = save(volume(voxels(), affine, xyz="micron"), tmp_path / "v.nii")
    dataset = datasets(path)[0]
    assert (list(dataset.PixelSpacing), dataset.SliceThickness) == ([2.0, 1.0], 3.0)


def test_the_sform_goes_before_a_qform_that_differs_and_it_is_said(saved):
    notes = []
    dataset = datasets(saved("differing"), notes=notes)[0]
    affine = np.diag([-1, -1, 1, 1]) @ turned(30)
    assert affine[:3, 0].tolist() == pytest.approx(
        [float(one) for one in dataset.ImageOrientationPatient[:3]]
    )
    assert notes == ["sform and qform differ: the sform is used"]


def test_a_volume_without_orientation_waits_for_one(tmp_path):
    path = save(volume(voxels()), tmp_path / "v.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, 0, 0)  # qform_code, sform_code
    path.write_bytes(content)
    with pytest.raises(NeedsInfo) as raised:
        made(path)
    assert raised.value.missing == ("Orientation",)
    dataset = datasets(path, options=Options(orientation="LPS"))[0]
    assert list(dataset.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    stated = Facts(FACTS.values, {"Orientation": "LPS"})
    assert dataset.ImagePositionPatient == datasets(path, stated)[0].ImagePositionPatient


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_a_pair_is_the_same_as_one_file(tmp_path, kind):
    pair = volume(voxels(), turned(20), kind=kind)
    nib.save(pair, tmp_path / "pair.img")
    one = save(volume(voxels(), turned(20)), tmp_path / "one.nii")
    assert [one.PixelData for one in datasets(one)] == [
        one.PixelData for one in datasets(tmp_path / "pair.hdr")
    ]
    (tmp_path / "pair.img").unlink()
    with pytest.raises(ConversionError, match="img"):
        made(tmp_path / "pair.hdr")


def test_analyze_needs_an_orientation(tmp_path):
    nib.save(nib.AnalyzeImage(voxels(), np.eye(4)), tmp_path / "old.img")
    with pytest.raises(NeedsInfo):
        made(tmp_path / "old.hdr")
    assert len(made(tmp_path / "old.hdr", options=Options(orientation="RAS"))) == 6


def test_parametric_maps_are_bit_exact(saved):
    for name, keyword in (
        ("NaN", "FloatPixelData"),
        ("float64", "DoubleFloatPixelData"),
        ("int8", "FloatPixelData"),
    ):
        path = saved(name)
        source = nib.load(path)
        [dataset] = datasets(path, options=Options(kind="pmap"))
        width = "<f4" if keyword == "FloatPixelData" else "<f8"
        frames = np.frombuffer(dataset[keyword].value, width).reshape(6, 10, 12)
        expected = np.moveaxis(np.asanyarray(source.dataobj), 2, 0).swapaxes(1, 2).astype(width)
        assert expected.tobytes() == frames.tobytes()


def test_integers_that_no_float_holds_make_no_map(tmp_path):
    path = save(volume(np.full((2, 2, 2), 2**60 + 1, np.int64)), tmp_path / "v.nii")
    with pytest.raises(ConversionError, match="digits"):
        made(path, options=Options(kind="pmap"))


def test_labels_become_segments_with_their_names(tmp_path):
    labels = np.zeros((12, 10, 6), np.int32)
    labels[2:5, 3:6, 1:4], labels[7:9, 1:4, 0:2] = 3, 17
    path = save(volume(labels, turned(20)), tmp_path / "labels.nii.gz")
    facts = Facts(FACTS.values, {"Kind": "seg", "Segments": {"17": "left thing"}})
    [dataset] = datasets(path, facts)
    assert [(one.SegmentNumber, one.SegmentLabel) for one in dataset.SegmentSequence] == [
        (1, "label 3"),
        (2, "left thing"),
    ]
    frames = dataset.pixel_array
    assert (dataset.NumberOfFrames, frames.sum()) == (3 + 2, 9 * 3 + 6 * 2)
    to_voxel = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ nib.load(path).affine)
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        position = [*map(float, group.PlanePositionSequence[0].ImagePositionPatient), 1]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        k = round(float((to_voxel @ position)[2]))
        assert np.array_equal((labels[:, :, k] == {1: 3, 2: 17}[number]).T, frame)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (np.full((2, 2, 2), 0.5, np.float32), "whole"),
        (np.full((2, 2, 2), -1, np.int16), "below 0"),
        (np.zeros((2, 2, 2), np.int16), "0 labels"),
    ],
)
def test_what_is_no_volume_of_labels_makes_no_segmentation(tmp_path, data, why):
    with pytest.raises(ConversionError, match=why):
        made(save(volume(data), tmp_path / "v.nii"), options=Options(kind="seg"))


def test_one_file_of_values_that_its_class_cannot_hold_is_refused(saved):
    with pytest.raises(ConversionError, match="pmap"):
        made(saved("int8"), options=Options(one_file=True))
    with pytest.raises(ConversionError, match="pmap"):
        made(saved("float32", "w.nii"), options=Options(one_file=True))


def test_frames_of_one_file_are_in_order_and_exact(saved):
    path = saved("left-handed")
    [dataset] = datasets(path, options=Options(one_file=True))
    single = datasets(path)
    assert [one.ImagePositionPatient for one in single] == [
        group.PlanePositionSequence[0].ImagePositionPatient
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert np.array_equal(np.stack([one.pixel_array for one in single]), dataset.pixel_array)


@pytest.mark.parametrize("name", ["left-handed", "int8", "float32", "scaled", "4-D"])
def test_an_enhanced_mr_holds_what_the_series_does(saved, name):
    path = saved(name)
    [dataset] = datasets(path, MR, Options(one_file=True))
    single = datasets(path, MR)
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    assert [group.PlanePositionSequence[0].ImagePositionPatient for group in per_frame] == [
        one.ImagePositionPatient for one in single
    ]
    rescale = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    frames = dataset.pixel_array * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)
    assert np.array_equal(np.stack([said(one) for one in single]), frames)
    if name == "4-D":
        times = [group.FrameContentSequence[0].TemporalPositionIndex for group in per_frame]
        assert times == [one.TemporalPositionIdentifier for one in single]


def test_many_frames_need_a_date(saved):
    with pytest.raises(NeedsInfo) as raised:
        made(saved("uint8"), Facts({"PatientID": "P"}), Options(kind="pmap"))
    assert raised.value.missing == ("StudyDate",)


def test_transparency_is_shown_on_black_and_said(tmp_path):
    data = np.zeros((3, 2, 1), dtype=[(name, "u1") for name in "RGBA"])
    data["R"], data["A"] = 200, 255
    data["A"][0, 0, 0] = 51
    notes = []
    [dataset] = datasets(save(volume(data), tmp_path / "v.nii"), notes=notes)
    assert (dataset.pixel_array[0, 0, 0], dataset.pixel_array[0, 1, 0], len(notes)) == (40, 200, 1)


def test_facts_of_the_acquisition_reach_an_mr(saved):
    facts = Facts({**MR.values, "EchoTime": 30.5, "ScanningSequence": "EP", "MagneticFieldStrength": 3.0})
    dataset = datasets(saved("axial"), facts)[0]
    assert (dataset.EchoTime, dataset.ScanningSequence, dataset.MagneticFieldStrength) == (30.5, "EP", 3.0)


@pytest.mark.parametrize("cut", [100, 349, 400, 1000])
def test_a_cut_file_is_refused(saved, tmp_path, cut):
    path = saved("axial")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ConversionError):
        made(path)


def test_a_cut_or_damaged_gzip_is_refused(saved, tmp_path):
    path = saved("axial", "v.nii.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(ConversionError, match="cut"):
        made(path)
    path.write_bytes(whole[:-6] + b"xx" + whole[-4:])
    with pytest.raises(ConversionError, match="damaged"):
        made(path)


def test_a_bomb_is_refused(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "MAX_BYTES", 2000)
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(saved("axial").read_bytes() + bytes(100_000)))
    with pytest.raises(ConversionError, match="too large"):
        made(path)


def test_cifti_is_refused_by_name(tmp_path):
    one = volume(voxels())
    one.header.set_intent(3001, allow_unknown=True)
    with pytest.raises(ConversionError, match="CIFTI"):
        made(save(one, tmp_path / "v.nii"))


def test_what_is_neither_volume_nor_picture_is_refused(tmp_path):
    (tmp_path / "x").write_text(json.dumps({"a": 1}))
    with pytest.raises(ConversionError, match="neither"):
        made(tmp_path / "x")


def test_a_volume_beside_its_copy_is_the_same_content(saved, tmp_path):
    path = saved("axial")
    shutil.copy(path, tmp_path / "other name.nii")
    assert made(path) == made(tmp_path / "other name.nii")
