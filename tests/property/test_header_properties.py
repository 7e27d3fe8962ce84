"""What pydicom writes, the normaliser reads; and whatever it reads is clean."""

import io
import struct
import unicodedata
import warnings

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RawDataStorage

from sorter.model import Reason
from sorter.parser.elements import walk
from sorter.parser.header import _KNOWN, check_uids, read_header, wanted_tags

SYNTAXES = st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
ALPHABETS = {
    "ISO_IR 100": st.characters(codec="latin-1"),
    "ISO_IR 192": st.characters(codec="utf-8"),
    "ISO_IR 144": st.characters(codec="iso8859-5"),
    "GB18030": st.characters(codec="gb18030"),
}


def is_plain(character):
    """Whether it is neither a control character nor a delimiter, and no padding."""
    return unicodedata.category(character) not in ("Cc", "Cs") and character not in "\\^="


@st.composite
def charset_and_texts(draw):
    charset = draw(st.sampled_from(sorted(ALPHABETS)))
    text = st.text(ALPHABETS[charset].filter(is_plain), max_size=12)
    return charset, draw(text), [draw(text), draw(text)]


def stream_of(syntax, **values):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RawDataStorage, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.5"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def clean(text):
    return unicodedata.normalize("NFC", text).strip()


@settings(max_examples=300, deadline=None)
@given(SYNTAXES, charset_and_texts())
def test_text_is_read_as_it_was_written(syntax, texts):
    charset, patient_id, name = texts
    data = stream_of(syntax, SpecificCharacterSet=charset, PatientID=patient_id, PatientName="^".join(name))
    header = read_header(walk(data, wanted_tags()))
    assert header.text("PatientID") == clean(patient_id)
    assert header.text("PatientName") == clean("^".join(name)).rstrip("^ ").strip()
    assert check_uids(header) is None


@settings(deadline=None)
@given(SYNTAXES, st.integers(-(2**31), 2**31 - 1), st.integers(0, 65535), st.dates())
def test_numbers_and_dates_are_read_as_they_were_written(syntax, number, rows, day):
    date = f"{day.year:04}{day.month:02}{day.day:02}"
    data = stream_of(syntax, InstanceNumber=str(number), Rows=rows, StudyDate=date)
    header = read_header(walk(data, wanted_tags()))
    assert (header.number("InstanceNumber"), header.number("Rows")) == (number, rows)
    assert header.study_date == date


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(_KNOWN)),
    st.binary(min_size=1, max_size=40),
    st.sampled_from(
        [b"", b"ISO_IR 100", b"ISO_IR 192", b"GB18030", b"\\ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"x"]
    ),
)
@example("SOPClassUID", b"\xa0\x01", b"")
def test_any_bytes_become_a_clean_value_or_none(keyword, raw, charset):
    values = {_KNOWN["SOPClassUID"][0]: b"1.2", _KNOWN["SOPInstanceUID"][0]: b"1.2"}
    values |= {
        _KNOWN["StudyInstanceUID"][0]: b"1.2",
        _KNOWN["SeriesInstanceUID"][0]: b"1.2",
        0x00080005: charset,
        0x7FE00010: b"",  # Bits Allocated may not stand without pixel data
    }
    values[_KNOWN[keyword][0]] = raw
    stream = b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
        for tag, value in sorted(values.items())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = read_header(walk(stream, wanted_tags()))
    for value in header.values.values():
        text = str(value)
        assert text == unicodedata.normalize("NFC", text.encode("utf-8").decode()).strip()
        assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
    verdict = check_uids(header)
    assert verdict is None or verdict[0] in (Reason.MISSING_UID, Reason.INVALID_UID)
