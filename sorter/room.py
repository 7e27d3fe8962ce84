"""How much the archive's disk may still take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sorter.model import Candidate

BLOCK = 4096
# The file itself, and a folder or a quarantine note.
NAMES_EACH = 2


@dataclass(frozen=True, slots=True)
class Room:
    """What may be written before the floor is reached.

    Parameters
    ----------
    bytes
        Above the floor; negative below it.
    files
        Inodes. Some file systems count none: then very many.
    """

    bytes: int
    files: int

    def __bool__(self) -> bool:
        return self.bytes >= 0 and self.files >= NAMES_EACH

    def fitting(self, batch: Sequence[Candidate]) -> list[Candidate]:
        """Those of a batch for which there is room, in order; one that is too large is passed over.

        A source takes its size in whole blocks. What becomes larger (a compressed file) is not known before.
        """
        size, names = self.bytes, self.files
        fits: list[Candidate] = []
        for one in batch:
            needed = -(-one.size // BLOCK) * BLOCK
            if needed <= size and names >= NAMES_EACH:
                fits.append(one)
                size, names = size - needed, names - NAMES_EACH
        return fits
