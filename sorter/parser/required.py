"""What an object must carry by its SOP class, because a file cut between two elements looks whole otherwise.

Listed are pixel data of image classes, and Type 1 elements of mandatory modules (PS3.3 A) that stand near the
end of their objects. Stricter than PS3.3 in two places, where the alternative is to archive half a report:
Content Sequence is 1C (a document may have no content item), and the three sequences of a structure set are
Type 3 now (Type 1 in earlier editions). SOP classes that may lawfully go without (Raw Data, protocols,
private ones) are not listed; but what says how its pixels are encoded must have them, whatever its class:
Bits Allocated is an element of the Image Pixel modules only. What is optional is not missed: a plan that lost
just its approval looks whole.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from sorter.parser.grammar import tag_text

_STORAGE = "1.2.840.10008.5.1.4.1.1."

# Pixel Data, Float and Double Float Pixel Data, and the URL that stands for them (JPIP, PS3.5 A.6).
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009, 0x00287FE0)
_BITS_ALLOCATED = 0x00280100

_IMAGES = """
    1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.2 6.3 7 7.1 7.2 7.3 7.4
    12.1 12.1.1 12.2 12.2.1 12.3 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 66.4 66.7 66.8
    77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 77.1.5.5 77.1.5.6
    77.1.5.7 77.1.5.8 77.1.6 77.1.7 77.1.8 77.1.9 81.1 82.1 128 128.1 130 481.1 481.23 481.24
"""
_WAVEFORMS = """
    9.1.1 9.1.2 9.1.3 9.1.4 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 9.6.2 9.7.1 9.7.2 9.7.3 9.7.4 9.8.1
"""
_DOCUMENTS = """
    88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.59 88.65 88.67 88.68 88.69 88.70 88.71 88.72 88.73 88.74
    88.75 88.76 88.77
"""

# SOP classes; the element that makes the rule apply (0: always); the elements of which one must be there.
_RULES: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    (_IMAGES, 0, _PIXELS),
    (_WAVEFORMS, 0, (0x54000100,)),  # Waveform Sequence
    (_DOCUMENTS, 0, (0x0040A730,)),  # Content Sequence
    ("4.2", 0, (0x56000020,)),  # Spectroscopy Data
    ("11.1 11.2 11.3 11.5 11.12", 0, (0x0070005A,)),  # Displayed Area Selection Sequence
    ("11.4", 0, (0x00700402,)),  # Blending Sequence
    ("66.1", 0, (0x00700308,)),  # Registration Sequence
    ("66.2", 0, (0x0070031C,)),  # Fiducial Set Sequence
    ("66.3", 0, (0x00640002,)),  # Deformable Registration Sequence
    ("66.5 68.1", 0, (0x00660002,)),  # Surface Sequence
    ("66.6", 0, (0x00660101,)),  # Track Set Sequence
    ("67", 0, (0x00409094,)),  # Referenced Image Real World Value Mapping Sequence
    ("68.2", 0, (0x00660011,)),  # Surface Points Sequence
    ("91.1", 0, (0x006A0002,)),  # Annotation Group Sequence
    ("104.1 104.2 104.3 104.4 104.5", 0, (0x00420011,)),  # Encapsulated Document
    ("481.2", 0, (*_PIXELS, 0x30040050)),  # RT Dose: a grid or a DVH Sequence
    ("481.2", _BITS_ALLOCATED, _PIXELS),
    ("481.3", 0, (0x30060020,)),  # Structure Set ROI Sequence
    ("481.3", 0, (0x30060039,)),  # ROI Contour Sequence
    ("481.3", 0, (0x30060080,)),  # RT ROI Observations Sequence
    ("481.4 481.6 481.9", 0, (0x300A0206,)),  # Treatment Machine Sequence
    ("481.5 481.8", 0, (0x300A000C,)),  # RT Plan Geometry
    # Fraction Group Sequence: Beam Sequence, Application Setup Sequence or Ion Beam Sequence
    ("481.5 481.8", 0x300A0070, (0x300A00B0, 0x300A0230, 0x300A03A2)),
    ("481.7", 0, (0x30080200,)),  # Current Treatment Status
)

_BY_CLASS: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
for _classes, _condition, _tags in _RULES:
    for _suffix in _classes.split():
        _BY_CLASS.setdefault(_STORAGE + _suffix, []).append((_condition, _tags))

_OF_ANY_OTHER_CLASS = [(_BITS_ALLOCATED, _PIXELS)]

REQUIRED_TAGS = frozenset(tag for _, condition, tags in _RULES for tag in (condition, *tags) if tag)


def missing(sop_class_uid: str, present: Container[int]) -> str | None:
    """Say which element an object of this SOP class must carry and does not.

    Parameters
    ----------
    sop_class_uid
        SOP Class UID; one that is not listed needs pixel data where it has Bits Allocated.
    present
        The tags of :data:`REQUIRED_TAGS` that its top level has.
    """
    for condition, tags in _BY_CLASS.get(sop_class_uid, _OF_ANY_OTHER_CLASS):
        if (not condition or condition in present) and not any(tag in present for tag in tags):
            what = f"its {tag_text(condition)}" if condition else "its SOP class"
            return f"{what} needs {tag_text(tags[0])}, which is not there"
    return None


# A record of identification: patient, study, series and instance named, and nothing of an image described.
_SKELETON = frozenset(
    (0x00080005, 0x00080012, 0x00080013, 0x00080014, 0x00080016, 0x00080018, 0x00080020, 0x00080021,
     0x00080023, 0x00080030, 0x00080031, 0x00080033, 0x00080050, 0x00080060, 0x00080070, 0x00080090,
     0x00081030, 0x0008103E, 0x0020000D, 0x0020000E, 0x00200010, 0x00200011, 0x00200013)
)  # fmt: skip
_MODALITY = 0x00080060


def is_skeleton(tags: Iterable[int]) -> bool:
    """Whether a dataset without its content was written that way: it only identifies (index test sets do).

    An object of a real system that was cut short shows more before the cut: Image Type, acquisition,
    geometry. Of 1,188 real images with pixel data none, cut between any two elements, passes for a skeleton.
    """
    tags = set(tags)
    return _MODALITY in tags and all(
        tag in _SKELETON or tag >> 16 == 0x0010 or not tag & 0xFFFF for tag in tags
    )
