"""What is mutated: small whole files in every transfer syntax; bundled, generated, and real where there are."""

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from fuzz.dataset import PIXEL_DATA, TRANSFER_SYNTAX, UNDEFINED, Element, deflate, parse
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless
from support import dicom

from sorter.parser.elements import Unparsable, walk

ROOT = "1.2.840.10008.1.2"
UIDS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)  # SOP Class; SOP, Study and Series Instance
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SMALL, MOST = 24_000, 14  # bytes of a seed, and how many of a transfer syntax
LARGEST = 420_000  # of the only one of its transfer syntax
# Transfer syntaxes without a small file of their own: the codestreams of a relative, under their name.
RELABELLED = {
    f"{ROOT}.4.53": f"{ROOT}.4.51",
    f"{ROOT}.4.55": f"{ROOT}.4.51",
    f"{ROOT}.4.57": f"{ROOT}.4.70",
    f"{ROOT}.4.201": f"{ROOT}.4.90",
    f"{ROOT}.4.202": f"{ROOT}.4.90",
    f"{ROOT}.4.203": f"{ROOT}.4.91",
    f"{ROOT}.4.94": f"{ROOT}.4.90",  # JPIP: no decoder
    f"{ROOT}.4.100": f"{ROOT}.5",  # video is kept whatever it is
    f"{ROOT}.4.102": f"{ROOT}.5",
    "1.2.3.4": f"{ROOT}.5",
}


@dataclass(frozen=True)
class Seed:
    """One whole file; ``parsed`` is not to be changed."""

    name: str
    syntax: str
    data: bytes
    parsed: object


def make(name, data):
    """A Seed; None of what is not whole."""
    try:
        parsed, dataset = parse(data), walk(data, frozenset())
    except (Unparsable, AssertionError):
        return None
    return Seed(name, dataset.transfer_syntax_uid, data, parsed)


def _instance(name, data):
    """A Seed with all UIDs that an instance needs, which many files of pydicom's lack."""
    seed = make(name, data)
    if seed is None or seed.parsed.body[0].tag >> 16 == 4:  # a DICOMDIR
        return seed
    parsed = seed.parsed.copy()
    missing = [tag for tag in UIDS if not ((one := parsed.find(tag)) and one.value.strip(b" \0"))]
    for tag in missing:
        parsed.text(tag, b"UI", SECONDARY_CAPTURE if tag == UIDS[0] else f"2.25.{tag}.{len(data)}")
    return make(name, parsed.encode()) if missing else seed


def corpus(folder=None):
    """Transfer syntax -> seeds; the same for the same files.

    Parameters
    ----------
    folder
        A folder with a census.csv, as SORTER_TEST_DATA names.
    """
    found = defaultdict(list)
    candidates = [*_generated(), *_bundled()]
    for name, data in candidates:
        _add(found, _instance(name, data))
    if folder:
        for name, data in _real(Path(folder), found):
            _add(found, _instance(name, data))
    for syntax, relative in RELABELLED.items():
        if syntax not in found:
            found[syntax] = [_relabelled(one, syntax) for one in found[relative][:4]]
    return dict(sorted(found.items()))


def _add(found, seed):
    if seed is not None and all(one.data != seed.data for one in found[seed.syntax]):
        found[seed.syntax].append(seed)


def _relabelled(seed, syntax):
    parsed = seed.parsed.copy()
    parsed.text(TRANSFER_SYNTAX, b"UI", syntax)
    return make(f"{seed.name} as {syntax}", parsed.encode())


def _bundled():
    base = Path(pydicom.__file__).parent / "data"
    many = defaultdict(int)
    for path in sorted(base.rglob("*"), key=lambda one: one.relative_to(base).as_posix()):
        if not path.is_file() or path.stat().st_size > SMALL:
            continue
        many[path.parent] += 1
        if many[path.parent] <= 6 or path.parent.name == "test_files":  # else much of a kind
            yield path.relative_to(base).as_posix(), path.read_bytes()


def _real(folder, found):
    """A few small ones of each transfer syntax; the smallest one where there is none of that size."""
    rows = defaultdict(list)
    with (folder / "census.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "dicom":
                rows[row["transfer_syntax"]].append((int(row["size"]), row["path"]))
    for syntax, sizes in sorted(rows.items()):
        few = [one for one in sorted(sizes) if one[0] <= SMALL]
        few = few[:: max(1, len(few) // MOST)][:MOST]
        if not few and syntax not in found:
            few = [one for one in sorted(sizes)[:1] if one[0] <= LARGEST]
        for _, path in few:
            yield path, (folder / path).read_bytes()


# -- generated ----------------------------------------------------------------------------------------------


KIND = {"ImageType": ["ORIGINAL", "PRIMARY"]}  # without it, the head of a file passes for a bare record


def _generated():
    noise = np.random.default_rng(3)
    plain = dicom(7, pixels=900, StudyTime="101112", StudyID="S", **KIND)
    yield "explicit", plain
    for name, implicit, little, uid in (("implicit", True, True, ROOT), ("big", False, False, f"{ROOT}.2")):
        ds = pydicom.dcmread(io.BytesIO(plain))
        if not little:
            ds["PixelData"].VR = "OW"
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = uid
        out = io.BytesIO()
        pydicom.dcmwrite(out, ds, implicit_vr=implicit, little_endian=little, force_encoding=True)
        yield name, out.getvalue()
    deflated = parse(plain)
    deflated.deflated = True
    deflated.text(TRANSFER_SYNTAX, b"UI", f"{ROOT}.1.99")
    yield "deflated", deflated.encode()
    for frames in (1, 3):
        cells = noise.integers(0, 4000, (frames, 40, 36), dtype="<u2")
        native = dicom(8, size=40, Columns=36, BitsStored=12, HighBit=11, NumberOfFrames=frames, **KIND)
        ds = pydicom.dcmread(io.BytesIO(native))
        ds.PixelData = cells.tobytes()
        yield f"native-{frames}", _saved(ds)
        for syntax in (RLELossless, JPEG2000Lossless):
            ds = pydicom.dcmread(io.BytesIO(native))
            ds.compress(syntax, cells if frames > 1 else cells[0], generate_instance_uid=False)
            yield f"{syntax.name}-{frames}", _saved(ds)
        yield f"deflated-frames-{frames}", _deflated_frames(native, cells)
    one_bit = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 2, "PixelData": bytes(36)}
    yield "one-bit", dicom(9, size=12, **one_bit, **KIND)


def _deflated_frames(native, cells):
    parsed = parse(native)
    parsed.text(TRANSFER_SYNTAX, b"UI", f"{ROOT}.8.1")
    frames = [deflate(one.tobytes()) for one in cells]
    value = encapsulate([one + b"\0" * (len(one) % 2) for one in frames])
    parsed.body = [one for one in parsed.body if one.tag != PIXEL_DATA]
    parsed.body.append(Element(PIXEL_DATA, b"OB", value + b"\xfe\xff\xdd\xe0\0\0\0\0", UNDEFINED))
    return parsed.encode()


def _saved(ds):
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()
