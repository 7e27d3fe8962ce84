"""What an object must carry by its SOP class: a file cut between two elements looks whole otherwise.

Only Type 1 elements of mandatory modules are listed (PS3.3 A, PS3.4 B.5), and for images the pixel data.
SOP classes that may lawfully go without (Raw Data, presentation states, registrations, ...) are not.
"""

from __future__ import annotations

from collections.abc import Container

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# (7FE0,0010), its float siblings, and Pixel Data Provider URL of the JPIP transfer syntaxes.
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009, 0x00287FE0)
_WAVEFORM = (0x54000100,)
_CONTENT = (0x0040A040,)  # Value Type of the root content item
_DOCUMENT = (0x00420011,)

_REQUIRED: dict[str, tuple[int, ...]] = {}
for _suffixes, _tags in (
    (
        "1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.2 6.3 7 7.1 7.2 7.3 7.4",
        _PIXELS,
    ),
    ("8 12.1 12.1.1 12.2 12.2.1 12.3 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 66.4", _PIXELS),
    ("77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 77.1.5.5", _PIXELS),
    (
        "77.1.5.6 77.1.5.7 77.1.5.8 77.1.6 128 128.1 130 481.1 481.2 481.22 501.1 501.2.1 501.2.2 501.3 501.4",
        _PIXELS,
    ),
    ("501.5 501.6 66.7 66.8 481.23 481.24", _PIXELS),
    ("9.1.1 9.1.2 9.1.3 9.1.4 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 9.6.2 9.7.1 9.7.2 9.8.1", _WAVEFORM),
    ("88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.59 88.65 88.67 88.68 88.69 88.70 88.71 88.72", _CONTENT),
    ("88.73 88.74 88.75 88.76", _CONTENT),
    ("104.1 104.2 104.3 104.4 104.5", _DOCUMENT),
    ("4.2", (0x56000020,)),  # MR Spectroscopy: Spectroscopy Data
    ("481.3", (0x30060020,)),  # RT Structure Set: Structure Set ROI Sequence
    ("66.5", (0x00660002,)),  # Surface Segmentation: Surface Sequence
):
    for _suffix in _suffixes.split():
        _REQUIRED[_STORAGE + _suffix] = _tags

REQUIRED_TAGS = frozenset(tag for tags in _REQUIRED.values() for tag in tags)


def missing(sop_class_uid: str, present: Container[int]) -> str | None:
    """Say which element an object of this SOP class must carry, where none of them is ``present``."""
    tags = _REQUIRED.get(sop_class_uid, ())
    if not tags or any(tag in present for tag in tags):
        return None
    tag = tags[0]
    return f"its SOP class needs ({tag >> 16:04X},{tag & 0xFFFF:04X}), which is not there"
