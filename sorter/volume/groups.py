"""What a file says of one of its frames: its own functional groups, the shared ones, then the top level.

PS3.3 C.7.6.16.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from sorter.volume.values import items, value


class Groups:
    """The places that speak of one frame, the nearest first.

    Parameters
    ----------
    dataset
        The file.
    own
        The item of the Per-Frame Functional Groups Sequence, where there is one.
    """

    def __init__(self, dataset: Dataset, own: Dataset | None = None) -> None:
        self.dataset = dataset
        self._own = [] if own is None else [own]
        self._groups = [*self._own, *items(dataset, "SharedFunctionalGroupsSequence")[:1]]

    def item(self, sequence: str, keyword: str) -> Dataset:
        """The dataset that has a value for ``keyword``, in that sequence; else the top level."""
        for group in self._groups:
            for item in items(group, sequence)[:1]:
                if value(item, keyword) is not None:
                    return item
        if value(self.dataset, keyword) is None:  # such as Detector Information, at top level
            for item in items(self.dataset, sequence)[:1]:
                if value(item, keyword) is not None:
                    return item
        return self.dataset

    def private(self, sequence: int, tag: int) -> float | None:
        """A private number, in a private sequence of the frame, else at top level."""
        for group in (*self._own, self.dataset):
            held = group.get(sequence)
            for dataset in (*(list(held.value)[:1] if held is not None and held.VR == "SQ" else ()), group):
                element = dataset.get(tag)
                if element is not None and isinstance(element.value, int | float):
                    return float(element.value)
        return None


def groups_of(dataset: Dataset, index: int) -> Groups:
    """The groups of the frame with this number, from 0."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    return Groups(dataset, per_frame[index] if index < len(per_frame) else None)
