"""Picture: one frame of an instance as a radiologist's screen would show it."""

from sorter.picture.decoding import NoPictureError, decoded, frames
from sorter.picture.drawing import aspect, picture, rescaled
from sorter.picture.shading import Shades, Window, shades
from sorter.picture.tables import Picture

__all__ = [
    "NoPictureError", "Picture", "Shades", "Window",
    "aspect", "decoded", "frames", "picture", "rescaled", "shades",
]  # fmt: skip
