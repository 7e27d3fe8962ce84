"""The normaliser reads every way in which real files write the same thing, and nothing that is not there."""

import csv
import gzip
import io
import os
import struct
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue

from sorter.keywords import INDEXED_KEYWORDS, INTEGER_KEYWORDS
from sorter.model import Header, Reason
from sorter.parser.elements import Unparsable, walk
from sorter.parser.header import check_uids, is_dicomdir, read_header, wanted_tags

DATA = Path(os.environ.get("SORTER_TEST_DATA", Path(__file__).parents[4] / "shared/data"))
UIDS = {
    "SOPClassUID": "1.2.3",
    "SOPInstanceUID": "1.2.3.4",
    "StudyInstanceUID": "1.2",
    "SeriesInstanceUID": "1.3",
}
LONG_VRS = ("OB", "SQ", "UN", "UT", "UC", "UR")


def element(tag, vr, value, order="<"):
    """One explicit element."""
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    long = (
        struct.pack(order + "HL", 0, len(value)) if vr in LONG_VRS else struct.pack(order + "H", len(value))
    )
    return head + long + value


def header(*elements, charset=b"", order="<", extra=frozenset()):
    """The Header of a bare dataset with the four UIDs and these (keyword, VR or None, value)."""
    known = [(keyword, None, value.encode()) for keyword, value in UIDS.items()]
    known.append(("SpecificCharacterSet", None, charset))
    by_tag = {
        tag_for_keyword(keyword): (vr or dictionary_VR(keyword), value)
        for keyword, vr, value in (*known, *elements)
    }
    data = b"".join(element(tag, vr, value, order) for tag, (vr, value) in sorted(by_tag.items()))
    return read_header(walk(data, wanted_tags(extra)), extra)


def read(keyword, value, vr=None, **options):
    """What the Header holds for one raw value."""
    return header((keyword, vr, value), **options).values.get(keyword)


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"5", 5), (b" 5.0", 5), (b"+7 ", 7), (b"-3", -3), (b"007", 7), (b"3\\4", 3), (b"5.", 5),
        (b"12\0", 12), (b"202001011234", 202001011234),
        (b"1A", None), (b"", None), (b" ", None), (b"5.5", None), (b"1e3", None),
        (b"NaN", None), (b"9" * 19, None), (b"\xb2", None), (b"--1", None), (b"\\5", None),
    ],
)  # fmt: skip
def test_an_integer_string_is_a_whole_number_or_absent(raw, number):
    assert read("InstanceNumber", raw) == number


@pytest.mark.parametrize(("vr", "code", "value"), [("US", "H", 5), ("SS", "h", -5), ("SL", "l", -70000)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_binary_number_is_read_in_the_byte_order_of_the_file(vr, code, value, order):
    assert read("InstanceNumber", struct.pack(order + code, value), vr, order=order) == value


def test_a_float_is_a_number_only_where_it_is_whole():
    assert read("InstanceNumber", struct.pack("<d", 5.0), "FD") == 5
    assert read("InstanceNumber", struct.pack("<d", 5.5), "FD") is None
    assert read("InstanceNumber", struct.pack("<f", float("nan")), "FL") is None
    assert read("InstanceNumber", b"\1", "US") is None


def test_numbers_of_unknown_vr_are_read_by_the_dictionary():
    assert read("Rows", struct.pack("<H", 512), "UN") == 512


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        (b"19931018", "19931018"), (b"1993.10.18", "19931018"), (b"1993-10-18", "19931018"),
        (b"20240229", "20240229"), (b"19931018 ", "19931018"), (b"19931018\\20200101", "19931018"),
        (b"20230229", None), (b"19931318", None), (b"00000000", None), (b"1993.1018", None),
        (b"unknown", None),
        (b"199310", None), (b"", None), (b"19931018-19931019", None), (b"1990/01/", None),
    ],
)  # fmt: skip
def test_a_date_is_a_day_of_the_calendar_or_absent(raw, day):
    assert read("StudyDate", raw) == day


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"A\\B", "A\\B"),
        (b" A \\ B ", "A\\B"), (b"  MRN 1 ", "MRN 1"), (b"MRN\0\0", "MRN"),
        (b"\\\\", None),
        (b"a\x07b\x1b", "ab"), (b"a\r\nb", "a  b"), (b"", None), (b" \0", None), (b"caf\xe9", "caf\xe9"),
    ],
)  # fmt: skip
def test_a_patient_id_is_one_clean_text(raw, text):
    assert read("PatientID", raw) == text


def test_long_patient_ids_that_differ_stay_different():
    first, second = (read("PatientID", b"x" * 60_000 + end, "UN") for end in (b"1", b"2"))
    assert (len(first), first != second) == (60_001, True)


def test_other_text_is_capped():
    assert read("StudyDescription", b"x" * 5000, "UN") == "x" * 1024


def test_text_is_nfc():
    assert read("PatientID", "cafe\u0301".encode(), charset=b"ISO_IR 192") == "caf\u00e9"


def test_text_is_always_encodable():
    for charset in (
        b"ISO_IR 192",
        b"ISO_IR 100",
        b"GB18030",
        b"ISO 2022 IR 87",
        b"junk",
        b"\\junk",
        b"ISO_IR 13",
    ):
        for raw in (b"\xed\xa0\x80", b"\xff\xfe", b"\x1b$B\x30", b"\x1b", b"\x1b(", b"\x84\x31\xa4\x37"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                text = header(("PatientID", None, b"x" + raw), charset=charset).text("PatientID")
            assert text.encode("utf-8").startswith(b"x")
            assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"Doe^John", "Doe^John"), (b"Doe^John^^^ ", "Doe^John"), (b"^^^^", None), (b"Doe==", "Doe"),
        (b"=A=B", "=A=B"), (b"A^B= C^D =E^F", "A^B=C^D=E^F"), (b"A\\B", "A\\B"),
    ],
)  # fmt: skip
def test_a_person_name_keeps_its_groups_without_empty_ends(raw, name):
    assert read("PatientName", raw) == name


def test_person_names_in_several_character_sets_keep_three_groups():
    japanese = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    assert (
        read("PatientName", japanese, charset=b"\\ISO 2022 IR 87") == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    )
    korean = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    assert read("PatientName", korean, charset=b"\\ISO 2022 IR 149") == "Hong^Gildong=洪^吉洞=홍^길동"
    assert read("PatientName", "王^小东".encode("gb18030"), charset=b"GB18030") == "王^小东"
    assert read("PatientName", "Люк".encode("iso8859_5"), charset=b"ISO_IR 144") == "Люк"


def test_a_multi_byte_character_that_holds_a_backslash_is_not_divided():
    assert read("PatientID", "乗 x".encode("gbk"), charset=b"GBK") == "乗 x"
    assert b"\\" in "乗".encode("gbk")


def test_multi_valued_text_is_joined_with_a_backslash():
    assert read("ImageType", b"DERIVED \\PRIMARY\\\\AXIAL ") == "DERIVED\\PRIMARY\\\\AXIAL"


def test_sequences_and_binary_are_never_text():
    items = b"\xfe\xff\0\xe0\0\0\0\0"
    for vr, value in (("SQ", items), ("OB", b"abcd"), ("UN", items), ("ZZ", b"")):
        assert read("StudyDescription", value, vr) is None


def test_extra_keywords_are_read_too():
    extra = frozenset(("SliceThickness", "EchoNumbers", "PatientComments", "ReferencedStudySequence"))
    values = (
        ("SliceThickness", None, b"1.5 "),
        ("PatientComments", None, b"a\\b "),
        ("EchoNumbers", None, b"1 "),
    )
    found = header(*values, extra=extra).values
    assert {k: found[k] for k in extra if k in found} == {
        "SliceThickness": "1.5",
        "PatientComments": "a\\b",
        "EchoNumbers": "1",
    }


def test_a_keyword_that_dicom_does_not_know_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="PatientIDD"):
        wanted_tags(["PatientIDD"])


def test_the_table_of_tags_is_that_of_the_dictionary():
    from sorter.parser.header import _KNOWN

    assert {key: (tag_for_keyword(key), dictionary_VR(key)) for key in INDEXED_KEYWORDS} == _KNOWN


def test_reading_a_plain_header_does_not_import_pydicom():
    program = (
        "import sys; from sorter.parser.elements import walk; from sorter.parser.header import *;"
        "read_header(walk(sys.stdin.buffer.read(), wanted_tags())); print('pydicom' in sys.modules)"
    )
    data = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", program], input=data, cwd=root, capture_output=True, check=True
    )
    assert run.stdout.strip() == b"False"


# UIDs


@pytest.mark.parametrize("keyword", UIDS)
def test_each_of_the_four_uids_is_needed(keyword):
    without = header((keyword, None, b"1.2")).values | {keyword: ""}
    assert check_uids(Header(without)) == (Reason.MISSING_UID, f"{keyword} is missing or empty")


@pytest.mark.parametrize("uid", [b"1.2.3", b"1.02.3", b"1", b"1.2.3\0", b"1.2.3 ", b"2.25.ABCdef", b"1" * 64])
def test_uids_of_real_archives_are_valid(uid):
    assert check_uids(header(("SeriesInstanceUID", None, uid))) is None


@pytest.mark.parametrize(
    "uid",
    [b"../../../x", b"1..2", b".1", b"1.", b"1.2/3", b"1.2\\1.3", b"1 2", b"1.2\x07.3", b"1.2\n", b"1" * 65,
     b"1.2\0.3", b"1.2-3", b"1.2\xb2"],
)  # fmt: skip
def test_what_is_no_uid_is_invalid_and_not_repaired(uid):
    reason, detail = check_uids(header(("SeriesInstanceUID", None, uid)))
    assert (reason, detail.split()[0]) == (Reason.INVALID_UID, "SeriesInstanceUID")


def test_the_detail_never_holds_the_value():
    _, detail = check_uids(header(("SOPInstanceUID", None, b"CANARY^PATIENT")))
    assert "CANARY" not in detail


def test_the_uids_of_the_dataset_count_not_those_of_the_file_meta_information():
    ct = dcmread(get_testdata_file("CT_small.dcm", download=False))
    ct.SOPInstanceUID = "1.2.3.4.5"
    stream = io.BytesIO()
    ct.save_as(stream)
    assert read_header(walk(stream.getvalue(), wanted_tags())).text("SOPInstanceUID") == "1.2.3.4.5"


def test_a_dicomdir_is_told_from_an_instance():
    directory = Path(get_testdata_file("DICOMDIR", download=False)).read_bytes()
    instance = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    assert is_dicomdir(walk(directory, wanted_tags()))
    assert is_dicomdir(
        walk(directory.replace(b"1.2.840.10008.1.3.10", b"1.2.840.10008.1.3.99"), wanted_tags())
    )
    assert not is_dicomdir(walk(instance, wanted_tags()))


# As pydicom reads it


def as_pydicom_reads(ds, keyword):
    """pydicom's value as text, for keywords whose text both must agree on."""
    value = ds[keyword].value
    values = value if isinstance(value, list | MultiValue) else [value]
    text = "\\".join(str(part).strip() for part in values if part is not None)
    if ds[keyword].VR == "PN":
        text = "=".join(group.rstrip("^ ") for group in text.split("="))
    return unicodedata.normalize("NFC", text.strip("\0 "))


def differences(data):
    """(keyword, ours, pydicom's) wherever the two differ, but for dates and numbers that are none."""
    ours = read_header(walk(data, wanted_tags()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(io.BytesIO(data), force=True)
        for keyword in INDEXED_KEYWORDS:
            if keyword not in ds:
                assert keyword not in ours.values
            elif keyword in INTEGER_KEYWORDS:
                value = str(ds[keyword].value if ds[keyword].value is not None else "")
                expected = int(value) if value.strip().lstrip("+-").isdigit() else None
                if ours.values.get(keyword) != expected:
                    yield keyword, ours.values.get(keyword), expected
            elif ds[keyword].VR == "DA":
                digits = "".join(character for character in str(ds[keyword].value) if character.isdigit())
                if ours.text(keyword) not in ("", digits):
                    yield keyword, ours.text(keyword), digits
            elif ours.text(keyword) != as_pydicom_reads(ds, keyword):
                yield keyword, ours.text(keyword), as_pydicom_reads(ds, keyword)


def test_text_in_every_character_set_is_what_pydicom_reads():
    read = 0
    for path in get_charset_files("*.dcm"):
        try:
            assert list(differences(Path(path).read_bytes())) == [], path
        except Unparsable as refused:
            assert refused.reason == Reason.TRUNCATED  # four of them are images without pixel data
        else:
            read += 1
    assert read > 10


def test_the_headers_of_the_real_files_are_what_pydicom_reads():
    if not (DATA / "census.csv").exists():
        pytest.skip("the real test data are not there: set SORTER_TEST_DATA")
    with (DATA / "census.csv").open() as rows:
        census = [row for row in csv.DictReader(rows) if row["kind"].startswith("dicom")]
    read = 0
    for row in census[::4]:
        data = (DATA / row["path"]).read_bytes()
        try:
            found = list(differences(gzip.decompress(data) if row["kind"] == "dicom.gz" else data))
        except Unparsable:
            continue
        read += 1
        assert found == [], row["path"]
    assert read > 250
