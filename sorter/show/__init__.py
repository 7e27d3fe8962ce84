"""What a file, an instance or a series is, for a person to read or as JSON. Reads only."""

from sorter.show.elements import element_lines, json_model
from sorter.show.instance import about_instance, open_instance
from sorter.show.nifti import about_nifti, open_nifti, slice_of
from sorter.show.series import about_series, about_volumes
from sorter.show.thumbnail import Screen, screen, thumbnail

__all__ = [
    "Screen", "about_instance", "about_nifti", "about_series", "about_volumes",
    "element_lines", "json_model", "open_instance", "open_nifti", "screen", "slice_of", "thumbnail",
]  # fmt: skip
