"""How the pixels of a dataset are laid out: what its Image Pixel module declares (PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Pixel = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PixelModule:
    """The attributes of the Image Pixel module that decoding needs (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    signed: bool
    frames: int

    @property
    def pixels(self) -> int:
        """Values of one frame."""
        return self.rows * self.columns * self.samples

    @property
    def length(self) -> int:
        """Bytes of all frames, native, without padding; cells of one bit run on across frames."""
        return (self.pixels * self.frames * self.allocated + 7) // 8

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame: (rows, columns), or (rows, columns, samples)."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one value, little endian; cells of one bit take a byte here."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{max(1, self.allocated // 8)}")
