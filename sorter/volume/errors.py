"""Why frames make no volume."""

from __future__ import annotations

from pathlib import Path


class VolumeError(Exception):
    """Frames make no regular volume, or pixels cannot be read; says where, without patient data.

    ``path`` is the one file that is the reason, where it is one; the text never names it.
    """

    path: Path | None = None


class NothingToPlaceError(VolumeError):
    """A sound file that holds nothing a volume is made of: a report, a plan, tiles of a slide."""
