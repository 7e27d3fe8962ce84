"""What pydicom says of a file: asked in a process of its own, since what is asked may crash, hang or grow.

pydicom has no last word: where it cannot read a source, nothing is said. It shares its decoders with sorter,
so equal pixels show that sorter passed on what they gave, not that they were right.
"""

import io
import logging
import multiprocessing
import resource
import warnings
import zlib
from itertools import product

import numpy as np
import pydicom
from pebble import ProcessExpired, ProcessPool
from pydicom.filereader import _read_file_meta_info, data_element_generator
from pydicom.uid import DeflatedExplicitVRLittleEndian

SECONDS, MEMORY = 30, 2 << 30
# What describes the encoding only: sorter takes files that differ in no more for the same instance.
ENCODING = frozenset((0x00082111, 0x00089215, 0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114, 0x00880200,
                      0x7FE00001, 0x7FE00002, 0x7FE00003, 0x7FE00008, 0x7FE00009, 0x7FE00010, 0xFFFCFFFC))  # fmt: skip


class Oracle:
    """Asks; ``silent`` counts what nothing could be said of."""

    def __init__(self):
        self._pool = ProcessPool(1, initializer=_bounded, context=multiprocessing.get_context("spawn"))
        self.asked = self.silent = 0

    def ask(self, question, *files):
        """One line of what is wrong, or nothing."""
        self.asked += 1
        try:
            answer = self._pool.schedule(question, args=files, timeout=SECONDS).result()
        except (TimeoutError, ProcessExpired, MemoryError):
            answer = None
        if answer is None:
            self.silent += 1
        return answer or ""

    def close(self):
        self._pool.stop()
        self._pool.join()


def _bounded():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def truncated(data):
    """Whether an element of the file has fewer bytes than it says; None where pydicom does not get so far.

    sorter takes a dataset in the encoding that it has, pydicom in the one that is declared; so all are tried.
    """
    try:
        ds = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
        body = _body(data, ds)
        declared = ds.original_encoding
    except Exception:
        return None
    encodings = sorted(product((False, True), repeat=2), key=lambda one: one != declared)
    answers = [_cut_short(body, *one) for one in encodings]
    return "" if "" in answers else answers[0]


def _cut_short(body, implicit, little):
    try:
        for one in data_element_generator(io.BytesIO(body), implicit, little):
            length = getattr(one, "length", 0xFFFFFFFF)
            if length != 0xFFFFFFFF and len(one.value or b"") < length:
                return f"cut short at {one.tag}: {len(one.value or b'')} of {length} bytes"
    except EOFError:
        return "an element or a sequence has no end"
    except Exception:
        return None
    return ""


def _body(data, ds):
    """What follows the File Meta Information, inflated."""
    stream = io.BytesIO(data)
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    _read_file_meta_info(stream)
    rest = stream.read()
    declared = ds.file_meta.get("TransferSyntaxUID")
    return zlib.decompress(rest, -15) if declared == DeflatedExplicitVRLittleEndian else rest


def other_pixels(source, archived):
    """Whether the archived file shows other pixels than its source; None where the source shows none."""
    try:
        expected = _pixels(source)
    except Exception:
        return None
    try:
        actual = _pixels(archived)
    except Exception as error:
        return f"the source shows pixels, the archived file raises {type(error).__name__}"
    if expected.shape != actual.shape:
        return f"pixels of shape {actual.shape}, the source has {expected.shape}"
    if not np.array_equal(expected, actual):
        return f"{np.count_nonzero(expected != actual)} of {expected.size} pixels differ"
    return ""


def _pixels(data):
    return pydicom.dcmread(io.BytesIO(data), force=True).pixel_array


def other_instance(source, archived):
    """Whether two files that are said to be equivalent differ in a header or in pixels, as far as can be seen."""
    try:
        mine, theirs = (_header(one) for one in (source, archived))
    except Exception:
        return None
    if mine.keys() != theirs.keys():
        return f"elements only one has: {sorted(map(str, mine.keys() ^ theirs.keys()))[:5]}"
    different = [
        str(tag) for tag, shown in mine.items() if shown[0] != theirs[tag][0] and shown[1] != theirs[tag][1]
    ]
    if different:
        return f"elements that differ: {different[:5]}"
    return other_pixels(source, archived)


def _header(data):
    """Top-level elements, each as pydicom shows it, and as the bytes that it has: one of them must be equal."""
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    found = {}
    for tag in ds.keys():  # noqa: SIM118 - a Dataset iterates over its elements
        if int(tag) not in ENCODING and tag.element:
            raw = ds.get_item(tag).value
            found[tag] = (_plain(ds[tag]), raw.rstrip(b"\0 ").hex() if isinstance(raw, bytes) else "")
    return found


def _plain(element):
    if element.VR != "SQ":
        return str(element.value).rstrip("\0 ")
    return str([[(int(one.tag), _plain(one)) for one in item if one.tag.element] for item in element.value])
