"""What mutations write: values that files have been met with, and values that nobody should ever meet."""

from fuzz.dataset import LONG_VRS, PIXEL_DATA, SOP_INSTANCE, UNDEFINED
from fuzz.seeds import RELABELLED, ROOT

VRS = [*sorted(LONG_VRS), *b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()]
ODD_VRS = [b"ZZ", b"??", b"\0\0", b"ob", b"U\xff", b"OX", b"  ", b"QS"]
LENGTHS = [
    0, 1, 2, 3, 7, 8, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE,
    UNDEFINED,
]  # fmt: skip
TAGS = [
    0, 1, 0x00020010, 0x00040000, 0x00080000, 0x00080005, 0x00080016, 0x00080018, 0x00100000,
    0x00100010, 0x00100020, 0x0020000D, 0x0020000E, 0x00280010, 0x4FFE0001, 0x7FE00000, 0x7FE00001,
    0x7FE00008, 0x7FE00010, 0xFFFAFFFA, 0xFFFCFFFC, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF,
]  # fmt: skip
CHARSETS = [
    "", "ISO_IR 100", "ISO_IR 192", "ISO_IR 144", "GB18030", "GBK", "ISO_IR 13", "ISO_IR 149",
    "ISO_IR_100", "\\ISO 2022 IR 87", "ISO 2022 IR 6\\ISO 2022 IR 159\\ISO 2022 IR 58", "\\" * 40,
    "latin-1", "utf_7", "idna", "rot13", "unicode_escape", "ISO_IR 192\\GB18030", "A" * 300, "\xff\xfe",
    "undefined",
]  # fmt: skip
TEXTS = [
    b"", b" ", b"\0", b"a\0b", b"\\", b"A\\B", b"^^^^=^^^=^", b"\x1b$B%d%^%@", b"\x1b",
    b"\x1b$)C\xb1\xe8", b"\xff\xfe\xfd", b"\xc3", b"\xed\xa0\x80", "\u202e\u0001".encode(), b"..",
    b"../../etc/passwd", b"/", b"CON", b"-rf", b"a\nb\r", "\N{PILE OF POO}".encode(),
    "e\u0301".encode() * 40, b"x" * 64, b"x" * 65, b"x" * 5000, b"\x7f" * 20,
]  # fmt: skip
INTEGERS = [
    "", "0", "-1", "1", "2147483648", "-2147483649", "9" * 12, "9" * 19, "9" * 400, "1e9", "0x10",
    " 3 ", "3\\4", "+5", "7.0", "7.5", "nan", "\u0663", "1_0", "--1", "\0\0",
]  # fmt: skip
DATES = [
    "", "00000000", "99999999", "20240230", "2024-01-31", "1993.10.18", "2024013", "202401311",
    "20240131\\2", "DATE", "\u0662\u0660\u0662\u0664\u0660\u0661\u0663\u0661", "-0240131", " 20240131",
]  # fmt: skip
UIDS = [
    "", "1", "1.2.3", "1.2.", ".1", "1..2", "1.2.3\\4.5.6", "../../../x", "1.2.3/4", "0" * 64,
    "1." * 32 + "1", "1.2.3\0\0", "1.2 3", "A.b-c", "1.2.3\n", "\u0661.\u0662", "1.2.840.10008.1.3.10",
    "9" * 400,
]  # fmt: skip
SYNTAXES = [
    ROOT, f"{ROOT}.1", f"{ROOT}.2", f"{ROOT}.1.99", f"{ROOT}.5", f"{ROOT}.4.50", f"{ROOT}.4.90",
    f"{ROOT}.4.80", f"{ROOT}.8.1", f"{ROOT}.4.70", f"{ROOT}.4.95", *RELABELLED, *UIDS,
]  # fmt: skip
UID_TAGS = [0x00080016, SOP_INSTANCE, 0x0020000D, 0x0020000E, 0x00020002, 0x00020003]
SHORTS = [0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103]
INTEGER_TAGS = [0x00200011, 0x00200012, 0x00200013, 0x00280008, 0x00280008]
DATE_TAGS = [0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x00100030, 0x00080030]
TEXT_TAGS = [
    (0x00100010, b"PN"), (0x00100020, b"LO"), (0x00100021, b"LO"), (0x00081030, b"LO"),
    (0x0008103E, b"LO"), (0x00080060, b"CS"), (0x00080008, b"CS"), (0x00280004, b"CS"),
    (0x00080050, b"SH"), (0x00104000, b"LT"), (0x00080201, b"SH"), (0x00282110, b"CS"),
    (0x00282112, b"DS"),
]  # fmt: skip
VR_OF = {
    **dict(TEXT_TAGS), **dict.fromkeys(UID_TAGS, b"UI"), **dict.fromkeys(SHORTS, b"US"),
    **dict.fromkeys(DATE_TAGS, b"DA"), **dict.fromkeys(INTEGER_TAGS, b"IS"), PIXEL_DATA: b"OW",
}  # fmt: skip
PHOTOMETRICS = [
    b"MONOCHROME1", b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_RCT", b"YBR_ICT", b"PALETTE COLOR",
    b"ARGB",
]  # fmt: skip
