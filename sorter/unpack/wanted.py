"""Which files that are not DICOM are opened, by content and by where they lie."""

from __future__ import annotations

from dataclasses import dataclass

from sorter.convert.recognise import Format, recognise

VOLUMES = frozenset((Format.NIFTI1, Format.NIFTI2, Format.ANALYZE))
PICTURES = frozenset((Format.PNG, Format.JPEG, Format.TIFF, Format.BMP, Format.GIF))
ARCHIVES = frozenset((Format.ZIP, Format.TAR, Format.BZIP2, Format.XZ))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration asks for; nothing by default.

    Parameters
    ----------
    archives, volumes
        Whether zip and tar archives are unpacked, and NIfTI and Analyze volumes converted.
    pictures
        Absolute folders below which pictures are converted.
    answers
        The folder of notes about files that need to be told more, in which people fill in what is missing.
    namespace
        Name of the installation, for the UIDs of what is converted.
    facts
        (DICOM keyword, value): what is true of all that is converted, where nothing else says anything.
    """

    archives: bool = False
    volumes: bool = False
    pictures: tuple[str, ...] = ()
    answers: str = ""
    namespace: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def form(self, head: bytes, size: int, folder: str) -> Format | None:
        """What the file is, where it is one to open; ``None`` for all else.

        Parameters
        ----------
        head
            Its first bytes; 540 are enough.
        size
            Of the whole file, in bytes.
        folder
            Where it lies; inside an archive, as if that were a folder.
        """
        found = recognise(head, size)
        if found in ARCHIVES:
            return found if self.archives else None
        if found in VOLUMES:
            return found if self.volumes else None
        if found in PICTURES and any(f"{folder}/".startswith(f"{root}/") for root in self.pictures):
            return found
        return None

    @property
    def converts(self) -> bool:
        """Whether anything is converted, so that sidecars count as such."""
        return self.volumes or bool(self.pictures)


NOTHING = Wanted()
