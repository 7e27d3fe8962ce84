"""What tells frames of one place apart: time, cardiac phase, diffusion weighting, and the like; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset

from sorter.volume.values import numbers, text

# Keyword and the functional group it may lie in, the surest first.
_WHOLE = (
    ("TemporalPositionIndex", "FrameContentSequence"),
    ("TemporalPositionIdentifier", ""),
    ("TemporalPositionTimeOffset", "TemporalPositionSequence"),
    ("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"),
    ("TriggerTime", ""),
    ("AcquisitionNumber", ""),
    ("FrameAcquisitionNumber", "FrameContentSequence"),
    ("DiffusionBValue", "MRDiffusionSequence"),
    ("InversionTimes", "MRModifierSequence"),
    ("InversionTime", ""),
)
_TEXTS = (
    ("FrameAcquisitionDateTime", "FrameContentSequence"),
    ("AcquisitionDateTime", ""),
    ("AcquisitionTime", ""),
    ("ContentTime", ""),
)
KEYWORDS = tuple(keyword for keyword, _ in _WHOLE + _TEXTS)


def times(dataset: Dataset, item: Callable[[str, str], Dataset]) -> dict[str, Any]:
    """The values by keyword; ``item`` finds the dataset of a functional group that has a keyword."""
    found: dict[str, Any] = {}
    for keyword, sequence in _WHOLE:
        values = numbers(item(sequence, keyword) if sequence else dataset, keyword)
        if values:
            found[keyword] = values
    for keyword, sequence in _TEXTS:
        if said := text(item(sequence, keyword) if sequence else dataset, keyword):
            found[keyword] = said
    return found
